//! Where the weights of a run come from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the weights of a run come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartedFrom {
    /// As the recipe names it.
    pub from: String,
    /// The file on this machine.
    pub file: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// How it is written: "safetensors" or "PyTorch".
    pub format: String,
    /// What stands before the names of the backbone's tensors there.
    pub prefix: String,
    /// Whose names it has: "torchvision".
    pub names: String,
    /// Tensors of the backbone, all of which were found.
    pub matched: usize,
    /// What else was taken: "head.one".
    pub more: Vec<String>,
    /// Heads that begin with random values: "head.one".
    // Left out where there are none, so that the checksums of earlier files hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new: Vec<String>,
    /// Tensors of the file that were not used.
    pub left_over: Vec<String>,
    /// Networks there that follow the one that was taken.
    pub followers: Vec<String>,
    /// What their images were normalised by is the same as here; `None`: the file does not say it.
    pub same_normalisation: Option<bool>,
}

impl std::fmt::Display for StartedFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "starts from {}: all {} tensors of the backbone", self.from, self.matched)?;
        if !self.prefix.is_empty() {
            write!(f, ", under `{}`", self.prefix)?;
        }
        if !self.more.is_empty() {
            write!(f, ", and {}", self.more.join(", "))?;
        }
        if !self.new.is_empty() {
            write!(f, "; with random values begin {}", self.new.join(", "))?;
        }
        match self.left_over.as_slice() {
            [] => write!(f, "; none left over")?,
            [first, ..] => write!(f, "; {} left over, such as `{first}`", self.left_over.len())?,
        }
        if !self.followers.is_empty() {
            write!(f, "; networks that follow it there are left alone: `{}`", self.followers.join("`, `"))?;
        }
        if self.same_normalisation.is_none() {
            f.write_str(
                "; it does not say what its images were normalised by: see `data.mean` and `data.std`",
            )?;
        }
        Ok(())
    }
}
