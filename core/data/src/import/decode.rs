//! One picture file to planar RGB. What it is, the content says, not the name.

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use serde::{Deserialize, Serialize};

use super::channels::{Channels, grey};
use super::jpeg::Tidy;
use super::limits::{MOST_PIXELS, MOST_PIXELS_A_SIDE};

/// 16-bit pixels with transparency.
const MOST_BYTES: u64 = 8 * MOST_PIXELS as u64;

/// An image, bytes `[C, H, W]`.
#[derive(Debug)]
pub struct Planar {
    /// Height and width.
    pub size: (i64, i64),
    /// One byte each.
    pub pixels: Vec<u8>,
}

/// What becomes of the orientation that a camera noted in a picture.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exif {
    /// The picture is turned upright, as viewers show it.
    #[default]
    Apply,
    /// The pixels stay as they are stored.
    Ignore,
}

admix_api::plain!(Exif);

/// A picture, and what readers forgive in its file.
pub(crate) struct Read<T> {
    pub image: T,
    pub flaws: Vec<String>,
}

/// Decodes a file; transparency is dropped. A decoder that panics costs its file, not the import.
pub(crate) fn decode(
    bytes: &[u8],
    size: Option<(i64, i64)>,
    channels: Channels,
    exif: Exif,
) -> Result<Read<Planar>, String> {
    std::panic::catch_unwind(|| {
        let Read { image, flaws } = rgb(bytes, exif)?;
        Ok(Read { image: planar(image, size, channels), flaws })
    })
    .unwrap_or_else(|_| Err("the decoder broke down on it".into()))
}

/// Formats that are read, for messages.
pub(crate) const FORMATS: &str = "JPEG, PNG, WebP, BMP, TIFF or GIF";

/// What to do where no picture is found.
pub(crate) const FORMATS_WANTED: &str = "name a folder of pictures as JPEG, PNG, WebP, BMP, TIFF or GIF";

/// What there is to say of a format that no library reads here.
pub(crate) const AVIF: &str = "AVIF is not read: convert it to PNG or JPEG, such as with `avifdec in.avif out.png` or ImageMagick's `magick`";

/// The same of the photographs of telephones.
pub(crate) const HEIC: &str = "HEIC is not read: convert it to JPEG, such as with `heif-convert in.heic out.jpg` or ImageMagick's `magick`";
const BIG_TIFF: &str = "BigTIFF is not read: convert it to TIFF or PNG, such as with ImageMagick's `magick`";

/// What the first bytes say.
fn format(bytes: &[u8]) -> Result<ImageFormat, String> {
    match bytes {
        [0xff, 0xd8, ..] => Ok(ImageFormat::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Ok(ImageFormat::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(ImageFormat::WebP),
        [b'B', b'M', ..] => Ok(ImageFormat::Bmp),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Ok(ImageFormat::Tiff),
        [b'G', b'I', b'F', b'8', ..] => Ok(ImageFormat::Gif),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f' | b's', ..] => Err(AVIF.into()),
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', _, _, ..]
        | [_, _, _, _, b'f', b't', b'y', b'p', b'm', b'i' | b's', b'f', b'1', ..] => Err(HEIC.into()),
        [b'I', b'I', b'+', 0, ..] | [b'M', b'M', 0, b'+', ..] => Err(BIG_TIFF.into()),
        [] => Err("the file is empty".into()),
        _ => Err(format!("not a picture of a known format ({FORMATS})")),
    }
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => "GIF",
    }
}

fn turned(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}

/// Height and width, from the header alone.
pub(crate) fn size(bytes: &[u8], exif: Exif) -> Result<(i64, i64), String> {
    let ((height, width), orientation) = match format(bytes)? {
        ImageFormat::Jpeg => {
            let file = Tidy::of(bytes, true)?;
            (file.size()?, file.orientation)
        }
        format => {
            let mut decoder = opened(bytes, format)?;
            let (width, height) = decoder.dimensions();
            ((i64::from(height), i64::from(width)), decoder.orientation().ok())
        }
    };
    if width == 0 || height == 0 {
        return Err("it has no pixel".into());
    }
    if width as usize * height as usize > MOST_PIXELS {
        return Err(format!("{width}x{height} pixels are too many (at most {MOST_PIXELS} in all)"));
    }
    Ok(match orientation.filter(|_| exif == Exif::Apply).is_some_and(turned) {
        true => (width, height),
        false => (height, width),
    })
}

/// The same, where a decoder may panic.
pub(crate) fn size_guarded(bytes: &[u8], exif: Exif) -> Result<(i64, i64), String> {
    std::panic::catch_unwind(|| size(bytes, exif))
        .unwrap_or_else(|_| Err("the decoder broke down on it".into()))
}

/// Decodes a file, pixels in rows of RGB.
pub(crate) fn rgb(bytes: &[u8], exif: Exif) -> Result<Read<RgbImage>, String> {
    let (image, orientation, flaws) = match format(bytes)? {
        ImageFormat::Jpeg => {
            let file = Tidy::of(bytes, false)?;
            (file.decode()?, file.orientation, file.flaws)
        }
        format => {
            let mut decoder = opened(bytes, format)?;
            let orientation = decoder.orientation().ok();
            let image = DynamicImage::from_decoder(decoder).map_err(|error| broken(format, &error))?;
            (image.into_rgb8(), orientation, Vec::new())
        }
    };
    let image = match orientation {
        Some(orientation) if exif == Exif::Apply && orientation != Orientation::NoTransforms => {
            let mut image = DynamicImage::from(image);
            image.apply_orientation(orientation);
            image.into_rgb8()
        }
        _ => image,
    };
    Ok(Read { image, flaws })
}

fn broken(format: ImageFormat, error: &image::ImageError) -> String {
    match error {
        image::ImageError::Unsupported(_) => format!(
            "{0} of a kind that is not read ({error}): convert it to an ordinary {0} or PNG, such as with ImageMagick's `magick`",
            name(format)
        ),
        _ => format!("broken {}: {error}", name(format)),
    }
}

/// A decoder within limits; of several pictures in a file it decodes the first.
fn opened(bytes: &[u8], format: ImageFormat) -> Result<impl ImageDecoder + '_, String> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_PIXELS_A_SIDE as u32);
    limits.max_image_height = Some(MOST_PIXELS_A_SIDE as u32);
    limits.max_alloc = Some(MOST_BYTES);
    let mut reader = ImageReader::with_format(std::io::Cursor::new(bytes), format);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| broken(format, &error))?;
    let (width, height) = decoder.dimensions();
    if width as usize * height as usize > MOST_PIXELS {
        return Err(format!("{width}x{height} pixels are too many (at most {MOST_PIXELS} in all)"));
    }
    Ok(decoder)
}

fn planar(image: RgbImage, size: Option<(i64, i64)>, channels: Channels) -> Planar {
    let image = match size {
        Some((height, width)) if (height, width) != (i64::from(image.height()), i64::from(image.width())) => {
            image::imageops::resize(&image, width as u32, height as u32, FilterType::Triangle)
        }
        _ => image,
    };
    let size = (i64::from(image.height()), i64::from(image.width()));
    if channels == Channels::Grey {
        return Planar { size, pixels: grey(&image) };
    }
    let plane = (image.height() * image.width()) as usize;
    let mut pixels = vec![0; 3 * plane];
    let (red, rest) = pixels.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    for (((pixel, red), green), blue) in image.as_raw().chunks_exact(3).zip(red).zip(green).zip(blue) {
        (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
    }
    Planar { size, pixels }
}
