//! Scripts that come with the program.

/// Path below `scripts/` and text of each bundled script: methods, then mixers and losses in folders of their own.
const SCRIPTS: &[(&str, &str)] = &[
    ("adautomix.rhai", include_str!("../../../scripts/adautomix.rhai")),
    ("amix.rhai", include_str!("../../../scripts/amix.rhai")),
    ("amix_c.rhai", include_str!("../../../scripts/amix_c.rhai")),
    ("amix_i.rhai", include_str!("../../../scripts/amix_i.rhai")),
    ("attentivemix.rhai", include_str!("../../../scripts/attentivemix.rhai")),
    ("augmix.rhai", include_str!("../../../scripts/augmix.rhai")),
    ("barlow_twins.rhai", include_str!("../../../scripts/barlow_twins.rhai")),
    ("bsim.rhai", include_str!("../../../scripts/bsim.rhai")),
    ("byol.rhai", include_str!("../../../scripts/byol.rhai")),
    ("co_mixup.rhai", include_str!("../../../scripts/co_mixup.rhai")),
    ("imix.rhai", include_str!("../../../scripts/imix.rhai")),
    ("mixpro.rhai", include_str!("../../../scripts/mixpro.rhai")),
    ("mixup.rhai", include_str!("../../../scripts/mixup.rhai")),
    ("mochi.rhai", include_str!("../../../scripts/mochi.rhai")),
    ("moco.rhai", include_str!("../../../scripts/moco.rhai")),
    ("moco_puzzlemix.rhai", include_str!("../../../scripts/moco_puzzlemix.rhai")),
    ("puzzlemix.rhai", include_str!("../../../scripts/puzzlemix.rhai")),
    ("recursivemix.rhai", include_str!("../../../scripts/recursivemix.rhai")),
    ("simclr.rhai", include_str!("../../../scripts/simclr.rhai")),
    ("simsiam.rhai", include_str!("../../../scripts/simsiam.rhai")),
    ("snapmix.rhai", include_str!("../../../scripts/snapmix.rhai")),
    ("swav.rhai", include_str!("../../../scripts/swav.rhai")),
    ("transmix.rhai", include_str!("../../../scripts/transmix.rhai")),
    ("unmix.rhai", include_str!("../../../scripts/unmix.rhai")),
    ("wbsim.rhai", include_str!("../../../scripts/wbsim.rhai")),
    ("code/amix_c.rhai", include_str!("../../../scripts/code/amix_c.rhai")),
    ("code/amix_i.rhai", include_str!("../../../scripts/code/amix_i.rhai")),
    ("mixers/alignmix.rhai", include_str!("../../../scripts/mixers/alignmix.rhai")),
    ("mixers/attentive.rhai", include_str!("../../../scripts/mixers/attentive.rhai")),
    ("mixers/attentivemix.rhai", include_str!("../../../scripts/mixers/attentivemix.rhai")),
    ("mixers/cutmix.rhai", include_str!("../../../scripts/mixers/cutmix.rhai")),
    ("mixers/gridmix.rhai", include_str!("../../../scripts/mixers/gridmix.rhai")),
    ("mixers/inputmix.rhai", include_str!("../../../scripts/mixers/inputmix.rhai")),
    ("mixers/intra_inter.rhai", include_str!("../../../scripts/mixers/intra_inter.rhai")),
    ("mixers/moex.rhai", include_str!("../../../scripts/mixers/moex.rhai")),
    ("mixers/smoothmix.rhai", include_str!("../../../scripts/mixers/smoothmix.rhai")),
    ("mixers/snapmix.rhai", include_str!("../../../scripts/mixers/snapmix.rhai")),
    ("mixers/stripes.rhai", include_str!("../../../scripts/mixers/stripes.rhai")),
    ("mixers/timm.rhai", include_str!("../../../scripts/mixers/timm.rhai")),
    ("losses/focal.rhai", include_str!("../../../scripts/losses/focal.rhai")),
];

fn find(name: &str) -> Option<(&'static str, &'static str)> {
    let stem = name.strip_prefix("scripts/").unwrap_or(name);
    let stem = stem.strip_suffix(".rhai").unwrap_or(stem);
    SCRIPTS
        .iter()
        .find(|(file, _)| file.strip_suffix(".rhai") == Some(stem))
        .map(|(file, text)| (*text, *file))
}

fn names() -> impl Iterator<Item = &'static str> {
    SCRIPTS.iter().map(|(file, _)| file.strip_suffix(".rhai").unwrap_or(file))
}

/// Methods lie in the folder itself; those of the authors' code, kept for comparison, in one of their own.
fn is_method(file: &str) -> bool {
    !file.contains('/') || file.starts_with("code/")
}

/// The bundled method of this name ("amix", "amix.rhai" or "scripts/amix.rhai"): text and file name.
pub fn script(name: &str) -> Option<(&'static str, &'static str)> {
    find(name).filter(|(_, file)| is_method(file))
}

/// The names of the bundled methods.
pub fn script_names() -> impl Iterator<Item = &'static str> {
    names().filter(|name| is_method(name))
}

/// The bundled mixer or loss of this name ("mixers/cutmix", "scripts/mixers/cutmix.rhai"): text and file name.
pub fn part(name: &str) -> Option<(&'static str, &'static str)> {
    find(name).filter(|(_, file)| !is_method(file))
}

/// The names of the bundled scripts of a table: "mixers" or "losses".
pub fn part_names(table: &str) -> impl Iterator<Item = &'static str> {
    names().filter(move |name| name.strip_prefix(table).is_some_and(|rest| rest.starts_with('/')))
}
