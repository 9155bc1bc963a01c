//! The lock of a run folder: one run at a time writes there, and the file `lock` says which.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use time::OffsetDateTime;

use crate::{Error, Result};

const FILE: &str = "lock";
/// How the file begins in every folder that a run made. What follows names the run that writes there now.
const MARK: &str = "A run of Admix made this folder. Only one run at a time may write here, and it holds this file locked.\n";

/// The lock of a folder, held until this is dropped. The system drops it as well when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Claims a folder that holds nothing yet. `None` if another run was faster.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn claim(root: &Path, warn: &mut dyn FnMut(String)) -> Result<Option<Self>> {
        let path = root.join(FILE);
        let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(source) => return Err(Error::file("write", path, source)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(_)) => warn(without_locks(root)),
        }
        Self::hold(file).map(Some).map_err(|source| {
            // Without its mark it would make the folder look like somebody else's.
            let _ = std::fs::remove_file(&path);
            Error::file("write", path, source)
        })
    }

    /// Takes the lock of a folder that holds a run.
    ///
    /// # Errors
    /// Another run holds it, or may hold it on another host; the folder cannot be written.
    pub(super) fn take(root: &Path, warn: &mut dyn FnMut(String)) -> Result<Self> {
        let path = root.join(FILE);
        let failed = |source| Error::file("write", path.clone(), source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        let granted = match patient(&file) {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => return Err(in_use(root, Owner::of(root).as_ref())),
            Err(TryLockError::Error(_)) => false,
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| Error::file("read", path.clone(), source))?;
        // A damaged file names no owner: the system's lock is granted.
        match Owner::read(&String::from_utf8_lossy(&bytes)) {
            Some(owner) if owner.has_ended(granted, &Owner::this().host, is_local(&file)) => {
                warn(format!("{} was in use by {owner}, which has ended: taking it over", root.display()));
            }
            Some(owner) => {
                return Err(Error::Input(format!(
                    "{} may be in use by {owner}: whether it still runs cannot be told from here. If it has ended, remove \
                     {} and start again; else choose another folder with --out",
                    root.display(),
                    path.display()
                )));
            }
            None if !granted => warn(without_locks(root)),
            None => {}
        }
        Self::hold(file).map_err(failed)
    }

    /// Writes down who holds the file.
    fn hold(mut file: File) -> io::Result<Self> {
        // The mark comes first and is never cut off, so that a full disk cannot make the folder somebody else's.
        file.seek(SeekFrom::Start(0))?;
        file.write_all(MARK.as_bytes())?;
        file.set_len(MARK.len() as u64)?;
        file.write_all(Owner::this().lines().as_bytes())?;
        file.sync_all()?;
        Ok(Self { file })
    }

    /// Whether a run made this folder.
    pub(super) fn marks(root: &Path) -> bool {
        text_of(root).is_some_and(|text| text.starts_with(MARK))
    }

    /// Forgets the owner of a folder, unless a process of this host holds it.
    pub(super) fn forget(root: &Path) {
        let file = OpenOptions::new().read(true).write(true).open(root.join(FILE));
        if let Some(file) = file.ok().filter(|file| file.try_lock().is_ok()) {
            // If this fails, the next run says who may hold the folder.
            let _ = file.set_len(MARK.len() as u64);
        }
    }

    /// The error that tells which run uses this folder, if one does.
    pub(super) fn refusal(root: &Path) -> Option<Error> {
        let owner = Owner::of(root)?;
        let file = File::open(root.join(FILE)).ok()?;
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| in_use(root, Some(&owner)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, the next run says that it takes the folder over.
        let _ = self.file.set_len(MARK.len() as u64);
    }
}

/// Takes the lock of a file, also from who only looks whether it is held: that takes no time.
fn patient(file: &File) -> Result<(), TryLockError> {
    for _ in 0..10 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(20)),
            other => return other,
        }
    }
    file.try_lock()
}

/// Who writes into a run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    host: String,
    process: u32,
    start: String,
}

impl Owner {
    fn this() -> Self {
        let now = OffsetDateTime::now_utc();
        let (hour, minute, second) = now.to_hms();
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            process: std::process::id(),
            start: format!("{} {hour:02}:{minute:02}:{second:02} UTC", now.date()),
        }
    }

    fn of(root: &Path) -> Option<Self> {
        Self::read(&text_of(root)?)
    }

    fn read(text: &str) -> Option<Self> {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            host: value("host: ")?.into(),
            process: value("process: ")?.parse().ok()?,
            start: value("start: ")?.into(),
        })
    }

    fn lines(&self) -> String {
        format!("host: {}\nprocess: {}\nstart: {}\n", self.host, self.process, self.start)
    }

    /// Whether it is certain that this owner runs no more, given whether its lock was granted to another process.
    ///
    /// A lock that is granted on a local disk is proof. On a shared file system it proves only what happens on the same
    /// host: some keep the locks of each host apart.
    fn has_ended(&self, granted: bool, host: &str, local: bool) -> bool {
        granted && (local || self.host == host)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}, started {}", self.process, self.host, self.start)
    }
}

fn text_of(root: &Path) -> Option<String> {
    let path = root.join(FILE);
    // Only a plain file: reading a pipe would wait for ever.
    path.is_file().then(|| fs::read_to_string(path).ok())?
}

fn in_use(root: &Path, owner: Option<&Owner>) -> Error {
    let owner = owner.map_or("another run".into(), ToString::to_string);
    Error::Input(format!(
        "{} is in use by {owner}: wait until it ends or stop it, or choose another folder with --out",
        root.display()
    ))
}

fn without_locks(root: &Path) -> String {
    format!("the file system of {} has no locks: let no other run write there", root.display())
}

/// Whether a file is on a file system that one machine alone can have mounted.
#[cfg(target_os = "linux")]
fn is_local(file: &File) -> bool {
    // ext2 to ext4, XFS, Btrfs, F2FS, ZFS, tmpfs, overlayfs: numbers of linux/magic.h, and of ZFS itself.
    const LOCAL: [u32; 7] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0x0102_1994, 0x794c_7630];
    // The type of `f_type` differs from machine to machine; the numbers have 32 bits.
    rustix::fs::fstatfs(file).is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn is_local(_: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_as_it_was_written() {
        let owner = Owner::this();
        assert_eq!(Owner::read(&format!("{MARK}{}", owner.lines())), Some(owner));
        assert_eq!(Owner::read(MARK), None);
        assert_eq!(Owner::read("host: a\nprocess: x\nstart: b\n"), None);
    }

    #[test]
    fn only_a_granted_lock_of_this_host_or_of_a_local_disk_proves_that_its_owner_has_ended() {
        let owner = Owner { host: "here".into(), process: 1, start: "then".into() };
        assert!(owner.has_ended(true, "here", false) && owner.has_ended(true, "there", true));
        assert!(!owner.has_ended(true, "there", false));
        assert!(!owner.has_ended(false, "here", true));
    }
}
