//! The Python package in an environment of its own: the wheel that `cargo xtask wheel` built, and the tests of `python/tests`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::readme::root;

/// The one wheel that was built, if it is not older than its sources.
fn wheel() -> Result<PathBuf, String> {
    let dist = root().join("target/wheel/dist");
    let found = std::fs::read_dir(&dist).into_iter().flatten().flatten().map(|entry| entry.path()).next();
    let wheel = found.ok_or("no wheel is built; `cargo xtask wheel` builds one")?;
    let modified = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let sources = ["python/src", "python/admix"].map(|folder| root().join(folder));
    let files = sources.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    match files.map(|entry| entry.path()).find(|file| file.is_file() && modified(file) > modified(&wheel)) {
        Some(newer) => {
            Err(format!("{} is newer than the wheel; `cargo xtask wheel` builds it again", newer.display()))
        }
        None => Ok(wheel),
    }
}

fn output(command: &mut Command) -> String {
    let done = command.env_remove("LD_LIBRARY_PATH").output().expect("a program that starts");
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {text}");
    text
}

/// An interpreter with PyTorch 2.11 and pytest: `ADMIX_PYTHON`, or that of the environment of `cargo xtask wheel --test`.
fn python() -> Result<PathBuf, String> {
    let own = root().join("target/wheel/venv/bin/python");
    let python = std::env::var_os("ADMIX_PYTHON").map_or(own, PathBuf::from);
    let code = "import torch, pytest; assert torch.__version__.startswith('2.11.')";
    let asked = Command::new(&python).env_remove("LD_LIBRARY_PATH").args(["-c", code]).output();
    match asked {
        Ok(done) if done.status.success() => Ok(python),
        _ => Err(format!(
            "{} has no PyTorch 2.11 with pytest; `cargo xtask wheel --test` makes one, or set ADMIX_PYTHON",
            python.display()
        )),
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn the_wheel_works_in_a_fresh_environment() {
    let (wheel, python) = match wheel().and_then(|wheel| Ok((wheel, python()?))) {
        Ok(found) => found,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let place = tempfile::tempdir().expect("a folder");
    let venv = place.path().join("venv");
    output(Command::new(&python).args(["-m", "venv"]).arg(&venv));
    let fresh = || Command::new(venv.join("bin/python"));
    // PyTorch and what it needs are gigabytes: seen, not installed again.
    let site = "import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))";
    let packages = output(Command::new(&python).args(["-c", site]));
    let own = output(fresh().args(["-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]));
    std::fs::write(Path::new(own.trim()).join("torch.pth"), packages).expect("a file");
    output(
        fresh()
            .args(["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--force-reinstall"])
            .arg(&wheel),
    );
    let said = output(fresh().current_dir(place.path()).args(["-c", "import admix; print(admix.__file__)"]));
    assert!(said.trim().starts_with(&*place.path().to_string_lossy()), "another admix is found: {said}");
    let built = root().join("target/debug");
    let (program, library) = (built.join("examples/mix_all"), built.join("libsmooth_mix.so"));
    let mut tests = fresh();
    tests.current_dir(place.path()).args(["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]);
    if program.is_file() {
        let libtorch = std::env::var("LIBTORCH")
            .unwrap_or_else(|_| root().join(".libtorch/torch").display().to_string());
        tests.env("ADMIX_MIX_ALL", program).env("ADMIX_LIBTORCH", format!("{libtorch}/lib"));
    }
    if library.is_file() {
        tests.env("ADMIX_LIBRARY", library);
    }
    let said = output(tests.arg(root().join("python/tests")));
    assert!(said.contains(" passed"), "{said}");
}
