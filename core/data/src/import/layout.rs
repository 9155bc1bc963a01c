//! How the files of an import may be laid out.

use std::path::Path;

use super::decode::Rgb;
use super::decoded::Decoded;
use crate::{Result, Split};

/// A layout of its own that the archive of a dataset has. An import asks every layout of the registry.
pub trait Layout: Sync {
    /// The names of the files that it needs the text of.
    fn lists(&self) -> &'static [&'static str];

    /// Gives images their class and takes out what has none, if the files are laid out in this way. What was taken out goes
    /// to `skipped`.
    ///
    /// # Errors
    /// Lists that are missing, malformed, or do not fit the images.
    fn understand(
        &self,
        source: &Path,
        files: &mut Vec<Decoded>,
        skipped: &mut Vec<(String, String)>,
    ) -> Result<Option<Box<dyn Numbering>>>;
}

/// The classes of a layout in their order.
pub trait Numbering {
    /// Numbers and names the classes, which come in the order of their folders' names.
    ///
    /// # Errors
    /// The classes are not those of the images.
    fn number(&self, source: &Path, set: &mut Arranged) -> Result<()>;
}

/// Images in the order in which they are packed.
#[derive(Debug)]
pub struct Arranged {
    /// The classes, by label.
    pub class_names: Vec<String>,
    /// Height in pixels.
    pub height: i64,
    /// Width in pixels.
    pub width: i64,
    /// Label and pixels of each training image.
    pub train: Vec<(u16, Rgb)>,
    /// The same of the test images.
    pub test: Vec<(u16, Rgb)>,
    /// Files left out, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// Whether a folder is named for the test split, which comes before one for validation.
pub(crate) fn is_test(name: &str) -> bool {
    ["test", "testing"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// What a folder's name says about its images.
pub(crate) fn split_of(name: &str) -> Option<Split> {
    match name.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "test" | "testing" | "val" | "valid" | "validation" | "eval" => Some(Split::Test),
        _ => None,
    }
}
