//! Manifests that are read, and those that are refused.

use super::library::{LIBTORCH, Library};
use crate::abi::manifest::{Functions, read};
use crate::abi::raw;

/// The one line that a library is refused with after it was spoiled in this way.
#[track_caller]
fn refusal(spoil: impl FnOnce(&mut Library)) -> String {
    let mut library = Library::good();
    spoil(&mut library);
    let message = library.read().expect_err("refused");
    assert!(!message.chars().any(char::is_control), "one line: {message:?}");
    message
}

/// The same for what is spoiled in the first plugin.
#[track_caller]
fn refused_plugin(spoil: impl FnOnce(&mut raw::Descriptor)) -> String {
    refusal(|library| spoil(&mut library.descriptors[0]))
}

const NOTHING: raw::Text = raw::Text { data: std::ptr::null(), size: 0 };
const DANGLING: raw::Text = raw::Text { data: std::ptr::null(), size: 12 };

fn bytes(bytes: &'static [u8]) -> raw::Text {
    raw::Text { data: bytes.as_ptr(), size: bytes.len() }
}

/// A text of this many letters, for good.
fn long(size: usize) -> raw::Text {
    raw::Text::of("a".repeat(size).leak())
}

#[test]
fn a_good_library_is_read_as_it_is() {
    let contents = Library::good().read().expect("good");
    assert_eq!((contents.package.as_str(), contents.version.as_str()), ("grids", "1.2.3"));
    let [first, second] = &contents.plugins[..] else { panic!("{contents:?}") };
    assert_eq!((first.name.as_str(), first.type_name.as_str()), ("grid_mix", "GridMix"));
    assert_eq!(first.summary, "cells of two images");
    assert_eq!(first.source, "Someone, 2026, eq. 1");
    assert_eq!(first.schema["properties"]["cells"]["type"], "integer");
    assert_eq!(first.defaults, serde_json::json!({"cells": 4}));
    let pairing = &first.pairing;
    assert_eq!((pairing.alpha, pairing.per, pairing.fold, pairing.partner), (0.5, 1, 1, 2));
    assert!(matches!(first.functions, Functions::Mixer(raw::Mixer { plan: None, mix: Some(_), .. })));
    assert!(matches!(second.functions, Functions::Loss(raw::Loss { loss: Some(_), .. })));
    // An empty text stands for an empty object.
    assert_eq!((&second.schema, &second.defaults), (&serde_json::json!({}), &serde_json::json!({})));
}

#[test]
fn a_manifest_that_is_not_there_or_lies_between_words_is_refused() {
    let missing = "its manifest is not there: rebuild it with the SDK of this version";
    // SAFETY: null is allowed.
    assert_eq!(unsafe { read(std::ptr::null(), LIBTORCH) }.expect_err("null"), missing);
    let library = Library::good();
    let odd = (&raw const library.manifest).wrapping_byte_add(4);
    // SAFETY: 16 bytes can be read there too.
    assert_eq!(unsafe { read(odd, LIBTORCH) }.expect_err("misaligned"), missing);
}

#[test]
fn another_program_another_abi_and_another_libtorch_are_told_apart() {
    assert_eq!(
        refusal(|library| library.manifest.magic += 1),
        "it has no manifest of Admix (wrong magic number): it is another program's plugin"
    );
    assert_eq!(
        refusal(|library| library.manifest.abi = 7),
        "it speaks version 7 of the plugin ABI, this program speaks 1: rebuild it with the SDK of this version"
    );
    assert_eq!(
        refusal(|library| library.manifest.libtorch = raw::Text::of("1.13.1")),
        "it was built with libtorch 1.13.1, this program runs 2.11.0: rebuild it with libtorch 2.11.0"
    );
    // Nothing behind the version is looked at before it fits.
    let message = refusal(|library| {
        library.manifest.abi = raw::ABI + 1;
        library.manifest.size = 0;
        library.manifest.libtorch = DANGLING;
    });
    assert!(message.contains("version 2 of the plugin ABI"), "{message}");
}

#[test]
fn truncated_structures_are_refused_with_both_sizes() {
    let manifest = size_of::<raw::Manifest>();
    assert_eq!(
        refusal(|library| library.manifest.size -= 8),
        format!(
            "its manifest is truncated ({} bytes, expected {manifest} or more): rebuild it with the SDK of this version",
            manifest - 8
        )
    );
    let descriptor = size_of::<raw::Descriptor>();
    assert_eq!(
        refused_plugin(|plugin| plugin.size = 16),
        format!(
            "its plugin 1: its descriptor is truncated (16 bytes, expected {descriptor} or more): rebuild it with the SDK \
             of this version"
        )
    );
    assert_eq!(
        refusal(|library| library.mixer.size = 7),
        format!(
            "its plugin 1: `grid_mix`: its table of functions is truncated (7 bytes, expected {} or more): rebuild it \
             with the SDK of this version",
            size_of::<raw::Mixer>()
        )
    );
}

#[test]
fn a_larger_structure_of_a_later_version_is_fine() {
    let mut library = Library::good();
    library.manifest.size += 64;
    library.descriptors[0].size += 64;
    library.mixer.size += 64;
    assert_eq!(library.read().expect("read as far as it is known").plugins.len(), 2);
}

#[test]
fn a_table_that_ends_early_lacks_what_lies_behind_its_end() {
    let mut library = Library::good();
    library.mixer.size = std::mem::offset_of!(raw::Mixer, train);
    let contents = library.read().expect("the rest is optional");
    let Functions::Mixer(mixer) = contents.plugins[0].functions else { panic!("{contents:?}") };
    assert!(mixer.mix.is_some() && mixer.train.is_none() && mixer.after_step.is_none());

    let message = refusal(|library| library.mixer.size = std::mem::offset_of!(raw::Mixer, mix));
    assert_eq!(message, "its plugin 1: `grid_mix`: the function `mix` is missing");
    let message = refusal(|library| library.loss.size = std::mem::offset_of!(raw::Loss, loss));
    assert_eq!(message, "its plugin 2: `soft`: the function `loss` is missing");
}

#[test]
fn a_part_of_a_pointer_at_the_end_of_a_table_is_no_function() {
    for bytes in 1..size_of::<usize>() {
        let mut library = Library::good();
        library.mixer.size = std::mem::offset_of!(raw::Mixer, after_step) + bytes;
        let contents = library.read().expect("the rest is optional");
        let Functions::Mixer(mixer) = contents.plugins[0].functions else { panic!("{contents:?}") };
        assert!(mixer.train.is_some() && mixer.after_step.is_none(), "{bytes} bytes");
    }
}

/// Functions of a table, and how to take each away.
type Spoils<T> = [(&'static str, fn(&mut T)); 4];

#[test]
fn each_function_that_is_needed_is_asked_for_by_name() {
    let spoiled: Spoils<raw::Mixer> = [
        ("check", |table| table.check = None),
        ("create", |table| table.create = None),
        ("destroy", |table| table.destroy = None),
        ("mix", |table| table.mix = None),
    ];
    for (name, spoil) in spoiled {
        let message = refusal(|library| spoil(&mut library.mixer));
        assert_eq!(message, format!("its plugin 1: `grid_mix`: the function `{name}` is missing"));
    }
    let spoiled: Spoils<raw::Loss> = [
        ("check", |table| table.check = None),
        ("create", |table| table.create = None),
        ("destroy", |table| table.destroy = None),
        ("loss", |table| table.loss = None),
    ];
    for (name, spoil) in spoiled {
        let message = refusal(|library| spoil(&mut library.loss));
        assert_eq!(message, format!("its plugin 2: `soft`: the function `{name}` is missing"));
    }
}

#[test]
fn missing_tables_and_descriptors_are_refused() {
    // A loss without its table: what a mixer points to does not matter.
    let mut library = Library::good();
    let list = [&raw const library.descriptors[0], std::ptr::null()];
    let message = library.read_list(list.as_ptr()).expect_err("null");
    assert_eq!(message, "its plugin 2: the descriptor is missing: rebuild the library");
    let odd = (&raw const library.descriptors[1]).wrapping_byte_add(2);
    let list = [&raw const library.descriptors[0], odd];
    let message = library.read_list(list.as_ptr()).expect_err("misaligned");
    assert_eq!(message, "its plugin 2: the descriptor is missing: rebuild the library");

    let mut library = Library::good();
    let null = raw::Descriptor { mixer: std::ptr::null(), ..library.descriptors[0] };
    let mixer: *const raw::Mixer = &raw const library.mixer;
    let odd = raw::Descriptor { mixer: mixer.wrapping_byte_add(1), ..null };
    for descriptor in [null, odd] {
        let list = [&raw const descriptor; 2];
        let message = library.read_list(list.as_ptr()).expect_err("no table");
        assert_eq!(message, "its plugin 1: `grid_mix`: its functions are missing");
    }
}

#[test]
fn the_number_of_plugins_is_believed_from_1_to_1000() {
    for count in [0, 1_001, usize::MAX] {
        let message = refusal(|library| library.manifest.count = count);
        assert_eq!(message, format!("it offers {count} plugins, expected 1 to 1000"));
    }
    let mut library = Library::good();
    let message = library.read_list(std::ptr::null()).expect_err("no list");
    assert_eq!(message, "it offers 2 plugins, expected 1 to 1000");
    let odd = std::ptr::without_provenance(1 << 20 | 1);
    let message = library.read_list(odd).expect_err("a list between words");
    assert_eq!(message, "its list of plugins is damaged: rebuild it");
}

#[test]
fn damaged_texts_are_refused_by_name() {
    for (what, spoil) in [
        ("libtorch", (|library, text| library.manifest.libtorch = text) as fn(&mut Library, raw::Text)),
        ("package", |library, text| library.manifest.package = text),
        ("version", |library, text| library.manifest.version = text),
    ] {
        assert_eq!(refusal(|library| spoil(library, DANGLING)), format!("its {what} is damaged (12 bytes)"));
        assert_eq!(
            refusal(|library| spoil(library, long(201))),
            format!("its {what} is damaged (201 bytes)")
        );
        assert_eq!(refusal(|library| spoil(library, bytes(b"a\xff"))), format!("its {what} is not UTF-8"));
        assert_eq!(
            refusal(|library| spoil(library, bytes(b"a\nb"))),
            format!("its {what} is not one line of plain text")
        );
    }
    for (what, most, spoil) in [
        ("type_name", 200, (|plugin, text| plugin.type_name = text) as fn(&mut raw::Descriptor, raw::Text)),
        ("summary", 4_000, |plugin, text| plugin.summary = text),
        ("source", 4_000, |plugin, text| plugin.source = text),
        ("schema", 1 << 20, |plugin, text| plugin.schema = text),
        ("defaults", 1 << 20, |plugin, text| plugin.defaults = text),
    ] {
        let of = format!("its plugin 1: `grid_mix`: its {what}");
        assert_eq!(refused_plugin(|plugin| spoil(plugin, DANGLING)), format!("{of} is damaged (12 bytes)"));
        assert_eq!(
            refused_plugin(|plugin| spoil(plugin, long(most + 1))),
            format!("{of} is damaged ({} bytes)", most + 1)
        );
        assert_eq!(refused_plugin(|plugin| spoil(plugin, bytes(b"\xc3("))), format!("{of} is not UTF-8"));
    }
    for text in [b"a\x1b[2Jb", b"two\r\nl"] {
        let message = refused_plugin(|plugin| plugin.source = bytes(text));
        assert!(message.ends_with("is not one line of plain text"), "{message}");
    }
    assert_eq!(
        refused_plugin(|plugin| plugin.name = DANGLING),
        "its plugin 1: its name is damaged (12 bytes)"
    );
    assert_eq!(refused_plugin(|plugin| plugin.name = bytes(b"\x80")), "its plugin 1: its name is not UTF-8");
}

#[test]
fn texts_as_long_as_may_be_are_fine() {
    let mut library = Library::good();
    library.manifest.package = long(200);
    library.descriptors[0].summary = long(4_000);
    library.descriptors[0].source = NOTHING;
    let contents = library.read().expect("good");
    assert_eq!((contents.package.len(), contents.plugins[0].summary.len()), (200, 4_000));
    assert_eq!(contents.plugins[0].source, "");
}

#[test]
fn names_are_words_that_scripts_and_recipes_can_use() {
    for (name, shown) in
        [("", ""), ("Grid", "Grid"), ("1mix", "1mix"), ("grid-mix", "grid-mix"), ("a\nb", "a\\nb")]
    {
        let message = refused_plugin(|plugin| plugin.name = raw::Text::of(name));
        assert_eq!(
            message,
            format!("its plugin 1: its name is `{shown}`, expected lower-case words such as grid_mix")
        );
    }
    for (name, shown) in
        [("", ""), ("grid", "grid"), ("Grid Mix", "Grid Mix"), ("G\u{7}", "G\\u{7}"), ("Ü", "Ü")]
    {
        let message = refused_plugin(|plugin| plugin.type_name = raw::Text::of(name));
        assert_eq!(
            message,
            format!(
                "its plugin 1: `grid_mix`: its name in recipes is `{shown}`, expected a word such as GridMix"
            )
        );
    }
}

#[test]
fn an_unknown_kind_is_refused_with_the_known_ones() {
    for kind in [0, 3, u32::MAX] {
        assert_eq!(
            refused_plugin(|plugin| plugin.kind = kind),
            format!("its plugin 1: `grid_mix`: it is of kind {kind}, expected 1 (mixer) or 2 (loss)")
        );
    }
}

#[test]
fn schema_and_defaults_are_json_objects() {
    for (what, spoil) in [
        ("schema", (|plugin, text| plugin.schema = text) as fn(&mut raw::Descriptor, raw::Text)),
        ("defaults", |plugin, text| plugin.defaults = text),
    ] {
        for json in ["[1]", "null", "3", "\"x\""] {
            let message = refused_plugin(|plugin| spoil(plugin, raw::Text::of(json)));
            assert_eq!(message, format!("its plugin 1: `grid_mix`: its {what} is no JSON object"));
        }
        for json in ["{", "{\"a\": NaN}", "{} {}", " "] {
            let message = refused_plugin(|plugin| spoil(plugin, raw::Text::of(json)));
            let start = format!("its plugin 1: `grid_mix`: its {what} is no JSON: ");
            assert!(message.starts_with(&start) && message.contains("line 1"), "{message}");
        }
    }
}

#[test]
fn a_json_that_is_nested_without_end_is_an_error_of_one_line() {
    let deep = "[".repeat(100_000).leak();
    let message = refused_plugin(|plugin| plugin.schema = raw::Text::of(deep));
    assert!(message.contains("recursion limit"), "{message}");
}

#[test]
fn two_plugins_of_one_kind_and_name_are_refused() {
    let mut library = Library::good();
    library.descriptors[1].name = raw::Text::of("grid_mix");
    assert_eq!(library.read().expect("a mixer and a loss may share a name").plugins.len(), 2);
    let message = refusal(|library| library.descriptors[1] = library.descriptors[0]);
    assert_eq!(message, "it offers `grid_mix` twice: rename one of them");
}

#[test]
fn a_pairing_out_of_range_is_refused() {
    let wanted = "its plugin 1: `grid_mix`: the defaults of alpha, per or partner are out of range";
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused_plugin(|plugin| plugin.pairing.alpha = alpha), wanted, "{alpha}");
    }
    assert_eq!(refused_plugin(|plugin| plugin.pairing.per = 2), wanted);
    assert_eq!(refused_plugin(|plugin| plugin.pairing.partner = 4), wanted);
    for share in [-0.1, 1.1, f64::NAN] {
        let of_clusters = |plugin: &mut raw::Descriptor| {
            (plugin.pairing.partner, plugin.pairing.share) = (3, share);
        };
        assert_eq!(refused_plugin(of_clusters), wanted, "{share}");
    }
    // A loss has no pairing: what stands there is not looked at.
    let mut library = Library::good();
    library.descriptors[1].pairing.alpha = f64::NAN;
    library.read().expect("a loss");
}
