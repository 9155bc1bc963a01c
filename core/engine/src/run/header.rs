//! What a checkpoint says beside its tensors.

use serde::{Deserialize, Serialize};

use crate::method::Clock;
use crate::run::images::Images;
use crate::run::metrics::History;
use crate::run::started_from::StartedFrom;
use crate::script::ScriptText;

/// Version of the file's contents. Another one is refused.
pub const FORMAT: u32 = 1;

/// Everything of a checkpoint but its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the contents.
    pub format: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// Where the run stands.
    pub clock: Clock,
    /// Batches of the current epoch that are done.
    pub batch_in_epoch: u64,
    /// The recipe, with `--set` applied.
    pub recipe: String,
    /// Its name in messages.
    pub recipe_file: String,
    /// The method's script.
    pub script: String,
    /// Its name in messages.
    pub script_file: String,
    /// The scripts of the recipe's mixers and losses.
    // Left out where there are none, so that the checksums of earlier files hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<ScriptText>,
    /// Results so far.
    pub history: History,
    /// The images that its networks were trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
    /// Where its weights come from, if not from random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<StartedFrom>,
    /// blake3 of this header (with an empty checksum) and of every tensor.
    pub checksum: String,
}

impl Header {
    /// Reads the text of a header.
    ///
    /// # Errors
    /// What is wrong with it: it is damaged, or of another version.
    pub fn parse(text: &str) -> Result<Self, String> {
        let header: Self = serde_json::from_str(text)
            .map_err(|error| format!("its header cannot be read ({error}): it is damaged"))?;
        if header.format != FORMAT {
            return Err(format!(
                "is of format {}, this program reads format {FORMAT}: use the version {} that wrote it",
                header.format, header.version
            ));
        }
        Ok(header)
    }

    /// What is wrong with where a run is said to stand.
    pub fn unsound(&self) -> Option<String> {
        let Clock { step, steps, epoch, epochs } = self.clock;
        let per_epoch = steps / epochs.max(1);
        let fields = [
            ("clock.step", step, steps, "steps of the run"),
            ("clock.epoch", epoch, epochs, "epochs of the run"),
            ("batch_in_epoch", self.batch_in_epoch, per_epoch, "steps of an epoch"),
        ];
        let beyond = fields.into_iter().find(|(_, value, most, _)| value > most);
        beyond.map(|(field, value, most, of)| format!("`{field}` is {value}, beyond the {most} {of}"))
    }
}
