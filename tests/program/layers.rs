//! Who may import whom, and where `unsafe` may stand.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{files_below, repository};

/// Packages of this workspace and which of the others each may import; `None` is all.
const MAY_IMPORT: [(&str, Option<&[&str]>); 13] = [
    ("admix", None),
    ("admix-bench", None),
    ("admix-torch", Some(&[])),
    ("admix-api", Some(&["admix-torch"])),
    ("admix-fetch", Some(&[])),
    ("admix-data", Some(&["admix-api", "admix-torch", "admix-fetch"])),
    ("admix-models", Some(&["admix-api", "admix-torch"])),
    ("admix-weights", Some(&["admix-torch", "admix-fetch", "admix-models"])),
    (
        "admix-engine",
        Some(&["admix-api", "admix-torch", "admix-fetch", "admix-data", "admix-models", "admix-weights"]),
    ),
    ("admix-lab", Some(&["admix-api", "admix-engine"])),
    ("admix-plugins", Some(&["admix-api"])),
    ("xtask", Some(&[])),
    ("smooth-mix", Some(&["admix-api"])),
];

/// Libraries from elsewhere that only some packages may import.
const RESERVED: [(&str, &[&str]); 4] = [
    ("tch", &["admix-torch"]),
    ("torch-sys", &["admix-torch"]),
    ("rhai", &["admix-engine", "admix-lab"]),
    ("clap", &["admix", "admix-bench", "xtask"]),
];

/// Name and dependencies of each package of the workspace. Dependencies of tests alone are left out.
fn packages() -> Vec<(String, Vec<String>)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_string();
    let dependencies = |package: &Value| -> Vec<String> {
        let all = package["dependencies"].as_array().expect("a list");
        all.iter().filter(|one| one["kind"] != "dev").map(|one| text(&one["name"])).collect()
    };
    let all = metadata["packages"].as_array().expect("a list");
    all.iter().map(|package| (text(&package["name"]), dependencies(package))).collect()
}

#[test]
fn each_crate_imports_only_the_crates_below_it() {
    let packages = packages();
    let ours = |name: &str| MAY_IMPORT.iter().find(|(have, _)| *have == name);
    for (name, dependencies) in &packages {
        let Some((_, allowed)) = ours(name) else { panic!("say in MAY_IMPORT what {name} may import") };
        for dependency in dependencies {
            if let Some(allowed) = allowed
                && ours(dependency).is_some()
            {
                assert!(allowed.contains(&dependency.as_str()), "{name} must not import {dependency}");
            }
            if let Some((_, owners)) = RESERVED.iter().find(|(library, _)| library == dependency) {
                assert!(owners.contains(&name.as_str()), "{name} must not import {dependency}");
            }
        }
    }
    for (name, _) in MAY_IMPORT {
        assert!(packages.iter().any(|(have, _)| have == name), "{name} is gone: take it out of MAY_IMPORT");
    }
}

/// Whether a line of code has the keyword: not a lint's name, not a comment.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices("unsafe").any(|(at, keyword)| {
        let after = &code[at + keyword.len()..];
        !code[..at].ends_with(word)
            && !after.starts_with(word)
            // Not a word of a text: code goes on with a block, a function, an attribute.
            && ["{", "fn ", "impl ", "extern ", "trait ", "("].iter().any(|next| after.trim_start().starts_with(next))
    })
}

#[test]
fn only_the_layer_over_libtorch_and_the_plugin_boundary_have_unsafe_code() {
    assert!(has_unsafe("    let x = unsafe { f() };") && has_unsafe("pub unsafe fn f() {}"));
    assert!(
        !has_unsafe("unsafe_code = 1")
            && !has_unsafe("// unsafe { }")
            && !has_unsafe("the word `unsafe` alone")
    );
    let folders = ["core", "plugins", "tests", "bench", "xtask", "examples", "fuzz/fuzz_targets"];
    let files: Vec<_> = folders.iter().flat_map(|folder| files_below(&repository().join(folder))).collect();
    let is_rust = |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "rs");
    // This file quotes what it searches for.
    let this = Path::new(file!()).file_name();
    let (mut of_torch, mut of_boundary) = (0, 0);
    for file in files.iter().filter(is_rust).filter(|file| file.file_name() != this) {
        let text = std::fs::read_to_string(file).expect("UTF-8");
        let lines = text.lines().filter(|line| has_unsafe(line)).count();
        let inside = file.strip_prefix(repository()).expect("below the repository");
        if inside.starts_with("core/torch") {
            of_torch += lines;
        } else if inside.starts_with("core/api/src/abi")
            || inside == Path::new("fuzz/fuzz_targets/manifest.rs")
        {
            // The fuzz target hands manifests of its own making to the boundary's reader.
            of_boundary += lines;
        } else if inside == Path::new("core/api/src/export.rs") {
            // `export_plugins!` names the function that a library exports: `#[unsafe(no_mangle)]`.
            assert_eq!(lines, 1, "{}", inside.display());
        } else {
            assert_eq!(lines, 0, "{} has unsafe code; it belongs into core/torch", inside.display());
        }
    }
    assert!(of_torch > 0 && of_boundary > 0, "the search finds nothing");
}

#[test]
fn every_crate_but_that_layer_forbids_unsafe_code() {
    let read = |file: &str| std::fs::read_to_string(repository().join(file)).expect(file);
    assert!(read("Cargo.toml").contains("unsafe_code = \"forbid\""));
    // The boundary of core/api is the one exception, said in its first file and nowhere else.
    assert!(read("core/api/Cargo.toml").contains("unsafe_code = \"deny\""));
    let allowed: Vec<_> = files_below(&repository().join("core/api/src"))
        .into_iter()
        .filter(|file| std::fs::read_to_string(file).expect("UTF-8").contains("allow(unsafe_code"))
        .collect();
    assert_eq!(allowed, [repository().join("core/api/src/abi/mod.rs")]);
    for folder in
        [".", "core/data", "core/models", "core/engine", "plugins", "bench", "xtask", "examples/plugin_rust"]
    {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{folder} does not take the workspace's lints"
        );
    }
}
