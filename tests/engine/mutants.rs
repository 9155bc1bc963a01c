//! Recipes and scripts that come with the program, damaged at random: each is read, or refused in one message that names its
//! file. What needs no libtorch is fuzzed for longer by `cargo xtask fuzz`.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use admix_engine::{Error, Method, Override, Recipe, registry};

use crate::program::repository;

const MUTANTS: u64 = 16;
const WORDS: [&str; 22] = [
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "//",
    "/*",
    "Some(",
    "None",
    "-1",
    "1e300",
    "NaN",
    "é",
    "r#\"",
    "MixUp(",
    "0x7fffffffffffffff",
    "#{",
    "|x| ",
];

/// A number below `end` that the seed and the use of it decide.
fn below(end: usize, seed: impl Hash) -> usize {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    (hasher.finish() % end.max(1) as u64) as usize
}

/// The text with a part of it removed, replaced, doubled or cut off.
fn damaged(text: &str, seed: (&Path, u64)) -> String {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let from = below(places.len(), (seed, 0));
    let to = (from + below(12, (seed, 1))).min(places.len() - 1);
    let (before, part, after) = (&text[..places[from]], &text[places[from]..places[to]], &text[places[to]..]);
    match below(4, (seed, 2)) {
        0 => format!("{before}{after}"),
        1 => format!("{before}{}{after}", WORDS[below(WORDS.len(), (seed, 3))]),
        2 => format!("{before}{part}{part}{after}"),
        _ => before.into(),
    }
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut folders = vec![repository().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    found.extend(Some(path).filter(|path| path.extension().is_some_and(|e| e == ending)))
                }
            }
        }
    }
    found.sort();
    found
}

/// A refusal in one message of bad input, with the name of what is refused.
fn refused<T>(outcome: Result<T, Error>, named: &str, text: &str) -> bool {
    let Err(error) = outcome else { return false };
    let message = error.to_string();
    assert_eq!(error.exit_code(), 2, "{message}\n{text}");
    assert!(message.contains(named) && message.len() < 2_000, "{message}\n{text}");
    assert!(!message.contains("panicked") && message.lines().count() == 1, "{message}\n{text}");
    true
}

#[test]
fn damaged_recipes_and_flags_are_read_or_refused_with_their_name() {
    let registry = registry().expect("a registry");
    let (mut tried, mut broken) = (0, 0);
    for path in files("configs", "ron") {
        let text = fs::read_to_string(&path).expect("a recipe");
        for seed in 0..MUTANTS {
            let mutant = damaged(&text, (&path, seed));
            tried += 1;
            broken += usize::from(refused(
                Recipe::parse(&mutant, "mutant.ron", &[], &registry),
                "mutant.ron",
                &mutant,
            ));
            let flag = damaged("mixers.mix=CutMix(alpha: 0.5, per: Sample)", (&path, seed));
            let Ok(flag) = flag.parse::<Override>() else { continue };
            let named = flag.path.clone();
            let outcome = Recipe::parse(&text, "mutant.ron", std::slice::from_ref(&flag), &registry);
            refused(outcome, named.split('.').next().unwrap_or_default(), &flag.value);
        }
    }
    assert!(tried > 1_000 && broken > tried / 2, "{broken} of {tried} were broken");
}

#[test]
fn damaged_methods_are_compiled_or_refused_with_their_name() {
    let (mut tried, mut broken) = (0, 0);
    for path in files("scripts", "rhai") {
        let text = fs::read_to_string(&path).expect("a script");
        for seed in 0..10 * MUTANTS {
            let mutant = damaged(&text, (&path, seed));
            tried += 1;
            let method = Method::compile(&mutant, "mutant.rhai");
            broken += usize::from(refused(method.map(|_| ()), "mutant.rhai", &mutant));
        }
    }
    assert!(tried > 1_000 && broken > tried / 4, "{broken} of {tried} were broken");
}
