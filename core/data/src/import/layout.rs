//! How the files of an import may be laid out.

use std::path::Path;

use super::decode::Planar;
use super::decoded::Decoded;
use crate::{Result, Split};

/// A layout of its own that the archive of a dataset has. An import asks every layout of the registry.
///
/// ```
/// use std::path::Path;
///
/// use admix_data::{Arranged, Decoded, Layout, Numbering, Result};
///
/// /// The first folder of an image is its class; the classes keep their order.
/// struct ByFolder;
///
/// impl Layout for ByFolder {
///     fn lists(&self) -> &'static [&'static str] {
///         &[]
///     }
///
///     fn understand(
///         &self,
///         _: &Path,
///         files: &mut Vec<Decoded>,
///         _: &mut Vec<(String, String)>,
///     ) -> Result<Option<Box<dyn Numbering>>> {
///         files.iter_mut().for_each(|file| file.class = file.parts.first().cloned());
///         Ok(Some(Box::new(ByFolder)))
///     }
/// }
///
/// impl Numbering for ByFolder {
///     fn number(&self, _: &Path, _: &mut Arranged) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// assert!(ByFolder.understand(Path::new("set.zip"), &mut Vec::new(), &mut Vec::new())?.is_some());
/// # Ok::<(), admix_data::Error>(())
/// ```
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
///
/// ```
/// use std::path::Path;
///
/// use admix_data::{Arranged, Numbering, Result};
///
/// /// Names the classes by their number.
/// struct Numbers;
///
/// impl Numbering for Numbers {
///     fn number(&self, _: &Path, set: &mut Arranged) -> Result<()> {
///         set.class_names.iter_mut().enumerate().for_each(|(label, name)| *name = label.to_string());
///         Ok(())
///     }
/// }
///
/// let class_names = vec!["cat".into(), "dog".into()];
/// let (train, test, skipped) = Default::default();
/// let mut set = Arranged { class_names, height: 8, width: 8, train, test, skipped };
/// Numbers.number(Path::new("set.zip"), &mut set)?;
/// assert_eq!(set.class_names, ["0", "1"]);
/// # Ok::<(), admix_data::Error>(())
/// ```
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
    /// The classes, by label; empty where no image has a label.
    pub class_names: Vec<String>,
    /// Height in pixels.
    pub height: i64,
    /// Width in pixels.
    pub width: i64,
    /// Label and pixels of each training image.
    pub train: Vec<(u16, Planar)>,
    /// The same of the test images.
    pub test: Vec<(u16, Planar)>,
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
