//! CIFAR-10 from its binary version in `<root>/cifar-10-batches-bin/`.

use std::path::Path;

use super::cifar::Cifar;
use super::kind::{About, Absent, DatasetSource, Published, Then, Wanted};
use crate::Result;
use crate::source::Contents;

/// CIFAR-10.
pub static CIFAR10: Cifar = Cifar {
    name: "cifar10",
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    label_bytes: 1,
    classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
};

crate::dataset! {
    /// CIFAR-10 has no settings.
    pub struct Cifar10 {}, "cifar10",
    "CIFAR-10, 50,000 + 10,000 images, 10 classes, 32x32 RGB; from its binary version or an import",
    source: "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
}

impl DatasetSource for Cifar10 {
    fn about(&self) -> About {
        CIFAR10.about()
    }

    fn needs_files(&self) -> bool {
        true
    }

    fn absent(&self, root: &Path) -> Option<Absent> {
        CIFAR10.absent(root)
    }

    fn how_to_get(&self) -> &'static str {
        "`admix data get cifar10`; or download `cifar-10-binary.tar.gz` from the data set's home page and unpack it into the data \
         folder; or import a folder or archive of its images: `admix data import PATH --name cifar10`"
    }

    fn published(&self) -> Option<Published<'static>> {
        Some(Published {
            base: "https://www.cs.toronto.edu/~kriz/",
            // The sum of its home page.
            files: &[("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")],
            then: Then::Unpack(CIFAR10.folder),
        })
    }

    fn load(&self, wanted: Wanted<'_>) -> Result<Contents> {
        Ok(CIFAR10.load(wanted.root)?.into())
    }
}
