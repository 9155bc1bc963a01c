//! `admix plugin new`: the project of a new plugin, from templates that are part of the program.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use admix_api::{Loss, Mixer};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::failure::bad_input;
use crate::{libraries, output};

/// Flags of `admix plugin new`.
#[derive(Args)]
pub struct NewArgs {
    /// Its name: lower-case words joined by underscores, such as soft_grid.
    name: String,
    /// What it is written in.
    #[arg(long, value_enum)]
    lang: Language,
    /// What it is.
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// The folder to make. Default: the name, here.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The sources of Admix, with libtorch set up in them. Default: those that this program was built from.
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Language {
    /// A crate; ten minutes.
    Rust,
    /// One file and one g++ line; twenty minutes.
    Cpp,
    /// A script that is loaded as it is; one minute.
    Rhai,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Kind {
    /// A mixup policy.
    #[default]
    Mixer,
    /// A loss.
    Loss,
}

/// A file of a template: where it goes and what is in it.
type Piece = (&'static str, &'static str);

macro_rules! piece {
    ($to:literal, $from:literal) => {
        ($to, include_str!(concat!("templates/", $from)))
    };
}

const IGNORED: Piece = (".gitignore", "/target\n/build\n/runs\n");

fn pieces(language: Language, kind: Kind) -> Vec<Piece> {
    let mut all = match (language, kind) {
        (Language::Rust, Kind::Mixer) => vec![
            piece!("src/lib.rs", "rust/mixer.rs"),
            piece!("recipe.ron", "mixer.ron"),
            piece!("README.md", "rust/README.md"),
        ],
        (Language::Rust, Kind::Loss) => vec![
            piece!("src/lib.rs", "rust/loss.rs"),
            piece!("recipe.ron", "loss.ron"),
            piece!("method.rhai", "method.rhai"),
            piece!("README.md", "rust/README.md"),
        ],
        (Language::Cpp, Kind::Mixer) => vec![
            piece!("@NAME@.cpp", "cpp/mixer.cpp"),
            piece!("recipe.ron", "mixer.ron"),
            piece!("README.md", "cpp/README.md"),
        ],
        (Language::Cpp, Kind::Loss) => vec![
            piece!("@NAME@.cpp", "cpp/loss.cpp"),
            piece!("recipe.ron", "loss.ron"),
            piece!("method.rhai", "method.rhai"),
            piece!("README.md", "cpp/README.md"),
        ],
        (Language::Rhai, Kind::Mixer) => vec![
            piece!("@NAME@.rhai", "rhai/mixer.rhai"),
            piece!("recipe.ron", "rhai/mixer.ron"),
            piece!("README.md", "rhai/README.md"),
        ],
        (Language::Rhai, Kind::Loss) => vec![
            piece!("@NAME@.rhai", "rhai/loss.rhai"),
            piece!("recipe.ron", "rhai/loss.ron"),
            piece!("method.rhai", "method.rhai"),
            piece!("README.md", "rhai/README.md"),
        ],
    };
    match language {
        Language::Rust => all.extend([
            piece!("Cargo.toml", "rust/Cargo.toml.txt"),
            piece!(".cargo/config.toml", "rust/config.toml"),
            piece!("tests/contract.rs", "rust/contract.rs"),
            IGNORED,
        ]),
        Language::Cpp => all.extend([
            piece!("Makefile", "cpp/Makefile"),
            piece!("CMakeLists.txt", "cpp/CMakeLists.txt"),
            ("include/admix.h", include_str!("../api/include/admix.h")),
            ("include/admix.hpp", include_str!("../api/include/admix.hpp")),
            IGNORED,
        ]),
        Language::Rhai => {}
    }
    all
}

/// Names that are words of Rust, crates that come with it, or what the source of a new plugin names already.
const NO_CRATES: [&str; 63] = [
    "abstract", "alloc", "as", "async", "await", "become", "box", "break", "const", "continue", "core",
    "crate", "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in",
    "let", "loop", "loss", "macro", "match", "mixer", "mod", "move", "mut", "option", "override", "plan",
    "priv", "pub", "ref", "result", "return", "self", "static", "std", "string", "struct", "super", "tensor",
    "test", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "vec", "virtual", "where",
    "while", "yield",
];

/// Writes the project.
pub fn new(args: &NewArgs) -> Result<()> {
    let name = &args.name;
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.ends_with('_')
        && !name.contains("__")
        && name.len() <= 60;
    if !good {
        return Err(bad_input(format!(
            "the name is `{name}`, expected lower-case words joined by underscores, such as soft_grid"
        )));
    }
    if args.lang == Language::Rust && NO_CRATES.contains(&name.as_str()) {
        return Err(bad_input(format!(
            "the name is `{name}`, a word of Rust or of the plugin's own source, which names no crate: choose another"
        )));
    }
    let registry = libraries::registry()?;
    let mut taken = registry.names::<dyn Mixer>().into_iter().chain(registry.names::<dyn Loss>());
    if taken.any(|other| other == name) {
        return Err(bad_input(format!(
            "a plugin is named `{name}` already, see `admix plugins {name}`: choose another name"
        )));
    }
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(name));
    if folder.exists() {
        return Err(bad_input(format!(
            "{} is there already: choose another name or --out",
            folder.display()
        )));
    }
    let values = Values::of(args)?;
    let mut written = Vec::new();
    for (to, text) in pieces(args.lang, args.kind) {
        let path = folder.join(values.fill(to));
        write(&path, &values.fill(text))?;
        written.push(path);
    }
    if args.lang == Language::Rust {
        // The same versions of everything, libtorch's bindings before all.
        let from = values.sdk.join("Cargo.lock");
        let to = folder.join("Cargo.lock");
        fs::copy(&from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    let mut text = format!("{} is written. Next, in that folder:\n\n", folder.display());
    text.push_str(&values.fill(next_steps(args.lang)));
    output::print(&text)
}

fn next_steps(language: Language) -> &'static str {
    match language {
        Language::Rust => {
            "  cargo test                                                  # builds it and checks its contract\n  \
               cargo build\n  \
               admix plugin check target/debug/lib@NAME@.so\n  \
               admix run recipe.ron --plugin target/debug/lib@NAME@.so\n"
        }
        Language::Cpp => {
            "  make\n  \
               admix plugin check build/lib@NAME@.so\n  \
               admix run recipe.ron --plugin build/lib@NAME@.so\n"
        }
        Language::Rhai => {
            "  admix plugin check @NAME@.rhai\n  \
               admix run recipe.ron\n"
        }
    }
}

/// What stands for what in a template.
struct Values {
    name: String,
    type_name: String,
    sdk: PathBuf,
}

impl Values {
    fn of(args: &NewArgs) -> Result<Self> {
        let sdk = match &args.sdk {
            Some(sdk) => sdk.canonicalize().unwrap_or_else(|_| sdk.clone()),
            None => PathBuf::from(env!("CARGO_MANIFEST_DIR")),
        };
        if args.lang != Language::Rhai {
            for (needed, remedy) in [
                ("core/api/Cargo.toml", "name the sources of Admix with --sdk"),
                (".libtorch/torch/lib", "run `cargo xtask setup` there"),
            ] {
                if !sdk.join(needed).exists() {
                    return Err(bad_input(format!(
                        "a plugin in Rust or C++ is built with the sources of Admix, but {} is not there: {remedy}",
                        sdk.join(needed).display()
                    )));
                }
            }
        }
        Ok(Self { name: args.name.clone(), type_name: type_name(&args.name), sdk })
    }

    fn fill(&self, text: &str) -> String {
        text.replace("@PACKAGE@", &self.name.replace('_', "-"))
            .replace("@TYPE@", &self.type_name)
            .replace("@NAME@", &self.name)
            .replace("@SDK@", &self.sdk.display().to_string())
    }
}

/// `soft_grid` is `SoftGrid` in a recipe.
fn type_name(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.split('_').map(word).collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes())).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_type() {
        assert_eq!((type_name("soft_grid").as_str(), type_name("mine2").as_str()), ("SoftGrid", "Mine2"));
    }
}
