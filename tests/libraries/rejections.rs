//! Libraries that cannot be used, where libraries come from, and functions that break their promises.

use std::path::Path;
use std::process::Command;

use admix_torch::handles::libtorch_version;

use crate::program::{Outcome, Place, finish, repository};

/// A recipe of one small step of the mixer `Fade`.
const RECIPE: &str = r#"(
    epochs: 1,
    batch: 8,
    data: (name: "toy", crop: None, toy: (train: 8, test: 8, classes: 2, size: 8)),
    model: ConvNet(widths: [4], strides: [2]),
    method: "mixup",
    mixers: {"mix": Fade()},
    optimizer: Sgd(lr: 0.1),
)"#;

/// Compiles `tiny.c` in a place, spoiled by these definitions.
pub(super) fn compile(place: &Place, name: &str, spoiled: &[&str]) {
    let path = place.path(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()));
    if spoiled.iter().any(|one| one.starts_with("MIX=throw")) {
        cc = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".into()));
        cc.args(["-x", "c++", "-std=c++20"]);
    }
    cc.args(["-shared", "-fPIC", "-I"]).arg(repository().join("core/api/include"));
    if !spoiled.iter().any(|one| one.starts_with("LIBTORCH=")) {
        cc.arg(format!("-DLIBTORCH=\"{}\"", libtorch_version()));
    }
    cc.args(spoiled.iter().map(|one| format!("-D{one}")));
    cc.arg("-o").arg(path).arg(repository().join("tests/libraries/tiny.c"));
    let output = cc.output().expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Whatever new files are like on this machine: a plugin folder is one's own.
    let mut chmod = Command::new("chmod");
    assert!(chmod.args(["-R", "go-w"]).arg(place.path("")).status().expect("chmod runs").success());
}

/// A place with a library `tiny.so`.
fn with_tiny(spoiled: &[&str]) -> Place {
    let place = Place::new();
    compile(&place, "tiny.so", spoiled);
    place.write("fade.ron", RECIPE);
    place
}

/// Lists the plugins with these libraries in the plugin folder.
fn plugins_with_folder(place: &Place, folder: &Path, arguments: &[&str]) -> Outcome {
    let mut command = place.command(&[&["plugins"], arguments].concat());
    finish(command.env("ADMIX_PLUGINS", folder).spawn().expect("the program starts"))
}

#[test]
fn a_library_in_plain_c_is_listed_with_where_it_comes_from() {
    let place = with_tiny(&[]);
    let listed = place.admix(&["plugins", "--plugin", "tiny.so"]).good().stdout;
    let line = listed.lines().find(|line| line.contains(" fade ")).expect("listed");
    assert!(line.contains("nothing at all") && line.ends_with("0.0.1  tiny.so (ABI 1)"), "{line}");
}

#[test]
fn a_library_that_calls_exit_fails_the_program_and_is_named() {
    let called = "native code, a plugin's or libtorch's, called `exit` and ended the program";
    let place = with_tiny(&["MIX=leave"]);
    let run = ["run", "fade.ron", "--plugin", "tiny.so"];
    place.compute(&run).refused(1, &[called, "running fade.ron", "`mix` of mixer `fade` (tiny.so)"]);
    let place = with_tiny(&["LEAVES_EARLY=exit(0)"]);
    place.admix(&["plugins", "--plugin", "tiny.so"]).refused(1, &[called, "the loading of tiny.so"]);
    // What ends the program itself is no fault.
    place.admix(&["--help"]).good();
}

#[test]
fn a_library_that_ends_the_process_at_once_fails_the_program_and_is_named() {
    let called = |function| format!("native code, a plugin's or libtorch's, called `{function}` and ended");
    let run = ["run", "fade.ron", "--plugin", "tiny.so"];
    let place = with_tiny(&["MIX=leave_at_once"]);
    place
        .compute(&run)
        .refused(1, &[&called("_exit"), "running fade.ron", "`mix` of mixer `fade` (tiny.so)"]);
    let place = with_tiny(&["LEAVES_EARLY=_Exit(0)"]);
    let listed = ["plugins", "--plugin", "tiny.so"];
    place.admix(&listed).refused(1, &[&called("_Exit"), "the loading of tiny.so"]);
    // A code above 128 is that of a program that a signal ended.
    let place = with_tiny(&["LEAVES_EARLY=_exit(130)"]);
    place.admix(&listed).refused(1, &[&called("_exit"), "the loading of tiny.so"]);
    let place = with_tiny(&["LEAVES_EARLY=quick_exit(0)"]);
    place.admix(&listed).refused(1, &[&called("quick_exit"), "the loading of tiny.so"]);
    let place = with_tiny(&["MIX=give_up"]);
    place.compute(&run).refused(1, &["died of SIGABRT", "`mix` of mixer `fade` (tiny.so)"]);
    let place = with_tiny(&["LEAVES_EARLY=abort()"]);
    place.admix(&listed).refused(1, &["died of SIGABRT", "the loading of tiny.so"]);
}

#[test]
fn a_library_that_throws_across_the_boundary_is_refused_with_what_it_threw() {
    let run = ["run", "fade.ron", "--plugin", "tiny.so"];
    for (mix, thrown) in [("throw_up", ": no cell"), ("throw_a_number", ": unknown C++ exception")] {
        let place = with_tiny(&[&format!("MIX={mix}")]);
        let threw = "`mix` threw an exception across the boundary";
        place.compute(&run).refused(2, &["mixer `fade` (tiny.so)", threw, thrown]);
    }
}

#[test]
fn a_library_that_closes_an_output_of_the_program_is_refused() {
    let place = with_tiny(&["MIX=close_output"]);
    let closed = "closed the program's standard output; leave it open";
    let run = ["run", "fade.ron", "--plugin", "tiny.so"];
    place.compute(&run).refused(2, &["mixer `fade` (tiny.so)", "`mix`", closed]);
    let place = with_tiny(&["LEAVES_EARLY=close(STDOUT_FILENO)"]);
    place
        .admix(&["plugins", "--plugin", "tiny.so"])
        .refused(2, &["tiny.so", "closed the program's standard output"]);
}

#[test]
fn a_report_that_would_steer_the_terminal_is_escaped() {
    let place = with_tiny(&["MIX=steer"]);
    place.compute(&["run", "fade.ron", "--plugin", "tiny.so"]).refused(2, &["fade", "\\u{1b}[31mred\\u{7}"]);
}

#[test]
fn libraries_that_cannot_be_used_are_refused_with_path_and_remedy() {
    let cases: [(&[&str], &[&str]); 7] = [
        (&["MAGIC=3"], &["wrong magic number", "another program's plugin"]),
        (&["ABI=9"], &["speaks version 9 of the plugin ABI", "speaks 1", "rebuild it with the SDK"]),
        (
            &["LIBTORCH=\"1.4.0\""],
            &["built with libtorch 1.4.0", "rebuild it with libtorch", libtorch_version()],
        ),
        (
            &["ENTRY=another_name"],
            &["exports no `admix_plugin_manifest`", "export_plugins!", "ADMIX_PLUGINS("],
        ),
        (
            &["DESCRIPTOR_SIZE=24"],
            &["its plugin 1", "descriptor is truncated (24 bytes", "rebuild it with the SDK"],
        ),
        (&["MIX=0"], &["its plugin 1", "`fade`", "the function `mix` is missing"]),
        (&["NAME=\"Fade\""], &["its name is `Fade`", "lower-case"]),
    ];
    for (spoiled, parts) in cases {
        let place = with_tiny(spoiled);
        for command in [&["plugins"][..], &["show", "fade.ron"]] {
            let outcome = place.admix(&[command, &["--plugin", "tiny.so"]].concat());
            outcome.refused(2, &[&["tiny.so: "], parts].concat());
        }
        // The check of a library refuses it in the same words.
        place.admix(&["plugin", "check", "./tiny.so"]).refused(2, &[&["tiny.so: "], parts].concat());
    }
}

#[test]
fn what_is_no_library_is_refused_with_its_path() {
    let place = with_tiny(&[]);
    place.write("text.so", "not a library\n");
    place.write("empty.so", "");
    place.write("folder.so/inside", "");
    let whole = std::fs::read(place.path("tiny.so")).expect("a library");
    place.write("half.so", &whole[..whole.len() / 2]);
    place.write("head.so", &whole[..40]);
    place.write("nearly.so", &whole[..whole.len() / 4 * 3]);
    let mut damaged = whole;
    // The class byte: a library of a 32-bit machine.
    damaged[4] = 1;
    place.write("damaged.so", &damaged);
    for (name, parts) in [
        ("text.so", &["is not a library of this machine"][..]),
        ("empty.so", &["is not a library of this machine"]),
        ("head.so", &["is not a library of this machine"]),
        ("damaged.so", &["is not a library of this machine"]),
        ("half.so", &["the file is damaged (it ends early)", "copy or build it again"]),
        ("nearly.so", &["the file is damaged (it ends early)"]),
        ("folder.so", &["there is no such library", "give the path of a plugin's .so file"]),
        ("missing.so", &["there is no such library", "give the path of a plugin's .so file"]),
    ] {
        let parts = [&[name], parts].concat();
        place.admix(&["plugins", "--plugin", name]).refused(2, &parts);
    }
}

#[test]
fn a_name_that_is_taken_is_refused_with_both_origins() {
    let place = with_tiny(&["NAME=\"cutmix\"", "TYPE_NAME=\"CutMix\""]);
    place.admix(&["plugins", "--plugin", "tiny.so"]).refused(
        2,
        &[
            "two mixers are named `cutmix`",
            "admix-plugins (plugins/src/mixers/cutmix.rs)",
            "tiny.so",
            "rename",
        ],
    );
    // Between two libraries as well.
    let place = with_tiny(&[]);
    compile(&place, "other.so", &[]);
    place
        .admix(&["plugins", "--plugin", "tiny.so", "--plugin", "other.so"])
        .refused(2, &["two mixers are named `fade`", "tiny.so", "other.so"]);
}

#[test]
fn the_plugin_folder_is_loaded_and_what_is_broken_in_it_is_passed_over_with_a_warning() {
    let place = Place::new();
    compile(&place, "plugins/good.so", &[]);
    compile(&place, "plugins/bad.so", &["ABI=9", "NAME=\"other\""]);
    place.write("plugins/README", "not a library");
    let outcome = plugins_with_folder(&place, &place.path("plugins"), &[]).good();
    assert!(outcome.stdout.contains(" fade "), "{}", outcome.stdout);
    let warnings: Vec<&str> = outcome.stderr.lines().collect();
    let [warning] = warnings[..] else { panic!("one warning: {}", outcome.stderr) };
    for part in
        ["warning: passed over in the plugin folder: ", "bad.so", "version 9 of the plugin ABI", "rebuild"]
    {
        assert!(warning.contains(part), "{warning}");
    }
    // No folder, nothing to say.
    let outcome = plugins_with_folder(&place, &place.path("nowhere"), &[]).good();
    assert!(!outcome.stdout.contains(" fade ") && outcome.stderr.is_empty(), "{}", outcome.stderr);
}

#[test]
fn the_same_library_by_flag_and_by_folder_is_no_clash() {
    let place = Place::new();
    compile(&place, "plugins/good.so", &[]);
    std::os::unix::fs::symlink(place.path("plugins/good.so"), place.path("link.so")).expect("a link");
    let flags = ["--plugin", "plugins/good.so", "--plugin", "link.so"];
    let outcome = plugins_with_folder(&place, &place.path("plugins"), &flags).good();
    assert_eq!(
        outcome.stdout.lines().filter(|line| line.contains(" fade ")).count(),
        1,
        "{}",
        outcome.stdout
    );
    assert!(outcome.stderr.is_empty(), "{}", outcome.stderr);
}

#[test]
fn a_recipe_with_a_plugin_that_is_not_loaded_says_how_to_load_it() {
    let place = with_tiny(&[]);
    place.admix(&["show", "fade.ron"]).refused(2, &["fade.ron", "no mixer named `Fade`", "--plugin LIBRARY"]);
    place.admix(&["show", "fade.ron", "--plugin", "tiny.so"]).good();
}

#[test]
fn a_recipe_cannot_load_a_library() {
    // Its own code would run: whoever reads a recipe of someone else must be safe.
    let place = with_tiny(&[]);
    for line in ["plugin: [\"tiny.so\"],", "plugins: [\"tiny.so\"],", "libraries: [\"tiny.so\"],"] {
        place.write("sly.ron", RECIPE.replacen("epochs", &format!("{line}\n    epochs"), 1));
        place.admix(&["show", "sly.ron"]).refused(2, &["sly.ron:2:", "unknown field"]);
    }
    for name in ["tiny.so", "./tiny.so"] {
        place.write("sly.ron", RECIPE.replacen("Fade()", &format!("Script(file: \"{name}\")"), 1));
        place.admix(&["show", "sly.ron"]).refused(2, &["sly.ron"]);
    }
    // What lies beside the recipe or in the folder of the run is not loaded either.
    place.write("lib/tiny.so", std::fs::read(place.path("tiny.so")).expect("a library"));
    place.admix(&["show", "fade.ron"]).refused(2, &["no mixer named `Fade`"]);
}

#[test]
fn functions_that_break_their_promises_end_the_run_in_one_line_with_plugin_and_library() {
    let cases: [(&[&str], i32, &[&str]); 3] = [
        (&[], 2, &["`mix` returned no images"]),
        (&["RESOLVED=\"no json\""], 2, &["its settings come back as no JSON"]),
        (&["CREATE_STATUS=ADMIX_FAILED"], 2, &["`create` failed without a message"]),
    ];
    for (spoiled, code, parts) in cases {
        let place = with_tiny(spoiled);
        let outcome = place.compute(&["run", "fade.ron", "--out", "run", "--plugin", "tiny.so"]);
        outcome.refused(code, &[&["mixer `fade` (tiny.so)"], parts].concat());
    }
}
