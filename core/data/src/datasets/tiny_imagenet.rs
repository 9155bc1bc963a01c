//! Tiny ImageNet, read from what an import made of its archive.
//!
//! The archive's own layout is in `tiny_imagenet_lists.rs`.

use std::path::Path;

use super::kind::{About, Absent, DatasetSource, Published, Then, Wanted};
use super::tiny_imagenet_lists::{Archive, CLASSES};
use crate::import::layout::Layout;
use crate::info::IMAGENET;
use crate::source::Contents;
use crate::{Result, packed};

const NAME: &str = "tiny_imagenet";
/// The folder that its archive unpacks into.
const FOLDER: &str = "tiny-imagenet-200";
const HOW_TO_GET: &str = "`admix data get tiny_imagenet`; or download `tiny-imagenet-200.zip` from the data set's home page and import it, or the \
     folder that it unpacks into: `admix data import tiny-imagenet-200.zip --name tiny_imagenet`";

crate::dataset! {
    /// Tiny ImageNet has no settings.
    pub struct TinyImagenet {}, "tiny_imagenet",
    "Tiny ImageNet, 100,000 + 10,000 images, 200 classes, 64x64 RGB; from an import of its archive",
    source: "Le, Yang, Tiny ImageNet Visual Recognition Challenge, CS 231N, 2015"
}

impl DatasetSource for TinyImagenet {
    fn about(&self) -> About {
        About {
            classes: 200,
            class_names: Vec::new(),
            shape: [3, 64, 64],
            mean: IMAGENET.mean.to_vec(),
            std: IMAGENET.std.to_vec(),
            train: 100_000,
            test: 10_000,
            unlabelled: 0,
            folds: 0,
        }
    }

    fn needs_files(&self) -> bool {
        true
    }

    fn absent(&self, root: &Path) -> Option<Absent> {
        if packed::path(root, NAME).is_file() {
            return None;
        }
        let folder = root.join(FOLDER);
        let hint = match folder.join(CLASSES).is_file() {
            true => format!(
                " ({} is there: import it with `admix data import {} --name {NAME}`)",
                folder.display(),
                folder.display()
            ),
            false => String::new(),
        };
        Some(Absent { folder: root.to_owned(), expected: format!("the packed file {NAME}.admix{hint}") })
    }

    fn how_to_get(&self) -> &'static str {
        HOW_TO_GET
    }

    fn published(&self) -> Option<Published<'static>> {
        Some(Published {
            base: "http://cs231n.stanford.edu/",
            // What Avalanche checks.
            files: &[("tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")],
            then: Then::Import,
        })
    }

    fn layout(&self) -> Option<&'static dyn Layout> {
        Some(&Archive)
    }

    fn load(&self, wanted: Wanted<'_>) -> Result<Contents> {
        Ok(packed::load(&packed::path(wanted.root, NAME), NAME)?.into())
    }
}
