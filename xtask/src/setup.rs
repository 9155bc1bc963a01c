//! `setup`: finds or fetches libtorch and links it as `.libtorch`.
//!
//! The order: an existing `.libtorch`, the folder in `LIBTORCH`, a PyTorch that Python can import, the user's
//! cache, a download into the cache. The first four need no network.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::cuda_object;
use crate::libtorch::{self, Anew, Part, VERSION};
use crate::process::Cmd;
use crate::repo::Repo;
use crate::tools;

/// Prints where Python would import `torch` from, without importing it (which takes seconds).
const FIND_PYTORCH: &str = "import importlib.util, os
spec = importlib.util.find_spec('torch')
if spec and spec.origin: print(os.path.dirname(os.path.abspath(spec.origin)))";

/// Flags of `setup`.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// With the GPU libraries, 2.5 GB, and the object for CUDA graphs, which is compiled here.
    #[arg(long)]
    cuda: bool,
    /// Look again, fetch again.
    #[arg(long)]
    force: bool,
}

/// Sets up, and says where libtorch is.
///
/// # Errors
/// There is no libtorch and it cannot be fetched.
pub fn run(repo: &Repo, args: &SetupArgs) -> Result<()> {
    let part = if args.cuda { Part::Cuda } else { Part::Cpu };
    let anew = if args.force { Anew::Yes } else { Anew::No };
    install(repo, part, anew)?;
    let torch = repo.libtorch().join("torch");
    println!("libtorch {VERSION}: {}", torch.canonicalize().unwrap_or(torch.clone()).display());
    if part == Part::Cuda {
        match cuda_object::build(repo, anew) {
            Ok(object) => println!("CUDA graphs: {}", object.display()),
            // Training works without it.
            Err(error) => println!("steps will not be captured as CUDA graphs: {error:#}"),
        }
    }
    if part == Part::Cpu && has_gpu() && libtorch::check(&torch, Part::Cuda).is_err() {
        println!("an NVIDIA GPU is here: `cargo xtask setup --cuda` fetches what it needs (2.5 GB)");
    }
    Ok(())
}

/// Makes sure that `.libtorch` is usable; says nothing if it is already.
pub fn ensure_done(repo: &Repo) -> Result<()> {
    install(repo, Part::Cpu, Anew::No)
}

/// Finds or makes libtorch and links it.
fn install(repo: &Repo, part: Part, anew: Anew) -> Result<()> {
    tools::need_compiler()?;
    let users = repo.users_libtorch();
    if let Some(torch) = &users {
        // Builds would use it even where `.libtorch` is fine, and fail later with less of a message.
        ensure!(torch.is_absolute(), "LIBTORCH={} is not an absolute path", torch.display());
        if let Err(reason) = libtorch::check(torch, Part::Cpu) {
            bail!(
                "LIBTORCH={} cannot be used ({reason}), and every build would use it: unset LIBTORCH, or let it \
                 name the folder of a libtorch {VERSION}",
                torch.display()
            );
        }
    }
    let link = repo.libtorch();
    if anew == Anew::No && libtorch::check(&link.join("torch"), part).is_ok() {
        return Ok(());
    }
    let torch = match users.filter(|torch| is_usable(torch, part, "LIBTORCH")).or_else(|| pytorch(part)) {
        Some(torch) => torch,
        None => libtorch::cached(part, anew)?,
    };
    point(&link, &torch)
}

/// The folder of an importable PyTorch, if it is the right one.
fn pytorch(part: Part) -> Option<PathBuf> {
    // Away from any folder named `torch` that is not a package.
    let folder =
        Cmd::new(tools::python()?).args(["-c", FIND_PYTORCH]).dir(&std::env::temp_dir()).try_output()?;
    let torch = PathBuf::from(folder);
    (!torch.as_os_str().is_empty() && is_usable(&torch, part, "the PyTorch of python3")).then_some(torch)
}

/// True if `torch` can be used; says why it is passed over otherwise.
fn is_usable(torch: &Path, part: Part, name: &str) -> bool {
    match libtorch::check(torch, part).and_then(|()| libtorch::check_loads(torch, part)) {
        Ok(()) => true,
        Err(reason) => {
            println!("{name} in {} is passed over: {reason:#}", torch.display());
            false
        }
    }
}

/// Makes `link` such that `link/torch` is `torch` and `link/nvidia` its sibling.
fn point(link: &Path, torch: &Path) -> Result<()> {
    let parent = torch.parent().context("libtorch cannot be the root folder")?;
    let fresh = link.with_extension(format!("new-{}", std::process::id()));
    let cannot = || format!("cannot link {}", link.display());
    if torch.file_name().is_some_and(|n| n == "torch") {
        symlink(parent, &fresh).with_context(cannot)?;
    } else {
        fs::create_dir(&fresh).with_context(cannot)?;
        symlink(torch, fresh.join("torch")).with_context(cannot)?;
        if parent.join("nvidia").is_dir() {
            symlink(parent.join("nvidia"), fresh.join("nvidia")).with_context(cannot)?;
        }
    }
    let replaced = remove_link(link).and_then(|()| fs::rename(&fresh, link).with_context(cannot));
    if replaced.is_err() {
        let _ = remove_link(&fresh);
    }
    replaced
}

/// Removes what `point` made; anything else is left and reported.
fn remove_link(link: &Path) -> Result<()> {
    let Ok(data) = link.symlink_metadata() else { return Ok(()) };
    if data.is_symlink() {
        return fs::remove_file(link).with_context(|| format!("cannot remove {}", link.display()));
    }
    for entry in fs::read_dir(link).with_context(|| format!("cannot read {}", link.display()))? {
        if !entry?.file_type()?.is_symlink() {
            bail!(
                "{} was not made by this command and is not libtorch {VERSION}: move it away",
                link.display()
            );
        }
    }
    fs::remove_dir_all(link).with_context(|| format!("cannot remove {}", link.display()))
}

/// True if NVIDIA's kernel driver is loaded.
fn has_gpu() -> bool {
    Path::new("/proc/driver/nvidia/version").exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn links_of_both_kinds_are_made_and_replaced() {
        let folder = Scratch::new(&std::env::temp_dir(), "point-test").unwrap();
        let link = folder.path().join(".libtorch");
        for home in ["site/torch", "site/nvidia", "opt/libtorch"] {
            fs::create_dir_all(folder.path().join(home)).unwrap();
        }
        let site = folder.path().join("site/torch");
        let opt = folder.path().join("opt/libtorch");
        for _ in 0..2 {
            point(&link, &site).unwrap();
            assert_eq!(link.join("torch").canonicalize().unwrap(), site.canonicalize().unwrap());
            assert!(link.join("nvidia").is_dir());
            point(&link, &opt).unwrap();
            assert_eq!(link.join("torch").canonicalize().unwrap(), opt.canonicalize().unwrap());
            assert!(!link.join("nvidia").exists());
        }
        assert!(site.is_dir() && opt.is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_folder_of_the_users_is_left_alone() {
        let folder = Scratch::new(&std::env::temp_dir(), "users-test").unwrap();
        let link = folder.path().join(".libtorch");
        fs::create_dir_all(link.join("torch")).unwrap();
        let error = point(&link, &folder.path().join("site/torch")).unwrap_err();
        assert!(error.to_string().contains("move it away"), "{error}");
        assert!(link.join("torch").is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
