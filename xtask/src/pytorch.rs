//! PyTorch training by hand, which ours is timed against.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::measure::{Libtorch, Options, Side, words};
use crate::process::Cmd;
use crate::repo::Repo;

/// The PyTorch program and the Python that runs it.
#[derive(Debug)]
pub struct Peer {
    python: String,
    script: PathBuf,
}

impl Peer {
    /// Finds both, and says which PyTorch it is.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn find(repo: &Repo) -> Result<Self> {
        let script = repo.shared().join("peer/torch_steps.py");
        ensure!(
            script.is_file(),
            "there is no {}: set ADMIX_SHARED to the folder that holds peer/",
            script.display()
        );
        let python = env::var("ADMIX_PEER_PYTHON").unwrap_or_else(|_| "python3".into());
        let torch = Cmd::new(&python).args(["-c", "import torch; print(torch.__version__)"]).try_output();
        let torch = torch.with_context(|| {
            format!("`{python}` has no PyTorch: name a Python that has one in ADMIX_PEER_PYTHON")
        })?;
        println!("peer: PyTorch {torch}");
        Ok(Self { python, script })
    }

    /// Its steps of a method.
    pub fn side(&self, method: &str, batch: &str, options: &Options) -> Side {
        let script = words(&self.script, &["--method", method, "--batch", batch]);
        let command = [self.python.clone()].into_iter().chain(script).chain(options.flags());
        Side { name: format!("pytorch {method}"), command: command.collect(), libtorch: Libtorch::Own }
    }
}
