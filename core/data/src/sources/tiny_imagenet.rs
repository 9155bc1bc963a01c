//! Tiny ImageNet, read from what `admix data import` made of its archive.

use std::path::Path;

use super::{Absent, packed};
use crate::Error;

const NAME: &str = "tiny_imagenet";
/// The folder that its archive unpacks into.
const FOLDER: &str = "tiny-imagenet-200";

pub(crate) const HOW_TO_GET: &str = "`admix data get tiny_imagenet`; or download `tiny-imagenet-200.zip` from the data set's home page and import it, or the \
     folder that it unpacks into: `admix data import tiny-imagenet-200.zip --name tiny_imagenet`";

pub(crate) fn missing(root: &Path) -> Option<Absent> {
    if packed::path(root, NAME).is_file() {
        return None;
    }
    let folder = root.join(FOLDER);
    let hint = match folder.join("wnids.txt").is_file() {
        true => format!(
            " ({} is there: import it with `admix data import {} --name {NAME}`)",
            folder.display(),
            folder.display()
        ),
        false => String::new(),
    };
    Some(Absent { folder: root.to_owned(), expected: format!("the packed file {NAME}.admix{hint}") })
}

pub(crate) fn not_imported(root: &Path) -> Error {
    let Absent { folder, expected } = missing(root).unwrap_or_else(|| Absent {
        folder: root.to_owned(),
        expected: format!("the packed file {NAME}.admix"),
    });
    Error::Missing { name: NAME.into(), folder, expected, how_to_get: HOW_TO_GET.into() }
}
