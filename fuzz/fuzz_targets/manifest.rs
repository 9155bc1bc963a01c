//! Manifests of plugin libraries. The bytes say where a good manifest goes wrong: sizes, kinds, texts, pointers,
//! counts, tables of functions. Every pointer is good for as much as the sizes beside it say and not a byte more, so
//! that a reader which goes further is caught by the address sanitizer. Nothing at all makes a good manifest.
#![no_main]

// The reader itself, compiled without libtorch.
#[allow(dead_code, missing_docs, reason = "a part of core/api, which the target uses in part")]
#[path = "../../core/api/src/abi/manifest.rs"]
mod manifest;
#[allow(dead_code, missing_docs, reason = "a part of core/api, which the target uses in part")]
#[path = "../../core/api/src/abi/raw.rs"]
mod raw;
#[allow(dead_code, reason = "the target uses a part of it")]
#[path = "../../core/api/src/abi/settings.rs"]
mod settings;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::c_void;
use std::mem::size_of;

use libfuzzer_sys::fuzz_target;
use raw::{Build, Errors, Mix, Mixed, Named, Needs, TensorPtr, Text, Texts};

const LIBTORCH: &str = "2.11.0";
const SCHEMA: &str = r##"{"type": "object", "properties": {
    "cells": {"type": "integer", "minimum": 1, "default": 4, "description": "How many."},
    "shape": {"$ref": "#/$defs/Shape", "default": "Round"}},
    "$defs": {"Shape": {"oneOf": [{"type": "string", "const": "Round"}, {"type": "string", "enum": ["Square"]}]}}}"##;
const DEFAULTS: &str = r#"{"cells": 4, "shape": "Round"}"#;

/// What decides; zeros once it is used up.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn some(&mut self, n: usize) -> &'a [u8] {
        let (now, later) = self.0.split_at(n.min(self.0.len()));
        self.0 = later;
        now
    }

    fn byte(&mut self) -> u8 {
        self.some(1).first().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u64 {
        let mut all = [0; 8];
        let some = self.some(8);
        all[..some.len()].copy_from_slice(some);
        u64::from_le_bytes(all)
    }

    /// True for one byte in eight or so, never for zero.
    fn rarely(&mut self) -> bool {
        self.byte() % 8 == 7
    }
}

/// The library's memory.
#[derive(Default)]
struct Memory(Vec<(*mut u8, Layout)>);

impl Memory {
    /// Zeros at a multiple of eight.
    fn zeros(&mut self, size: usize) -> *mut u8 {
        let layout = Layout::from_size_align(size.max(1), 8).expect("a small piece");
        // SAFETY: not empty.
        let data = unsafe { alloc_zeroed(layout) };
        assert!(!data.is_null());
        self.0.push((data, layout));
        data
    }

    fn copy(&mut self, bytes: &[u8]) -> *const u8 {
        let data = self.zeros(bytes.len());
        // SAFETY: as long as the bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len()) };
        data
    }

    /// A structure, of which `size` bytes are there.
    fn structure<T: Copy>(&mut self, value: &T, size: usize) -> *const T {
        let data = self.zeros(size);
        let both = size.min(size_of::<T>());
        // SAFETY: both sides hold that many bytes.
        unsafe { std::ptr::copy_nonoverlapping(std::ptr::from_ref(value).cast::<u8>(), data, both) };
        data.cast()
    }

    /// The pointer itself, or now and then null or between two words.
    fn pointer<T>(&mut self, bytes: &mut Bytes<'_>, good: *const T) -> *const T {
        match bytes.byte() {
            254 => std::ptr::null(),
            255 => self.zeros(size_of::<T>() + 8).wrapping_add(1 + usize::from(bytes.byte() % 7)).cast(),
            _ => good,
        }
    }

    fn text(&mut self, bytes: &mut Bytes<'_>, good: &str) -> Text {
        let own = match bytes.byte() % 16 {
            9 => return Text { data: std::ptr::null(), size: 0 },
            10 => return Text { data: std::ptr::null(), size: bytes.number() as usize },
            // More than any text may have: not believed, so not looked at.
            11 => {
                return Text { data: self.copy(b"x"), size: (bytes.number() as usize).max((1 << 20) + 1) };
            }
            12 => {
                let n = usize::from(bytes.byte());
                bytes.some(n).to_vec()
            }
            13 => {
                let n = usize::from(bytes.byte()) << 5;
                good.bytes().cycle().take(n).collect()
            }
            14 => {
                let mut own = good.as_bytes().to_vec();
                let at = usize::from(bytes.byte()) % own.len().max(1);
                if let Some(one) = own.get_mut(at) {
                    *one = bytes.byte();
                }
                own
            }
            15 => {
                let n = (usize::from(bytes.byte()) << 4) | usize::from(bytes.byte() & 15);
                bytes.some(n).to_vec()
            }
            _ => good.as_bytes().to_vec(),
        };
        Text { data: self.copy(&own), size: own.len() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for (data, layout) in self.0.drain(..) {
            // SAFETY: allocated with this layout, freed once.
            unsafe { dealloc(data, layout) };
        }
    }
}

/// The size that a structure claims and has: its own, or some bytes less or more.
fn size(bytes: &mut Bytes<'_>, own: usize) -> usize {
    match bytes.byte() {
        253 => own.saturating_sub(usize::from(bytes.byte())),
        254 => own + usize::from(bytes.byte()),
        255 => usize::from(bytes.byte() % 16),
        _ => own,
    }
}

// No function of a library is called while its manifest is read.
unsafe extern "C-unwind" fn check_mixer(
    _: *const c_void,
    _: Text,
    _: *const Texts,
    _: *mut Needs,
    _: *const Errors,
) -> i32 {
    panic!("called")
}
unsafe extern "C-unwind" fn check_loss(
    _: *const c_void,
    _: Text,
    _: *const Texts,
    _: *const Texts,
    _: *const Errors,
) -> i32 {
    panic!("called")
}
unsafe extern "C-unwind" fn create(
    _: *const c_void,
    _: Text,
    _: *const Build,
    _: *mut *mut c_void,
    _: *const Errors,
) -> i32 {
    panic!("called")
}
unsafe extern "C-unwind" fn destroy(_: *mut c_void) {
    panic!("called")
}
unsafe extern "C-unwind" fn mix(_: *mut c_void, _: *const Mix, _: *mut Mixed, _: *const Errors) -> i32 {
    panic!("called")
}
unsafe extern "C-unwind" fn after_step(_: *mut c_void, _: *const Errors) -> i32 {
    panic!("called")
}
unsafe extern "C-unwind" fn loss(
    _: *mut c_void,
    _: *const Named,
    _: usize,
    _: *mut TensorPtr,
    _: *const Errors,
) -> i32 {
    panic!("called")
}

fn mixer(bytes: &mut Bytes<'_>, memory: &mut Memory) -> *const raw::Mixer {
    let size = size(bytes, size_of::<raw::Mixer>());
    let table = raw::Mixer {
        size,
        check: (!bytes.rarely()).then_some(check_mixer as _),
        create: (!bytes.rarely()).then_some(create as _),
        destroy: (!bytes.rarely()).then_some(destroy as _),
        plan: None,
        mix: (!bytes.rarely()).then_some(mix as _),
        train: None,
        after_step: Some(after_step),
    };
    // Whatever it claims, its size can be read.
    let table = memory.structure(&table, size.max(size_of::<usize>()));
    memory.pointer(bytes, table)
}

fn loss_table(bytes: &mut Bytes<'_>, memory: &mut Memory) -> *const raw::Loss {
    let size = size(bytes, size_of::<raw::Loss>());
    let table = raw::Loss {
        size,
        check: (!bytes.rarely()).then_some(check_loss as _),
        create: (!bytes.rarely()).then_some(create as _),
        destroy: (!bytes.rarely()).then_some(destroy as _),
        loss: (!bytes.rarely()).then_some(loss as _),
    };
    let table = memory.structure(&table, size.max(size_of::<usize>()));
    memory.pointer(bytes, table)
}

fn descriptor(bytes: &mut Bytes<'_>, memory: &mut Memory, index: usize) -> *const raw::Descriptor {
    let name = ["grid_mix", "soft_mix", "fade", "grid_mix"][index % 4];
    let pairing = raw::Pairing {
        size: size_of::<raw::Pairing>(),
        alpha: if bytes.rarely() { f64::from_bits(bytes.number()) } else { 1.0 },
        per: u32::from(bytes.byte() / 64),
        fold: bytes.byte().into(),
        partner: u32::from(bytes.byte() / 51),
        reserved: 0,
        share: if bytes.rarely() { f64::from_bits(bytes.number()) } else { 0.5 },
    };
    let kind = match bytes.byte() {
        0..=119 => raw::MIXER,
        120..=239 => raw::LOSS,
        other => u32::from(other) - 240,
    };
    let size = size(bytes, size_of::<raw::Descriptor>());
    let descriptor = raw::Descriptor {
        size,
        kind,
        reserved: 0,
        name: memory.text(bytes, name),
        type_name: memory.text(bytes, "GridMix"),
        summary: memory.text(bytes, "cells of two images"),
        source: memory.text(bytes, "Someone, 2026, eq. 1"),
        schema: memory.text(bytes, SCHEMA),
        defaults: memory.text(bytes, DEFAULTS),
        pairing,
        data: std::ptr::null(),
        mixer: if kind == raw::LOSS { std::ptr::null() } else { mixer(bytes, memory) },
        loss: if kind == raw::MIXER { std::ptr::null() } else { loss_table(bytes, memory) },
    };
    let descriptor = memory.structure(&descriptor, size.max(size_of::<usize>()));
    memory.pointer(bytes, descriptor)
}

fn one_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes(bytes);
    let bytes = &mut bytes;
    let mut memory = Memory::default();
    let count = match bytes.byte() {
        // As many as may be believed are there; more are not looked at.
        0..=251 => 1 + usize::from(bytes.byte() % 4),
        252 => 0,
        253 => 1_000,
        254 => 1_001,
        _ => (bytes.number() as usize).max(1_001),
    };
    let there = count.min(1_000);
    let list: Vec<*const raw::Descriptor> = match there {
        1_000 => vec![descriptor(bytes, &mut memory, 0); 2],
        _ => (0..there).map(|index| descriptor(bytes, &mut memory, index)).collect(),
    };
    let list: Vec<u8> =
        list.iter().cycle().take(there).flat_map(|one| (*one as usize).to_ne_bytes()).collect();
    let list = memory.copy(&list).cast();
    let list = memory.pointer(bytes, list);
    let size = size(bytes, size_of::<raw::Manifest>());
    let good = raw::Manifest {
        magic: if bytes.rarely() { bytes.number() } else { raw::MAGIC },
        abi: if bytes.rarely() { bytes.number() as u32 } else { raw::ABI },
        size: size as u32,
        libtorch: memory.text(bytes, LIBTORCH),
        package: memory.text(bytes, "grids"),
        version: memory.text(bytes, "0.1.0"),
        descriptors: list,
        count,
    };
    // The first 16 bytes are always there.
    let manifest = memory.structure(&good, size.max(16));
    let manifest = memory.pointer(bytes, manifest);
    // SAFETY: as the reader wants it, by construction.
    match unsafe { manifest::read(manifest, LIBTORCH) } {
        Ok(contents) => {
            assert_eq!(contents.plugins.len(), count);
            assert!(one_line(&contents.package) && one_line(&contents.version));
            for plugin in &contents.plugins {
                assert!(!plugin.name.is_empty() && plugin.name.len() <= 200 && plugin.name.is_ascii());
                assert!(!plugin.type_name.is_empty() && plugin.type_name.is_ascii());
                assert!(one_line(&plugin.summary) && one_line(&plugin.source), "{plugin:?}");
                assert!(plugin.schema.is_object() && plugin.defaults.is_object());
                let _ = settings::Shape::of(&plugin.schema);
                match plugin.functions {
                    manifest::Functions::Mixer(mixer) => {
                        assert!(mixer.check.is_some() && mixer.create.is_some());
                        assert!(mixer.destroy.is_some() && mixer.mix.is_some());
                        // Never more than what the library put there, and never a part of it.
                        assert_eq!(mixer.mix.map(|own| own as usize), Some(mix as *const () as usize));
                        assert!(
                            mixer
                                .after_step
                                .is_none_or(|own| own as usize == after_step as *const () as usize)
                        );
                        assert!(plugin.pairing.alpha > 0.0 && plugin.pairing.alpha.is_finite());
                        assert!(plugin.pairing.per <= 1 && plugin.pairing.partner <= 3);
                        let share = plugin.pairing.share;
                        assert!(plugin.pairing.partner < 3 || (0.0..=1.0).contains(&share));
                    }
                    manifest::Functions::Loss(loss) => {
                        assert!(loss.check.is_some() && loss.create.is_some());
                        assert!(loss.destroy.is_some() && loss.loss.is_some());
                    }
                }
            }
        }
        Err(message) => assert!(one_line(&message) && message.len() < 2_000, "{message}"),
    }
});
