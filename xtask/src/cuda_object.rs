//! The shared object with what names CUDA symbols, `core/torch/cuda/`: compiled where libtorch has its CUDA part.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::libtorch::{Anew, WHEELS_VARIABLE, cache};
use crate::process::Cmd;
use crate::repo::Repo;
use crate::scratch::Scratch;
use crate::tools;
use crate::wheels::{self, CUDA_HEADERS, Wheel};

/// Its sources, from the root of the repository. The first says how they are compiled; the last needs NCCL's header.
pub const SOURCES: [&str; 3] =
    ["core/torch/cuda/graphs.cpp", "core/torch/cuda/kernels.cpp", "core/torch/cuda/nccl.cpp"];
/// Where a system keeps headers that no folder need be named for.
const SYSTEM_HEADERS: &str = "/usr/include";
/// Where the program looks for it, from libtorch's folder.
const OBJECT: &str = "lib/libadmix_cuda.so";

/// Compiles the object among libtorch's libraries, unless it is there and as new as its source.
pub fn build(repo: &Repo, anew: Anew) -> Result<PathBuf> {
    let torch = repo.libtorch().join("torch");
    let torch = torch.canonicalize().with_context(|| format!("there is no {}", torch.display()))?;
    let (sources, object) = (SOURCES.map(|source| repo.root().join(source)), torch.join(OBJECT));
    if anew == Anew::No && sources.iter().all(|source| is_newer(&object, source)) {
        return Ok(object);
    }
    let site = torch.parent().context("libtorch cannot be the root folder")?;
    let (headers, libraries) = cuda(site)?;
    tools::need_compiler()?;
    let compiler = std::env::var("CXX").ok().filter(|c| !c.trim().is_empty()).unwrap_or_else(|| "c++".into());
    let mut words = compiler.split_whitespace();
    let mut command = Cmd::new(words.next().unwrap_or("c++"))
        .args(words)
        .args(["-std=c++17", "-O1", "-shared", "-fPIC", "-DNDEBUG", "-D_GLIBCXX_USE_CXX11_ABI=1"])
        .args(["-Wno-interference-size", "-DUSE_C10D_NCCL"])
        .args(&sources[..2]);
    let mut folders = headers.iter().map(PathBuf::as_path).chain([Path::new(SYSTEM_HEADERS)]);
    if folders.any(|folder| folder.join("nccl.h").is_file()) {
        command = command.arg(&sources[2]);
    } else {
        println!("without NCCL, as there is no nccl.h: processes cannot share a run on GPUs");
    }
    let own = [
        repo.root().join("core/torch/shim"),
        torch.join("include"),
        torch.join("include/torch/csrc/api/include"),
    ];
    for folder in own.iter().chain(&headers) {
        command = command.arg("-I").arg(folder);
    }
    for folder in [torch.join("lib"), libraries] {
        command = command.arg("-L").arg(folder);
    }
    let fresh = object.with_extension(format!("so.new-{}", std::process::id()));
    let compiled = command
        .args(["-Wl,--no-undefined", "-lc10", "-lc10_cuda", "-ltorch_cpu", "-ltorch_cuda"])
        .args(["-l:libcudart.so.13", "-ldl", "-o"])
        .arg(&fresh)
        .run();
    if compiled.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    compiled.with_context(|| format!("one of {} does not compile", SOURCES.join(", ")))?;
    // A program that has the old one open keeps it.
    fs::rename(&fresh, &object).with_context(|| format!("cannot write {}", object.display()))?;
    Ok(object)
}

fn is_newer(object: &Path, source: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
    matches!((time(object), time(source)), (Ok(object), Ok(source)) if object >= source)
}

/// Folders with CUDA's headers, and the one with its runtime library: of the toolkit that `CUDA_HOME` names, or of wheels
/// beside libtorch, with the headers that those lack from the user's cache.
fn cuda(site: &Path) -> Result<(Vec<PathBuf>, PathBuf)> {
    let nccl = site.join("nvidia/nccl/include");
    if let Some(home) = std::env::var_os("CUDA_HOME").map(PathBuf::from).filter(|home| home.is_dir()) {
        return Ok((vec![home.join("include"), home.join("include/cccl"), nccl], home.join("lib64")));
    }
    let own = site.join("nvidia/cu13");
    ensure!(
        own.join("include/cuda_runtime_api.h").is_file(),
        "there are no headers of CUDA 13 in {}: let CUDA_HOME name a toolkit",
        own.display()
    );
    let more = headers()?.join("nvidia/cu13/include");
    Ok((vec![own.join("include"), more.clone(), more.join("cccl"), nccl], own.join("lib")))
}

/// The headers that the wheels of torch lack, fetched first if they are not there.
fn headers() -> Result<PathBuf> {
    let cache = cache()?;
    let home = cache.join("cuda-headers-13.0");
    if home.is_dir() {
        return Ok(home);
    }
    let python = tools::need_python()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let stash = Scratch::new(&cache, "headers.wheels")?;
    let given = std::env::var_os(WHEELS_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
    let fetch = |wheel: &Wheel| match given.as_deref().and_then(|folder| wheel.find(folder)) {
        Some(path) => Ok(path),
        None => {
            tools::need_pip(&python)?;
            let scratch = Scratch::new(&cache, "pip")?;
            wheels::download(&python, wheel, stash.path(), &scratch)
                .with_context(|| format!("without a network: {}", wheels::command(CUDA_HEADERS)))
        }
    };
    let found = CUDA_HEADERS.iter().map(|wheel| Ok((*wheel, fetch(wheel)?))).collect::<Result<Vec<_>>>()?;
    let unpacked = Scratch::new(&cache, "headers")?;
    wheels::unpack(&python, &found, unpacked.path())?;
    unpacked.replace(&home)?;
    Ok(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_says_how_it_is_compiled_by_hand() {
        let repo = Repo::find().unwrap();
        let source = fs::read_to_string(repo.root().join(SOURCES[0])).unwrap();
        for part in [
            SOURCES[0],
            SOURCES[1],
            SOURCES[2],
            OBJECT,
            "-DUSE_C10D_NCCL",
            "-Wl,--no-undefined",
            "-lc10_cuda",
            "-l:libcudart.so.13",
            "-ldl",
        ] {
            assert!(source.contains(part), "{part}");
        }
    }

    #[test]
    fn an_object_is_kept_while_its_source_is_older() {
        let folder = Scratch::new(&std::env::temp_dir(), "object-test").unwrap();
        let (source, object) = (folder.path().join("a.cpp"), folder.path().join("a.so"));
        fs::write(&source, "").unwrap();
        assert!(!is_newer(&object, &source));
        fs::write(&object, "").unwrap();
        assert!(is_newer(&object, &source));
    }
}
