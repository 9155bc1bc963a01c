//! `wheel`: the Python package, built, installed into a fresh virtual environment, and tested there.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::process::Cmd;
use crate::repo::{Profile, Repo};

/// What builds the wheel.
const MATURIN: &str = "maturin==1.16.0";
/// The PyTorch that the package is for.
const TORCH: &str = "torch==2.11.0";
/// What the tests need beside it.
const TEST_PACKAGES: [&str; 4] = ["pytest", "numpy", "safetensors", "setuptools"];
/// The libraries that the extension module may link: PyTorch's, which brings its own `libgomp`, and the system's.
const NEEDED: [&str; 8] = [
    "libtorch_cpu.so",
    "libc10.so",
    "libgomp.so",
    "libstdc++.so",
    "libgcc_s.so",
    "libc.so",
    "libm.so",
    "ld-linux",
];

/// The newest versions of the system's functions that a wheel for manylinux_2_28 may ask for.
const NEWEST: [(&str, &[u32]); 3] =
    [("GLIBC_", &[2, 28]), ("GLIBCXX_", &[3, 4, 25]), ("CXXABI_", &[1, 3, 11])];
/// Flags of `wheel`.
#[derive(Debug, Args)]
pub struct WheelArgs {
    /// The interpreter to install for; 3.10 or newer. The wheel is the same for all.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Take PyTorch from this interpreter's packages instead of installing gigabytes.
    #[arg(long, value_name = "PYTHON")]
    torch_of: Option<PathBuf>,
    /// Run the tests of python/tests in the environment.
    #[arg(long)]
    test: bool,
    /// Build the wheel and do nothing else.
    #[arg(long, conflicts_with_all = ["test", "torch_of"])]
    only: bool,
    /// Flags for pytest, after `--`.
    #[arg(last = true, requires = "test")]
    pytest: Vec<String>,
}

/// Builds the wheel into target/wheel/dist, looks at what it links, and installs it below target/wheel.
///
/// # Errors
/// There is no Python or no network, the build fails, the wheel links what it must not, or a test fails.
pub fn run(repo: &Repo, args: &WheelArgs) -> Result<()> {
    let folder = repo.target()?.join("wheel");
    let wheel = build(repo, &folder, &args.python)?;
    look_at(&folder.join("release/lib_admix.so"))?;
    println!("built {} ({:.1} MB)", wheel.display(), fs::metadata(&wheel)?.len() as f64 / 1e6);
    if args.only {
        return Ok(());
    }
    let venv = folder.join("venv");
    let python = environment(&venv, &args.python)?;
    let pip = || pip(&python);
    match &args.torch_of {
        Some(other) => borrow_torch(&python, other)?,
        None => pip().args(["install", "--quiet", TORCH]).run()?,
    }
    pip().args(["install", "--quiet", "--no-deps"]).arg(&wheel).run()?;
    let python = || Cmd::new(&python).dir(&folder).env_remove("LD_LIBRARY_PATH");
    python()
        .args([
            "-c",
            "import admix; print('admix', admix.__version__, 'has', *admix.mixers(), *admix.losses())",
        ])
        .run()?;
    if args.test {
        pip().args(["install", "--quiet"]).args(TEST_PACKAGES).run()?;
        repo.build(&["--workspace", "--lib", "--example", "mix_all"], Profile::Dev)?;
        let built = repo.target()?.join("debug");
        python()
            .env("ADMIX_MIX_ALL", built.join("examples/mix_all"))
            .env("ADMIX_LIBRARY", built.join("libsmooth_mix.so"))
            .env(
                "ADMIX_LIBTORCH",
                repo.users_libtorch().unwrap_or_else(|| repo.libtorch().join("torch")).join("lib"),
            )
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
            .arg(repo.root().join("python/tests"))
            .args(&args.pytest)
            .run()?;
    }
    println!("installed in {}", venv.display());
    Ok(())
}

/// Builds the wheel with maturin, in a target folder of its own: the flags of the workspace would leave its run paths in it.
fn build(repo: &Repo, folder: &Path, python: &Path) -> Result<PathBuf> {
    let tools = folder.join("tools");
    if !tools.join("bin/maturin").is_file() {
        let python = environment(&tools, python)?;
        pip(&python).args(["install", "--quiet", MATURIN]).run()?;
    }
    let dist = folder.join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist).with_context(|| format!("cannot remove {}", dist.display()))?;
    }
    let libtorch = repo.users_libtorch().unwrap_or_else(|| repo.libtorch().join("torch"));
    repo.program(tools.join("bin/maturin"))
        .args(["build", "--release", "--locked", "--compatibility", "manylinux_2_28", "--manifest-path"])
        .arg(repo.root().join("python/Cargo.toml"))
        .arg("--out")
        .arg(&dist)
        .arg("--interpreter")
        .arg(tools.join("bin/python"))
        .env("CARGO_TARGET_DIR", folder)
        .env("CARGO_ENCODED_RUSTFLAGS", "")
        .env("LIBTORCH", libtorch)
        .run()?;
    let wheels = fs::read_dir(&dist).with_context(|| format!("cannot read {}", dist.display()))?;
    let mut wheels: Vec<PathBuf> = wheels.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(wheels.len() == 1, "maturin made {} wheels, expected one", wheels.len());
    Ok(wheels.remove(0))
}

/// Refuses an extension module that links a libtorch of its own, names symbols of one Python version, or needs a newer system
/// than its name says.
fn look_at(library: &Path) -> Result<()> {
    let read = |flags: &[&str]| -> Result<String> {
        let text = Cmd::new("readelf").args(flags).arg(library).output()?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let quoted = |line: &str| line.split(['[', ']']).nth(1).map(str::to_string);
    for line in read(&["--dynamic", "--wide"])?.lines() {
        let Some(name) = quoted(line) else { continue };
        if line.contains("(NEEDED)") {
            ensure!(NEEDED.iter().any(|known| name.starts_with(known)), "the wheel links {name}");
        }
        if line.contains("(RUNPATH)") || line.contains("(RPATH)") {
            ensure!(name == "$ORIGIN/../torch/lib", "the wheel looks for libraries in {name}");
        }
    }
    // Python's private functions and those of PyTorch's Python part; what is looked up by name at run time is not here.
    let symbols = read(&["--dyn-syms", "--wide"])?;
    let mine = symbols
        .lines()
        .filter(|line| line.contains(" UND "))
        .filter_map(|line| line.split_whitespace().nth(7));
    let private = mine.filter(|name| name.starts_with("_Py") || name.contains("THP"));
    // Part of the stable ABI, in spite of their names.
    let stable = [
        "_Py_NoneStruct",
        "_Py_TrueStruct",
        "_Py_FalseStruct",
        "_Py_Dealloc",
        "_Py_IncRef",
        "_Py_DecRef",
        "_Py_NotImplementedStruct",
        "_Py_EllipsisObject",
    ];
    for (name, version) in symbols.lines().filter_map(|line| line.split_once('@')) {
        let version = version.trim_start_matches('@').split(' ').next().unwrap_or_default();
        for (library, newest) in NEWEST {
            let Some(numbers) = version.strip_prefix(library) else { continue };
            let numbers = numbers.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>();
            let old = numbers.is_ok_and(|numbers| numbers.as_slice() <= newest);
            let name = name.split(' ').next_back().unwrap_or_default();
            ensure!(
                old,
                "the wheel needs {name} of {version}: python/old_systems is where such functions go"
            );
        }
    }
    let private: Vec<&str> = private.filter(|name| !stable.contains(name)).collect();
    ensure!(private.is_empty(), "the wheel names private symbols: {}", private.join(", "));
    Ok(())
}

/// A new virtual environment; returns its interpreter.
fn environment(venv: &Path, python: &Path) -> Result<PathBuf> {
    if venv.exists() {
        fs::remove_dir_all(venv).with_context(|| format!("cannot remove {}", venv.display()))?;
    }
    Cmd::new(python)
        .args(["-m", "venv"])
        .arg(venv)
        .run()
        .context("a Python of 3.10 or newer with `venv` is needed")?;
    Ok(venv.join("bin/python"))
}

fn pip(python: &Path) -> Cmd {
    Cmd::new(python).args(["-m", "pip", "--disable-pip-version-check"])
}

/// Lets an environment see the packages of another interpreter of the same version, among them PyTorch.
fn borrow_torch(python: &Path, other: &Path) -> Result<()> {
    let told = |python: &Path, code: &str| -> Result<String> {
        let text = Cmd::new(python).args([OsStr::new("-c"), OsStr::new(code)]).output()?;
        Ok(String::from_utf8_lossy(&text).trim().to_string())
    };
    let version = "import sys; print('%d.%d' % sys.version_info[:2])";
    let (mine, theirs) = (told(python, version)?, told(other, version)?);
    if mine != theirs {
        bail!("{} is Python {theirs}, but the environment is for Python {mine}", other.display());
    }
    let site = "import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))";
    let packages = told(other, site).with_context(|| format!("{} has no PyTorch", other.display()))?;
    let own = told(python, "import sysconfig; print(sysconfig.get_paths()['purelib'])")?;
    let link = Path::new(&own).join("borrowed.pth");
    fs::write(&link, packages).with_context(|| format!("cannot write {}", link.display()))?;
    Ok(())
}
