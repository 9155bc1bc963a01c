//! Every command of the documents runs, or what it names is there.

use std::process::Command;
use std::sync::OnceLock;

use super::place::Place;
use super::{blocks, documents, read, root};
use crate::libraries;

/// What a test does with a command.
#[derive(Debug)]
enum Rule {
    /// `admix ...`: runs, with the arguments that the block's comment adds.
    Program(String),
    /// A developer command: it must exist, with its flags.
    Xtask(Vec<String>),
    /// Cargo's own: what it names must exist.
    Cargo(Vec<String>),
    /// A C++ compiler: the line must be the one of `tests/libraries/`, which does compile.
    Compiler(Vec<String>),
    /// CMake: the folder must be one that it can configure.
    CMake(Vec<String>),
}

/// The rule of a command line; a command without one fails the test.
fn rule(command: &str, at: &str) -> Rule {
    let own = |rest: &str| Rule::Program(format!("admix {rest}"));
    for prefix in ["admix ", "cargo run -- ", "cargo run --release -- "] {
        if let Some(rest) = command.strip_prefix(prefix) {
            return own(rest);
        }
    }
    let words: Vec<String> = command
        .split_whitespace()
        .skip_while(|word| word.contains('=') && !word.starts_with('-'))
        .map(String::from)
        .collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cargo", "xtask", ..] => Rule::Xtask(words[2..].to_vec()),
        ["cargo", "build" | "test" | "run" | "doc" | "rustc", ..] => Rule::Cargo(words[1..].to_vec()),
        ["g++", ..] => Rule::Compiler(words.clone()),
        ["cmake", ..] => Rule::CMake(words[1..].to_vec()),
        _ => panic!("{at}: there is no rule how to test `{command}`"),
    }
}

/// The command lines of a block: joined at `\`, without comments.
fn commands(text: &str) -> Vec<String> {
    let without_comment = |line: &str| -> String {
        let mut quote = None;
        let mut before = ' ';
        for (at, c) in line.char_indices() {
            match quote {
                Some(open) if c == open => quote = None,
                None if c == '\'' || c == '"' => quote = Some(c),
                None if c == '#' && before.is_whitespace() => return line[..at].to_string(),
                _ => {}
            }
            before = c;
        }
        line.to_string()
    };
    let joined = text.replace("\\\n", " ");
    joined
        .lines()
        .map(|line| without_comment(line).trim().to_string())
        .filter(|line| !line.is_empty())
        .collect()
}

/// What `cargo xtask help` says.
fn xtask_help() -> &'static str {
    static HELP: OnceLock<String> = OnceLock::new();
    HELP.get_or_init(|| {
        let output = Command::new(env!("CARGO")).args(["xtask", "help"]).current_dir(root()).output();
        let output = output.expect("cargo xtask help");
        assert!(output.status.success(), "cargo xtask help: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    })
}

fn check_xtask(words: &[String], at: &str) {
    let help = xtask_help();
    let name = words.first().unwrap_or_else(|| panic!("{at}: `cargo xtask` without a command"));
    let is_name = |line: &str| {
        let usage = line.trim_start().trim_start_matches("Usage: ");
        usage.strip_prefix("cargo xtask ").and_then(|rest| rest.split([' ', ':']).next()) == Some(name)
    };
    assert!(help.lines().any(is_name), "{at}: `cargo xtask help` does not list `{name}`");
    for flag in words.iter().take_while(|word| *word != "--").filter(|word| word.starts_with('-')) {
        assert!(help.contains(flag.as_str()), "{at}: `cargo xtask help` does not know `{flag}`");
    }
}

fn check_cargo(words: &[String], at: &str) {
    let members = [
        "core/torch",
        "core/api",
        "core/data",
        "core/models",
        "core/engine",
        "plugins",
        "xtask",
        "bench",
        "examples/plugin_rust",
        ".",
    ];
    let manifests: String = members.iter().map(|folder| read(&format!("{folder}/Cargo.toml"))).collect();
    let named = |name: &str| manifests.contains(&format!("name = \"{name}\""));
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-p" | "--package" | "--test" => {
                let name = words.next().unwrap_or_else(|| panic!("{at}: {word} without a name"));
                assert!(named(name), "{at}: there is no `{name}`");
            }
            "--example" => {
                let name = words.next().unwrap_or_else(|| panic!("{at}: {word} without a name"));
                assert!(
                    root().join(format!("examples/{name}.rs")).exists(),
                    "{at}: there is no example `{name}`"
                );
            }
            "--features" | "--crate-type" => {
                assert!(words.next().is_some(), "{at}: {word} without a value");
            }
            "--" => break,
            "--workspace" | "--release" | "--locked" | "--no-deps" | "--open" => {}
            flag if flag.starts_with('-') => panic!("{at}: there is no rule for cargo's `{flag}`"),
            filter => {
                let module = root().join(format!("tests/{filter}.rs"));
                assert!(module.exists(), "{at}: no test is in a module named `{filter}`");
            }
        }
    }
}

fn check_compiler(words: &[String], place: &Place, at: &str) {
    let source = words.iter().find(|word| word.ends_with(".cpp")).unwrap_or_else(|| panic!("{at}: of what?"));
    let output =
        words.iter().skip_while(|word| *word != "-o").nth(1).unwrap_or_else(|| panic!("{at}: no -o"));
    assert_eq!(
        words.join(" "),
        libraries::command_line(source, output),
        "{at}: the tests compile it another way"
    );
    place.put(libraries::library(source), output);
}

fn check_cmake(words: &[String], at: &str) {
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["-S", folder, "-B", _] => {
            assert!(
                root().join(folder).join("CMakeLists.txt").exists(),
                "{at}: {folder} has no CMakeLists.txt"
            );
        }
        ["--build", _] => {}
        _ => panic!("{at}: there is no rule for this line of CMake"),
    }
}

/// Runs every command of these documents, each document in a folder of its own, in order.
fn run_all(documents: &[String]) {
    for document in documents {
        let place = Place::new();
        for block in blocks(document).iter().filter(|block| block.language == "sh") {
            let at = block.at();
            let mut lines = commands(&block.text);
            assert!(!lines.is_empty(), "{at}: no command");
            if let Some(instead) = block.mark("test runs") {
                assert_eq!(lines.len(), 1, "{at}: `test runs` stands for one command");
                if let Rule::Xtask(words) = rule(&lines[0], &at) {
                    check_xtask(&words, &at);
                }
                lines = vec![instead.into()];
            }
            let wanted = match block.mark("test").map(|mark| mark.strip_prefix("exits ")) {
                None => 0,
                Some(Some(code)) => code.parse().expect("an exit code"),
                Some(None) => panic!("{at}: no test knows `{:?}` here", block.mark("test")),
            };
            for mut line in lines {
                for (_, change) in block.marks.iter().filter(|(key, _)| key == "test replaces") {
                    let (from, to) = change.split_once(" -> ").unwrap_or_else(|| panic!("{at}: A -> B"));
                    line = line.replace(from, to);
                }
                let command = match rule(&line, &at) {
                    Rule::Xtask(words) => {
                        check_xtask(&words, &at);
                        continue;
                    }
                    Rule::Cargo(words) => {
                        check_cargo(&words, &at);
                        continue;
                    }
                    Rule::Compiler(words) => {
                        check_compiler(&words, &place, &at);
                        continue;
                    }
                    Rule::CMake(words) => {
                        check_cmake(&words, &at);
                        continue;
                    }
                    Rule::Program(command) => match block.mark("test adds") {
                        Some(more) => format!("{command} {more}"),
                        None => command,
                    },
                };
                let (code, said) = place.run(&command);
                assert_eq!(code, wanted, "{at}: `{command}` said:\n{said}");
            }
        }
    }
}

/// The documents whose commands have a test of their own, because they take longest.
const LONG: [&str; 4] = ["README.md", "docs/recipes.md", "docs/scripts.md", super::GUIDE];

#[test]
fn every_command_of_the_readme_runs() {
    run_all(&[LONG[0].into()]);
}

#[test]
fn every_command_of_the_recipes_page_runs() {
    run_all(&[LONG[1].into()]);
}

#[test]
fn every_command_of_the_scripts_page_runs() {
    run_all(&[LONG[2].into()]);
}

#[test]
fn every_command_of_the_other_documents_runs() {
    let others: Vec<String> = documents().into_iter().filter(|d| !LONG.contains(&d.as_str())).collect();
    run_all(&others);
}

/// The pieces of text in single backquotes outside of blocks, with their lines.
fn inline_code(document: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (number, line) in read(document).lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let pieces = line.split('`').skip(1).step_by(2);
            found.extend(pieces.map(|piece| (number + 1, piece.to_string())));
        }
    }
    found
}

#[test]
fn every_command_and_flag_in_the_text_exists() {
    /// Of cargo, of TensorBoard and of what is not built yet.
    const OTHERS: [&str; 2] = ["--open", "--logdir"];
    let place = Place::new();
    let (code, help) = place.run("admix --help");
    assert_eq!(code, 0, "{help}");
    let names: Vec<String> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next().map(String::from))
        .collect();
    assert!(names.contains(&"run".to_string()), "{help}");
    let mut known = format!("{}{help}", xtask_help());
    let more = [
        "data get",
        "data import",
        "data info",
        "data verify",
        "bench step",
        "bench scripts",
        "bench library",
        "bench mixers",
        "bench puzzlemix",
        "bench comixup",
        "plugin new",
        "plugin check",
    ]
    .map(String::from);
    for name in names.iter().chain(&more).filter(|name| *name != "help") {
        known.push_str(&place.run(&format!("admix {name} --help")).1);
    }
    for document in documents() {
        for (line, code) in inline_code(&document) {
            let at = format!("{document}:{line}");
            let words: Vec<String> = code.split_whitespace().map(String::from).collect();
            match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["cargo", "xtask", ..] => check_xtask(&words[2..], &at),
                ["admix", name, ..] => {
                    assert!(names.iter().any(|n| n == name), "{at}: there is no `admix {name}`");
                }
                _ => {}
            }
            for flag in words.iter().map(|word| word.split('=').next().unwrap_or(word)) {
                let is_flag = flag.len() > 2 && flag.starts_with("--");
                assert!(
                    !is_flag || known.contains(flag) || OTHERS.contains(&flag),
                    "{at}: no command knows `{flag}`"
                );
            }
        }
    }
}
