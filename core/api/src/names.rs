//! Names in any spelling, and the nearest one.

/// Whether two names are the same entry's: `CutMix`, `cutmix` and `cut_mix` are.
pub fn same_name(one: &str, other: &str) -> bool {
    fold(one) == fold(other)
}

pub(crate) fn fold(name: &str) -> String {
    name.chars().filter(|c| *c != '_' && *c != '-').flat_map(char::to_lowercase).collect()
}

/// `. Did you mean ...?` for the known name nearest to `name`, or an empty text if none is near.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&fold(name), &fold(candidate)), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| format!(". Did you mean `{candidate}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_spelling_and_the_nearest_is_suggested() {
        assert_eq!(fold("CutMix"), fold("cut_mix"));
        assert_eq!(did_you_mean("cutmx", ["mixup", "cutmix"]), ". Did you mean `cutmix`?");
        assert_eq!(did_you_mean("zzz", ["mixup", "cutmix"]), "");
    }
}
