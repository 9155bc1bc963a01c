//! Files of a folder or an archive, in chunks, with every path checked before a byte of its file is used.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use tar::{EntryType, PaxExtensions};

use crate::error::{At, Malformed};
use crate::list::{Lists, Member};
use crate::{Error, Result};

/// A larger file is no image of a dataset.
pub(crate) const MOST_FILE: u64 = 256 << 20;
/// Names and extended headers of a tar archive.
const MOST_NAME: u64 = 1 << 20;
/// What an xz decoder may use: the highest preset needs 65 MB.
const MOST_XZ: u64 = 1 << 30;
const REMEDY: &str = "Remove the entry and pack the images again";
/// A chunk ends with so many files or bytes.
const CHUNK_FILES: usize = 512;
const CHUNK_BYTES: usize = 16 << 20;

/// Stands for the file that an empty folder lacks.
pub(super) const EMPTY: &str = "(no file)";

/// A file and where it lies.
pub(crate) struct RawFile {
    /// Folders and file name.
    pub parts: Vec<String>,
    /// Its contents, or why they cannot be had.
    pub bytes: std::result::Result<Vec<u8>, String>,
}

/// Some files, and how far the source is read.
pub(crate) struct Chunk {
    pub files: Vec<RawFile>,
    pub done: u64,
    pub total: u64,
}

/// Collects files into chunks.
struct Sink<'a> {
    sender: &'a SyncSender<Chunk>,
    files: Vec<RawFile>,
    bytes: usize,
    done: Arc<AtomicU64>,
    total: u64,
    /// Folders that are named.
    folders: BTreeSet<Vec<String>>,
    /// Folders that hold something.
    used: HashSet<Vec<String>>,
}

/// The receiver is gone: it has an error of its own to report.
struct Stopped;

impl Sink<'_> {
    fn push(
        &mut self,
        parts: Vec<String>,
        bytes: std::result::Result<Vec<u8>, String>,
    ) -> Result<(), Stopped> {
        self.bytes += bytes.as_ref().map_or(0, Vec::len);
        let mut above = parts.as_slice();
        while let Some((_, folder)) = above.split_last()
            && !self.used.contains(folder)
        {
            self.used.insert(folder.to_vec());
            above = folder;
        }
        self.files.push(RawFile { parts, bytes });
        if self.files.len() >= CHUNK_FILES || self.bytes >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Lets folders without a file be seen: a class must not vanish without a word.
    fn empty_folders(&mut self) -> Result<(), Stopped> {
        for mut parts in std::mem::take(&mut self.folders) {
            if !parts.is_empty() && !self.used.contains(&parts) {
                parts.push(EMPTY.into());
                self.push(parts, Err("the folder is empty".into()))?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        self.bytes = 0;
        let (files, done) = (std::mem::take(&mut self.files), self.done.load(Ordering::Relaxed));
        self.sender.send(Chunk { files, done, total: self.total }).map_err(|_| Stopped)
    }
}

/// Tells a damaged archive from a disk that fails.
trait Whole<T> {
    fn whole(self, archive: &Path) -> Result<T>;
}

impl<T> Whole<T> for io::Result<T> {
    fn whole(self, archive: &Path) -> Result<T> {
        self.map_err(|source| match source.raw_os_error() {
            Some(_) => Error::Io { path: archive.into(), action: "unpack", source },
            None => {
                // The reader quotes what stands there, control characters included.
                let why = source.to_string().replace(char::is_control, " ");
                Malformed::new(format!("the archive is damaged: {why}"), "a whole archive")
                    .within(archive, "get it again, or pack it again")
            }
        })
    }
}

/// Why reading ended early.
enum Stop {
    Failed(Error),
    Stopped,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

impl From<Stopped> for Stop {
    fn from(_: Stopped) -> Self {
        Stop::Stopped
    }
}

/// Sends all files under `source`, or those that lists name, in their order. What kind of archive it is, its first bytes say.
pub(crate) fn read(source: &Path, lists: Option<&Lists>, sender: &SyncSender<Chunk>) -> Result<()> {
    let mut sink = Sink {
        sender,
        files: Vec::new(),
        bytes: 0,
        done: Arc::default(),
        total: 0,
        folders: BTreeSet::new(),
        used: HashSet::new(),
    };
    let result = match lists {
        Some(lists) => listed(lists, &mut sink),
        None if fs::metadata(source).at("read", source)?.is_dir() => folder(source, &mut sink),
        None => archive(source, &mut sink),
    };
    match result.and_then(|()| Ok(sink.empty_folders()?)).and_then(|()| Ok(sink.flush()?)) {
        Err(Stop::Failed(error)) => Err(error),
        Ok(()) | Err(Stop::Stopped) => Ok(()),
    }
}

/// Folders and file name of an entry, or what is wrong with them.
pub(crate) fn parts(path: &Path, entry: &str) -> Result<Vec<String>> {
    let refuse = |why: &str| Error::Refused {
        path: path.into(),
        entry: entry.escape_debug().to_string(),
        why: why.into(),
        remedy: REMEDY,
    };
    let drive = matches!(entry.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if entry.starts_with('/') || drive {
        return Err(refuse("has an absolute path"));
    }
    if entry.contains('\0') {
        return Err(refuse("has a zero byte in its name"));
    }
    let parts: Vec<&str> = entry.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(refuse("would leave the target folder"));
    }
    Ok(parts.into_iter().map(str::to_owned).collect())
}

/// The text of an entry's name. Read in part, two classes could become one.
fn utf8(path: &Path, entry: &[u8]) -> Result<String> {
    String::from_utf8(entry.to_vec()).map_err(|_| Error::Refused {
        path: path.into(),
        entry: entry.escape_ascii().to_string(),
        why: "has a name that is not UTF-8".into(),
        remedy: "Rename it, as `convmv -f gbk -t utf8 -r --notest FOLDER` does with a folder from another system",
    })
}

pub(crate) fn refuse_link(path: &Path, entry: &str) -> Error {
    let entry = entry.escape_debug().to_string();
    let (why, remedy) = ("is a link, which may point anywhere".into(), REMEDY);
    Error::Refused { path: path.into(), entry, why, remedy }
}

fn read_limited(reader: impl Read, size: u64) -> std::result::Result<Vec<u8>, String> {
    if size > MOST_FILE {
        return Err(format!("{size} bytes are too many for an image (at most {MOST_FILE})"));
    }
    let mut bytes = Vec::new();
    reader.take(MOST_FILE + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    match bytes.len() as u64 {
        len if len > MOST_FILE => Err(format!("too many bytes for an image (at most {MOST_FILE})")),
        len if len < size => Err(format!("only {len} of {size} bytes are there")),
        _ => Ok(bytes),
    }
}

fn folder(source: &Path, sink: &mut Sink<'_>) -> Result<(), Stop> {
    let mut files = Vec::new();
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let path = entry.at("read", &folder)?.path();
            let meta = fs::symlink_metadata(&path).at("read", &path)?;
            let below = path.strip_prefix(source).unwrap_or(&path);
            let name = utf8(source, below.as_os_str().as_encoded_bytes())?;
            if meta.is_symlink() {
                let (entry, why) =
                    (name.escape_debug().to_string(), "is a link, which an import does not follow".into());
                let remedy =
                    "Import a copy of the folder in which files stand for links, as `cp -rL` makes it";
                return Err(Error::Refused { path: source.into(), entry, why, remedy }.into());
            } else if meta.is_dir() {
                sink.folders.insert(parts(source, &name)?);
                folders.push(path);
            } else if meta.is_file() {
                sink.total += meta.len();
                files.push((parts(source, &name)?, path, meta.len()));
            } else {
                return Err(Error::Refused {
                    path: source.into(),
                    entry: name.escape_debug().to_string(),
                    why: "is no ordinary file".into(),
                    remedy: "Remove it",
                }
                .into());
            }
        }
    }
    files.sort();
    for (parts, path, size) in files {
        let bytes = File::open(&path).map_err(|error| format!("cannot be opened: {error}"));
        let bytes = bytes.and_then(|file| read_limited(file, size));
        sink.done.fetch_add(size, Ordering::Relaxed);
        sink.push(parts, bytes)?;
    }
    Ok(())
}

/// The files of lists. Each is one part, its path as the list has it.
fn listed(lists: &Lists, sink: &mut Sink<'_>) -> Result<(), Stop> {
    let files = |root: &Path, members: &[Member]| -> Vec<(PathBuf, String)> {
        members.iter().map(|(path, _)| (root.join(path), path.clone())).collect()
    };
    let [train, test] = &lists.roots;
    let files = [files(train, &lists.train), files(test, &lists.test)].concat();
    sink.total = files.len() as u64;
    for (path, name) in files {
        let meta = fs::metadata(&path).map_err(|error| format!("cannot be opened: {error}"));
        // Before it is opened: opening a pipe waits for whoever writes to it.
        let bytes = meta.and_then(|meta| match meta.is_file() {
            true => read_limited(File::open(&path).map_err(|error| error.to_string())?, meta.len()),
            false => Err("no ordinary file".into()),
        });
        sink.done.fetch_add(1, Ordering::Relaxed);
        sink.push(vec![name], bytes)?;
    }
    Ok(())
}

fn archive(source: &Path, sink: &mut Sink<'_>) -> Result<(), Stop> {
    let file = File::open(source).at("open", source)?;
    sink.total = file.metadata().at("read", source)?.len();
    let mut file = BufReader::with_capacity(1 << 18, Counted { inner: file, done: sink.done.clone() });
    let start = file.fill_buf().at("read", source)?;
    match start {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let stream = Stream::new_stream_decoder(MOST_XZ, CONCATENATED).map_err(io::Error::from);
            tar(XzDecoder::new_stream(file, stream.whole(source)?), source, sink)
        }
        [0x1f, 0x8b, ..] => tar(MultiGzDecoder::new(file), source, sink),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => zip(file, source, sink),
        _ if is_tar(start) => tar(file, source, sink),
        _ => {
            let problem = "it is neither a folder nor a tar, tar.xz, tar.gz or zip archive".into();
            let remedy = "unpack it and import the folder, or pack it again as tar.xz".into();
            Err(Error::Layout { path: source.into(), problem, remedy }.into())
        }
    }
}

/// A tar archive begins with a header whose checksum fits.
fn is_tar(start: &[u8]) -> bool {
    let Some(block) = start.first_chunk::<512>() else { return false };
    let sum: u32 =
        block.iter().enumerate().map(|(i, &b)| if (148..156).contains(&i) { 32 } else { u32::from(b) }).sum();
    tar::Header::from_byte_slice(block).cksum().is_ok_and(|found| found == sum)
}

fn tar(reader: impl Read, source: &Path, sink: &mut Sink<'_>) -> Result<(), Stop> {
    let mut archive = tar::Archive::new(reader);
    let mut long_name: Option<Vec<u8>> = None;
    // Raw entries: names of any length are read here, within limits.
    for entry in archive.entries().whole(source)?.raw(true) {
        let mut entry = entry.whole(source)?;
        let kind = entry.header().entry_type();
        let size = entry.header().entry_size().whole(source)?;
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            let mut bytes = Vec::new();
            entry.by_ref().take(MOST_NAME).read_to_end(&mut bytes).whole(source)?;
            if kind.is_gnu_longname() {
                bytes.truncate(bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len()));
                long_name = Some(bytes);
            } else {
                let fields = PaxExtensions::new(&bytes).flatten();
                let path = fields.filter(|field| field.key_bytes() == b"path").last();
                long_name = path.map(|field| field.value_bytes().to_vec()).or(long_name);
            }
            continue;
        }
        if kind.is_gnu_longlink() || kind.is_pax_global_extensions() {
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = utf8(source, &name)?;
        let parts = parts(source, &name)?;
        match kind {
            EntryType::Directory => {
                sink.folders.insert(parts);
            }
            EntryType::Regular | EntryType::Continuous => {
                let bytes = read_limited(&mut entry, size);
                sink.push(parts, bytes)?;
            }
            EntryType::Symlink => return Err(refuse_link(source, &name).into()),
            // `tar` writes one for a file that it has packed under another name.
            EntryType::Link => {
                let (why, remedy) = (
                    "is a hard link to another entry".into(),
                    "Pack the images again with `tar --hard-dereference`",
                );
                let entry = name.escape_debug().to_string();
                return Err(Error::Refused { path: source.into(), entry, why, remedy }.into());
            }
            _ => {
                let why = "is neither a file nor a folder".into();
                let entry = name.escape_debug().to_string();
                return Err(Error::Refused { path: source.into(), entry, why, remedy: REMEDY }.into());
            }
        }
    }
    // To the very end, so that the checksum behind the last block is looked at.
    io::copy(&mut archive.into_inner().take(MOST_FILE), &mut io::sink()).whole(source)?;
    Ok(())
}

fn zip(file: impl Read + Seek, source: &Path, sink: &mut Sink<'_>) -> Result<(), Stop> {
    let mut archive = zip::ZipArchive::new(file).map_err(io::Error::from).whole(source)?;
    // A table that a seeking reader fills has no place in the progress; the packed sizes of the entries have.
    sink.done = Arc::default();
    for i in 0..archive.len() {
        let name = archive.name_for_index(i).unwrap_or_default().replace('\\', "/");
        let parts = parts(source, &name)?;
        let (bytes, packed) = match archive.by_index(i) {
            Ok(entry) if entry.is_symlink() => return Err(refuse_link(source, &name).into()),
            Ok(entry) if entry.is_dir() => {
                sink.folders.insert(parts);
                continue;
            }
            Ok(entry) => {
                let (size, packed) = (entry.size(), entry.compressed_size());
                (read_limited(entry, size), packed)
            }
            Err(error) => (Err(format!("cannot be unpacked: {error}")), 0),
        };
        sink.done.fetch_add(packed, Ordering::Relaxed);
        sink.push(parts, bytes)?;
    }
    sink.done.store(sink.total, Ordering::Relaxed);
    Ok(())
}

/// Counts the bytes read.
struct Counted {
    inner: File,
    done: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.done.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
