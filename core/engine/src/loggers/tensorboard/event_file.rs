//! The event files in a folder: one for each part of a run.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use prost::Message;

use super::message::{Event, START, SessionLog, Summary, VERSION, Value, What};
use super::record::{record, records};
use crate::run::write_whole;
use crate::{Error, Result};

/// How the names of event files begin; a number of seconds follows. TensorBoard reads them in the order of their names.
const PREFIX: &str = "events.out.tfevents.";

/// The file of one part of a run.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: fs::File,
}

impl EventFile {
    /// Begins a file that is read behind those that are there. `step` is the first step to come: its readers forget what
    /// they read before of that step and of later ones.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn begin(folder: &Path, step: u64, time: f64) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|source| Error::file("make the folder", folder, source))?;
        let newest = names(folder)?.iter().filter_map(|name| seconds(name)).max();
        let seconds = (time as u64).max(newest.map_or(0, |newest| newest.saturating_add(1)));
        let path = folder.join(format!("{PREFIX}{seconds:010}.admix"));
        let open = fs::OpenOptions::new().append(true).create_new(true).open(&path);
        let file = open.map_err(|source| Error::file("make", &path, source))?;
        let mut begun = Self { path, file };
        begun.write(0, time, What::FileVersion(VERSION.into()))?;
        begun.write(step, time, What::SessionLog(SessionLog { status: START }))?;
        Ok(begun)
    }

    /// Adds values of a step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, step: u64, time: f64, value: Vec<Value>) -> Result<()> {
        self.write(step, time, What::Summary(Summary { value }))
    }

    fn write(&mut self, step: u64, wall_time: f64, what: What) -> Result<()> {
        let event = Event { wall_time, step: step as i64, what: Some(what) };
        // In one piece: a run that is killed leaves whole records.
        let written = self.file.write_all(&record(&event.encode_to_vec()));
        written.map_err(|source| Error::file("write", self.path.clone(), source))
    }
}

/// Takes events out of the files of a folder, and what follows a damaged record.
///
/// # Errors
/// A file cannot be read or written.
pub fn retain(folder: &Path, keep: impl Fn(&Event) -> bool) -> Result<()> {
    for name in names(folder)? {
        let path = folder.join(&name);
        let bytes = fs::read(&path).map_err(|source| Error::file("read", &path, source))?;
        let stays = |content: &[u8]| Event::decode(content).map_or(true, |event| keep(&event));
        let kept: Vec<&[u8]> =
            records(&bytes).filter(|(_, content)| stays(content)).map(|(whole, _)| whole).collect();
        let kept = kept.concat();
        if kept == bytes {
            continue;
        }
        // Under a name that no reader takes for an event file, until it is whole.
        write_whole(folder, "rewritten", &kept)?;
        fs::rename(folder.join("rewritten"), &path).map_err(|source| Error::file("write", path, source))?;
    }
    Ok(())
}

/// The names of the event files of a folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::file("read the folder", folder, source)),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(PREFIX)).collect())
}

/// The number in the name of an event file.
fn seconds(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
}
