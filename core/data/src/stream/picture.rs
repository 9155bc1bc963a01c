//! Crop and resize of one decoded image, on the CPU: the filters of Pillow, columns first and 8 bits between the passes.
//!
//! A crop is cut out before it is resized, so that no pixel beyond its edge weighs in, as for torchvision's
//! `resized_crop` and for crops on the device.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::augment::Interpolation;

/// A decoded image.
pub(crate) struct Picture {
    /// Height and width.
    pub size: (i64, i64),
    channels: usize,
    pixels: Pixels,
}

enum Pixels {
    /// `[H, W, 3]`.
    Rgb(Vec<u8>),
    /// `[C, H, W]`.
    Planes(Vec<u8>),
}

impl Picture {
    pub(crate) fn rgb(image: RgbImage) -> Self {
        let size = (i64::from(image.height()), i64::from(image.width()));
        Self { size, channels: 3, pixels: Pixels::Rgb(image.into_raw()) }
    }

    /// `[channels, H, W]`.
    pub(crate) fn planes(channels: usize, size: (i64, i64), pixels: Vec<u8>) -> Self {
        Self { size, channels, pixels: Pixels::Planes(pixels) }
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Pixels of RGB, made in `scratch` if need be: resizing knows no other, so that one filter is compiled once. An image
    /// of one channel has it three times.
    fn pixels<'a>(&'a self, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        match &self.pixels {
            Pixels::Rgb(pixels) => pixels,
            Pixels::Planes(planes) => {
                let plane = (self.size.0 * self.size.1) as usize;
                let last = self.channels.min(3) - 1;
                scratch.clear();
                scratch.extend(
                    (0..plane).flat_map(|at| [0, 1, 2].map(|c: usize| planes[c.min(last) * plane + at])),
                );
                scratch
            }
        }
    }
}

/// Pixels of a picture whose shorter side is scaled, at most: 200 MB.
const MOST_SCALED: i64 = 1 << 26;

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
    /// Pixels of an image that came in planes.
    pixels: Vec<u8>,
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
    /// An image as it is: bytes `[C, H, W]`.
    pub(crate) fn whole<'a>(&'a mut self, picture: &'a Picture) -> &'a [u8] {
        match &picture.pixels {
            Pixels::Planes(planes) => planes,
            Pixels::Rgb(pixels) => {
                split(pixels, 3, &mut self.planes);
                &self.planes
            }
        }
    }

    /// A part of an image of 1 or 3 channels at this height and width: bytes `[C, h, w]`. The part must be within the
    /// image.
    pub(crate) fn crop(
        &mut self,
        picture: &Picture,
        window: Window,
        filter: Interpolation,
        to: (i64, i64),
    ) -> Result<&[u8], String> {
        let Self { resizer, pixels, narrow, small, planes, .. } = self;
        let pixels = picture.pixels(pixels);
        resize(resizer, (pixels, picture.size), window, filter, to, narrow, small)?;
        split(small, picture.channels, planes);
        Ok(planes)
    }

    /// The centre of an image whose shorter side was brought to `shorter`, at `size` pixels a side: bytes `[C, size, size]`.
    pub(crate) fn centre(
        &mut self,
        picture: &Picture,
        shorter: i64,
        size: i64,
        filter: Interpolation,
    ) -> Result<&[u8], String> {
        let Self { resizer, pixels, narrow, small, scaled: large, planes } = self;
        let (pixels, whole) = (picture.pixels(pixels), scaled(picture.size, shorter));
        if whole.0 * whole.1 > MOST_SCALED {
            let ((h, w), (height, width)) = (picture.size, whole);
            return Err(format!(
                "{h}x{w} pixels become {height}x{width} where the shorter side is {shorter}: too many"
            ));
        }
        resize(resizer, (pixels, picture.size), Window::whole(picture.size), filter, whole, narrow, large)?;
        let window = Window::centre(whole, size);
        resize(resizer, (large, whole), window, filter, (size, size), narrow, small)?;
        split(small, picture.channels, planes);
        Ok(planes)
    }
}

/// Resizes a part of an image, rows of RGB, into `out`.
fn resize(
    resizer: &mut Resizer,
    from: (&[u8], (i64, i64)),
    window: Window,
    filter: Interpolation,
    to: (i64, i64),
    narrow: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    if window.height == to.0 || window.width == to.1 {
        return pass(resizer, from, window, filter, to, out);
    }
    // The crate's own order is rows first; Pillow's is columns first, and 8 bits lie between the two.
    let between = (window.height, to.1);
    pass(resizer, from, window, filter, between, narrow)?;
    pass(resizer, (narrow, between), Window::whole(between), filter, to, out)
}

/// Resizes along one axis, or copies.
fn pass(
    resizer: &mut Resizer,
    (pixels, (height, width)): (&[u8], (i64, i64)),
    window: Window,
    filter: Interpolation,
    to: (i64, i64),
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let filter = match filter {
        Interpolation::Bilinear => FilterType::Bilinear,
        Interpolation::Bicubic => FilterType::CatmullRom,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    let whole = TypedImageRef::<U8x3>::from_buffer(width as u32, height as u32, pixels)
        .map_err(|error| error.to_string())?;
    let Window { top, left, height, width } = window;
    let part = TypedCroppedImage::new(whole, left as u32, top as u32, width as u32, height as u32)
        .map_err(|error| error.to_string())?;
    out.resize(3 * (to.0 * to.1) as usize, 0);
    let mut image =
        TypedImage::<U8x3>::from_buffer(to.1 as u32, to.0 as u32, out).map_err(|error| error.to_string())?;
    resizer.resize_typed(&part, &mut image, &options).map_err(|error| error.to_string())
}

/// Rows of RGB as planes, the first `channels` of them.
fn split(pixels: &[u8], channels: usize, planes: &mut Vec<u8>) {
    let plane = pixels.len() / 3;
    planes.resize(channels * plane, 0);
    if let [red, green, blue] = &mut planes.chunks_exact_mut(plane.max(1)).collect::<Vec<_>>()[..] {
        for (((pixel, red), green), blue) in
            pixels.chunks_exact(3).zip(red.iter_mut()).zip(green.iter_mut()).zip(blue.iter_mut())
        {
            (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
        }
    } else {
        for (channel, plane) in planes.chunks_exact_mut(plane.max(1)).enumerate() {
            plane.iter_mut().zip(pixels.chunks_exact(3)).for_each(|(to, pixel)| *to = pixel[channel]);
        }
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
        let mut scratch = Vec::new();
        split(picture.pixels(&mut scratch), 3, &mut planes);
        assert_eq!(cropper.whole(&picture), planes);
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
        let inside = |at: u32| (3..9).contains(&at);
        let frame = |x, y| if inside(x) && inside(y) { image::Rgb([0; 3]) } else { image::Rgb([255; 3]) };
        let picture = Picture::rgb(RgbImage::from_fn(12, 12, frame));
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
