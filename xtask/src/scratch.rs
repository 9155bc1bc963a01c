//! A temporary folder that goes away with its owner, or becomes the finished thing by a rename.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Names of scratch folders begin with this and end in the id of their process.
const PREFIX: &str = ".admix-";

/// A new folder, removed on drop.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes `<parent>/.admix-<name>-<process id>`.
    pub fn new(parent: &Path, name: &str) -> Result<Self> {
        let path = parent.join(format!("{PREFIX}{name}-{}", std::process::id()));
        if path.exists() {
            // Left by an earlier process that had our id.
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Removes what dead processes left in `parent`. Nothing here is worth an error.
    pub fn sweep(parent: &Path) {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let id = name.strip_prefix(PREFIX).and_then(|n| n.rsplit_once('-')).map(|(_, id)| id);
            let dead = id.is_some_and(|id| {
                id.bytes().all(|b| b.is_ascii_digit()) && !Path::new("/proc").join(id).exists()
            });
            if dead {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts the folder in the place of `home`, whatever is there now.
    pub fn replace(self, home: &Path) -> Result<()> {
        let old = self.0.with_extension("old");
        if home.symlink_metadata().is_ok() {
            // Moved away first, so that `home` is missing only for an instant.
            fs::rename(home, &old).with_context(|| format!("cannot move {} away", home.display()))?;
        }
        fs::rename(&self.0, home).with_context(|| format!("cannot make {}", home.display()))?;
        if old.exists() {
            fs::remove_dir_all(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Gone already after `replace`; and nothing useful can be done if this fails.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_goes_or_replaces_what_was_there() {
        let outer = Scratch::new(&std::env::temp_dir(), "scratch-test").unwrap();
        let home = outer.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("old"), "").unwrap();

        let inner = Scratch::new(outer.path(), "inner").unwrap();
        fs::write(inner.path().join("new"), "").unwrap();
        inner.replace(&home).unwrap();
        assert!(home.join("new").exists() && !home.join("old").exists());

        drop(Scratch::new(outer.path(), "inner").unwrap());
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_sweep_takes_only_what_the_dead_left() {
        let outer = Scratch::new(&std::env::temp_dir(), "sweep-test").unwrap();
        // Process ids are limited to 2^22 on Linux.
        for name in [".admix-x-99999999", ".admix-x-1", ".admix-x", "x-99999999"] {
            fs::create_dir(outer.path().join(name)).unwrap();
        }
        Scratch::sweep(outer.path());
        let mut left: Vec<_> = fs::read_dir(outer.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".admix-x", ".admix-x-1", "x-99999999"]);
    }
}
