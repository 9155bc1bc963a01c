//! The manifest of a library: what its plugins say of themselves.

use admix_torch::handles;

use super::call;
use super::loss::LOSS;
use super::mixer::MIXER;
use crate::abi::raw;
use crate::{Entry, Loss, Mixer, Pairing};

/// A manifest for the plugins of a library. Called once by what `export_plugins!` defines; what it makes lives as
/// long as the process.
#[doc(hidden)]
pub fn manifest_of(
    package: &'static str,
    version: &'static str,
    entries: Vec<Entry>,
) -> *const raw::Manifest {
    call::keep_panics_quiet();
    // A manifest holds defaults, of mixers and losses: an entry without defaults or of another kind stays with the program
    // that it is linked into.
    let carried =
        |entry: &Entry| entry.reader::<dyn Mixer>().is_some() || entry.reader::<dyn Loss>().is_some();
    let entries = entries.into_iter().filter(|entry| carried(entry) && !(entry.defaults)().is_null());
    let descriptors: Vec<*const raw::Descriptor> = entries.map(descriptor).collect();
    let descriptors = Vec::leak(descriptors);
    Box::leak(Box::new(raw::Manifest {
        magic: raw::MAGIC,
        abi: raw::ABI,
        size: size_of::<raw::Manifest>() as u32,
        libtorch: raw::Text::of(handles::libtorch_version()),
        package: raw::Text::of(package),
        version: raw::Text::of(version),
        descriptors: descriptors.as_ptr(),
        count: descriptors.len(),
    }))
}

fn descriptor(entry: Entry) -> *const raw::Descriptor {
    let entry: &'static Entry = Box::leak(Box::new(entry));
    let keep = |text: String| raw::Text::of(Box::leak(text.into_boxed_str()));
    let (kind, pairing) = match entry.reader::<dyn Mixer>() {
        Some(reader) => (raw::MIXER, reader.served.clone()),
        None => (raw::LOSS, Pairing::default()),
    };
    Box::leak(Box::new(raw::Descriptor {
        size: size_of::<raw::Descriptor>(),
        kind,
        reserved: 0,
        name: raw::Text::of(&entry.name),
        type_name: raw::Text::of(&entry.type_name),
        summary: raw::Text::of(&entry.summary),
        source: raw::Text::of(&entry.source),
        schema: keep((entry.schema)().to_string()),
        defaults: keep((entry.defaults)().to_string()),
        pairing: raw::Pairing::of(&pairing),
        data: std::ptr::from_ref(entry).cast(),
        mixer: if kind == raw::MIXER { &MIXER } else { std::ptr::null() },
        loss: if kind == raw::LOSS { &LOSS } else { std::ptr::null() },
    }))
}
