//! What datasets there are, and whether their files are sound.

use std::fmt;
use std::path::{Path, PathBuf};

use admix_api::Streams;
use serde::Serialize;

use crate::config::DataConfig;
use crate::datasets::DatasetSource;
use crate::error::check_name;
use crate::lookup::Datasets;
use crate::{Info, Result, packed, stream};

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

fn packed_status(root: &Path, name: &str) -> (Status, String) {
    match packed::read_header(&packed::path(root, name)) {
        Ok((_, packed::Header { info, .. })) => {
            let Info { train, test, classes, height, width, source, .. } = info;
            let images = match classes {
                0 => format!("{train} images without labels"),
                _ => format!("{train} + {test} images, {classes} classes"),
            };
            (Status::Ready, format!("{images}, {height}x{width}; from {source}"))
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
    /// How it differs from the published set of its name, if it does.
    pub unlike_published: Option<String>,
}

impl Datasets<'_> {
    /// All datasets known by name, then those imported into the folder, then the folders of images in it.
    pub fn catalogue(&self) -> Vec<Entry> {
        let root = self.root;
        let packed_names = packed::names(root);
        let known = self.registry.of::<dyn DatasetSource>().filter_map(|entry| {
            let set = self.named(&entry.name)?;
            let imported = set.needs_files() && packed_names.contains(&entry.name);
            let status = match imported {
                true => packed_status(root, &entry.name).0,
                false if set.absent(root).is_some() => Status::Missing,
                false => Status::Ready,
            };
            let (name, summary) = (entry.name.clone(), entry.summary.clone());
            Some(Entry { name, summary, status, how_to_get: set.how_to_get().into() })
        });
        let imported = packed_names.iter().filter(|name| self.named(name).is_none()).map(|name| {
            let (status, summary) = packed_status(root, name);
            let how_to_get = format!("admix data import PATH --name {name} --force");
            Entry { name: name.clone(), summary, status, how_to_get }
        });
        let folders = stream::names(root).into_iter().filter(|name| {
            // A name stands for its packed file or its entry first.
            !packed_names.contains(name) && self.named(name).is_none()
        });
        let folders = folders.map(|name| Entry {
            summary: format!("a folder of images, {}, read as they are needed", root.join(&name).display()),
            status: Status::Ready,
            how_to_get: "nothing to do".into(),
            name,
        });
        known.chain(imported).chain(folders).collect()
    }

    /// Reads every byte of a dataset: a packed file is compared with its checksum, every image of a folder is decoded, other
    /// sources are parsed whole.
    ///
    /// # Errors
    /// The dataset is unknown, missing or damaged.
    pub fn verify(&self, name: &str) -> Result<Verified> {
        check_name("NAME", name)?;
        let verified = self.verify_bytes(name)?;
        Ok(Verified { unlike_published: self.unlike_published(name, &verified.info), ..verified })
    }

    /// How a set differs from the published one of its name: a part of it would train without a word.
    fn unlike_published(&self, name: &str, found: &Info) -> Option<String> {
        let about = self.named(name).filter(|set| set.needs_files())?.about();
        let differ = [
            ("training images", found.train, about.train),
            ("test images", found.test, about.test),
            ("classes", found.classes, about.classes),
        ];
        let told: Vec<String> = differ
            .iter()
            .filter(|(_, found, published)| found != published)
            .map(|(what, found, published)| format!("{found} {what}, not {published}"))
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    fn verify_bytes(&self, name: &str) -> Result<Verified> {
        if self.is_packed(name) {
            let path = packed::path(self.root, name);
            let header = packed::verify(&path)?;
            packed::load(&path, name)?;
            let checksum = Some(blake3::Hash::from_bytes(header.checksum).to_hex().to_string());
            return Ok(Verified {
                bytes: header.offset + header.len,
                info: header.info,
                path: Some(path),
                checksum,
                unlike_published: None,
            });
        }
        if self.is_streamed(name) {
            let files = self.files_of(&self.config(name))?;
            let bytes = files.verify()?;
            let info = self.info(name)?;
            return Ok(Verified {
                info,
                path: Some(files.path),
                bytes,
                checksum: None,
                unlike_published: None,
            });
        }
        let info = self.info(name)?;
        let read = self.named(name).map(|set| set.read_through(self.root)).transpose()?.flatten();
        let bytes = read.unwrap_or(((info.train + info.test) * info.image_bytes()) as u64);
        Ok(Verified { info, path: None, bytes, checksum: None, unlike_published: None })
    }

    /// What is known of a dataset. Of a packed one only the header is read, of a folder only the names of its files: height
    /// and width are those of a view where nothing else is said.
    ///
    /// # Errors
    /// The dataset is unknown, missing or damaged.
    pub fn info(&self, name: &str) -> Result<Info> {
        check_name("NAME", name)?;
        if self.is_packed(name) {
            let path = packed::path(self.root, name);
            let (_, header) = packed::read_header(&path)?;
            let source = format!("{}, from {}", path.display(), header.info.source);
            return Ok(Info { name: name.into(), source, ..header.info });
        }
        let config = self.config(name);
        if self.is_streamed(name) {
            return Ok(self.files_of(&config)?.info(name, (stream::SIZE, stream::SIZE)));
        }
        Ok(self.source(&config, Streams::new(0))?.info)
    }

    fn config(&self, name: &str) -> DataConfig {
        DataConfig { name: name.into(), root: self.root.into(), ..DataConfig::default() }
    }
}
