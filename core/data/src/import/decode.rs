//! One JPEG or PNG file to planar RGB. What it is, the content says, not the name.

use image::imageops::FilterType;
use image::{ImageFormat, ImageReader, Limits, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Larger pictures are refused before their pixels are allocated.
const MOST_PIXELS_A_SIDE: usize = 16_384;
const MOST_PIXELS: usize = 100_000_000;
/// 16-bit pixels with transparency.
const MOST_BYTES: u64 = 8 * MOST_PIXELS as u64;

/// An image, bytes `[3, H, W]`.
#[derive(Debug)]
pub struct Rgb {
    /// Height and width.
    pub size: (i64, i64),
    /// One byte each.
    pub pixels: Vec<u8>,
}

/// Decodes a file; grey becomes RGB, transparency is dropped. A decoder that panics costs its file, not the import.
pub(crate) fn decode(bytes: &[u8], size: Option<(i64, i64)>) -> Result<Rgb, String> {
    std::panic::catch_unwind(|| planar(bytes, size))
        .unwrap_or_else(|_| Err("the decoder broke down on it".into()))
}

/// What the first bytes say.
fn format(bytes: &[u8]) -> Result<ImageFormat, String> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Ok(ImageFormat::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Ok(ImageFormat::Png),
        [] => Err("the file is empty".into()),
        _ => Err("neither JPEG nor PNG".into()),
    }
}

/// Height and width, from the header alone.
pub(crate) fn size(bytes: &[u8]) -> Result<(i64, i64), String> {
    let (width, height) = match format(bytes)? {
        ImageFormat::Jpeg => {
            let mut decoder = jpeg_decoder(bytes);
            decoder.decode_headers().map_err(|error| format!("broken JPEG: {error:?}"))?;
            decoder.dimensions().ok_or("broken JPEG: it has no size")?
        }
        format => {
            let reader = ImageReader::with_format(std::io::Cursor::new(bytes), format);
            let (width, height) = reader.into_dimensions().map_err(|error| format!("broken PNG: {error}"))?;
            (width as usize, height as usize)
        }
    };
    if width == 0 || height == 0 {
        return Err("it has no pixel".into());
    }
    Ok((height as i64, width as i64))
}

/// Decodes a file, pixels as they lie in it: rows of RGB.
pub(crate) fn rgb(bytes: &[u8]) -> Result<RgbImage, String> {
    match format(bytes)? {
        ImageFormat::Jpeg => jpeg(bytes),
        _ => png(bytes),
    }
}

fn planar(bytes: &[u8], size: Option<(i64, i64)>) -> Result<Rgb, String> {
    let image = rgb(bytes)?;
    let image = match size {
        Some((height, width)) if (height, width) != (i64::from(image.height()), i64::from(image.width())) => {
            image::imageops::resize(&image, width as u32, height as u32, FilterType::Triangle)
        }
        _ => image,
    };
    let plane = (image.height() * image.width()) as usize;
    let mut pixels = vec![0; 3 * plane];
    let (red, rest) = pixels.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    for (((pixel, red), green), blue) in image.as_raw().chunks_exact(3).zip(red).zip(green).zip(blue) {
        (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
    }
    Ok(Rgb { size: (i64::from(image.height()), i64::from(image.width())), pixels })
}

/// Strict: broken data is an error, never a picture with a grey part.
fn jpeg(bytes: &[u8]) -> Result<RgbImage, String> {
    let scan = last(bytes, [0xff, 0xda]).ok_or("broken JPEG: it holds no image data")?;
    if last(bytes, [0xff, 0xd9]).is_none_or(|end| end < scan) {
        return Err("broken JPEG: its end is missing".into());
    }
    let mut decoder = jpeg_decoder(bytes);
    decoder.decode_headers().map_err(|error| format!("broken JPEG: {error:?}"))?;
    let (width, height) = decoder.dimensions().ok_or("broken JPEG: it has no size")?;
    if width * height > MOST_PIXELS {
        return Err(format!("{width}x{height} pixels are too many"));
    }
    let pixels = decoder.decode().map_err(|error| format!("broken JPEG: {error:?}"))?;
    RgbImage::from_raw(width as u32, height as u32, pixels)
        .ok_or_else(|| "broken JPEG: pixels are missing".into())
}

fn jpeg_decoder(bytes: &[u8]) -> JpegDecoder<ZCursor<&[u8]>> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MOST_PIXELS_A_SIDE)
        .set_max_height(MOST_PIXELS_A_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    JpegDecoder::new_with_options(ZCursor::new(bytes), options)
}

fn png(bytes: &[u8]) -> Result<RgbImage, String> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_PIXELS_A_SIDE as u32);
    limits.max_image_height = Some(MOST_PIXELS_A_SIDE as u32);
    limits.max_alloc = Some(MOST_BYTES);
    let mut reader = ImageReader::with_format(std::io::Cursor::new(bytes), ImageFormat::Png);
    reader.limits(limits);
    Ok(reader.decode().map_err(|error| format!("broken PNG: {error}"))?.into_rgb8())
}

/// Where `pair` occurs last.
fn last(bytes: &[u8], pair: [u8; 2]) -> Option<usize> {
    bytes.windows(2).rposition(|two| two == pair)
}
