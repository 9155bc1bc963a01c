//! How many channels pictures get.

use image::RgbImage;
use serde::{Deserialize, Serialize};

/// How many channels pictures get.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// 3; a grey picture has the same in each.
    #[default]
    Rgb,
    /// 1; a picture of colours turns grey.
    Grey,
}

admix_api::plain!(Channels);

impl Channels {
    /// How many they are.
    pub fn count(self) -> i64 {
        match self {
            Self::Rgb => 3,
            Self::Grey => 1,
        }
    }
}

/// Pixels in grey, as Pillow makes it (ITU-R 601, rounded); of a grey picture they are its own.
pub(crate) fn grey(image: &RgbImage) -> Vec<u8> {
    let grey = |pixel: &[u8]| {
        let [red, green, blue] = [0, 1, 2].map(|channel: usize| u32::from(pixel[channel]));
        ((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16) as u8
    };
    image.as_raw().chunks_exact(3).map(grey).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_pictures_keep_their_pixels_and_colours_become_those_of_pillow() {
        let greys = RgbImage::from_fn(256, 1, |x, _| image::Rgb([x as u8; 3]));
        assert_eq!(grey(&greys), (0..=255).collect::<Vec<u8>>());
        // `Image.new("RGB", (1, 1), colour).convert("L")`
        for (colour, wanted) in [([255, 0, 0], 76), ([0, 255, 0], 150), ([0, 0, 255], 29), ([9, 8, 7], 8)] {
            assert_eq!(grey(&RgbImage::from_pixel(1, 1, image::Rgb(colour))), [wanted]);
        }
    }
}
