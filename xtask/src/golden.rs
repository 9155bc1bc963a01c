//! `golden`: copies the reference vectors into the repository.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::repo::Repo;

/// File stems of the vectors that the tests read. Add a name when a method that has vectors is built.
const VECTORS: &[&str] = &[
    "ce_losses",
    "ema",
    "lam_adjust",
    "lam_rescale",
    "mask_loss",
    "mixblock_amix",
    "mixblock_amix_pair",
    "mixblock_amix_relu_k1",
    "mixblock_automix",
    "mixblock_automix_lamcat",
    "mixblock_default",
    "mixblock_paper",
    "mixers_fmix",
    "mixers_mixup_cutmix",
    "mixers_puzzlemix_64",
    "mixers_puzzlemix_mask",
    "mixers_puzzlemix_transport",
    "mixers_resizemix",
    "mixers_saliencymix",
    "schedules",
    "supervised_step_amix",
    "supervised_step_automix",
    "supervised_step_default",
];

/// Flags of `golden`.
#[derive(Debug, Args)]
pub struct GoldenArgs {
    /// The folder of the vectors; the shared one unless given.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

/// Copies the vectors.
///
/// # Errors
/// One of them is not there.
pub fn run(repo: &Repo, args: &GoldenArgs) -> Result<()> {
    let from = args.from.clone().unwrap_or_else(|| repo.shared().join("golden"));
    let to = repo.root().join("tests/golden");
    fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut bytes = 0;
    for stem in VECTORS {
        let file = format!("{stem}.safetensors");
        let data = fs::read(from.join(&file))
            .with_context(|| format!("cannot read {}", from.join(&file).display()))?;
        bytes += data.len();
        // Not `fs::copy`: the source may be read-only, and a copy that is could not be replaced next time.
        fs::write(to.join(&file), data)
            .with_context(|| format!("cannot write {}", to.join(&file).display()))?;
    }
    println!("{}: {} files, {bytes} bytes", to.display(), VECTORS.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(VECTORS.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
