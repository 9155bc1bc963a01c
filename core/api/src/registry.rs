//! The registry: every plugin, by kind and name. Built once, then only read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use erased_serde::Deserializer as AnyDeserializer;

use crate::{Error, LossConfig, MixerConfig, Pairing, Result};

/// What a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PluginKind {
    /// A mixup policy.
    Mixer,
    /// A loss.
    Loss,
}

impl PluginKind {
    /// "mixer" or "loss".
    pub fn word(self) -> &'static str {
        match self {
            Self::Mixer => "mixer",
            Self::Loss => "loss",
        }
    }
}

/// Reads a mixer's settings from the body of a recipe entry.
pub type ReadMixer =
    Rc<dyn Fn(&mut dyn AnyDeserializer<'_>) -> Result<Box<dyn MixerConfig>, erased_serde::Error>>;
/// Reads a loss's settings from the body of a recipe entry.
pub type ReadLoss =
    Rc<dyn Fn(&mut dyn AnyDeserializer<'_>) -> Result<Box<dyn LossConfig>, erased_serde::Error>>;

/// How a plugin's settings are read.
#[derive(Clone)]
pub enum Reader {
    /// For a mixer, with its own defaults of the settings that the host serves.
    Mixer(ReadMixer, Pairing),
    /// For a loss.
    Loss(ReadLoss),
}

impl Reader {
    /// The reader of a mixer whose settings are of type `T`.
    pub fn mixer<T: MixerConfig + serde::de::DeserializeOwned + 'static>(pairing: Pairing) -> Self {
        let read = |body: &mut dyn AnyDeserializer<'_>| {
            let config: T = erased_serde::deserialize(body)?;
            Ok(Box::new(config) as Box<dyn MixerConfig>)
        };
        Self::Mixer(Rc::new(read), pairing)
    }

    /// The reader of a loss whose settings are of type `T`.
    pub fn loss<T: LossConfig + serde::de::DeserializeOwned + 'static>() -> Self {
        let read = |body: &mut dyn AnyDeserializer<'_>| {
            let config: T = erased_serde::deserialize(body)?;
            Ok(Box::new(config) as Box<dyn LossConfig>)
        };
        Self::Loss(Rc::new(read))
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mixer(..) => "Mixer",
            Self::Loss(_) => "Loss",
        })
    }
}

/// Where a plugin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Linked into the program: the crate, its version and the file.
    Linked {
        /// Name of the crate.
        package: String,
        /// Version of the crate.
        version: String,
        /// The source file.
        file: String,
    },
    /// A script.
    Script {
        /// The file.
        path: PathBuf,
    },
    /// Read from a library.
    Library {
        /// The library.
        path: PathBuf,
        /// The name that the library gives itself.
        package: String,
        /// Its version.
        version: String,
        /// The version of the ABI it speaks.
        abi: u32,
    },
}

impl Origin {
    /// The version of the crate or library; empty for a script.
    pub fn version(&self) -> &str {
        match self {
            Self::Linked { version, .. } | Self::Library { version, .. } => version,
            Self::Script { .. } => "",
        }
    }

    /// The version of the ABI that a library speaks.
    pub fn abi(&self) -> Option<u32> {
        match self {
            Self::Linked { .. } | Self::Script { .. } => None,
            Self::Library { abi, .. } => Some(*abi),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Linked { package, file, .. } => write!(f, "{package} ({file})"),
            Self::Library { path, .. } | Self::Script { path } => write!(f, "{}", path.display()),
        }
    }
}

/// One plugin.
#[derive(Clone)]
pub struct Entry {
    /// The name that scripts and messages use: `cutmix`.
    pub name: String,
    /// The name that recipes use: `CutMix`.
    pub type_name: String,
    /// One line.
    pub summary: String,
    /// The paper and equation it comes from.
    pub source: String,
    /// The JSON schema of its settings, with documented defaults.
    pub schema: Rc<dyn Fn() -> serde_json::Value>,
    /// Its settings at their defaults; `null` for a plugin that is nothing without settings (a script).
    pub defaults: Rc<dyn Fn() -> serde_json::Value>,
    /// Where it comes from: crate and file, or the library.
    pub origin: Origin,
    /// Reads the settings.
    pub reader: Reader,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}` from {}", self.kind().word(), self.name, self.origin)
    }
}

impl Entry {
    /// The kind.
    pub fn kind(&self) -> PluginKind {
        match self.reader {
            Reader::Mixer(..) => PluginKind::Mixer,
            Reader::Loss(_) => PluginKind::Loss,
        }
    }

    /// The same as a plugin that is nothing without settings, shown with these.
    #[must_use]
    pub fn with_example(mut self, example: serde_json::Value) -> Self {
        let schema = self.schema;
        self.schema = Rc::new(move || {
            let mut schema = schema();
            for (field, value) in example.as_object().into_iter().flatten() {
                schema["properties"][field]["examples"] = serde_json::json!([value]);
            }
            schema
        });
        self.defaults = Rc::new(|| serde_json::Value::Null);
        self
    }
}

/// A statically linked plugin, submitted by `export_plugins!`.
pub struct StaticPlugin(pub fn() -> Entry);

inventory::collect!(StaticPlugin);

/// All plugins.
#[derive(Debug, Default, Clone)]
pub struct Registry {
    entries: BTreeMap<(PluginKind, String), Entry>,
}

impl Registry {
    /// The plugins that are linked into this program.
    ///
    /// # Errors
    /// Two of one kind share a name.
    pub fn linked() -> Result<Self> {
        let mut registry = Self::default();
        for plugin in inventory::iter::<StaticPlugin> {
            registry.add((plugin.0)())?;
        }
        Ok(registry)
    }

    /// The registry without the plugins that a crate of this name links into the program.
    #[must_use]
    pub fn without(mut self, package: &str) -> Self {
        let linked_by =
            |entry: &Entry| matches!(&entry.origin, Origin::Linked { package: own, .. } if own == package);
        self.entries.retain(|_, entry| !linked_by(entry));
        self
    }

    /// Adds a plugin, say from a library.
    ///
    /// # Errors
    /// The name is taken.
    pub fn add(&mut self, entry: Entry) -> Result<()> {
        let key = (entry.kind(), fold(&entry.name));
        if let Some(first) = self.entries.get(&key) {
            return Err(Error::DuplicatePlugin {
                kind: entry.kind().word(),
                name: entry.name.clone(),
                first: first.origin.to_string(),
                second: entry.origin.to_string(),
            });
        }
        self.entries.insert(key, entry);
        Ok(())
    }

    /// All entries, mixers first, sorted by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The names of one kind.
    pub fn names(&self, kind: PluginKind) -> Vec<&str> {
        self.entries.values().filter(|e| e.kind() == kind).map(|e| e.name.as_str()).collect()
    }

    /// The plugin of this name. `CutMix`, `cutmix` and `cut_mix` are the same.
    ///
    /// # Errors
    /// There is none; the message suggests the nearest.
    pub fn find(&self, kind: PluginKind, name: &str) -> Result<&Entry> {
        self.entries.get(&(kind, fold(name))).ok_or_else(|| Error::UnknownPlugin {
            kind: kind.word(),
            name: name.to_string(),
            known: match self.names(kind) {
                none if none.is_empty() => "none".into(),
                names => names.join(", "),
            },
            hint: did_you_mean(name, self.names(kind)),
        })
    }
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| *c != '_' && *c != '-').flat_map(char::to_lowercase).collect()
}

/// `. Did you mean ...?` for the known name nearest to `name`, or an empty text if none is near.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&fold(name), &fold(candidate)), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| format!(". Did you mean `{candidate}`?"))
        .unwrap_or_default()
}

/// What a plugin says of itself. Written through `mixer!` or `loss!`.
pub trait Describe {
    /// The entry for the registry.
    fn entry() -> Entry;
}

/// Describes a mixer for the registry: type of its settings, name, summary, source.
///
/// A mixer that is nothing without settings says `example: json!({...})` at the end: settings that it is shown with. It
/// has no defaults then, and is left out of libraries.
#[macro_export]
macro_rules! mixer {
    (
        $config:ty, $name:literal, $summary:literal, source: $source:literal, pairing: $pairing:expr,
        example: $example:expr
    ) => {
        impl $crate::Describe for $config {
            fn entry() -> $crate::Entry {
                let reader = $crate::Reader::mixer::<$config>($pairing);
                $crate::describe!($config, $name, $summary, $source, $crate::MixerConfig, reader)
                    .with_example($example)
            }
        }
    };
    ($config:ty, $name:literal, $summary:literal, source: $source:literal, pairing: $pairing:expr) => {
        impl $crate::Describe for $config {
            fn entry() -> $crate::Entry {
                $crate::describe!(
                    $config,
                    $name,
                    $summary,
                    $source,
                    $crate::MixerConfig,
                    $crate::Reader::mixer::<$config>($pairing)
                )
            }
        }
    };
}

/// Describes a loss for the registry: type of its settings, name, summary, source.
#[macro_export]
macro_rules! loss {
    ($config:ty, $name:literal, $summary:literal, source: $source:literal) => {
        impl $crate::Describe for $config {
            fn entry() -> $crate::Entry {
                $crate::describe!(
                    $config,
                    $name,
                    $summary,
                    $source,
                    $crate::LossConfig,
                    $crate::Reader::loss::<$config>()
                )
            }
        }
    };
}

/// What `mixer!` and `loss!` have in common.
#[doc(hidden)]
#[macro_export]
macro_rules! describe {
    ($config:ty, $name:literal, $summary:literal, $source:literal, $settings:path, $reader:expr) => {
        $crate::Entry {
            name: $name.into(),
            type_name: stringify!($config).into(),
            summary: $summary.into(),
            source: $source.into(),
            schema: ::std::rc::Rc::new(|| $crate::schemars::schema_for!($config).to_value()),
            defaults: ::std::rc::Rc::new(|| <$config as $settings>::resolved(&<$config>::default())),
            origin: $crate::Origin::Linked {
                package: env!("CARGO_PKG_NAME").into(),
                version: env!("CARGO_PKG_VERSION").into(),
                file: file!().into(),
            },
            reader: $reader,
        }
    };
}

/// Lists the plugins of a crate: `export_plugins! { MixUp, CutMix }`.
///
/// It registers them with a program that the crate is linked into. Under the crate's own feature `dylib` it also
/// defines the function that a library exports, so that the same source makes a plugin library: declare
/// `dylib = []` under `[features]`.
#[macro_export]
macro_rules! export_plugins {
    ($($plugin:ty),* $(,)?) => {
        $($crate::inventory::submit! {
            $crate::StaticPlugin(<$plugin as $crate::Describe>::entry)
        })*

        #[cfg(feature = "dylib")]
        #[unsafe(no_mangle)]
        extern "C" fn admix_plugin_manifest() -> *const $crate::abi::raw::Manifest {
            // The manifest stays for good, and is the same at every call.
            static MADE: ::std::sync::OnceLock<usize> = ::std::sync::OnceLock::new();
            let made = MADE.get_or_init(|| {
                let entries = vec![$(<$plugin as $crate::Describe>::entry()),*];
                $crate::abi::manifest_of(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), entries) as usize
            });
            *made as *const $crate::abi::raw::Manifest
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_spelling_and_the_nearest_is_suggested() {
        assert_eq!(fold("CutMix"), fold("cut_mix"));
        assert_eq!(did_you_mean("cutmx", ["mixup", "cutmix"]), ". Did you mean `cutmix`?");
        assert_eq!(did_you_mean("zzz", ["mixup", "cutmix"]), "");
    }
}
