//! Reading a library's manifest: everything is checked and copied before anything is called.
//!
//! Free of libtorch, so that it can be fuzzed alone. What cannot be checked is whether pointers point to what they
//! should: that is what the order (magic, version, sizes) and the limits are for.

use std::mem::{MaybeUninit, align_of, size_of};

use serde_json::Value;

use super::raw;

/// The longest name, text and JSON that is believed, in bytes.
const NAME: usize = 200;
const LINE: usize = 4_000;
const JSON: usize = 1 << 20;
/// The most plugins in one library.
const PLUGINS: usize = 1_000;

/// What a library offers.
#[derive(Debug)]
pub struct Contents {
    /// The name that it gives itself.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Its plugins, in its own order.
    pub plugins: Vec<Plugin>,
}

/// One plugin of a library.
#[derive(Debug)]
pub struct Plugin {
    /// The name in scripts.
    pub name: String,
    /// The name in recipes.
    pub type_name: String,
    /// One line.
    pub summary: String,
    /// Paper and equation.
    pub source: String,
    /// JSON Schema of the settings: an object.
    pub schema: Value,
    /// The settings at their defaults: an object.
    pub defaults: Value,
    /// Defaults of the settings that the host serves.
    pub pairing: raw::Pairing,
    /// For `check` and `create`.
    pub data: *const std::ffi::c_void,
    /// Its functions; those that must be there are.
    pub functions: Functions,
}

/// The functions of a plugin.
#[derive(Debug, Clone, Copy)]
pub enum Functions {
    /// Of a mixer.
    Mixer(raw::Mixer),
    /// Of a loss.
    Loss(raw::Loss),
}

/// Reads a manifest. The message of an error goes on after the library's path.
///
/// # Errors
/// Another magic number, ABI or libtorch; anything truncated, missing or malformed.
///
/// # Safety
/// `manifest` is null or points to a manifest as `include/admix.h` describes it: at least its first 16 bytes can be
/// read, and every pointer in it is null or points to as much as the sizes beside it say.
pub unsafe fn read(manifest: *const raw::Manifest, libtorch: &str) -> Result<Contents, String> {
    if manifest.is_null() || !aligned(manifest) {
        return Err("its manifest is not there: rebuild it with the SDK of this version".into());
    }
    // SAFETY: the first 16 bytes can be read, by the contract of this function.
    let (magic, abi, size) = unsafe { ((*manifest).magic, (*manifest).abi, (*manifest).size as usize) };
    if magic != raw::MAGIC {
        return Err("it has no manifest of Admix (wrong magic number): it is another program's plugin".into());
    }
    if abi != raw::ABI {
        return Err(format!(
            "it speaks version {abi} of the plugin ABI, this program speaks {}: rebuild it with the SDK of this \
             version",
            raw::ABI
        ));
    }
    if size < size_of::<raw::Manifest>() {
        return Err(truncated("manifest", size, size_of::<raw::Manifest>()));
    }
    // SAFETY: it holds at least as many bytes as our idea of it.
    let manifest = unsafe { manifest.read() };
    // SAFETY (here and below): texts and pointers of a manifest are valid, by the contract of this function.
    let built_with = unsafe { line(manifest.libtorch, NAME, "libtorch") }?;
    if built_with != libtorch {
        return Err(format!(
            "it was built with libtorch {built_with}, this program runs {libtorch}: rebuild it with libtorch {libtorch}"
        ));
    }
    let package = unsafe { line(manifest.package, NAME, "package") }?;
    let version = unsafe { line(manifest.version, NAME, "version") }?;
    if manifest.count == 0 || manifest.count > PLUGINS || manifest.descriptors.is_null() {
        return Err(format!("it offers {} plugins, expected 1 to {PLUGINS}", manifest.count));
    }
    if !aligned(manifest.descriptors) {
        return Err("its list of plugins is damaged: rebuild it".into());
    }
    let mut plugins: Vec<Plugin> = Vec::new();
    for index in 0..manifest.count {
        let descriptor = unsafe { *manifest.descriptors.add(index) };
        let plugin =
            unsafe { plugin(descriptor) }.map_err(|what| format!("its plugin {}: {what}", index + 1))?;
        let is_mixer = |plugin: &Plugin| matches!(plugin.functions, Functions::Mixer(_));
        if plugins.iter().any(|one| one.name == plugin.name && is_mixer(one) == is_mixer(&plugin)) {
            return Err(format!("it offers `{}` twice: rename one of them", plugin.name));
        }
        plugins.push(plugin);
    }
    Ok(Contents { package, version, plugins })
}

fn truncated(what: &str, got: usize, wanted: usize) -> String {
    format!(
        "its {what} is truncated ({got} bytes, expected {wanted} or more): rebuild it with the SDK of this version"
    )
}

fn aligned<T>(pointer: *const T) -> bool {
    (pointer as usize).is_multiple_of(align_of::<T>())
}

/// # Safety
/// As [`read`], for one descriptor.
unsafe fn plugin(descriptor: *const raw::Descriptor) -> Result<Plugin, String> {
    if descriptor.is_null() || !aligned(descriptor) {
        return Err("the descriptor is missing: rebuild the library".into());
    }
    // SAFETY: every structure begins with its size.
    let size = unsafe { (*descriptor).size };
    if size < size_of::<raw::Descriptor>() {
        return Err(truncated("descriptor", size, size_of::<raw::Descriptor>()));
    }
    // SAFETY: it holds at least as many bytes as our idea of it; its texts are valid.
    let descriptor = unsafe { descriptor.read() };
    let name = unsafe { text(descriptor.name, NAME, "name") }?;
    if !is_name(&name, char::is_ascii_lowercase) || name.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(format!(
            "its name is `{}`, expected lower-case words such as grid_mix",
            name.escape_debug()
        ));
    }
    let of = |what: String| format!("`{name}`: {what}");
    let type_name = unsafe { text(descriptor.type_name, NAME, "type_name") }.map_err(of)?;
    if !is_name(&type_name, char::is_ascii_uppercase) {
        return Err(of(format!(
            "its name in recipes is `{}`, expected a word such as GridMix",
            type_name.escape_debug()
        )));
    }
    let summary = unsafe { line(descriptor.summary, LINE, "summary") }.map_err(of)?;
    let source = unsafe { line(descriptor.source, LINE, "source") }.map_err(of)?;
    let schema = unsafe { object(descriptor.schema, "schema") }.map_err(of)?;
    let defaults = unsafe { object(descriptor.defaults, "defaults") }.map_err(of)?;
    let functions = match descriptor.kind {
        raw::MIXER => {
            // SAFETY: a table of functions that begins with its size.
            let mixer: raw::Mixer = unsafe { table(descriptor.mixer) }.map_err(of)?;
            for (is, what) in [
                (mixer.check.is_some(), "check"),
                (mixer.create.is_some(), "create"),
                (mixer.destroy.is_some(), "destroy"),
                (mixer.mix.is_some(), "mix"),
            ] {
                needed(is, what).map_err(of)?;
            }
            if !(descriptor.pairing.alpha > 0.0 && descriptor.pairing.alpha.is_finite())
                || descriptor.pairing.per > 1
                || descriptor.pairing.partner > 3
                || (descriptor.pairing.partner == 3 && !(0.0..=1.0).contains(&descriptor.pairing.share))
            {
                return Err(of("the defaults of alpha, per or partner are out of range".into()));
            }
            Functions::Mixer(mixer)
        }
        raw::LOSS => {
            // SAFETY: a table of functions that begins with its size.
            let loss: raw::Loss = unsafe { table(descriptor.loss) }.map_err(of)?;
            for (is, what) in [
                (loss.check.is_some(), "check"),
                (loss.create.is_some(), "create"),
                (loss.destroy.is_some(), "destroy"),
                (loss.loss.is_some(), "loss"),
            ] {
                needed(is, what).map_err(of)?;
            }
            Functions::Loss(loss)
        }
        other => {
            return Err(of(format!(
                "it is of kind {other}, expected {} (mixer) or {} (loss)",
                raw::MIXER,
                raw::LOSS
            )));
        }
    };
    Ok(Plugin {
        name,
        type_name,
        summary,
        source,
        schema,
        defaults,
        pairing: descriptor.pairing,
        data: descriptor.data,
        functions,
    })
}

fn needed(is: bool, what: &str) -> Result<(), String> {
    if is { Ok(()) } else { Err(format!("the function `{what}` is missing")) }
}

fn is_name(name: &str, first: fn(&char) -> bool) -> bool {
    name.chars().next().is_some_and(|c| first(&c))
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Copies a table of functions as far as it reaches; what lies beyond is absent.
///
/// # Safety
/// `from` is null or points to a table that begins with its size.
unsafe fn table<T: Copy>(from: *const T) -> Result<T, String> {
    if from.is_null() || !aligned(from) {
        return Err("its functions are missing".into());
    }
    // SAFETY: a table begins with its size.
    let size = unsafe { from.cast::<usize>().read() };
    if size < size_of::<usize>() {
        return Err(truncated("table of functions", size, size_of::<T>()));
    }
    let mut own = MaybeUninit::<T>::zeroed();
    // Whole fields only, each as wide as a pointer: a part of a pointer is not one.
    let whole = size.min(size_of::<T>()) / size_of::<usize>() * size_of::<usize>();
    // SAFETY: both sides hold that many bytes; a table of optional functions may be all zeros.
    unsafe {
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), own.as_mut_ptr().cast::<u8>(), whole);
        Ok(own.assume_init())
    }
}

/// # Safety
/// `data` is null or points to `size` bytes.
unsafe fn text(text: raw::Text, most: usize, what: &str) -> Result<String, String> {
    if text.size == 0 {
        return Ok(String::new());
    }
    if text.data.is_null() || text.size > most {
        return Err(format!("its {what} is damaged ({} bytes)", text.size));
    }
    // SAFETY: by the contract of this function.
    let bytes = unsafe { std::slice::from_raw_parts(text.data, text.size) };
    std::str::from_utf8(bytes).map(str::to_string).map_err(|_| format!("its {what} is not UTF-8"))
}

/// A text that goes into messages and tables as it is.
///
/// # Safety
/// As [`text`].
unsafe fn line(from: raw::Text, most: usize, what: &str) -> Result<String, String> {
    // SAFETY: by the contract of this function.
    let text = unsafe { text(from, most, what) }?;
    if text.chars().any(char::is_control) {
        return Err(format!("its {what} is not one line of plain text"));
    }
    Ok(text)
}

/// # Safety
/// As [`text`].
unsafe fn object(json: raw::Text, what: &str) -> Result<Value, String> {
    // SAFETY: by the contract of this function.
    let text = unsafe { text(json, JSON, what) }?;
    if text.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match serde_json::from_str(&text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(format!("its {what} is no JSON object")),
        Err(error) => Err(format!("its {what} is no JSON: {error}")),
    }
}
