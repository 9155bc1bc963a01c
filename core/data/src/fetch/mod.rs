//! Datasets from where they are published: downloaded, compared with their published checksum, unpacked or imported.

mod download;
mod unpack;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use admix_api::did_you_mean;
use serde::Serialize;

use crate::catalogue::{Status, catalogue};
use crate::config::{check_name, setting};
use crate::sources::{self, packed, stl10};
use crate::{Error, ImportOptions, Result, import};

pub use download::Fetched;

/// A set as it is published.
struct Published<'a> {
    name: &'a str,
    /// Address of the folder that holds its files.
    base: &'a str,
    /// Names of the files and their MD5, in hexadecimal.
    files: &'a [(&'a str, &'a str)],
    then: Then<'a>,
}

/// What a file becomes.
#[derive(Clone, Copy)]
enum Then<'a> {
    /// A tar.gz that holds this folder.
    Unpack(&'a str),
    /// An archive of images, imported.
    Import,
    /// It is used as it is, in this folder.
    Keep(&'a str),
}

/// CIFAR's sums are those of its home page, Fashion-MNIST's those of its repository; those of STL-10 and Tiny ImageNet are what
/// torchvision and Avalanche check.
const PUBLISHED: &[Published<'static>] = &[
    Published {
        name: "cifar10",
        base: "https://www.cs.toronto.edu/~kriz/",
        files: &[("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")],
        then: Then::Unpack("cifar-10-batches-bin"),
    },
    Published {
        name: "cifar100",
        base: "https://www.cs.toronto.edu/~kriz/",
        files: &[("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")],
        then: Then::Unpack("cifar-100-binary"),
    },
    Published {
        name: "fashion-mnist",
        base: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        files: &[
            ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
            ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
            ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
        ],
        then: Then::Keep("fashion-mnist"),
    },
    Published {
        name: "stl10",
        base: "http://ai.stanford.edu/~acoates/stl10/",
        files: &[("stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb")],
        then: Then::Unpack("stl10_binary"),
    },
    Published {
        name: "tiny_imagenet",
        base: "http://cs231n.stanford.edu/",
        files: &[("tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")],
        then: Then::Import,
    },
];

/// How to get a dataset.
#[derive(Clone, Copy)]
pub struct GetOptions<'a> {
    /// Another address of the archive; of a set of several files, that of their folder.
    pub url: Option<&'a str>,
    /// Called now and then with the bytes of a file that are there and the bytes in all, 0 if the server does not say.
    pub progress: &'a dyn Fn(u64, u64),
}

impl Default for GetOptions<'_> {
    fn default() -> Self {
        Self { url: None, progress: &|_, _| {} }
    }
}

/// What was done to get a dataset.
#[derive(Serialize, Debug, Clone, PartialEq, Eq)]
pub struct GetReport {
    /// The dataset.
    pub name: String,
    /// The folder that holds the datasets.
    pub root: PathBuf,
    /// Its files in order; none if it was there already.
    pub files: Vec<Fetched>,
}

/// Downloads a dataset into `root`, so that recipes can use it. What is there already is not downloaded again, and a download
/// that was cut off goes on where it stopped, if the server can.
///
/// # Errors
/// A name that is unknown or not free to download, an address that is none, a failed download, a file with another checksum
/// than the published one (it is removed), a disk that is full.
pub fn get(name: &str, root: &Path, options: GetOptions<'_>) -> Result<GetReport> {
    check_name("NAME", name)?;
    if let Some(url) = options.url.filter(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        return Err(setting(
            "--url",
            format!("`{}`", url.escape_debug()),
            "an address with http:// or https://",
        ));
    }
    if sources::is_reserved(name) {
        return Ok(GetReport { name: name.into(), root: root.into(), files: Vec::new() });
    }
    match PUBLISHED.iter().find(|set| set.name == name) {
        Some(set) => set.get(root, options),
        None => Err(not_published(name)),
    }
}

fn not_published(name: &str) -> Error {
    let names = || PUBLISHED.iter().map(|set| set.name);
    let known = names().collect::<Vec<_>>().join(", ");
    let wanted = match name.starts_with("imagenet") || name.starts_with("ilsvrc") {
        true => format!(
            "one of {known}: ImageNet is given only to registered people; register at https://image-net.org, download it there \
             and unpack it into `{name}/train/CLASS/` and `{name}/val/CLASS/` of the data folder, where recipes read it"
        ),
        false => format!(
            "one of {known}; bring your own with `admix data import PATH --name {name}`{}",
            did_you_mean(name, names())
        ),
    };
    setting("NAME", format!("`{name}`"), &wanted)
}

impl Published<'_> {
    fn is_ready(&self, root: &Path) -> bool {
        let whole = self.name != "stl10" || packed::path(root, self.name).is_file() || stl10::is_whole(root);
        whole && catalogue(root).iter().any(|set| set.name == self.name && set.status == Status::Ready)
    }

    fn get(&self, root: &Path, options: GetOptions<'_>) -> Result<GetReport> {
        let mut report = GetReport { name: self.name.into(), root: root.into(), files: Vec::new() };
        if self.is_ready(root) {
            return Ok(report);
        }
        let folder = match self.then {
            Then::Keep(folder) => root.join(folder),
            Then::Unpack(_) | Then::Import => root.to_owned(),
        };
        for (file, md5) in self.files {
            let url = match options.url {
                None => format!("{}{file}", self.base),
                Some(url) if self.files.len() == 1 => url.to_owned(),
                Some(url) => format!("{}/{file}", url.trim_end_matches('/')),
            };
            let path = folder.join(file);
            let fetched = download::download(&url, &path, md5, options.progress)?;
            match self.then {
                Then::Keep(_) => {}
                Then::Unpack(folder) => unpack::unpack(&path, root, folder)?,
                Then::Import => {
                    import(
                        &path,
                        self.name,
                        root,
                        ImportOptions { force: true, ..ImportOptions::default() },
                    )?;
                }
            }
            // An archive that somebody put there stays.
            if fetched.downloaded && !matches!(self.then, Then::Keep(_)) {
                std::fs::remove_file(&path).ok();
            }
            report.files.push(fetched);
        }
        if !self.is_ready(root) {
            return Err(Error::Layout {
                path: root.into(),
                problem: format!("the files of `{}` were unpacked, but some are missing", self.name),
                remedy: "see `admix datasets NAME` for what it needs".into(),
            });
        }
        Ok(report)
    }
}
