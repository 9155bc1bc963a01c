//! `core/api/include/admix.h` is plain C and says what `core/api/src/abi/raw.rs` says.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::mem::{offset_of, size_of};

use admix_api::abi::raw;

use super::run;
use crate::program::repository;

const HEADER: &str = "core/api/include/admix.h";

#[test]
fn the_header_is_plain_c_and_plain_cpp() {
    for compiler in ["cc -x c -std=c11", "c++ -x c++ -std=c++17"] {
        let line = format!("{compiler} -Wall -Wextra -Werror -pedantic -fsyntax-only {HEADER}");
        let output = run(&line);
        assert!(output.status.success(), "{line}:\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_plugin_compiled_without_ndebug_is_told_what_to_add() {
    let output =
        run("echo '#include <admix.hpp>' | c++ -x c++ -std=c++17 -fsyntax-only -Icore/api/include -");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("compile plugins with -DNDEBUG"), "{said}");
}

/// A line for the size of each structure and the offset of each field: what Rust says, and C that prints its own.
macro_rules! layouts {
    ($($c:literal $rust:ident { $($field:ident),* })*) => {{
        let (mut told, mut program) = (String::new(), String::new());
        $(
            // Without `..`: a field that is missing here does not compile.
            let _ = |whole: raw::$rust| { let raw::$rust { $($field: _),* } = whole; };
            writeln!(told, "{} {}", $c, size_of::<raw::$rust>()).expect("a line");
            writeln!(program, r#"printf("%s %zu\n", "{0}", sizeof({0}));"#, $c).expect("a line");
            $(
                let field = stringify!($field);
                writeln!(told, "{}.{field} {}", $c, offset_of!(raw::$rust, $field)).expect("a line");
                writeln!(program, r#"printf("%s %zu\n", "{0}.{1}", offsetof({0}, {1}));"#, $c, field).expect("a line");
            )*
        )*
        (told, program)
    }};
}

/// The same for constants.
macro_rules! constants {
    ($($c:ident $value:expr),* $(,)?) => {{
        let (mut told, mut program) = (String::new(), String::new());
        $(
            writeln!(told, "{} {}", stringify!($c), $value).expect("a line");
            writeln!(program, r#"printf("%s %llu\n", "{0}", (unsigned long long){0});"#, stringify!($c)).expect("a line");
        )*
        (told, program)
    }};
}

#[test]
fn header_and_rust_agree_on_every_size_offset_and_constant() {
    let (mut told, mut program) = layouts! {
        "admix_text" Text { data, size }
        "admix_errors" Errors { host, report }
        "admix_texts" Texts { host, put }
        "admix_log" Log { host, say }
        "admix_pairing" Pairing { size, alpha, per, fold, partner, reserved, share }
        "admix_needs" Needs { size, features, saliency, pseudo, capturable, host_solver, hidden, shown, reserved }
        "admix_draws" Draws { size, host, uniform, normal, beta, choice, permutation, derangement, field }
        "admix_ask" Ask { size, batch, height, width, pairing, lambda, progress, quiet, reserved }
        "admix_plan" Plan { size, host, draw, floats, ints, read, structure }
        "admix_named" Named { name, tensor, weight }
        "admix_mix" Mix { size, inputs, inputs_count, plan, plan_count, quiet, reserved, structure }
        "admix_mixed" Mixed {
            size, kind, stage, images, mask, partner, lambda, sources, shares, host, extra,
            weights, reserved, map, mix_map, free_map
        }
        "admix_build" Build {
            size, host, feature_channels, device_type, device_index, parameter, buffer, adopt, log,
            mean, std, channels, classes
        }
        "admix_mixer" Mixer { size, check, create, destroy, plan, mix, train, after_step }
        "admix_loss" Loss { size, check, create, destroy, loss }
        "admix_descriptor" Descriptor {
            size, kind, reserved, name, type_name, summary, source, schema, defaults, pairing, data, mixer, loss
        }
        "admix_manifest" Manifest { magic, abi, size, libtorch, package, version, descriptors, count }
    };
    let (more_told, more_program) = constants! {
        ADMIX_MAGIC raw::MAGIC, ADMIX_ABI raw::ABI, ADMIX_OK raw::OK, ADMIX_FAILED raw::FAILED,
        ADMIX_BAD_SETTING raw::BAD_SETTING, ADMIX_BROKEN raw::BROKEN, ADMIX_MIXER raw::MIXER, ADMIX_LOSS raw::LOSS,
        ADMIX_IMAGES raw::IMAGES, ADMIX_HIDDEN raw::HIDDEN,
    };
    told += &more_told;
    program += &more_program;
    // Nothing of the header is left out.
    let header = std::fs::read_to_string(repository().join(HEADER)).expect("the header");
    for line in header.lines() {
        if let Some(name) = line.strip_prefix("typedef struct ").and_then(|rest| rest.strip_suffix(" {")) {
            assert!(told.contains(&format!("{name} ")), "{name} is compared with nothing");
        }
    }
    assert!(header.contains(&format!("#define ADMIX_ENTRY \"{}\"", raw::ENTRY)));

    let folder = tempfile::tempdir().expect("a folder");
    let (source, binary) = (folder.path().join("layout.c"), folder.path().join("layout"));
    let whole =
        format!("#include <admix.h>\n#include <stdio.h>\nint main(void) {{\n{program}return 0;\n}}\n");
    std::fs::write(&source, whole).expect("written");
    let output = run(&format!(
        "cc -std=c11 -Wall -Werror -Icore/api/include {} -o {1} && {1}",
        source.display(),
        binary.display()
    ));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), told);
    let broken = broken_by(&told);
    assert!(broken.is_empty(), "a library that was built for version 1 would break: {broken:?}");
}

/// Each place, size and constant of version 1: `structure size`, `structure.field offset`, `CONSTANT value`.
const VERSION_1: &str = include_str!("abi_1.txt");

/// What of version 1 does not hold any more: fields and constants stay, structures may grow.
fn broken_by(told: &str) -> Vec<String> {
    let rows = |text: &str| -> BTreeMap<String, u64> {
        let row = |line: &str| {
            let (name, number) = line.split_once(' ').expect("a name and a number");
            (name.to_string(), number.parse().expect("a number"))
        };
        text.lines().map(row).collect()
    };
    let now = rows(told);
    let grows = |name: &str| name.starts_with("admix_") && !name.contains('.') && !FIXED.contains(&name);
    let holds = |name: &str, frozen: u64| match now.get(name) {
        Some(value) => *value == frozen || (grows(name) && *value > frozen),
        None => false,
    };
    let frozen = rows(VERSION_1).into_iter().filter(|(name, value)| !holds(name, *value));
    frozen.map(|(name, value)| format!("{name} is no longer {value}")).collect()
}

/// Structures that lie inside of others or in lists, or that do not tell their size.
const FIXED: [&str; 6] =
    ["admix_text", "admix_errors", "admix_texts", "admix_log", "admix_named", "admix_pairing"];

#[test]
fn a_field_that_moves_and_a_list_that_grows_would_break_version_1() {
    assert!(broken_by(VERSION_1).is_empty());
    let changed = |from: &str, to: &str| {
        assert!(VERSION_1.contains(from), "{from}");
        broken_by(&VERSION_1.replace(from, to)).len()
    };
    assert_eq!(changed("admix_mix 56\n", "admix_mix 64\n"), 0, "growing at the end");
    assert_eq!(changed("admix_mix 56\n", "admix_mix 48\n"), 1, "losing its end");
    assert_eq!(changed("admix_named 32\n", "admix_named 40\n"), 1, "a list whose elements grow");
    assert_eq!(changed("admix_mix.quiet 40\n", "admix_mix.quiet 44\n"), 1, "a field that moves");
    assert_eq!(changed("ADMIX_ABI 1\n", "ADMIX_ABI 2\n"), 1, "another version");
    assert_eq!(changed("admix_mix.quiet 40\n", ""), 1, "a field that goes");
}
