//! `bench gpu --bundle`: a folder with all that a machine with a GPU needs, which has no Rust and no network.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::process::Cmd;
use crate::repo::Repo;
use crate::scratch::Scratch;
use crate::training::DATASET;

/// What is run there.
const RUN: &str = include_str!("run.sh");
/// The most that the folder may hold.
const MOST_BYTES: u64 = 60_000_000;
/// Files and folders of the repository that go along, with their paths. The first says where a repository is.
const PARTS: [&str; 9] = [
    "xtask/Cargo.toml",
    "configs",
    "scripts",
    "docs/late_cutmix.rhai",
    "core/torch/cuda/graphs.cpp",
    "core/torch/cuda/kernels.cpp",
    "core/torch/cuda/nccl.cpp",
    "core/torch/shim/launch.h",
    "core/torch/shim/shim.h",
];
/// The PyTorch program, in the shared folder.
const PEER: &str = "peer/torch_steps.py";
/// Of each class of CIFAR-10 every image whose number is divisible by this goes along: 10,000 to train on, 2,000 to test on.
const EVERY: usize = 5;

/// Packs, and says how large it is.
///
/// # Errors
/// The folder is there already, a file is missing, or all together is too large.
pub fn pack(repo: &Repo, folder: &Path, programs: [&Path; 2], data: &Path) -> Result<()> {
    ensure!(!folder.exists(), "--bundle {}: it is there already, expected a new folder", folder.display());
    let home = folder.parent().filter(|home| !home.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = Scratch::new(home, "bundle")?;
    let root = scratch.path();
    let here = std::env::current_exe().context("cannot tell where this program is")?;
    for program in programs.into_iter().chain([here.as_path()]) {
        let packed = root.join("bin").join(program.file_name().context("a program without a name")?);
        copy(program, &packed)?;
        Cmd::new("strip").arg("--strip-all").arg(&packed).run()?;
        Cmd::new("gzip").arg("--no-name").arg(&packed).run()?;
    }
    for part in PARTS {
        copy(&repo.root().join(part), &root.join(part))?;
    }
    let peer = repo.shared().join(PEER);
    ensure!(peer.is_file(), "there is no {}: set ADMIX_SHARED to the folder that holds it", peer.display());
    copy(&peer, &root.join("shared").join(PEER))?;
    if data.is_file() {
        sample(data, &root.join("shared").join(DATASET.1))?;
    } else {
        println!("without CIFAR-10, as there is no archive {}", data.display());
    }
    let run = root.join("run.sh");
    fs::write(&run, RUN).with_context(|| format!("cannot write {}", run.display()))?;
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755))?;
    let bytes = size(root)?;
    ensure!(
        bytes < MOST_BYTES,
        "it would hold {bytes} bytes, expected less than {MOST_BYTES}: leave --admix out, so that it gets the release build"
    );
    scratch.replace(folder)?;
    println!("{}: {:.1} MB; {}/run.sh measures", folder.display(), bytes as f64 / 1e6, folder.display());
    Ok(())
}

/// A file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let cannot = || format!("cannot copy {} to {}", from.display(), to.display());
    if from.is_dir() {
        fs::create_dir_all(to).with_context(cannot)?;
        for entry in fs::read_dir(from).with_context(cannot)? {
            let name = entry.with_context(cannot)?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().unwrap_or(to)).with_context(cannot)?;
    fs::copy(from, to).with_context(cannot).map(drop)
}

/// Bytes of all files in a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// Every so many images of an archive of folders, as another archive.
fn sample(archive: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    let scratch = Scratch::new(to.parent().unwrap_or(to), "images")?;
    Cmd::new("tar").arg("-xf").arg(archive).arg("-C").arg(scratch.path()).run()?;
    thin(scratch.path())?;
    Cmd::new("tar").arg("-cJf").arg(to).arg("-C").arg(scratch.path()).arg(".").run()
}

/// Leaves every so many files in each folder, by their names.
fn thin(folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => thin(&path)?,
            false => files.push(path),
        }
    }
    files.sort();
    for (_, file) in files.iter().enumerate().filter(|(place, _)| place % EVERY != 0) {
        fs::remove_file(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fifth_image_of_a_class_is_packed() {
        let outer = Scratch::new(&std::env::temp_dir(), "sample-test").unwrap();
        let (folder, archive) = (outer.path().join("all"), outer.path().join("all.tar.xz"));
        for class in ["train/a", "train/b", "test/a"] {
            fs::create_dir_all(folder.join(class)).unwrap();
            for image in 0..11 {
                fs::write(folder.join(class).join(format!("{image:04}.jpg")), class).unwrap();
            }
        }
        Cmd::new("tar").arg("-cJf").arg(&archive).arg("-C").arg(&folder).arg(".").run().unwrap();
        let packed = outer.path().join("packed/few.tar.xz");
        sample(&archive, &packed).unwrap();
        let listed = Cmd::new("tar").arg("-tf").arg(&packed).try_output().unwrap();
        let mut images: Vec<&str> = listed.lines().filter(|line| line.ends_with(".jpg")).collect();
        images.sort();
        assert_eq!(images.len(), 9, "{images:?}");
        assert!(images.starts_with(&["./test/a/0000.jpg", "./test/a/0005.jpg", "./test/a/0010.jpg"]));
        assert_eq!(fs::read_dir(outer.path().join("packed")).unwrap().count(), 1);
    }

    #[test]
    fn all_that_the_shared_object_is_compiled_from_goes_along() {
        let repo = Repo::find().unwrap();
        let names = PARTS.map(|part| part.rsplit('/').next().unwrap_or(part));
        let sources = PARTS.iter().filter(|part| part.starts_with("core/torch/"));
        for source in sources.clone() {
            let text = fs::read_to_string(repo.root().join(source)).unwrap();
            for line in text.lines() {
                if let Some(name) = line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"')) {
                    assert!(names.contains(&name), "{source} includes {name}");
                }
            }
        }
        for source in crate::cuda_object::SOURCES {
            assert!(PARTS.contains(&source), "{source}");
        }
    }

    #[test]
    fn a_folder_that_is_there_is_left_alone() {
        let outer = Scratch::new(&std::env::temp_dir(), "bundle-test").unwrap();
        let repo = Repo::find().unwrap();
        let error = pack(&repo, outer.path(), [Path::new("a"), Path::new("b")], Path::new("c")).unwrap_err();
        assert!(error.to_string().contains("expected a new folder"), "{error}");
    }
}
