//! The packed file `<root>/<name>.admix`: what `admix data import` writes and training reads into memory.
//!
//! Layout, version 1; numbers are unsigned and little-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `ADMIXPK1` |
//! | 8 | 4 | version = 1 |
//! | 12 | 4 | `L`, length of the header text |
//! | 16 | 8 | `P`, offset of the payload: the first multiple of 64 after the header text |
//! | 24 | 8 | length of the payload; the file ends with it |
//! | 32 | 32 | BLAKE3 of the payload |
//! | 64 | 32 | BLAKE3 of bytes 0 to 63 followed by the header text |
//! | 96 | `L` | header text: JSON with name, class names, sizes, normalisation, origin |
//! | `P` | 2 `n_train` | labels of the training images, 16 bits each; 65535 where there are no classes |
//! | | 2 `n_test` | labels of the test images |
//! | next multiple of 64 | `n_train * C * H * W` | training pixels `[n, C, H, W]`, one byte each, by class, then by file name |
//! | | `n_test * C * H * W` | test pixels |
//!
//! A file is written under a temporary name, flushed to the disk and renamed, so that a name always stands for a
//! whole file. Opening checks the header, the length and the labels, and the payload's checksum.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use admix_torch::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{At, Malformed};
use crate::source::{Part, Source, read_bytes};
use crate::{Error, Info, Result, TrainSplit};

const MAGIC: &[u8; 8] = b"ADMIXPK1";
const VERSION: u32 = 1;
const FIXED: usize = 96;
const ALIGN: u64 = 64;
/// A header text holds little more than class names.
const MOST_TEXT: u64 = 16 << 20;
const REMEDY: &str = "import the images again with `admix data import PATH --name NAME --force`";

/// The file of this name.
pub(crate) fn path(root: &Path, name: &str) -> PathBuf {
    root.join(format!("{name}.admix"))
}

/// Names of all packed files in `root`, sorted.
pub(crate) fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".admix")?.to_owned()))
        .filter(|name| !name.starts_with('.') && !name.is_empty())
        .collect();
    names.sort();
    names
}

/// The JSON text.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
struct Text {
    name: String,
    class_names: Vec<String>,
    channels: u32,
    height: u32,
    width: u32,
    mean: Vec<f32>,
    std: Vec<f32>,
    train: u64,
    test: u64,
    source: String,
}

/// A header that was found consistent with its own checksum and with the length of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// What the text says.
    pub info: Info,
    /// Offset of the payload.
    pub offset: u64,
    /// Length of the payload.
    pub len: u64,
    /// BLAKE3 of the payload.
    pub checksum: [u8; 32],
}

impl Header {
    /// Bytes of all labels, without the gap behind them.
    fn label_bytes(&self) -> u64 {
        2 * (self.info.train + self.info.test) as u64
    }
}

fn aligned(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGN)
}

/// Parses the beginning of a packed file of `file_len` bytes. `bytes` may hold more than the header.
///
/// # Errors
/// Anything that the layout above does not allow.
pub fn parse_header(bytes: &[u8], file_len: u64) -> Result<Header, Malformed> {
    let wrong = |problem: &str| {
        Malformed::new(problem, "a packed dataset of version 1, as written by `admix data import`")
    };
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Err(wrong(&format!("the file has only {} bytes", bytes.len())));
    };
    if !fixed.starts_with(MAGIC) {
        return Err(wrong("the magic number is missing"));
    }
    let (version, text_len) = (le_u32(fixed, 8), u64::from(le_u32(fixed, 12)));
    let (offset, len) = (le_u64(fixed, 16), le_u64(fixed, 24));
    if version != VERSION {
        return Err(wrong(&format!("the file has version {version}")));
    }
    let text = (text_len <= MOST_TEXT).then(|| rest.get(..text_len as usize)).flatten();
    let text = text.ok_or_else(|| wrong("the file ends inside its header"))?;
    if blake3::Hasher::new().update(&fixed[..64]).update(text).finalize().as_bytes()[..] != fixed[64..] {
        return Err(wrong("the header does not fit its checksum"));
    }
    let text: Text = serde_json::from_slice(text)
        .map_err(|error| wrong(&format!("the header cannot be read ({error})")))?;
    let info = possible(text).ok_or_else(|| wrong("the header's sizes contradict each other"))?;
    let images = (info.train + info.test) as u64;
    let payload = images
        .checked_mul(info.image_bytes() as u64)
        .and_then(|pixels| pixels.checked_add(aligned(2 * images)));
    if payload != Some(len) || offset != aligned(FIXED as u64 + text_len) {
        return Err(wrong("the header's sizes contradict each other"));
    }
    if offset.checked_add(len) != Some(file_len) {
        let expected = format!("{} bytes, as its header says", offset.saturating_add(len));
        return Err(Malformed::new(format!("the file has {file_len} bytes: it was cut or grown"), expected));
    }
    let mut checksum = [0; 32];
    checksum.copy_from_slice(&fixed[32..64]);
    Ok(Header { info, offset, len, checksum })
}

/// The text as an `Info`, if its sizes are possible.
fn possible(text: Text) -> Option<Info> {
    let Text { name, class_names, channels, height, width, mean, std, train, test, source } = text;
    let channels_fit =
        (1..=16).contains(&channels) && mean.len() == channels as usize && std.len() == mean.len();
    let sides_fit = [height, width].iter().all(|side| (1..=65_536).contains(side));
    let classes_fit = class_names.len() <= 65_536 && (test == 0 || !class_names.is_empty());
    let counts_fit = train >= 1 && train <= u64::from(u32::MAX) && test <= u64::from(u32::MAX);
    let normal = mean.iter().all(|v| v.is_finite()) && std.iter().all(|v| v.is_finite() && *v > 0.0);
    (channels_fit && sides_fit && classes_fit && counts_fit && normal).then(|| Info {
        name,
        split: TrainSplit::of_classes(class_names.len()),
        classes: class_names.len(),
        class_names,
        channels: i64::from(channels),
        height: i64::from(height),
        width: i64::from(width),
        mean,
        std,
        train: train as usize,
        test: test as usize,
        unlabelled: 0,
        source,
    })
}

fn le_u32(bytes: &[u8; FIXED], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn le_u64(bytes: &[u8; FIXED], at: usize) -> u64 {
    u64::from(le_u32(bytes, at)) | u64::from(le_u32(bytes, at + 4)) << 32
}

/// The label of every image of a set without classes.
pub(crate) const NO_LABEL: u16 = u16::MAX;

/// Parses labels, 16 bits each; without classes all become -1.
///
/// # Errors
/// A label out of range.
pub fn parse_labels(bytes: &[u8], classes: usize) -> Result<Vec<i64>, Malformed> {
    if classes == 0 {
        let plain = |pair: &[u8]| u16::from_le_bytes([pair[0], pair[1]]) == NO_LABEL;
        return match bytes.chunks_exact(2).all(plain) {
            true => Ok(vec![-1; bytes.len() / 2]),
            false => Err(Malformed::new("a label where there are no classes", "no label")),
        };
    }
    let labels = bytes.chunks_exact(2).map(|pair| i64::from(u16::from_le_bytes([pair[0], pair[1]])));
    let labels: Vec<i64> = labels.collect();
    match labels.iter().find(|&&label| label >= classes as i64) {
        Some(label) => Err(Malformed::new(format!("a label is {label}"), format!("labels below {classes}"))),
        None => Ok(labels),
    }
}

/// Opens a file and reads its header.
pub(crate) fn read_header(path: &Path) -> Result<(File, Header)> {
    let file = File::open(path).at("open", path)?;
    let file_len = file.metadata().at("read", path)?.len();
    let mut bytes = Vec::new();
    (&file).take(FIXED as u64).read_to_end(&mut bytes).at("read", path)?;
    if let Some(fixed) = bytes.first_chunk::<FIXED>().filter(|fixed| fixed.starts_with(MAGIC)) {
        let text = u64::from(le_u32(fixed, 12)).min(MOST_TEXT);
        (&file).take(text).read_to_end(&mut bytes).at("read", path)?;
    }
    let header = parse_header(&bytes, file_len).map_err(|error| error.within(path, REMEDY))?;
    Ok((file, header))
}

/// Compares the payload with its checksum.
pub(crate) fn verify(path: &Path) -> Result<Header> {
    let (mut file, header) = read_header(path)?;
    check_payload(&mut file, &header, path)?;
    Ok(header)
}

fn check_payload(file: &mut File, header: &Header, path: &Path) -> Result<()> {
    file.seek(SeekFrom::Start(header.offset)).at("read", path)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file.take(header.len)).at("read", path)?;
    check(&hasher, header, path)
}

fn check(hasher: &blake3::Hasher, header: &Header, path: &Path) -> Result<()> {
    if hasher.finalize().as_bytes() != &header.checksum {
        let error = Malformed::new("the payload does not fit its checksum", "the bytes that were written");
        return Err(error.within(path, REMEDY));
    }
    Ok(())
}

/// Reads a file into memory: mapped, one that is cut or rewritten under a run would kill it or change what it trains on.
pub(crate) fn load(path: &Path, name: &str) -> Result<Source> {
    let (mut file, header) = read_header(path)?;
    let info = &header.info;
    let whole = payload(&mut file, &header, path)?;
    let labels = Vec::<u8>::try_from(whole.f_narrow(0, 0, header.label_bytes() as i64)?)?;
    let mut train = parse_labels(&labels, info.classes).map_err(|error| error.within(path, REMEDY))?;
    let test = train.split_off(info.train);

    let mut start = aligned(header.label_bytes()) as i64;
    let mut pixels = |n: usize| -> Result<Tensor> {
        let len = (n * info.image_bytes()) as i64;
        let part = whole.f_narrow(0, start, len)?;
        start += len;
        Ok(part.f_view([n as i64, info.channels, info.height, info.width])?)
    };
    let (train, test) = (
        Part { labels: train, pixels: pixels(info.train)? },
        Part { labels: test, pixels: pixels(info.test)? },
    );
    let source = format!("{}, from {}", path.display(), info.source);
    Ok(Source { info: Info { name: name.into(), source, ..header.info }, train, test, unlabelled: None })
}

/// The payload in host memory, after it was compared with its checksum.
fn payload(file: &mut File, header: &Header, path: &Path) -> Result<Tensor> {
    let mut hasher = blake3::Hasher::new();
    file.seek(SeekFrom::Start(header.offset)).at("read", path)?;
    let whole = read_bytes(file, path, header.len as usize, |piece| {
        hasher.update(piece);
    })?;
    check(&hasher, header, path)?;
    Ok(whole)
}

/// One image on its way into a file.
pub(crate) struct Picture<'a> {
    pub label: u16,
    pub pixels: &'a [u8],
}

/// Writes a packed file; under its name there is never a part of one.
pub(crate) fn write(
    path: &Path,
    info: &Info,
    train: &[Picture<'_>],
    test: &[Picture<'_>],
    force: bool,
) -> Result<u64> {
    debug_assert_eq!((train.len(), test.len()), (info.train, info.test));
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).at("make the folder", folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let unfinished = Unfinished(folder.join(format!(".{name}.{}-{number}", std::process::id())));
    let mut file = File::create(&unfinished.0).at("write", &unfinished.0)?;
    let len = write_to(&mut file, info, train, test).at("write", &unfinished.0)?;
    file.sync_all().at("write", &unfinished.0)?;
    claim(&unfinished.0, path, force)?;
    // The new name itself must outlive a power cut; a file system that cannot promise it is no reason to fail.
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
    Ok(len)
}

/// Gives a whole file its name; without `force`, only if nobody has it: of two imports at once one is refused.
fn claim(file: &Path, path: &Path, force: bool) -> Result<()> {
    if !force {
        match fs::hard_link(file, path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::Exists { path: path.to_owned() });
            }
            // A file system without links: the name is looked at instead.
            Err(_) if path.exists() => return Err(Error::Exists { path: path.to_owned() }),
            Err(_) => {}
        }
    }
    fs::rename(file, path).at("write", path)
}

/// A file that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

fn write_to(
    file: &mut File,
    info: &Info,
    train: &[Picture<'_>],
    test: &[Picture<'_>],
) -> std::io::Result<u64> {
    let text = serde_json::to_vec(&Text {
        name: info.name.clone(),
        class_names: info.class_names.clone(),
        channels: info.channels as u32,
        height: info.height as u32,
        width: info.width as u32,
        mean: info.mean.clone(),
        std: info.std.clone(),
        train: train.len() as u64,
        test: test.len() as u64,
        source: info.source.clone(),
    })?;
    let offset = aligned((FIXED + text.len()) as u64);
    file.write_all(&vec![0; offset as usize])?;

    let mut payload = Payload {
        file: std::io::BufWriter::with_capacity(1 << 20, file),
        hasher: blake3::Hasher::new(),
        len: 0,
    };
    let labels: Vec<u8> = train.iter().chain(test).flat_map(|picture| picture.label.to_le_bytes()).collect();
    payload.write(&labels)?;
    payload.write(&vec![0; (aligned(labels.len() as u64) - labels.len() as u64) as usize])?;
    for picture in train.iter().chain(test) {
        payload.write(picture.pixels)?;
    }
    let Payload { file, hasher, len } = payload;
    let file = file.into_inner()?;

    let mut fixed = [0; FIXED];
    fixed[..8].copy_from_slice(MAGIC);
    fixed[8..12].copy_from_slice(&VERSION.to_le_bytes());
    fixed[12..16].copy_from_slice(&(text.len() as u32).to_le_bytes());
    fixed[16..24].copy_from_slice(&offset.to_le_bytes());
    fixed[24..32].copy_from_slice(&len.to_le_bytes());
    fixed[32..64].copy_from_slice(hasher.finalize().as_bytes());
    let header = blake3::Hasher::new().update(&fixed[..64]).update(&text).finalize();
    fixed[64..].copy_from_slice(header.as_bytes());
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&fixed)?;
    file.write_all(&text)?;
    Ok(offset + len)
}

struct Payload<W: Write> {
    file: std::io::BufWriter<W>,
    hasher: blake3::Hasher,
    len: u64,
}

impl<W: Write> Payload<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}
