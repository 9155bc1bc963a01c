//! A tar.gz of large files, each written whole before it has its name.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tar::EntryType;

use crate::Result;
use crate::error::At;
use crate::import::archive::{parts, refuse_link};

/// Writes the files below `folder` in the archive to `<root>/<folder>`; others are left out.
pub(super) fn unpack(archive: &Path, root: &Path, folder: &str) -> Result<()> {
    let file = BufReader::with_capacity(1 << 18, File::open(archive).at("open", archive)?);
    let mut tar = tar::Archive::new(MultiGzDecoder::new(file));
    for entry in tar.entries().at("read", archive)? {
        let mut entry = entry.at("unpack", archive)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let parts = parts(archive, &name)?;
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Symlink | EntryType::Link => return Err(refuse_link(archive, &name)),
            _ => continue,
        }
        if parts.len() < 2 || parts[0] != folder {
            continue;
        }
        let path = parts.iter().fold(root.to_owned(), |path, part| path.join(part));
        let above = path.parent().unwrap_or(root);
        fs::create_dir_all(above).at("make the folder", above)?;
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(".part");
        let unfinished = PathBuf::from(unfinished);
        let mut file = File::create(&unfinished).at("write", &unfinished)?;
        io::copy(&mut entry, &mut file).at("unpack", archive)?;
        file.sync_all().at("write", &unfinished)?;
        fs::rename(&unfinished, &path).at("write", &path)?;
    }
    Ok(())
}
