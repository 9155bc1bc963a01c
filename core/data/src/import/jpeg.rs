//! A JPEG file: tidied as libjpeg reads it, then decoded strictly, so that what is missing is an error and what is merely
//! untidy is not.

use std::cell::Cell;

use image::RgbImage;
use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::{ZByteIoError, ZByteReaderTrait, ZCursor, ZSeekFrom};
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::limits::{MOST_PIXELS, MOST_PIXELS_A_SIDE};

/// What a decoder that lacks data goes on with: ones, as escaped bytes, for no Huffman code is all ones; then zeros.
const PAD: [u8; 80] = {
    let mut pad = [0; 80];
    let mut at = 0;
    while at < 16 {
        pad[at] = 0xff;
        at += 2;
    }
    pad
};
/// The decoder fills its bits by four bytes, with up to three of the padding, each of them escaped, in hand; what it takes
/// beyond that was missing.
const AHEAD: u64 = 10;

/// A file without what lies between its parts.
pub(super) struct Tidy {
    bytes: Vec<u8>,
    /// Where its image data end, and `PAD` begins.
    end: u64,
    /// Restart markers in the image data.
    restarts: usize,
    scans: usize,
    /// What its EXIF part before the first scan says.
    pub orientation: Option<Orientation>,
    /// What readers forgive.
    pub flaws: Vec<String>,
    /// Whether the file ends without a word.
    cut: bool,
}

impl Tidy {
    /// Walks through the parts of a file, to its first scan only if `header`.
    pub(super) fn of(file: &[u8], header: bool) -> Result<Self, String> {
        let mut tidy = Self {
            bytes: Vec::with_capacity(if header { 4096 } else { file.len() + PAD.len() + 2 }),
            end: 0,
            restarts: 0,
            scans: 0,
            orientation: None,
            flaws: Vec::new(),
            cut: false,
        };
        tidy.bytes.extend([0xff, 0xd8]);
        let (mut at, mut stray, mut ended) = (2, 0, false);
        while let Some((marker, start, skipped)) = next_marker(file, at) {
            stray += skipped;
            at = start + 2;
            match marker {
                0xd9 => {
                    ended = true;
                    break;
                }
                // Without a body.
                0x01 | 0xd0..=0xd7 => continue,
                0xd8 => return Err("broken JPEG: a second picture begins inside of it".into()),
                0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    return Err("a lossless or arithmetic-coded JPEG, which is not read".into());
                }
                _ => {}
            }
            let len = file.get(at..at + 2).map_or(0, |two| usize::from(u16::from_be_bytes([two[0], two[1]])));
            let Some(body) = file.get(at..at + len).filter(|_| len >= 2) else {
                break;
            };
            at += len;
            match marker {
                // Readers take it from the header, which ends with the first scan.
                0xe1 if tidy.scans == 0 && body[2..].starts_with(b"Exif\0\0") => {
                    tidy.orientation = tidy.orientation.or(Orientation::from_exif_chunk(&body[8..]));
                }
                // Notes, profiles, thumbnails: nothing of the picture. The parts 0 and 14 name its colours.
                0xe1..=0xed | 0xef | 0xfe => {}
                _ => {
                    tidy.bytes.extend([0xff, marker]);
                    tidy.bytes.extend_from_slice(body);
                }
            }
            if marker == 0xda {
                tidy.scans += 1;
                if header {
                    break;
                }
                let end = tidy.scan(file, at);
                tidy.bytes.extend_from_slice(&file[at..end]);
                at = end;
            }
        }
        if tidy.scans == 0 {
            return Err("broken JPEG: it holds no image data".into());
        }
        if stray > 0 {
            tidy.flaws.push(format!("{stray} stray bytes between the parts of the JPEG"));
        }
        tidy.cut = !header && !ended;
        if tidy.cut {
            tidy.flaws.push("the end marker of the JPEG is missing".into());
        }
        tidy.end = tidy.bytes.len() as u64;
        tidy.bytes.extend(PAD);
        tidy.bytes.extend([0xff, 0xd9]);
        Ok(tidy)
    }

    /// Where the entropy-coded data that begin at `at` end; counts their restart markers.
    fn scan(&mut self, file: &[u8], mut at: usize) -> usize {
        while let Some(found) = file[at..].iter().position(|&byte| byte == 0xff) {
            at += found;
            match file.get(at + 1) {
                Some(0) => at += 2,
                Some(0xd0..=0xd7) => {
                    self.restarts += 1;
                    at += 2;
                }
                Some(0xff) => at += 1,
                _ => return at,
            }
        }
        file.len()
    }

    /// Height and width of the picture as it is stored.
    pub(super) fn size(&self) -> Result<(i64, i64), String> {
        let mut decoder = decoder(ZCursor::new(self.bytes.as_slice()));
        decoder.decode_headers().map_err(broken)?;
        let (width, height) = decoder.dimensions().ok_or("broken JPEG: it has no size")?;
        Ok((height as i64, width as i64))
    }

    /// The picture as it is stored.
    pub(super) fn decode(&self) -> Result<RgbImage, String> {
        let taken = Cell::new(0);
        let mut decoder = decoder(Watched { bytes: ZCursor::new(self.bytes.as_slice()), taken: &taken });
        decoder.decode_headers().map_err(broken)?;
        let (width, height) = decoder.dimensions().ok_or("broken JPEG: it has no size")?;
        if width * height > MOST_PIXELS {
            return Err(format!("{width}x{height} pixels are too many (at most {MOST_PIXELS} in all)"));
        }
        let decoded = decoder.decode();
        let spare = if decoded.is_ok() { AHEAD } else { 0 };
        let missing = taken.get() > self.end + spare || self.restarts < self.restarts_due();
        if missing {
            return Err(match self.cut {
                true => "broken JPEG: its end is missing".into(),
                false => "broken JPEG: its image data end early".into(),
            });
        }
        RgbImage::from_raw(width as u32, height as u32, decoded.map_err(broken)?)
            .ok_or_else(|| "broken JPEG: pixels are missing".into())
    }

    /// Restart markers that a picture of one scan has at least, after its own header.
    fn restarts_due(&self) -> usize {
        let (mut at, mut interval, mut units) = (2, 0, 0);
        while let Some((marker, start, _)) = next_marker(&self.bytes, at) {
            let Some(body) = self.bytes.get(start + 4..) else { break };
            let number =
                |at: usize| body[at..at + 2].iter().fold(0, |sum, &byte| 256 * sum + usize::from(byte));
            match (marker, body) {
                (0xdd, [_, _, ..]) => interval = number(0),
                (0xc0..=0xc2, [_, _, _, _, _, n, parts @ ..]) if parts.len() >= 3 * usize::from(*n) => {
                    let sampled = |shift: u8| {
                        let of = |part: &[u8]| usize::from((part[1] >> shift) & 15);
                        let most = parts.chunks_exact(3).take(usize::from(*n)).map(of).max();
                        if *n == 1 { 1 } else { most.unwrap_or(1).max(1) }
                    };
                    units = number(3).div_ceil(8 * sampled(4)) * number(1).div_ceil(8 * sampled(0));
                }
                (0xda, _) => break,
                _ => {}
            }
            at = start + 2 + usize::from(self.bytes[start + 2]) * 256 + usize::from(self.bytes[start + 3]);
        }
        if self.scans == 1 && interval > 0 { units.div_ceil(interval).saturating_sub(1) } else { 0 }
    }
}

/// The next marker from `at` on, where it stands, and how many bytes before it belong to nothing.
fn next_marker(file: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let mut stray = 0;
    let mut from = at;
    loop {
        let found = file.get(from..)?.iter().position(|&byte| byte == 0xff)?;
        stray += found;
        let first = from + found;
        let marker = first + file[first..].iter().position(|&byte| byte != 0xff)?;
        if file[marker] != 0 {
            return Some((file[marker], marker - 1, stray));
        }
        stray += 2;
        from = marker + 1;
    }
}

fn broken(error: impl std::fmt::Debug) -> String {
    format!("broken JPEG: {error:?}")
}

/// Strict: broken data is an error, never a picture with a grey part.
fn decoder<T: ZByteReaderTrait>(bytes: T) -> JpegDecoder<T> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MOST_PIXELS_A_SIDE)
        .set_max_height(MOST_PIXELS_A_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    JpegDecoder::new_with_options(bytes, options)
}

/// Bytes, and how far the decoder took them for image data: four at a time.
struct Watched<'a> {
    bytes: ZCursor<&'a [u8]>,
    taken: &'a Cell<u64>,
}

impl ZByteReaderTrait for Watched<'_> {
    #[inline(always)]
    fn read_byte_no_error(&mut self) -> u8 {
        self.bytes.read_byte_no_error()
    }

    #[inline(always)]
    fn read_exact_bytes(&mut self, buffer: &mut [u8]) -> Result<(), ZByteIoError> {
        self.bytes.read_exact_bytes(buffer)?;
        if buffer.len() == 4 {
            self.taken.set(self.bytes.z_position()?);
        }
        Ok(())
    }

    fn read_bytes(&mut self, buffer: &mut [u8]) -> Result<usize, ZByteIoError> {
        self.bytes.read_bytes(buffer)
    }

    fn peek_bytes(&mut self, buffer: &mut [u8]) -> Result<usize, ZByteIoError> {
        self.bytes.peek_bytes(buffer)
    }

    fn peek_exact_bytes(&mut self, buffer: &mut [u8]) -> Result<(), ZByteIoError> {
        self.bytes.peek_exact_bytes(buffer)
    }

    #[inline(always)]
    fn z_seek(&mut self, from: ZSeekFrom) -> Result<u64, ZByteIoError> {
        self.bytes.z_seek(from)
    }

    #[inline(always)]
    fn is_eof(&mut self) -> Result<bool, ZByteIoError> {
        self.bytes.is_eof()
    }

    fn z_position(&mut self) -> Result<u64, ZByteIoError> {
        self.bytes.z_position()
    }

    fn read_remaining(&mut self, sink: &mut Vec<u8>) -> Result<usize, ZByteIoError> {
        self.bytes.read_remaining(sink)
    }
}
