//! Claims: of several workers, on one machine or on many that share a folder, one alone trains a run.
//!
//! A claim is a file beside the run folder. It is made atomically, and its owner rewrites it as long as it lives. A claim that
//! was not rewritten for some time belongs to a dead worker, and another one takes it over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

/// A worker says so often that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A worker that said nothing for so long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(90);

/// The right to train a run, until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    text: String,
    /// Its end stops the heartbeat, which must not wait for what the worker waits for.
    _alive: Sender<()>,
    /// The dead worker that it was taken over from.
    pub(crate) from: Option<String>,
}

impl Claim {
    /// Claims what the file at `path` stands for. `None` while a living worker has it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = format!("host: {}\nprocess: {}\n", host(), std::process::id());
        let make = || -> io::Result<bool> {
            match OpenOptions::new().write(true).create_new(true).open(path) {
                Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        };
        let mut from = None;
        if !make()? {
            let Some(owner) = dead_owner(path)? else { return Ok(None) };
            if !take_over(path, &owner, &text)? {
                return Ok(None);
            }
            from = Some(owner.trim().replace('\n', ", "));
        }
        let (alive, ended) = channel();
        let (file, owner) = (path.to_path_buf(), text.clone());
        thread::spawn(move || {
            while ended.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) && is_of(&file, &owner) {
                // A missed beat costs nothing; the next one is near.
                let _ = fs::write(&file, &owner);
            }
        });
        Ok(Some(Self { path: path.into(), text, _alive: alive, from }))
    }
}

/// Whether a claim is still this owner's: one that was silent for too long has lost it.
fn is_of(path: &Path, owner: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text == owner)
}

impl Drop for Claim {
    fn drop(&mut self) {
        if is_of(&self.path, &self.text) {
            // One that stays is taken over when its owner is gone.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What a claim says, if its owner is dead.
fn dead_owner(path: &Path) -> io::Result<Option<String>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        // It was given back in this moment: the next look finds it free.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let process = value("process: ").and_then(|number| number.parse().ok()).and_then(Pid::from_raw);
    if let (Some(owner), Some(process)) = (value("host: "), process)
        && owner == host()
        // Of another user's process we are told that we may not signal it: it lives.
        && matches!(test_kill_process(process), Err(rustix::io::Errno::SRCH))
    {
        return Ok(Some(text));
    }
    match age(path) {
        Ok(age) => Ok((age > DEAD_AFTER).then_some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// How long ago a file was written, by the clock of its file system: those of two machines may differ.
fn age(path: &Path) -> io::Result<Duration> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut now = tempfile::NamedTempFile::new_in(folder)?;
    now.write_all(b"now")?;
    let now = now.as_file().metadata()?.modified()?;
    Ok(now.duration_since(File::open(path)?.metadata()?.modified()?).unwrap_or_default())
}

/// Puts a claim in the place of a dead owner's. False if another worker was faster.
fn take_over(path: &Path, dead: &str, text: &str) -> io::Result<bool> {
    // One at a time: what was read before may be another's by now.
    let turn = path.with_extension("turn");
    match OpenOptions::new().write(true).create_new(true).open(&turn) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // Whoever had it died within a moment.
            if age(&turn).is_ok_and(|age| age > DEAD_AFTER) {
                fs::remove_file(&turn)?;
            }
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    let replace = || -> io::Result<bool> {
        if !is_of(path, dead) {
            return Ok(false);
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut ours = tempfile::NamedTempFile::new_in(folder)?;
        ours.write_all(text.as_bytes())?;
        ours.persist(path)?;
        Ok(true)
    };
    let replaced = replace();
    fs::remove_file(&turn)?;
    replaced
}

/// The machine, and on it the space of process numbers: a container has its own.
fn host() -> String {
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", rustix::system::uname().nodename().to_string_lossy(), space.display())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_claim_is_held_by_one_and_free_again_when_it_is_dropped() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("a/seed-0.claim");
        let first = Claim::take(&path).expect("a folder").expect("free");
        assert!(Claim::take(&path).expect("a folder").is_none());
        drop(first);
        assert!(Claim::take(&path).expect("a folder").expect("free").from.is_none());
    }

    #[test]
    fn the_claim_of_a_dead_worker_is_taken_over_by_one_alone() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("seed-0.claim");
        // No process has this number: it is beyond what Linux gives out.
        let dead = format!("host: {}\nprocess: 2147483646\n", host());
        fs::write(&path, &dead).expect("written");
        let taken: Vec<Option<Claim>> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| Claim::take(&path).expect("a folder"))).collect();
            all.into_iter().map(|one| one.join().expect("a thread")).collect()
        });
        let owners: Vec<&Claim> = taken.iter().flatten().collect();
        assert_eq!(owners.len(), 1);
        assert!(owners[0].from.as_ref().is_some_and(|from| from.contains("2147483646")));
        assert_eq!(place.path().read_dir().expect("a folder").count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_worker_of_another_host_is_dead_after_its_last_beat_alone() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("seed-0.claim");
        fs::write(&path, "host: elsewhere.invalid\nprocess: 1\n").expect("written");
        assert!(Claim::take(&path).expect("a folder").is_none());
        let file = File::options().write(true).open(&path).expect("a file");
        file.set_modified(SystemTime::now() - DEAD_AFTER * 2).expect("a time");
        let taken = Claim::take(&path).expect("a folder").expect("dead");
        // The owner that was only slow neither says that it lives nor gives the run back.
        fs::write(&path, "host: another\nprocess: 2\n").expect("written");
        drop(taken);
        assert!(path.exists());
    }
}
