//! Crop and resize of one decoded image, on the CPU: the filters of Pillow, columns first and 8 bits between the passes.
//!
//! A crop is cut out before it is resized, so that no pixel beyond its edge weighs in, as for torchvision's
//! `resized_crop` and for crops on the device.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, IntoImageView, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::augment::Interpolation;

/// A decoded image.
pub(crate) struct Picture {
    /// Height and width.
    pub size: (i64, i64),
    /// 3 for pixels of RGB in one layer, 1 for a layer for each channel.
    depth: usize,
    /// Layers one after the other, each `[H, W, depth]`.
    pixels: Vec<u8>,
    layers: usize,
}

impl Picture {
    pub(crate) fn rgb(image: RgbImage) -> Self {
        let size = (i64::from(image.height()), i64::from(image.width()));
        Self { size, depth: 3, pixels: image.into_raw(), layers: 1 }
    }

    /// `[channels, H, W]`.
    pub(crate) fn planes(channels: usize, size: (i64, i64), pixels: Vec<u8>) -> Self {
        Self { size, depth: 1, pixels, layers: channels }
    }

    pub(crate) fn channels(&self) -> usize {
        self.layers * self.depth
    }
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub top: i64,
    pub left: i64,
    pub height: i64,
    pub width: i64,
}

impl Window {
    pub(crate) fn whole((height, width): (i64, i64)) -> Self {
        Self { top: 0, left: 0, height, width }
    }

    /// Whether it is within an image of this size, and not empty.
    pub(crate) fn fits(self, (height, width): (i64, i64)) -> bool {
        let Self { top, left, height: h, width: w } = self;
        top >= 0 && left >= 0 && h > 0 && w > 0 && top + h <= height && left + w <= width
    }

    /// The middle of an image of at least `size` pixels a side, as torchvision's `CenterCrop`.
    fn centre((height, width): (i64, i64), size: i64) -> Self {
        let start = |len: i64| ((len - size) as f64 / 2.0).round_ties_even() as i64;
        Self { top: start(height), left: start(width), height: size, width: size }
    }
}

/// Height and width of an image whose shorter side becomes `shorter`, as torchvision's `Resize`.
fn scaled((height, width): (i64, i64), shorter: i64) -> (i64, i64) {
    if height <= width {
        (shorter, (shorter * width / height).max(1))
    } else {
        ((shorter * height / width).max(1), shorter)
    }
}

/// What one thread crops with; it keeps its memory from image to image.
#[derive(Default)]
pub(crate) struct Cropper {
    resizer: Resizer,
    /// After the columns.
    narrow: Vec<u8>,
    /// After both passes, rows of pixels.
    small: Vec<u8>,
    /// The same before the centre is cut out.
    scaled: Vec<u8>,
    /// `[C, h, w]`.
    planes: Vec<u8>,
}

impl Cropper {
    /// A part of an image at this height and width: bytes `[C, h, w]`. The part must be within the image.
    pub(crate) fn crop(
        &mut self,
        picture: &Picture,
        window: Window,
        filter: Interpolation,
        to: (i64, i64),
    ) -> Result<&[u8], String> {
        self.planes.clear();
        for layer in layers(picture) {
            let Self { resizer, narrow, small, .. } = self;
            resize(resizer, &layer?, window, filter, to, narrow, small)?;
            split(small, picture.depth, &mut self.planes);
        }
        Ok(&self.planes)
    }

    /// The centre of an image whose shorter side was brought to `shorter`, at `size` pixels a side: bytes `[C, size, size]`.
    pub(crate) fn centre(
        &mut self,
        picture: &Picture,
        shorter: i64,
        size: i64,
        filter: Interpolation,
    ) -> Result<&[u8], String> {
        self.planes.clear();
        let whole = scaled(picture.size, shorter);
        for layer in layers(picture) {
            let Self { resizer, narrow, small, scaled, .. } = self;
            resize(resizer, &layer?, Window::whole(picture.size), filter, whole, narrow, scaled)?;
            let layer = view(scaled, whole, picture.depth)?;
            resize(resizer, &layer, Window::centre(whole, size), filter, (size, size), narrow, small)?;
            split(small, picture.depth, &mut self.planes);
        }
        Ok(&self.planes)
    }
}

fn view(pixels: &[u8], (height, width): (i64, i64), depth: usize) -> Result<ImageRef<'_>, String> {
    let kind = if depth == 3 { PixelType::U8x3 } else { PixelType::U8 };
    ImageRef::new(width as u32, height as u32, pixels, kind).map_err(|error| error.to_string())
}

fn layers(picture: &Picture) -> impl Iterator<Item = Result<ImageRef<'_>, String>> {
    let len = (picture.size.0 * picture.size.1) as usize * picture.depth;
    picture.pixels.chunks_exact(len).map(|layer| view(layer, picture.size, picture.depth))
}

/// Resizes a part of one layer into `out`.
fn resize(
    resizer: &mut Resizer,
    layer: &ImageRef<'_>,
    window: Window,
    filter: Interpolation,
    (height, width): (i64, i64),
    narrow: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let filter = match filter {
        Interpolation::Bilinear => FilterType::Bilinear,
        Interpolation::Bicubic => FilterType::CatmullRom,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    let kind = layer.pixel_type();
    let Window { top, left, height: from, width: across } = window;
    let part = CroppedImage::new(layer, left as u32, top as u32, across as u32, from as u32)
        .map_err(|error| error.to_string())?;
    let mut pass = |source: &dyn Fn(&mut Resizer, &mut Image<'_>) -> Result<(), String>,
                    (height, width): (i64, i64),
                    into: &mut Vec<u8>| {
        into.resize((height * width) as usize * kind.size(), 0);
        let mut image = Image::from_slice_u8(width as u32, height as u32, into, kind)
            .map_err(|error| error.to_string())?;
        source(resizer, &mut image)
    };
    if from == height || across == width {
        return pass(&|resizer, image| run(resizer, &part, image, &options), (height, width), out);
    }
    // The crate's own order is rows first; Pillow's is columns first, and 8 bits lie between the two.
    pass(&|resizer, image| run(resizer, &part, image, &options), (from, width), narrow)?;
    let between =
        ImageRef::new(width as u32, from as u32, narrow, kind).map_err(|error| error.to_string())?;
    pass(&|resizer, image| run(resizer, &between, image, &options), (height, width), out)
}

fn run(
    resizer: &mut Resizer,
    from: &impl IntoImageView,
    to: &mut Image<'_>,
    options: &ResizeOptions,
) -> Result<(), String> {
    resizer.resize(from, to, options).map_err(|error| error.to_string())
}

/// Adds rows of pixels as one plane for each channel.
fn split(pixels: &[u8], depth: usize, planes: &mut Vec<u8>) {
    let start = planes.len();
    if depth == 1 {
        planes.extend_from_slice(pixels);
        return;
    }
    planes.resize(start + pixels.len(), 0);
    let plane = pixels.len() / 3;
    let (red, rest) = planes[start..].split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    for (((pixel, red), green), blue) in pixels.chunks_exact(3).zip(red).zip(green).zip(blue) {
        (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red counts columns, green counts rows.
    fn ramp(height: u32, width: u32) -> Picture {
        Picture::rgb(RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7])))
    }

    #[test]
    fn a_crop_of_its_own_size_is_a_copy() {
        let picture = ramp(9, 11);
        let mut cropper = Cropper::default();
        let window = Window { top: 2, left: 3, height: 4, width: 5 };
        assert!(window.fits(picture.size) && !Window { left: 7, ..window }.fits(picture.size));
        let found = cropper.crop(&picture, window, Interpolation::Bicubic, (4, 5)).expect("a crop");
        let rows = |f: &dyn Fn(u8, u8) -> u8| {
            (2..6).flat_map(|y| (3..8).map(move |x| (x, y))).map(|(x, y)| f(x, y)).collect::<Vec<u8>>()
        };
        let wanted = [rows(&|x, _| x), rows(&|_, y| y), rows(&|_, _| 7)].concat();
        assert_eq!(found, wanted);
    }

    #[test]
    fn planes_and_pixels_give_the_same() {
        let picture = ramp(40, 30);
        let (mut planes, mut cropper) = (Vec::new(), Cropper::default());
        split(&picture.pixels, 3, &mut planes);
        let other = Picture::planes(3, picture.size, planes);
        assert_eq!((picture.channels(), other.channels()), (3, 3));
        let window = Window { top: 1, left: 2, height: 33, width: 21 };
        for filter in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let one = cropper.crop(&picture, window, filter, (16, 12)).expect("a crop").to_vec();
            assert_eq!(cropper.crop(&other, window, filter, (16, 12)).expect("a crop"), one);
        }
    }

    #[test]
    fn no_pixel_beyond_the_crop_weighs_in() {
        let mut picture = ramp(12, 12);
        picture.pixels.fill(255);
        for y in 3..9 {
            picture.pixels[(y * 12 + 3) * 3..(y * 12 + 9) * 3].fill(0);
        }
        let window = Window { top: 3, left: 3, height: 6, width: 6 };
        let found = Cropper::default()
            .crop(&picture, window, Interpolation::Bicubic, (4, 9))
            .expect("a crop")
            .to_vec();
        assert!(found.iter().all(|&value| value == 0), "{found:?}");
    }

    #[test]
    fn the_centre_is_that_of_the_shorter_side_scaled() {
        assert_eq!(
            [scaled((375, 500), 256), scaled((500, 375), 256), scaled((300, 300), 256)],
            [(256, 341), (341, 256), (256, 256)]
        );
        let centre = Window::centre((256, 341), 224);
        // (341 - 224) / 2 is 58.5: Python rounds it to the even number.
        assert_eq!((centre.top, centre.left), (16, 58));
        let picture = ramp(20, 40);
        let found =
            Cropper::default().centre(&picture, 20, 10, Interpolation::Bilinear).expect("a crop").to_vec();
        assert_eq!((found[0], found[9], found[100], found[199]), (15, 24, 5, 14));
    }
}
