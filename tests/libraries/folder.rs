//! The plugin folder: code that nobody asked for by name runs only from where nobody else can put it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use super::rejections::compile;
use crate::program::{Outcome, Place, finish};

/// Lists the plugins in these surroundings, of which the plugin folder depends on nothing else.
fn plugins(place: &Place, surroundings: &[(&str, &Path)]) -> Outcome {
    let mut command = place.command(&["plugins"]);
    for name in ["ADMIX_PLUGINS", "XDG_DATA_HOME", "HOME"] {
        command.env_remove(name);
    }
    finish(command.envs(surroundings.iter().copied()).spawn().expect("the program starts")).good()
}

/// Fails unless the library was left alone and one warning says why.
#[track_caller]
fn refused(outcome: &Outcome, parts: &[&str]) {
    assert!(!outcome.stdout.contains(" fade "), "{}", outcome.stdout);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let [warning] = lines[..] else { panic!("one warning: {}", outcome.stderr) };
    for part in [&["warning: "], parts].concat() {
        assert!(warning.contains(part), "`{part}` is not in: {warning}");
    }
}

#[track_caller]
fn loaded(outcome: &Outcome) {
    assert!(outcome.stdout.contains(" fade ") && outcome.stderr.is_empty(), "{}", outcome.stderr);
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its own file");
}

#[test]
fn no_library_of_the_current_folder_is_loaded_when_a_variable_is_empty_or_relative() {
    let place = Place::new();
    compile(&place, ".local/share/admix/plugins/planted.so", &[]);
    compile(&place, "data/admix/plugins/planted.so", &[]);
    compile(&place, "mine/planted.so", &[]);
    let (empty, here) = (Path::new(""), Path::new("."));
    let home = place.path("");
    refused(&plugins(&place, &[("HOME", empty)]), &["HOME is ``", "absolute", "ADMIX_PLUGINS"]);
    refused(&plugins(&place, &[("HOME", here)]), &["HOME is `.`", "absolute"]);
    refused(
        &plugins(&place, &[("HOME", &home), ("XDG_DATA_HOME", Path::new("data"))]),
        &["XDG_DATA_HOME is `data`", "absolute"],
    );
    refused(
        &plugins(&place, &[("HOME", &home), ("ADMIX_PLUGINS", Path::new("mine"))]),
        &["ADMIX_PLUGINS is `mine`", "absolute"],
    );
    // What was asked to be none, or is not set, needs no word.
    for surroundings in [&[("HOME", empty), ("ADMIX_PLUGINS", empty)][..], &[]] {
        let outcome = plugins(&place, surroundings);
        assert!(!outcome.stdout.contains(" fade ") && outcome.stderr.is_empty(), "{}", outcome.stderr);
    }
    // The same libraries by absolute paths.
    loaded(&plugins(&place, &[("HOME", &home)]));
    loaded(&plugins(&place, &[("HOME", &home), ("XDG_DATA_HOME", empty)]));
    loaded(&plugins(&place, &[("XDG_DATA_HOME", &place.path("data"))]));
    loaded(&plugins(&place, &[("ADMIX_PLUGINS", &place.path("mine"))]));
}

/// Whether a list has this entry.
fn lists(text: &str, kind: &str, name: &str) -> bool {
    text.lines().any(|line| line.split_whitespace().take(2).eq([kind, name]))
}

#[test]
fn a_plugin_folder_or_library_that_others_can_write_is_not_used_and_the_remedy_helps() {
    let place = Place::new();
    compile(&place, "above/mine/good.so", &[]);
    let (above, mine, library) =
        (place.path("above"), place.path("above/mine"), place.path("above/mine/good.so"));
    let listed = || plugins(&place, &[("ADMIX_PLUGINS", &mine)]);
    loaded(&listed());
    // Group, others, others in a sticky folder; a library; a folder above.
    for (path, bad, good) in [
        (&mine, 0o775, 0o755),
        (&mine, 0o757, 0o755),
        (&mine, 0o1777, 0o755),
        (&library, 0o664, 0o644),
        (&library, 0o646, 0o644),
        (&above, 0o777, 0o755),
    ] {
        allow(path, bad);
        let path = path.canonicalize().expect("it is there");
        refused(&listed(), &["others can write", &format!("`chmod go-w {}`", path.display())]);
        allow(&path, good);
        loaded(&listed());
    }
    // Nobody can replace what is in a sticky folder.
    allow(&above, 0o1777);
    loaded(&listed());
    // A link is as good as what it leads to.
    compile(&place, "open/other.so", &["NAME=\"other\"", "TYPE_NAME=\"Other\""]);
    std::os::unix::fs::symlink(place.path("open/other.so"), place.path("above/mine/other.so"))
        .expect("a link");
    let outcome = listed();
    assert!(lists(&outcome.stdout, "mixer", "other"), "{}", outcome.stderr);
    allow(&place.path("open"), 0o777);
    let outcome = listed();
    assert!(
        outcome.stdout.contains(" fade ") && !lists(&outcome.stdout, "mixer", "other"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stderr.contains("others can write to") && outcome.stderr.contains("/open"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_plugin_folder_of_another_user_is_not_used() {
    let place = Place::new();
    compile(&place, "mine/good.so", &[]);
    // Only root may give files away; other users find nothing that is another's here.
    for name in ["mine/good.so", "mine"] {
        if chown(place.path(name), Some(54321), None).is_err() {
            return;
        }
        let outcome = plugins(&place, &[("ADMIX_PLUGINS", &place.path("mine"))]);
        refused(&outcome, &[name, "another user (number 54321)", "--plugin"]);
    }
}
