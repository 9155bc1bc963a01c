//! The documents hold: every command in them runs, every recipe and script is read, every file they show is the file.
//!
//! What a test needs to know beside the text stands in comments in front of a block:
//!
//! | comment | meaning |
//! |---|---|
//! | `<!-- test adds: ARGS -->` | these arguments are added to every `admix` command of the block, to make it short |
//! | `<!-- test replaces: A -> B -->` | the test says B where the document says A |
//! | `<!-- test runs: COMMAND -->` | the test runs this in place of the block's one command |
//! | `<!-- test: exits N -->` | every command of the block ends with this exit code |
//! | `<!-- test: errors -->` | each line is a statement of a step, two blanks, and the error it gives |
//! | `<!-- file: PATH -->` | the block is this file |
//! | `<!-- excerpt: PATH -->` | the block is a part of this file |
//!
//! The guide to a first plugin has a runner of its own (`tests/readme/guide.rs`): its blocks are shell scripts, run from
//! an empty folder.
//!
//! Commands run in a folder with `configs/`, `scripts/`, the recipes and scripts of `docs/` and `examples/`, some
//! images in `pictures/` and a weight file in `weights/`. A line of `g++` must be the one with which `tests/libraries/` compiles the same file; the
//! library made there is put where the line says.

mod commands;
mod guide;
mod own_program;
mod pages;
mod place;
mod snippets;
mod tables;
mod tutorial;

use std::fs;
use std::path::PathBuf;

use admix_api::{Describe, Registry};

/// The page whose blocks are run as they stand.
pub const GUIDE: &str = "docs/first_plugin.md";

/// One fenced block of a document.
#[derive(Debug)]
pub struct Block {
    pub document: String,
    /// Line of the opening fence, from 1.
    pub line: usize,
    pub language: String,
    /// What the comments in front say: key and value.
    pub marks: Vec<(String, String)>,
    pub text: String,
}

impl Block {
    pub fn at(&self) -> String {
        format!("{}:{}", self.document, self.line)
    }

    pub fn mark(&self, key: &str) -> Option<&str> {
        self.marks.iter().find(|(have, _)| have == key).map(|(_, value)| value.as_str())
    }
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file by its path from the root.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every document, by its path from the root.
pub fn documents() -> Vec<String> {
    let mut pages: Vec<String> = fs::read_dir(root().join("docs"))
        .expect("docs/")
        .filter_map(|entry| Some(format!("docs/{}", entry.ok()?.file_name().to_str()?)))
        .filter(|path| path.ends_with(".md"))
        .collect();
    pages.sort();
    let others = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "examples/plugin_cpp/README.md",
        "examples/plugin_rust/README.md",
    ];
    others.map(String::from).into_iter().chain(pages).collect()
}

/// The blocks of a document.
pub fn blocks(document: &str) -> Vec<Block> {
    const KEYS: [&str; 6] = ["test adds", "test replaces", "test runs", "test", "file", "excerpt"];
    let mut found: Vec<Block> = Vec::new();
    let (mut marks, mut open) = (Vec::new(), None);
    for (number, line) in read(document).lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            open = match open {
                Some(block) => {
                    found.push(block);
                    None
                }
                None => Some(Block {
                    document: document.into(),
                    line: number + 1,
                    language: language.trim().into(),
                    marks: std::mem::take(&mut marks),
                    text: String::new(),
                }),
            };
        } else if let Some(block) = &mut open {
            block.text.push_str(line);
            block.text.push('\n');
        } else if let Some(comment) = line.trim().strip_prefix("<!-- ").and_then(|c| c.strip_suffix(" -->")) {
            let (key, value) = comment.split_once(": ").unwrap_or((comment, ""));
            assert!(KEYS.contains(&key), "{document}:{}: no test knows the comment `{comment}`", number + 1);
            marks.push((key.to_string(), value.to_string()));
        } else if !line.trim().is_empty() {
            assert!(
                marks.is_empty(),
                "{document}:{}: a comment for a test, and no block after it",
                number + 1
            );
        }
    }
    assert!(open.is_none(), "{document}: a block is not closed");
    found
}

/// All blocks in this language.
pub fn blocks_in(language: &str) -> Vec<Block> {
    documents()
        .iter()
        .flat_map(|document| blocks(document))
        .filter(|block| block.language == language)
        .collect()
}

/// The bundled entries and those that documents show: the mixer of CONTRIBUTING, and `examples/own_program/`.
pub fn registry() -> Registry {
    let mut registry = admix_engine::registry().expect("plugins");
    for entry in own_program::entries().into_iter().chain([tutorial::Stripes::entry()]) {
        registry.add(entry).expect("a new name");
    }
    registry
}
