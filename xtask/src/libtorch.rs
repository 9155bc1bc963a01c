//! What a usable libtorch looks like, and how to make one from wheels.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{Cmd, is_missing};
use crate::scratch::Scratch;
use crate::tools;
use crate::wheels::{self, Wheel};

/// The version that tch 0.24 speaks. Torch-sys refuses any other.
pub const VERSION: &str = "2.11.0";
/// Written last into a folder made from wheels.
const STAMP: &str = "admix-stamp";
/// Names a folder with the wheels, for machines without a network.
pub const WHEELS_VARIABLE: &str = "ADMIX_WHEELS";

/// Loads the library named by its argument.
const LOAD: &str = "import ctypes, sys
try: ctypes.CDLL(sys.argv[1])
except OSError as e: sys.exit('error: ' + str(e))";

/// How much of libtorch is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What linking and running on a CPU need.
    Cpu,
    /// With the CUDA libraries.
    Cuda,
}

impl Part {
    /// The wheels it is made of.
    fn wheels(self) -> &'static [Wheel] {
        match self {
            Self::Cpu => wheels::CPU,
            Self::Cuda => wheels::CUDA,
        }
    }

    /// Name of its folder in the user's cache.
    fn folder(self) -> String {
        match self {
            Self::Cpu => format!("libtorch-{VERSION}"),
            Self::Cuda => format!("libtorch-{VERSION}-cuda"),
        }
    }

    /// Bytes it takes when unpacked, somewhat rounded up.
    fn unpacked_bytes(self) -> u64 {
        match self {
            Self::Cpu => 520_000_000,
            Self::Cuda => 4_800_000_000,
        }
    }
}

/// Fails with the reason if `torch`, a folder with `lib` and `include`, is not what we need.
pub fn check(torch: &Path, part: Part) -> Result<()> {
    ensure!(torch.is_dir(), "there is no such folder");
    let mut files = vec![
        "lib/libtorch_cpu.so",
        "lib/libc10.so",
        "lib/libtorch.so",
        "include/ATen/ATen.h",
        "include/torch/csrc/api/include/torch/torch.h",
    ];
    if part == Part::Cuda {
        files.push("lib/libtorch_cuda.so");
    }
    for file in files {
        ensure!(fs::metadata(torch.join(file)).is_ok_and(|m| m.len() > 0), "it has no {file}");
    }
    let version = version(torch).context("it has neither build-version nor version.py")?;
    ensure!(version == VERSION, "it is version {version}, not {VERSION}");
    Ok(())
}

/// Version of the libtorch in `torch`, without the build's suffix (`+cu130`).
fn version(torch: &Path) -> Option<String> {
    let text = match fs::read_to_string(torch.join("build-version")) {
        Ok(text) => text,
        Err(_) => python_version(&fs::read_to_string(torch.join("version.py")).ok()?)?.to_string(),
    };
    text.trim().split('+').next().map(str::to_string)
}

/// The value of `__version__` in PyTorch's `version.py`.
fn python_version(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|l| l.strip_prefix("__version__"))?;
    Some(line.trim_start_matches([' ', '=']).trim().trim_matches(['\'', '"']))
}

/// Fails if the libraries in `torch` cannot be loaded, for instance for lack of CUDA's runtime.
pub fn check_loads(torch: &Path, part: Part) -> Result<()> {
    let Some(python) = tools::python() else {
        return Ok(()); // The linker will tell; nothing else here needs Python.
    };
    let libraries: &[&str] = match part {
        Part::Cpu => &["libtorch_cpu.so"],
        Part::Cuda => &["libtorch_cpu.so", "libtorch_cuda.so"],
    };
    for library in libraries {
        let library = torch.join("lib").join(library);
        let loaded = Cmd::new(&python).args(["-c", LOAD]).arg(&library).run();
        ensure!(loaded.is_ok(), "{} cannot be loaded", library.display());
    }
    Ok(())
}

/// The folder that all clones of this user share: `$XDG_CACHE_HOME/admix`, else `~/.cache/admix`.
pub fn cache() -> Result<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    Ok(base.context("neither HOME nor XDG_CACHE_HOME names a folder for the download")?.join("admix"))
}

/// True if `home` was made from these very wheels, completely.
fn is_complete(home: &Path, part: Part) -> bool {
    fs::read_to_string(home.join(STAMP)).is_ok_and(|s| s == wheels::stamp(part.wheels()))
        && check(&home.join("torch"), part).is_ok()
}

/// The `torch` folder in the user's cache, made first if it is not there or `anew` is asked for.
pub fn cached(part: Part, anew: Anew) -> Result<PathBuf> {
    let cache = cache()?;
    let home = cache.join(part.folder());
    if anew == Anew::No && is_complete(&home, part) {
        return Ok(home.join("torch"));
    }
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "there are wheels with libtorch for x86-64 Linux only: set LIBTORCH to the folder of a libtorch {VERSION}"
    );
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let _lock = lock(&cache.join(format!("{}.lock", part.folder())))?;
    if anew == Anew::No && is_complete(&home, part) {
        return Ok(home.join("torch")); // Made by the one we waited for.
    }
    Scratch::sweep(&cache);
    make(part, &cache, &home)?;
    Ok(home.join("torch"))
}

/// Whether a cached folder is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anew {
    /// Make the folder again.
    Yes,
    /// Use it if it is complete.
    No,
}

/// Downloads, unpacks and checks; `home` appears at the end, by a rename.
fn make(part: Part, cache: &Path, home: &Path) -> Result<()> {
    let python = tools::need_python()?;
    let stash = cache.join(format!("{}.wheels", part.folder()));
    let wheels = fetch(&python, part, cache, &stash)?;

    let scratch = Scratch::new(cache, &part.folder())?;
    tools::need_space(&python, cache, part.unpacked_bytes())?;
    if let Err(error) = wheels::unpack(&python, &wheels, scratch.path()) {
        // Else a damaged download would be found "complete" again and again.
        let _ = fs::remove_dir_all(&stash);
        return Err(error);
    }
    let torch = scratch.path().join("torch");
    fs::write(torch.join("build-version"), format!("{VERSION}\n"))?;
    if part == Part::Cpu {
        compile_stub(&torch.join("lib/libtorch.so"))?;
    }
    check(&torch, part).context("the unpacked libtorch is not usable")?;
    check_loads(&torch, part)?;
    fs::write(scratch.path().join(STAMP), wheels::stamp(part.wheels()))?;
    scratch.replace(home)?;
    if stash.exists() {
        fs::remove_dir_all(&stash).with_context(|| format!("cannot remove {}", stash.display()))?;
    }
    Ok(())
}

/// Every wheel with its path: from `ADMIX_WHEELS`, from an earlier attempt, or from the network.
fn fetch(python: &str, part: Part, cache: &Path, stash: &Path) -> Result<Vec<(Wheel, PathBuf)>> {
    if let Some(folder) = std::env::var_os(WHEELS_VARIABLE).filter(|v| !v.is_empty()) {
        let folder = PathBuf::from(folder);
        let mut found = Vec::new();
        for wheel in part.wheels() {
            let path = wheel.find(&folder).with_context(|| {
                format!(
                    "{WHEELS_VARIABLE}: {} has no {} of {} bytes; fetch the wheels with\n  {}",
                    folder.display(),
                    wheel.file,
                    wheel.bytes,
                    wheels::command(part.wheels())
                )
            })?;
            found.push((*wheel, path));
        }
        return Ok(found);
    }

    fs::create_dir_all(stash).with_context(|| format!("cannot make {}", stash.display()))?;
    let missing: Vec<_> = part.wheels().iter().filter(|w| w.find(stash).is_none()).collect();
    if !missing.is_empty() {
        tools::need_pip(python)?;
        let bytes: u64 = missing.iter().map(|w| w.bytes).sum();
        // Pip holds a wheel twice while it copies it.
        let twice = missing.iter().map(|w| w.bytes).max().unwrap_or(0);
        tools::need_space(python, cache, bytes + twice.max(part.unpacked_bytes()))?;
        println!("libtorch {VERSION}: {} MB to download into {}", wheels::megabytes(bytes), cache.display());
    }
    let mut found = Vec::new();
    for wheel in part.wheels() {
        let path = match wheel.find(stash) {
            Some(path) => path,
            None => {
                let scratch = Scratch::new(cache, "pip")?;
                wheels::download(python, wheel, stash, &scratch).with_context(|| no_network(part))?
            }
        };
        found.push((*wheel, path));
    }
    Ok(found)
}

/// What to do when pip cannot reach its index.
fn no_network(part: Part) -> String {
    format!(
        "the download did not finish (pip's own message is above); run the command again to go on.\n\
         Without a network: run, on a machine that has one,\n  {}\n\
         copy DIR here and run `{WHEELS_VARIABLE}=DIR cargo xtask setup{}`. \
         If PyTorch {VERSION} is here already, set LIBTORCH to its `torch` folder.\nCause",
        wheels::command(part.wheels()),
        if part == Part::Cuda { " --cuda" } else { "" }
    )
}

/// The wheel's own `libtorch.so` wants the CUDA libraries; torch-sys only names it on the linker's command line.
fn compile_stub(out: &Path) -> Result<()> {
    let mut cc = Cmd::new(std::env::var_os("CC").filter(|v| !v.is_empty()).unwrap_or_else(|| "cc".into()))
        .args(["-shared", "-fPIC", "-x", "c", "-", "-Wl,-soname,libtorch.so", "-o"])
        .arg(out);
    let mut child = match cc.spawn_with_input() {
        Err(error) if is_missing(&error) => {
            bail!("there is no C compiler: {}", tools::APT)
        }
        other => other?,
    };
    if let Some(mut input) = child.stdin.take() {
        input.write_all(b"int torch_stub_anchor(void) { return 0; }\n")?;
    }
    cc.expect_success(child.wait()?)
}

/// Holds other set-ups off until dropped, so that clones on one machine do not download the same at once.
fn lock(path: &Path) -> Result<Option<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            println!("waiting for another set-up that holds {}", path.display());
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            Ok(Some(file))
        }
        // A file system without locks: two set-ups at once only cost time, each has its own scratch folder.
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that passes `check`.
    fn fake(part: Part) -> Scratch {
        let name = std::thread::current().name().unwrap_or("x").replace(':', "_");
        let folder = Scratch::new(&std::env::temp_dir(), &name).unwrap();
        for file in ["libtorch_cpu.so", "libc10.so", "libtorch.so", "libtorch_cuda.so"] {
            if part == Part::Cuda || file != "libtorch_cuda.so" {
                write(&folder.path().join("lib").join(file), "x");
            }
        }
        write(&folder.path().join("include/ATen/ATen.h"), "x");
        write(&folder.path().join("include/torch/csrc/api/include/torch/torch.h"), "x");
        write(&folder.path().join("version.py"), "x = 1\n__version__ = '2.11.0+cu130'\n");
        folder
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_whole_folder_passes_and_the_reason_is_named_otherwise() {
        let folder = fake(Part::Cpu);
        check(folder.path(), Part::Cpu).unwrap();
        let reason = |part| check(folder.path(), part).unwrap_err().to_string();
        assert_eq!(reason(Part::Cuda), "it has no lib/libtorch_cuda.so");
        write(&folder.path().join("build-version"), "2.10.0\n");
        assert_eq!(reason(Part::Cpu), "it is version 2.10.0, not 2.11.0");
        write(&folder.path().join("lib/libc10.so"), "");
        assert_eq!(reason(Part::Cpu), "it has no lib/libc10.so");
    }

    #[test]
    fn a_cuda_folder_serves_a_cpu_too() {
        let folder = fake(Part::Cuda);
        check(folder.path(), Part::Cuda).unwrap();
        check(folder.path(), Part::Cpu).unwrap();
    }

    #[test]
    fn only_a_stamped_folder_is_complete() {
        let folder = fake(Part::Cpu);
        let home = Scratch::new(folder.path(), "home").unwrap();
        fs::rename(folder.path().join("version.py"), folder.path().join("kept")).unwrap();
        assert!(!is_complete(home.path(), Part::Cpu));
        write(&home.path().join(STAMP), &wheels::stamp(wheels::CPU));
        assert!(!is_complete(home.path(), Part::Cpu));
    }

    #[test]
    fn versions_are_read_as_pytorch_writes_them() {
        assert_eq!(python_version("a\n__version__ = '2.11.0+cu130'\nb"), Some("2.11.0+cu130"));
        assert_eq!(python_version("__version__=\"2.11.0\""), Some("2.11.0"));
        assert_eq!(python_version("__all__ = ['__version__']"), None);
    }
}
