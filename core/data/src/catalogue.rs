//! What datasets there are, and whether their files are sound.

use std::fmt;
use std::path::{Path, PathBuf};

use admix_api::Streams;
use serde::Serialize;

use crate::config::{DataConfig, check_name};
use crate::sources::{self, BUILTIN, Builtin, packed};
use crate::stream;
use crate::{Info, Result};

/// A line of `admix datasets`.
#[derive(Serialize, Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What to write into a recipe.
    pub name: String,
    /// One line.
    pub summary: String,
    /// Whether it can be used now.
    pub status: Status,
    /// What to do if it is missing.
    pub how_to_get: String,
}

/// Whether a dataset can be used now.
#[derive(Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its files are there.
    Ready,
    /// A file is missing.
    Missing,
    /// Its packed file has an unsound header.
    Damaged,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Ready => "ready",
            Status::Missing => "missing",
            Status::Damaged => "damaged",
        })
    }
}

/// All datasets known by name, then those imported into `root`, then the folders of images in it.
pub fn catalogue(root: &Path) -> Vec<Entry> {
    let packed_names = packed::names(root);
    let builtin = BUILTIN.iter().map(|set| {
        let imported = !sources::is_reserved(set.name) && packed_names.iter().any(|name| name == set.name);
        let status = match imported {
            true => packed_status(root, set.name).0,
            false if set.absent(root).is_some() => Status::Missing,
            false => Status::Ready,
        };
        Entry {
            name: set.name.into(),
            summary: set.summary.into(),
            status,
            how_to_get: set.how_to_get.into(),
        }
    });
    let imported = packed_names.iter().filter(|name| Builtin::named(name).is_none()).map(|name| {
        let (status, summary) = packed_status(root, name);
        let how_to_get = format!("admix data import PATH --name {name} --force");
        Entry { name: name.clone(), summary, status, how_to_get }
    });
    let folders = stream::names(root).into_iter().filter(|name| {
        // A name stands for its packed file or its built-in set first.
        !packed_names.contains(name) && Builtin::named(name).is_none()
    });
    let folders = folders.map(|name| Entry {
        summary: format!("a folder of images, {}, read as they are needed", root.join(&name).display()),
        status: Status::Ready,
        how_to_get: "nothing to do".into(),
        name,
    });
    builtin.chain(imported).chain(folders).collect()
}

fn packed_status(root: &Path, name: &str) -> (Status, String) {
    match packed::read_header(&packed::path(root, name)) {
        Ok((_, packed::Header { info, .. })) => {
            let Info { train, test, classes, height, width, source, .. } = info;
            (
                Status::Ready,
                format!("{train} + {test} images, {classes} classes, {height}x{width}; from {source}"),
            )
        }
        Err(error) => (Status::Damaged, error.to_string()),
    }
}

/// What a check of a dataset found.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub struct Verified {
    /// What is known of it.
    pub info: Info,
    /// Its packed file or its folder, if it has one.
    pub path: Option<PathBuf>,
    /// Bytes of that file, or of all pixels.
    pub bytes: u64,
    /// BLAKE3 of the packed file's payload, in hexadecimal.
    pub checksum: Option<String>,
}

/// Reads every byte of a dataset: a packed file is compared with its checksum, every image of a folder is decoded, other
/// sources are parsed whole.
///
/// # Errors
/// The dataset is unknown, missing or damaged.
pub fn verify(name: &str, root: &Path) -> Result<Verified> {
    check_name("NAME", name)?;
    let path = packed::path(root, name);
    if !sources::is_reserved(name) && path.exists() {
        let header = packed::verify(&path)?;
        packed::load(&path, name)?;
        let checksum = Some(blake3::Hash::from_bytes(header.checksum).to_hex().to_string());
        return Ok(Verified {
            bytes: header.offset + header.len,
            info: header.info,
            path: Some(path),
            checksum,
        });
    }
    let config = DataConfig { name: name.into(), root: root.into(), ..DataConfig::default() };
    if stream::is_folder(&config) {
        let bytes = stream::folder(&config)?.verify()?;
        return Ok(Verified { info: info(name, root)?, path: Some(root.join(name)), bytes, checksum: None });
    }
    let info = open(name, root)?;
    let bytes = match name {
        // Opening only maps its files into memory.
        "stl10" => sources::stl10::read_through(root)?,
        _ => ((info.train + info.test) * info.image_bytes()) as u64,
    };
    Ok(Verified { info, path: None, bytes, checksum: None })
}

/// What is known of a dataset. Of a packed one only the header is read, of a folder only the names of its files: height
/// and width are those of a view where nothing else is said.
///
/// # Errors
/// The dataset is unknown, missing or damaged.
pub fn info(name: &str, root: &Path) -> Result<Info> {
    check_name("NAME", name)?;
    let path = packed::path(root, name);
    if !sources::is_reserved(name) && path.exists() {
        let (_, header) = packed::read_header(&path)?;
        let source = format!("{}, from {}", path.display(), header.info.source);
        return Ok(Info { name: name.into(), source, ..header.info });
    }
    open(name, root)
}

fn open(name: &str, root: &Path) -> Result<Info> {
    let config = DataConfig { name: name.into(), root: root.into(), ..DataConfig::default() };
    if stream::is_folder(&config) {
        return Ok(stream::folder(&config)?.info(name, (stream::SIZE, stream::SIZE)));
    }
    Ok(sources::open(&config, Streams::new(0))?.info)
}
