//! CIFAR-100 from its binary version in `<root>/cifar-100-binary/`.

use std::path::Path;

use super::cifar::Cifar;
use super::kind::{About, Absent, DatasetSource, Published, Then, Wanted};
use crate::Result;
use crate::source::Contents;

/// CIFAR-100, with its 100 fine labels.
pub static CIFAR100: Cifar = Cifar {
    name: "cifar100",
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: "test.bin",
    label_bytes: 2,
    classes: &FINE,
};

crate::dataset! {
    /// CIFAR-100 has no settings.
    pub struct Cifar100 {}, "cifar100",
    "CIFAR-100, 50,000 + 10,000 images, 100 classes, 32x32 RGB; from its binary version or an import",
    source: "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
}

impl DatasetSource for Cifar100 {
    fn about(&self) -> About {
        CIFAR100.about()
    }

    fn needs_files(&self) -> bool {
        true
    }

    fn absent(&self, root: &Path) -> Option<Absent> {
        CIFAR100.absent(root)
    }

    fn how_to_get(&self) -> &'static str {
        "`admix data get cifar100`; or download `cifar-100-binary.tar.gz` from the data set's home page and unpack it into the data \
         folder; or import a folder or archive of its images: `admix data import PATH --name cifar100`"
    }

    fn published(&self) -> Option<Published<'static>> {
        Some(Published {
            base: "https://www.cs.toronto.edu/~kriz/",
            // The sum of its home page.
            files: &[("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")],
            then: Then::Unpack(CIFAR100.folder),
        })
    }

    fn load(&self, wanted: Wanted<'_>) -> Result<Contents> {
        Ok(CIFAR100.load(wanted.root)?.into())
    }
}

#[rustfmt::skip]
const FINE: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

#[cfg(test)]
mod tests {
    use super::super::cifar::parse;
    use super::*;

    #[test]
    fn the_fine_classes_are_sorted_by_name_as_in_the_original() {
        assert!(FINE.is_sorted());
    }

    #[test]
    fn cifar_100_keeps_the_fine_label() {
        let mut record = vec![7; 2 + 3072];
        (record[0], record[1]) = (3, 99);
        assert_eq!(parse(&record, &CIFAR100).expect("one record").labels, [99]);
        record[1] = 100;
        assert!(parse(&record, &CIFAR100).is_err());
    }
}
