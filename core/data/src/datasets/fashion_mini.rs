//! The embedded subset of Fashion-MNIST: 600 + 100 images of each class. Layout and origin: `assets/README.md`.

use std::io::Read;
use std::path::Path;

use liblzma::read::XzDecoder;

use super::kind::{About, DatasetSource, Wanted};
use crate::Result;
use crate::error::{At, Malformed};
use crate::info::Normalisation;
use crate::source::{Contents, Images, Part, Source};

const PACKED: &[u8] = include_bytes!("../../assets/fashion-mnist-mini.bin.xz");
const WHERE: &str = "assets/fashion-mnist-mini.bin.xz";
const HEADER: usize = 28;

/// The classes of Fashion-MNIST, by label.
pub(super) const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// Of the whole set.
pub(super) const NORMALISATION: Normalisation = Normalisation { mean: &[0.2860], std: &[0.3530] };

/// The facts of Fashion-MNIST, with so many training and test images.
pub(super) fn about(train: usize, test: usize) -> About {
    About {
        classes: CLASSES.len(),
        class_names: CLASSES.map(str::to_owned).to_vec(),
        shape: [1, 28, 28],
        mean: NORMALISATION.mean.to_vec(),
        std: NORMALISATION.std.to_vec(),
        train,
        test,
        unlabelled: 0,
        folds: 0,
    }
}

crate::dataset! {
    /// The embedded set has no settings.
    pub struct FashionMini {}, "fashion-mini",
    "6,000 + 1,000 images of Fashion-MNIST, 10 classes, 28x28 grey; part of the binary",
    source: "Xiao et al., arXiv:1708.07747, the first 600 + 100 images of each class"
}

impl DatasetSource for FashionMini {
    fn about(&self) -> About {
        about(6_000, 1_000)
    }

    fn load(&self, _: Wanted<'_>) -> Result<Contents> {
        Ok(unpack(self.about())?.into())
    }
}

fn unpack(about: About) -> Result<Source> {
    let mut bytes = Vec::new();
    XzDecoder::new(PACKED).take(64 << 20).read_to_end(&mut bytes).at("unpack", Path::new(WHERE))?;
    let (train, test, height, width) =
        parse(&bytes).map_err(|error| error.within(Path::new(WHERE), "build the program again"))?;
    let found = (train.labels.len(), test.labels.len());
    let about = About { shape: [1, height, width], ..about };
    Ok(Source {
        train: Part::new(&train, 1, height, width)?,
        test: Part::new(&test, 1, height, width)?,
        unlabelled: None,
        info: about.info("fashion-mini", found, "embedded in the program".into()),
    })
}

fn parse(bytes: &[u8]) -> Result<(Images, Images, i64, i64), Malformed> {
    let wrong = |problem: &str| Malformed::new(problem, "the layout of assets/README.md");
    let Some((header, body)) =
        bytes.split_at_checked(HEADER).filter(|(header, _)| header.starts_with(b"ADMIXFM1"))
    else {
        return Err(wrong("the magic number is missing"));
    };
    let field =
        |i: usize| u32::from_le_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]) as usize;
    let (n_train, n_test, height, width, classes) = (field(8), field(12), field(16), field(20), field(24));
    let image = height * width;
    if classes != CLASSES.len() || body.len() as u128 != (n_train + n_test) as u128 * (1 + image as u128) {
        return Err(wrong("its counts do not fit its length"));
    }
    let (labels, pixels) = body.split_at(n_train + n_test);
    if labels.iter().any(|&label| usize::from(label) >= classes) {
        return Err(wrong("a label is out of range"));
    }
    let part = |range: std::ops::Range<usize>| Images {
        labels: labels[range.clone()].iter().map(|&label| label.into()).collect(),
        pixels: pixels[range.start * image..range.end * image].to_vec(),
    };
    Ok((part(0..n_train), part(n_train..n_train + n_test), height as i64, width as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Result<Source> {
        unpack(FashionMini {}.about())
    }

    #[test]
    fn every_class_has_600_training_and_100_test_images() {
        let source = load().expect("embedded");
        assert_eq!(source.train.pixels.size(), [6000, 1, 28, 28]);
        assert_eq!(source.test.pixels.size(), [1000, 1, 28, 28]);
        for (part, each) in [(&source.train, 600), (&source.test, 100)] {
            for class in 0..10 {
                assert_eq!(
                    part.labels.iter().filter(|&&label| label == class).count(),
                    each,
                    "class {class}"
                );
            }
        }
    }

    #[test]
    fn its_mean_and_deviation_are_near_those_of_the_whole_set() {
        let pixels = load().expect("embedded").train.pixels.to_kind(admix_torch::Kind::Float) / 255.0;
        let mean = f64::try_from(pixels.mean(admix_torch::Kind::Float)).expect("a scalar");
        let std = f64::try_from(pixels.std(false)).expect("a scalar");
        assert!((mean - 0.2860).abs() < 0.01 && (std - 0.3530).abs() < 0.01, "{mean} {std}");
    }

    #[test]
    fn a_shortened_asset_is_refused() {
        assert!(parse(b"ADMIXFM1").is_err());
        assert!(parse(&[&b"ADMIXFM1"[..], &[255; 20]].concat()).is_err());
    }
}
