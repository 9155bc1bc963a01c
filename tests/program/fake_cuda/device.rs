//! The fake device: built once from its sources, given to the unchanged program, and asked afterwards what it saw.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use serde::Deserialize;

use crate::program::{Outcome, Place, files_below, finish, repository};

const COMPILE: &str = "g++ -std=c++17 -O1 -DNDEBUG -fPIC -I.libtorch/torch/include \
    -I.libtorch/torch/include/torch/csrc/api/include -Icore/torch/cuda -Icore/torch/shim";
const LINK: &str = "-L.libtorch/torch/lib -ltorch_cpu -lc10";

/// What the device saw, as its `counts.h` writes it.
#[derive(Debug, Deserialize)]
pub struct Seen {
    pub peak_bytes: i64,
    pub kernels: BTreeMap<String, u64>,
    pub syncs: BTreeMap<String, u64>,
    pub events: BTreeMap<String, u64>,
    pub faults: BTreeMap<String, u64>,
}

impl Seen {
    pub fn event(&self, name: &str) -> u64 {
        self.events.get(name).copied().unwrap_or(0)
    }
}

/// Runs the program in `place` on the fake device, with more variables, and reads what the device saw if it wrote that.
pub fn on_fake(place: &Place, arguments: &[&str], variables: &[(&str, &str)]) -> (Outcome, Option<Seen>) {
    let stats = place.path("fake_cuda.json");
    let _ = fs::remove_file(&stats);
    let mut command = place.command(arguments);
    command
        .env("LD_LIBRARY_PATH", libraries())
        .env("FAKE_CUDA_STATS", &stats)
        .envs(variables.iter().copied());
    let outcome = finish(command.spawn().expect("the program starts"));
    let seen = fs::read_to_string(&stats)
        .ok()
        .map(|text| serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")));
    (outcome, seen)
}

/// As [`on_fake`], on `--device cuda` with one thread: it ends well, and nothing that it asked for was a fault.
#[track_caller]
pub fn compute(place: &Place, arguments: &[&str]) -> (Outcome, Seen) {
    let arguments = [arguments, &["--device", "cuda", "--threads", "1"]].concat();
    let (outcome, seen) = on_fake(place, &arguments, &[]);
    let outcome = outcome.good();
    let seen = seen.expect("the device says what it saw");
    assert!(seen.faults.is_empty(), "{arguments:?}: {:?}", seen.faults);
    assert!(seen.kernels.values().sum::<u64>() > 100, "the device was used: {seen:?}");
    (outcome, seen)
}

/// The folder that the program finds its libraries in.
pub fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let libtorch =
            fs::canonicalize(repository().join(".libtorch")).expect("`cargo xtask setup` made .libtorch");
        // The kernels are those of the program.
        let mut sources = files_below(&repository().join("tests/fake_cuda"));
        sources.extend(files_below(&repository().join("core/torch/cuda")));
        sources.push(repository().join("core/torch/shim/launch.h"));
        built("device", &sources, |folder| {
            let lib = folder.join("torch/lib");
            fs::create_dir_all(&lib).expect("a folder");
            for file in files_below(&libtorch.join("torch/lib")) {
                let name = file.file_name().expect("a name");
                if name != "libtorch_cuda.so" && name != "libadmix_cuda.so" {
                    symlink(&file, lib.join(name)).expect("a link");
                }
            }
            for part in ["include", "version.py", "build-version"] {
                symlink(libtorch.join("torch").join(part), folder.join("torch").join(part)).expect("a link");
            }
            // libtorch's own libraries look there for others.
            symlink(libtorch.join("nvidia"), folder.join("nvidia")).expect("a link");
            let library = lib.join("libtorch_cuda.so");
            shell(&format!(
                "{COMPILE} -shared tests/fake_cuda/fake_cuda.cpp -o {} {LINK}",
                library.display()
            ));
            symlink("libtorch_cuda.so", lib.join("libadmix_cuda.so")).expect("a link");
            // The program takes a driver that opens for a sign of a GPU.
            shell(&format!("echo | gcc -shared -x c - -o {}", lib.join("libcuda.so.1").display()));
        })
        .join("torch/lib")
    })
}

/// The program of `tests/fake_cuda/faults.cpp`, which does what a fault in ours would do.
pub fn faults() -> PathBuf {
    let source = repository().join("tests/fake_cuda/faults.cpp");
    let folder = built("faults", &[source], |folder| {
        let program = folder.join("faults").display().to_string();
        shell(&format!("{COMPILE} tests/fake_cuda/faults.cpp -o {program} {LINK} -ldl"));
    });
    folder.join("faults")
}

/// A folder that `make` fills, unless there is one from the same sources.
fn built(name: &str, sources: &[PathBuf], make: impl FnOnce(&Path)) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (COMPILE, LINK, include_str!("device.rs")).hash(&mut hasher);
    for source in sources {
        fs::read(source).expect("a source").hash(&mut hasher);
    }
    fs::canonicalize(repository().join(".libtorch")).expect(".libtorch").hash(&mut hasher);
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake_cuda");
    let folder = all.join(format!("{name}-{:016x}", hasher.finish()));
    if !folder.exists() {
        // Renamed at the end: another process of these tests may build the same.
        let partial = all.join(format!("{name}.{}.partial", std::process::id()));
        fs::create_dir_all(&partial).expect("a folder");
        make(&partial);
        if fs::rename(&partial, &folder).is_err() {
            fs::remove_dir_all(&partial).expect("removed");
        }
    }
    assert!(folder.exists(), "{}", folder.display());
    folder
}

fn shell(line: &str) {
    let output = Command::new("sh").args(["-c", line]).current_dir(repository()).output().expect("sh");
    assert!(output.status.success(), "{line}:\n{}", String::from_utf8_lossy(&output.stderr));
}
