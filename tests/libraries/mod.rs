//! Plugins in libraries: the C boundary as it is written down, and libraries in C, C++ and Rust through the program
//! itself: good ones train, all others are refused in one line.

mod abi;
mod cpp;
mod folder;
mod instances;
mod older;
mod rejections;
pub mod rust;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::program::repository;

/// The line that the documents give for compiling a plugin, without file names.
const COMPILE: &str = "g++ -std=c++17 -O1 -DNDEBUG -fPIC -shared -fvisibility=hidden -Icore/api/include -I.libtorch/torch/include";
const LINK: &str = "-L.libtorch/torch/lib -ltorch_cpu -lc10";

/// Every library of these tests.
const SOURCES: [&str; 3] = [
    "examples/plugin_cpp/grid_mix.cpp",
    "examples/plugin_cpp/soft_grid.cpp",
    "tests/plugins/misbehaving.cpp",
];

/// The command that compiles a plugin, as the documents print it.
pub fn command_line(source: &str, library: &str) -> String {
    format!("{COMPILE} {source} -o {library} {LINK}")
}

/// The library made from this file.
pub fn library(source: &str) -> &'static Path {
    static BUILT: OnceLock<BTreeMap<&str, PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        std::thread::scope(|scope| {
            let builds = SOURCES.map(|source| (source, scope.spawn(move || build(source))));
            builds.map(|(source, build)| (source, build.join().expect("it compiles"))).into()
        })
    });
    built.get(source).unwrap_or_else(|| panic!("{source} is not in the list of libraries"))
}

/// Compiles a library, unless there is one that is newer than everything it is made of.
fn build(source: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cpp_plugins");
    std::fs::create_dir_all(&folder).expect("a folder");
    let stem = Path::new(source).file_stem().expect("a name").to_string_lossy().into_owned();
    let library = folder.join(format!("lib{stem}.so"));
    let changed = |path: &Path| path.metadata().and_then(|facts| facts.modified()).ok();
    let parts = [source, "core/api/include/admix.h", "core/api/include/admix.hpp", "tests/libraries/mod.rs"];
    let newest: Option<SystemTime> = parts.iter().filter_map(|part| changed(&repository().join(part))).max();
    if changed(&library) >= newest {
        return library;
    }
    // Renamed at the end: another process of these tests may build the same.
    let partial = folder.join(format!("lib{stem}.{}.partial", std::process::id()));
    let output = run(&command_line(source, partial.to_str().expect("UTF-8")));
    assert!(output.status.success(), "{source}:\n{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&partial, &library).expect("renamed");
    library
}

/// Runs a command line in the repository.
fn run(line: &str) -> Output {
    let command = Command::new("sh").args(["-c", line]).current_dir(repository()).output();
    command.unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// A folder of cargo's target folder: tests run from `deps`.
pub fn built() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    let deps = own.parent().expect("a folder");
    deps.parent().expect("the folder of the profile").to_path_buf()
}
