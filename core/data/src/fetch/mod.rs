//! Datasets from where they are published: downloaded, compared with their published checksum, unpacked or imported.

mod unpack;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use admix_api::did_you_mean;
pub use admix_fetch::Fetched;
use admix_fetch::{Sum, Wanted};
use serde::Serialize;

use crate::catalogue::Status;
use crate::datasets::{Published, Then};
use crate::error::{check_name, setting};
use crate::import::ImportOptions;
use crate::lookup::Datasets;
use crate::{Error, Result, packed};

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

impl Datasets<'_> {
    /// Downloads a dataset into the folder, so that recipes can use it. What is there already is not downloaded again, and a
    /// download that was cut off goes on where it stopped, if the server can.
    ///
    /// # Errors
    /// A name that is unknown or not free to download, an address that is none, a failed download, a file with another
    /// checksum than the published one (it is removed), a disk that is full.
    pub fn get(&self, name: &str, options: GetOptions<'_>) -> Result<GetReport> {
        check_name("NAME", name)?;
        let is_address = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        if let Some(url) = options.url.filter(|url| !is_address(url)) {
            let got = format!("`{}`", url.escape_debug());
            return Err(setting("--url", got, "an address with http:// or https://"));
        }
        if self.is_reserved(name) {
            return Ok(GetReport { name: name.into(), root: self.root.into(), files: Vec::new() });
        }
        match self.named(name).and_then(|set| set.published()) {
            Some(published) => self.get_published(name, published, options),
            None => Err(self.not_published(name)),
        }
    }

    fn not_published(&self, name: &str) -> Error {
        let sets = self.entries().filter(|(_, set)| set.published().is_some());
        let names: Vec<&str> = sets.map(|(name, _)| name).collect();
        let known = names.join(", ");
        let wanted = match name.starts_with("imagenet") || name.starts_with("ilsvrc") {
            true => format!(
                "one of {known}: ImageNet is given only to registered people; register at https://image-net.org, download \
                 it there and unpack it into `{name}/train/CLASS/` and `{name}/val/CLASS/` of the data folder, where \
                 recipes read it"
            ),
            false => format!(
                "one of {known}; bring your own with `admix data import PATH --name {name}`{}",
                did_you_mean(name, names)
            ),
        };
        setting("NAME", format!("`{name}`"), &wanted)
    }

    fn is_ready(&self, name: &str) -> bool {
        let packed = packed::path(self.root, name).is_file();
        let whole = packed || self.named(name).is_some_and(|set| set.is_whole(self.root));
        whole && self.catalogue().iter().any(|set| set.name == name && set.status == Status::Ready)
    }

    fn get_published(&self, name: &str, set: Published<'_>, options: GetOptions<'_>) -> Result<GetReport> {
        let mut report = GetReport { name: name.into(), root: self.root.into(), files: Vec::new() };
        if self.is_ready(name) {
            return Ok(report);
        }
        let folder = match set.then {
            Then::Keep(folder) => self.root.join(folder),
            Then::Unpack(_) | Then::Import => self.root.to_owned(),
        };
        for (file, md5) in set.files {
            let url = match options.url {
                None => format!("{}{file}", set.base),
                Some(url) if set.files.len() == 1 => url.to_owned(),
                Some(url) => format!("{}/{file}", url.trim_end_matches('/')),
            };
            let path = folder.join(file);
            let sum = Sum::Md5((*md5).into());
            let wanted = Wanted { url: &url, sum: Some(&sum), mirror: "give a mirror with `--url`" };
            let fetched = wanted.download(&path, options.progress)?;
            match set.then {
                Then::Keep(_) => {}
                Then::Unpack(folder) => unpack::unpack(&path, self.root, folder)?,
                Then::Import => {
                    self.import(&path, name, ImportOptions { force: true, ..ImportOptions::default() })?;
                }
            }
            // An archive that somebody put there stays.
            if fetched.downloaded && !matches!(set.then, Then::Keep(_)) {
                std::fs::remove_file(&path).ok();
            }
            report.files.push(fetched);
        }
        if !self.is_ready(name) {
            return Err(Error::Layout {
                path: self.root.into(),
                problem: format!("the files of `{name}` were unpacked, but some are missing"),
                remedy: "see `admix datasets NAME` for what it needs".into(),
            });
        }
        Ok(report)
    }
}
