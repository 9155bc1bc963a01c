//! Several recipes in one file: the fields that they share, and under `variants` the fields that each has for itself.
//!
//! The text of one of them is that of the file with all that is not its own blanked out, so that a value stays in its line
//! and column: messages, `show` and `--set` know no variants.

use std::borrow::Cow;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use admix_api::{Registry, did_you_mean};

use super::locate::{self, body, fields, find};
use super::overrides::Override;
use super::recipe::Recipe;
use crate::text::{list, without_mark};
use crate::{Error, Result};

const VARIANTS: &str = "variants";

/// The text of one recipe, before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeText {
    /// RON, as long as its file.
    pub text: String,
    /// The file, as messages name it.
    pub file: String,
    /// Which of the recipes of the file, where it has several.
    pub variant: Option<String>,
}

impl RecipeText {
    /// The recipe at a path: a file, or one of the recipes of a file, `recipe.ron/amix`. `None` if there is no such file.
    ///
    /// # Errors
    /// The file cannot be read; see also [`RecipeText::of`].
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let within =
            || Some((path.parent()?, path.file_name()?.to_str()?)).filter(|(file, _)| file.is_file());
        let (file, variant) = match within() {
            _ if path.is_file() => (path, None),
            Some((file, variant)) => (file, Some(variant)),
            None => return Ok(None),
        };
        let shown = file.display().to_string();
        let text = fs::read_to_string(file).map_err(|source| {
            Error::Input(match source.kind() {
                ErrorKind::InvalidData => format!("the recipe {shown} is not text; expected RON"),
                _ => format!("cannot read the recipe {shown}: {source}"),
            })
        })?;
        Self::of(&text, &shown, variant).map(Some)
    }

    /// The recipe of a file, or the one of this name among its recipes.
    ///
    /// # Errors
    /// The file has several recipes and none is named, or none of this name.
    pub fn of(text: &str, file: &str, variant: Option<&str>) -> Result<Self> {
        let text = without_mark(text);
        let names: Vec<String> = variants(text).into_iter().map(|variant| variant.name).collect();
        let twice = |at: &usize| names[..*at].contains(&names[*at]);
        if let Some(at) = (0..names.len()).find(twice) {
            let start = find(text, VARIANTS).map_or(0, |span| span.start);
            let (line, column) = locate::line_column(text, start);
            let message = format!("the recipe `{}` is there twice in `variants`; rename one", names[at]);
            return Err(Error::Recipe { file: file.into(), line, column, message });
        }
        if let Some(name) = names.iter().find(|name| name.is_empty() || name.contains('/')) {
            let start = find(text, VARIANTS).map_or(0, |span| span.start);
            let (line, column) = locate::line_column(text, start);
            let message = format!(
                "the recipe `{name}` of `variants` cannot be named: it is asked for as {file}/NAME, so give it a name without `/`"
            );
            return Err(Error::Recipe { file: file.into(), line, column, message });
        }
        let known = || list(names.iter().map(|name| format!("{file}/{name}")));
        let text = match variant {
            None if find(text, VARIANTS).is_some() => {
                let (line, column) =
                    locate::line_column(text, find(text, VARIANTS).map_or(0, |span| span.start));
                let message = match names.is_empty() {
                    true => "`variants` has no recipe; expected {\"name\": (field: value)}".into(),
                    false => format!("the file has several recipes; name one of them: {}", known()),
                };
                return Err(Error::Recipe { file: file.into(), line, column, message });
            }
            None => text.to_owned(),
            Some(name) if names.is_empty() => {
                return Err(Error::Input(format!(
                    "{file} has no `variants`, so there is no {file}/{name}; name {file}"
                )));
            }
            Some(name) => one(text, name).ok_or_else(|| {
                let hint = did_you_mean(name, names.iter().map(String::as_str));
                Error::Input(format!("{file} has no recipe `{name}`; it has {}{hint}", known()))
            })?,
        };
        Ok(Self { text, file: file.into(), variant: variant.map(str::to_owned) })
    }

    /// Reads the recipe, with `--set path=value`.
    ///
    /// # Errors
    /// As [`Recipe::parse`].
    pub fn read(&self, overrides: &[Override], registry: &Registry) -> Result<Recipe> {
        let recipe = Recipe::parse(&self.text, &self.file, overrides, registry)?;
        Ok(Recipe { variant: self.variant.clone(), ..recipe })
    }
}

/// A recipe among those of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// What it is: the first line of the file and the comment above it.
    pub about: String,
}

/// The recipes of a file that has several; none for an ordinary recipe.
pub fn variants(text: &str) -> Vec<Variant> {
    let Some(inside) = find(text, VARIANTS).and_then(|span| body(text, span.start)) else {
        return Vec::new();
    };
    let head = comment(text.lines().next().unwrap_or_default()).trim_end_matches('.');
    let about = |name: &str, value: &Range<usize>| {
        let mut above = text[..key_start(text, name, value.start)].lines().rev().map(str::trim);
        let above = above.find(|line| !line.is_empty()).filter(|line| line.starts_with("//"));
        above.map_or(format!("{head}: {name}."), |line| format!("{head}: {}", comment(line)))
    };
    let all = fields(text, inside).into_iter();
    all.map(|(name, value)| Variant { about: about(&name, &value), name }).collect()
}

fn comment(line: &str) -> &str {
    line.trim().strip_prefix("//").unwrap_or_default().trim()
}

/// The text of one recipe of a file, each of its values where it stands in the file.
fn one(text: &str, name: &str) -> Option<String> {
    let outer = body(text, 0)?;
    let all = fields(text, outer.clone());
    let (_, table) = all.iter().find(|(key, _)| key == VARIANTS)?;
    let (_, chosen) = fields(text, body(text, table.start)?).into_iter().find(|(key, _)| key == name)?;
    let own = body(text, chosen.start).filter(|own| own.end <= chosen.end)?;
    let fields = fields(text, own.clone());
    let mut blank = vec![false; text.len()];
    let whole = key_start(text, VARIANTS, table.start)..after_comma(text, table.end, outer.end);
    blank[whole].fill(true);
    blank[own.clone()].fill(false);
    for (key, value) in all.iter().filter(|(key, _)| fields.iter().any(|(ours, _)| ours == key)) {
        let end = after_comma(text, value.end, outer.end);
        let rest = &text[end..];
        let line = rest.lines().next().unwrap_or_default();
        let comment = if line.trim_start().starts_with("//") { line.len() } else { 0 };
        blank[key_start(text, key, value.start)..end + comment].fill(true);
    }
    // Fields of the file follow those of the variant.
    let last = fields.last().map(|(_, value)| value.end);
    let comma =
        last.filter(|last| !text[locate::skip_space(text, *last)..].starts_with(',')).map(|_| own.end);
    let character = |(at, c): (usize, char)| match c {
        _ if comma == Some(at) => ',',
        '\n' | '\r' => c,
        _ if blank[at] => ' ',
        _ => c,
    };
    Some(text.char_indices().map(character).collect())
}

/// Where the key of a value begins.
fn key_start(text: &str, key: &str, value: usize) -> usize {
    let bare = text[..value].rfind(key).unwrap_or(value);
    if text[..bare].ends_with('"') { bare - 1 } else { bare }
}

/// Past the comma after a value, or the end of the value.
fn after_comma(text: &str, value: usize, end: usize) -> usize {
    let comma = locate::skip_space(text, value);
    if comma < end && text[comma..].starts_with(',') { comma + 1 } else { value }
}

impl Recipe {
    /// Its text, which holds for itself even where the recipe is one of several of a file.
    pub(crate) fn text_alone(&self) -> Cow<'_, str> {
        if self.variant.is_some() { tidy(&self.text).into() } else { (&self.text).into() }
    }
}

/// The text of a recipe for people: without the lines that were blanked out, its fields at one indentation.
pub fn tidy(text: &str) -> String {
    const INDENT: usize = 4;
    let spans = body(text, 0).map(|outer| fields(text, outer)).unwrap_or_default();
    let starts: Vec<(usize, usize)> =
        spans.iter().map(|(key, value)| (key_start(text, key, value.start), value.end)).collect();
    let (mut tidy, mut at, mut shift) = (String::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        if starts.iter().any(|(start, _)| *start == at + indent) {
            shift = indent.saturating_sub(INDENT);
        } else if !starts.iter().any(|(start, end)| *start < at && at < *end) {
            shift = 0;
        }
        at += line.len();
        if !line.trim().is_empty() {
            tidy.push_str(line[shift.min(indent)..].trim_end());
            tidy.push('\n');
        }
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"// Birds, ResNet-18.
(
    epochs: 2, // all
    data: (name: "toy"),
    method: "mixup",                 // one network
    variants: {
        // No mixing.
        "vanilla": (),
        // MixUp, "as published".
        "mixup": (mixers: {"mix": MixUp()}),
        "amix": (
            method: "amix",          // two networks
            heads: [
                "one",
                "mix",
            ],
            epochs: 3,
        ),
    },
    log_every: 7,
)
"#;

    fn of(name: &str) -> String {
        RecipeText::of(FILE, "b.ron", Some(name)).expect("a recipe").text
    }

    #[test]
    fn a_variant_is_its_file_with_its_own_fields_in_their_place() {
        assert_eq!(
            tidy(&of("amix")),
            r#"// Birds, ResNet-18.
(
    data: (name: "toy"),
    method: "amix",          // two networks
    heads: [
        "one",
        "mix",
    ],
    epochs: 3,
    log_every: 7,
)
"#
        );
        let mixup = of("mixup");
        assert!(
            tidy(&mixup).contains("    mixers: {\"mix\": MixUp()},\n    log_every: 7,\n"),
            "{}",
            tidy(&mixup)
        );
        assert!(tidy(&of("vanilla")).contains("// one network\n    log_every: 7,\n"));
        for name in ["amix", "mixup", "vanilla"] {
            let text = of(name);
            assert_eq!(text.lines().count(), FILE.lines().count());
            // Every value is where the file has it.
            for path in ["log_every", "data.name"] {
                assert_eq!(find(&text, path), find(FILE, path), "{name}: {path}");
            }
            for (line, ours) in FILE.lines().zip(text.lines()) {
                let same =
                    line.chars().zip(ours.chars()).all(|(a, b)| a == b || b == ' ' || (a, b) == (')', ','));
                assert!(same, "{line} became {ours}");
            }
        }
        assert_eq!(
            find(&of("amix"), "epochs").map(|span| locate::line_column(FILE, span.start)),
            Some((17, 21))
        );
    }

    #[test]
    fn variants_say_what_they_are() {
        let told: Vec<_> = variants(FILE).into_iter().map(|variant| (variant.name, variant.about)).collect();
        let wanted = [
            ("vanilla", "Birds, ResNet-18: No mixing."),
            ("mixup", "Birds, ResNet-18: MixUp, \"as published\"."),
            ("amix", "Birds, ResNet-18: amix."),
        ];
        assert_eq!(told, wanted.map(|(name, about)| (name.to_owned(), about.to_owned())));
        assert!(variants("(epochs: 2)").is_empty() && variants("").is_empty());
    }

    #[test]
    fn one_of_several_must_be_named_and_the_nearest_is_suggested() {
        let refused =
            |text: &str, name| RecipeText::of(text, "b.ron", name).expect_err("refused").to_string();
        let message = refused(FILE, None);
        assert!(message.contains("b.ron:6:15") && message.contains("`b.ron/mixup`"), "{message}");
        let message = refused(FILE, Some("amx"));
        assert!(message.contains("no recipe `amx`") && message.contains("Did you mean `amix`?"), "{message}");
        assert!(refused("(epochs: 1)", Some("amix")).contains("has no `variants`"));
        let message = refused("(variants: {\"a\": (epochs: 2), \"a\": (epochs: 9)})", Some("a"));
        assert!(message.contains("b.ron:1:12") && message.contains("`a` is there twice"), "{message}");
        let marked = RecipeText::of(&format!("\u{feff}{FILE}"), "b.ron", Some("amix")).expect("a recipe");
        assert_eq!(marked.text, of("amix"));
        let message = refused("(variants: {\"a\": (epochs: 2), \"b/c\": (epochs: 9)})", Some("a"));
        assert!(
            message.contains("b.ron:1:12") && message.contains("`b/c` of `variants` cannot be named"),
            "{message}"
        );
        assert!(refused("(variants: {})", None).contains("`variants` has no recipe"));
    }

    #[test]
    fn no_text_makes_it_panic() {
        for end in (0..FILE.len()).filter(|end| FILE.is_char_boundary(*end)) {
            let _ = RecipeText::of(&FILE[..end], "b.ron", Some("amix")).map(|recipe| tidy(&recipe.text));
            variants(&FILE[..end]);
        }
        for text in
            ["(variants: 3)", "(variants: {\"a\"})", "(variants: {\"a\": é})", "(variants: {\"é\": (é: 1"]
        {
            let _ = RecipeText::of(text, "b.ron", Some("a"));
            let _ = RecipeText::of(text, "b.ron", Some("é"));
            variants(text);
            tidy(text);
        }
    }
}
