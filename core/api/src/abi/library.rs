//! Opening plugin libraries. The only use of the dynamic loader; libraries are never closed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use admix_torch::{handles, trail};
use serde::de::DeserializeSeed;

use super::foreign::{Foreign, ForeignConfig};
use super::manifest::{self, Contents, Functions};
use super::raw;
use super::settings::Shape;
use crate::{AnyReader, Entry, Error, Loss, Mixer, Origin, ReadConfig, Reader, Registry, Result};

type ManifestFn = unsafe extern "C-unwind" fn() -> *const raw::Manifest;

/// Loads a plugin library and adds its plugins to a registry. Returns how many there are.
///
/// Only ever called with a path that a person gave (a flag, the plugin folder): to load a library is to run its code.
/// The library stays open for the life of the process.
///
/// # Errors
/// No such file, not a library, not a plugin, another ABI or libtorch, a damaged manifest, a name that is taken.
/// Nothing is added then.
pub fn load(path: &Path, registry: &mut Registry) -> Result<usize> {
    let path = path.to_path_buf();
    let refuse = |message: String| Error::Library { path: path.clone(), message };
    if !path.is_file() {
        return Err(refuse("there is no such library; give the path of a plugin's .so file".into()));
    }
    let full = path.canonicalize().map_err(|error| refuse(format!("cannot be opened: {error}")))?;
    if ends_early(&full) {
        return Err(refuse("the file is damaged (it ends early): copy or build it again".into()));
    }
    let _here = trail::enter(format_args!("the loading of {}", path.display()));
    // SAFETY: opening a library runs its initialisers. The path comes from the user, who asks for just that.
    let library =
        unsafe { libloading::Library::new(&full) }.map_err(|error| refuse(not_opened(&full, &error)))?;
    // SAFETY: the type is the one that `include/admix.h` gives this name.
    let entry = unsafe { library.get::<ManifestFn>(raw::ENTRY) }.map(|entry| *entry);
    let entry = entry.map_err(|_| {
        refuse(format!(
            "it is a library, but no plugin: it exports no `{}`; in Rust, list its plugins in export_plugins! and build it \
             with the feature `dylib`; in C++, end it with ADMIX_PLUGINS(...)",
            raw::ENTRY
        ))
    })?;
    // Closing it would take away code and texts that are still in use.
    std::mem::forget(library);
    // SAFETY: the function follows `include/admix.h`; that is what the exported name says.
    let own = admix_torch::caught(|| unsafe { entry() })
        .map_err(|thrown| refuse(format!("its `{}` threw an exception: {thrown}", raw::ENTRY)))?;
    if let Some(stream) = admix_torch::closed_stream() {
        return Err(refuse(format!("it closed the program's {stream} while it was loaded; leave it open")));
    }
    // SAFETY: the manifest follows `include/admix.h`.
    let contents = unsafe { manifest::read(own, handles::libtorch_version()) }.map_err(refuse)?;
    let Contents { package, version, plugins } = contents;
    let origin = Origin::Library { path: path.clone(), package, version, abi: raw::ABI };
    let count = plugins.len();
    let mut grown = registry.clone();
    for plugin in plugins {
        grown.add(described(plugin, &path, &origin))?;
    }
    *registry = grown;
    Ok(count)
}

fn described(plugin: manifest::Plugin, path: &Path, origin: &Origin) -> Entry {
    let (schema, defaults) = (plugin.schema.clone(), plugin.defaults.clone());
    let (name, type_name) = (plugin.name.clone(), plugin.type_name.clone());
    let (summary, source) = (plugin.summary.clone(), plugin.source.clone());
    let is_mixer = matches!(plugin.functions, Functions::Mixer(_));
    let label = format!("{} `{name}` ({})", if is_mixer { "mixer" } else { "loss" }, path.display());
    let (shape, pairing) = (Shape::of_settings(&schema), plugin.pairing.read());
    let foreign = Rc::new(Foreign { label, plugin });
    let config = move |body: &mut dyn erased_serde::Deserializer<'_>| {
        let settings = (&shape).deserialize(body)?;
        ForeignConfig::read(&foreign, &settings).map_err(<erased_serde::Error as serde::de::Error>::custom)
    };
    let reader: Rc<dyn AnyReader> = if is_mixer {
        let read: ReadConfig<dyn Mixer> = Rc::new(move |body| Ok(Box::new(config(body)?)));
        Rc::new(Reader::<dyn Mixer> { read, served: pairing })
    } else {
        let read: ReadConfig<dyn Loss> = Rc::new(move |body| Ok(Box::new(config(body)?)));
        Rc::new(Reader::<dyn Loss> { read, served: () })
    };
    Entry {
        name,
        type_name,
        summary,
        source,
        schema: Rc::new(move || schema.clone()),
        defaults: Rc::new(move || defaults.clone()),
        origin: origin.clone(),
        reader,
    }
}

/// True for a library of which a part is missing, say after a copy that was broken off. The loader maps such a file as
/// if it were whole, and the first look at what is missing ends the process. Whatever else is wrong is left to the
/// loader, which says so.
fn ends_early(path: &Path) -> bool {
    let (Ok(mut file), Ok(there)) = (File::open(path), path.metadata().map(|about| about.len())) else {
        return false;
    };
    let mut header = [0; 64];
    // Only what this program could load: ELF, 64 bits, little-endian.
    if file.read_exact(&mut header).is_err() || !header.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let long = |bytes: &[u8], at: usize| {
        bytes[at..at + 8].iter().rev().fold(0, |all, one| all << 8 | u64::from(*one))
    };
    let short = |at: usize| usize::from(header[at]) | usize::from(header[at + 1]) << 8;
    let (table, size, count) = (long(&header, 32), short(54), short(56));
    if size != 56 {
        return false;
    }
    let mut segments = vec![0; size * count];
    if file.seek(SeekFrom::Start(table)).and_then(|_| file.read_exact(&mut segments)).is_err() {
        return true;
    }
    // Segments that are loaded (type 1): offset and size in the file.
    segments
        .chunks(size)
        .filter(|segment| segment[..4] == [1, 0, 0, 0])
        .any(|segment| long(segment, 8).saturating_add(long(segment, 32)) > there)
}

/// The loader's words in ours.
fn not_opened(path: &Path, error: &libloading::Error) -> String {
    let said = match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    // The loader begins with the path, which the message has already.
    let said = said.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&said).to_string();
    if said.contains("invalid ELF header")
        || said.contains("file too short")
        || said.contains("wrong ELF class")
    {
        return format!("it is not a library of this machine ({said})");
    }
    if said.contains("undefined symbol") || said.contains("version `") {
        return format!(
            "it does not fit this program ({said}): rebuild it with libtorch {}",
            handles::libtorch_version()
        );
    }
    if said.contains("cannot open shared object file") {
        return format!("a library that it needs is missing ({said})");
    }
    format!("it cannot be opened: {said}")
}
