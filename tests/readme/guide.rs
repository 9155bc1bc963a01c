//! The guide to a first plugin, followed to the letter: every block is a shell script, run from an empty folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{GUIDE, blocks};

/// A shell in an empty folder, with the program on its path. It remembers where it is.
struct Shell {
    folder: tempfile::TempDir,
    at: PathBuf,
    path: String,
}

impl Shell {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let of_admix =
            Path::new(env!("CARGO_BIN_EXE_admix")).parent().expect("a folder").display().to_string();
        let of_cargo = Path::new(env!("CARGO")).parent().expect("a folder").display().to_string();
        let path = format!("{of_admix}:{of_cargo}:{}", std::env::var("PATH").unwrap_or_default());
        let at = folder.path().join("empty");
        fs::create_dir(&at).expect("a folder");
        Self { folder, at, path }
    }

    /// Runs a script as a person would: stops at the first command that fails, and stays in the folder it ends in.
    fn run(&mut self, script: &str) -> Result<String, String> {
        let place = self.folder.path().join("place");
        let said = self.folder.path().join("said");
        let output = fs::File::create(&said).expect("a file");
        let status = Command::new("sh")
            .args(["-e", "-c", &format!("{script}\npwd > {}", place.display())])
            .current_dir(&self.at)
            .env("PATH", &self.path)
            .env("OMP_NUM_THREADS", "1")
            .env("CARGO_NET_OFFLINE", "true")
            // Where cargo keeps what it compiles on the way: kept from one run of this test to the next.
            .env("CARGO_BUILD_BUILD_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide"))
            .env_remove("ADMIX_PLUGINS")
            // Cargo's own settings for this process are not a person's.
            .env_remove("LIBTORCH")
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .status()
            .expect("a shell");
        let said = fs::read_to_string(&said).unwrap_or_default();
        if !status.success() {
            return Err(said);
        }
        self.at = PathBuf::from(fs::read_to_string(&place).expect("where it is").trim());
        Ok(said)
    }
}

#[test]
fn the_guide_leads_from_an_empty_folder_to_trained_plugins_in_three_languages() {
    let mut shell = Shell::new();
    let mut said = String::new();
    for block in blocks(GUIDE).iter().filter(|block| block.language == "sh") {
        let output = shell.run(&block.text).unwrap_or_else(|said| panic!("{}:\n{said}", block.at()));
        said.push_str(&output);
    }
    // Runs of two epochs that ended: two scripts, two of Rust, C++, a loss, and one from the plugin folder.
    assert_eq!(said.matches("done: 2 epochs, 16 steps").count(), 7, "{said}");
    assert!(!said.contains("BROKEN"), "{said}");

    // What the page leaves to the reader: a loss in each compiled language.
    let rest = "admix plugin new brier --lang cpp --kind loss && cd brier && make
        admix plugin check build/libbrier.so && admix run recipe.ron --plugin build/libbrier.so && cd ..
        admix plugin new mean_square --lang rust --kind loss && cd mean_square && cargo test && cargo build
        admix plugin check target/debug/libmean_square.so
        admix run recipe.ron --plugin target/debug/libmean_square.so";
    let said = shell.run(rest).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(said.matches("done: 2 epochs, 16 steps").count(), 2, "{said}");
    assert!(!said.contains("BROKEN"), "{said}");
}

#[test]
fn a_plugin_in_cpp_is_built_after_the_sources_of_the_program_are_gone() {
    let mut shell = Shell::new();
    let sources = env!("CARGO_MANIFEST_DIR");
    let run = format!("admix plugin new kept --lang cpp && cd kept && sed -i 's#{sources}#/gone#' Makefile");
    shell.run(&run).expect("a project");
    let said = shell.run("make").expect_err("no libtorch");
    assert!(
        said.contains("there is no libtorch in /gone/.libtorch/torch") && said.contains("make TORCH=FOLDER"),
        "{said}"
    );
    let run = format!("make TORCH={sources}/.libtorch/torch && admix plugin check build/libkept.so");
    let said = shell.run(&run).unwrap_or_else(|said| panic!("{said}"));
    assert!(!said.contains("BROKEN"), "{said}");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut shell = Shell::new();
    for (arguments, parts) in [
        ("Soft-Grid --lang rhai", ["`Soft-Grid`", "lower-case words"]),
        ("soft__grid --lang rhai", ["`soft__grid`", "lower-case words"]),
        ("mine --lang rust --sdk /nowhere", ["/nowhere/core/api/Cargo.toml", "--sdk"]),
        ("mixup --lang cpp", ["`mixup` already", "choose another name"]),
        ("fn --lang rust", ["`fn`", "a word of Rust"]),
        ("mine --lang java", ["java", "rust, cpp, rhai"]),
    ] {
        let said = shell.run(&format!("admix plugin new {arguments}")).expect_err("refused");
        assert!(parts.iter().all(|part| said.contains(part)), "{arguments}: {said}");
    }
    shell.run("mkdir mine && echo kept > mine/file").expect("a folder");
    let said = shell.run("admix plugin new mine --lang rhai").expect_err("refused");
    assert!(said.contains("mine is there already") && said.contains("--out"), "{said}");
    assert_eq!(shell.run("cat mine/file").expect("the file"), "kept\n");
}
