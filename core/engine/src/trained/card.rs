//! What a reader of a file of weights must know of it, in words.

use std::fmt::Write as _;

use super::export::Export;
use super::pick::Pick;
use crate::recipe::Recipe;
use crate::run::{Header, Images};

/// What a card says.
#[derive(Debug)]
pub struct Card<'a> {
    /// The name of the file of weights.
    pub file: &'a str,
    /// The network in it.
    pub export: &'a Export,
    /// Where it was in its run.
    pub pick: &'a Pick,
    /// Its checkpoint.
    pub header: &'a Header,
    /// Its recipe.
    pub recipe: &'a Recipe,
    /// Its images.
    pub images: &'a Images,
    /// What became of its BatchNorms, in words.
    pub batch_norms: &'a str,
    /// Whether its BatchNorms have other values than those that were measured.
    pub other_values: bool,
}

/// The text of a card, in Markdown.
pub fn card(card: &Card<'_>) -> String {
    let Card { file, export, pick, header, recipe, images, .. } = card;
    let mut text = format!(
        "# {file}\n\nWeights of a network that Admix {} trained. Names of tensors: {}.\n\n| | |\n|---|---|\n",
        header.version, export.format
    );
    let mut row = |what: &str, value: String| {
        let _ = writeln!(text, "| {what} | {} |", value.replace('|', "\\|").replace('\n', " "));
    };
    let model = recipe.model_of(&pick.net);
    row("network", format!("{} `{}`", model.plugin, model.config.resolved()));
    let head = pick.head.as_ref().map(|head| format!(", head `{head}`")).unwrap_or_default();
    row("taken from", format!("network `{}`{head}", pick.net));
    row("values", format!("{} learned, {} tensors", export.parameters, export.tensors.len()));
    let classifier = export.classifier.as_deref().map_or("none".into(), |name| format!("`{name}`"));
    row("classifier", classifier);
    if !export.left_out.is_empty() {
        row("left out", export.left_out.join(", "));
    }
    row("data", format!("{}, {} classes", images.data, images.classes.len()));
    let colours = if images.channels == 1 { "grey" } else { "red, green, blue" };
    row("images", format!("{}x{} (height x width), {colours}", images.height, images.width));
    row(
        "normalisation",
        format!("(pixel - mean) / std, pixels in 0 to 1; mean {:?}, std {:?}", images.mean, images.std),
    );
    if let Some(fit) = &images.fit {
        let fit = serde_json::to_string(fit).unwrap_or_default();
        row("measured on", format!("`{fit}`"));
    }
    row("BatchNorm", card.batch_norms.into());
    let clock = header.clock;
    row("trained for", format!("{} of {} epochs, {} steps", clock.epoch, clock.epochs, clock.step));
    let name = pick.head.as_ref().map(|head| format!("{head}_{}", pick.net)).unwrap_or_default();
    let measured = header.history.heads();
    match measured.get(&name).filter(|_| !card.other_values) {
        Some(head) => row(
            "accuracy on the test set",
            format!(
                "top-1 {:.2} %, top-5 {:.2} % at the last evaluation; best {:.2} %, median of the last ten {:.2} %",
                head.last, head.top5, head.best, head.median_last_10
            ),
        ),
        None => row("accuracy on the test set", "not measured".into()),
    }
    match &header.started_from {
        Some(origin) => row("started from", format!("{} (SHA-256 {})", origin.from, origin.sha256)),
        None => row("started from", "random weights".into()),
    }
    row("recipe", header.recipe_file.clone());
    row("method", header.script_file.clone());
    let stem = export.tensors.iter().find(|(name, _)| name == "conv1.weight").map(|(_, stem)| stem.size());
    if model.config.resolved()["stem"] == "Small"
        && let ("torchvision", Some([width, channels, 3, 3])) = (export.format.as_str(), stem.as_deref())
    {
        let _ = writeln!(
            text,
            "\nThe stem is the small one. In torchvision set `model.conv1 = nn.Conv2d({channels}, {width}, 3, padding=1, \
             bias=False)` and `model.maxpool = nn.Identity()` before `load_state_dict`."
        );
    }
    if !images.classes.is_empty() {
        text.push_str("\n## Classes\n\n");
        for (label, name) in images.classes.iter().enumerate() {
            let _ = writeln!(text, "- {label}: {name}");
        }
    }
    let _ = write!(text, "\n## Recipe\n\n````ron\n{}\n````\n", header.recipe.trim_end());
    text
}
