//! Published checksums.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::Result;
use crate::error::At;

/// A checksum as it is published, in lower-case hexadecimal.
///
/// ```
/// use admix_fetch::Sum;
///
/// let folder = std::env::temp_dir().join("admix-doc-sum");
/// std::fs::write(&folder, "abc")?;
/// let published = Sum::Sha256Start("ba7816bf".into());
/// assert_eq!(published.differs(&folder)?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sum {
    /// MD5.
    Md5(String),
    /// SHA-256.
    Sha256(String),
    /// The first digits of a SHA-256, as they are part of the names of PyTorch's files.
    Sha256Start(String),
}

impl Sum {
    /// What a file has instead of this checksum, in words; `None` if it has this one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn differs(&self, path: &Path) -> Result<Option<String>> {
        let (name, wanted, found) = match self {
            Self::Md5(wanted) => ("MD5", wanted, digest::<Md5>(path)?),
            Self::Sha256(wanted) => ("SHA-256", wanted, digest::<Sha256>(path)?),
            Self::Sha256Start(wanted) => {
                let mut found = digest::<Sha256>(path)?;
                found.truncate(wanted.len());
                ("SHA-256", wanted, found)
            }
        };
        Ok((*wanted != found).then(|| format!("the {name} {found}, expected {wanted}")))
    }
}

/// The SHA-256 of a file, in lower-case hexadecimal.
///
/// # Errors
/// The file cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    digest::<Sha256>(path)
}

fn digest<D: Digest>(path: &Path) -> Result<String> {
    let mut file = File::open(path).at("open", path)?;
    let (mut sum, mut buffer) = (D::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).at("read", path)? {
            0 => break,
            n => sum.update(&buffer[..n]),
        }
    }
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
