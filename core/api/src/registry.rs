//! The registry: every plugin, by kind and name. Built once, then only read.

use std::collections::BTreeMap;

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
pub type ReadMixer = fn(&mut dyn AnyDeserializer<'_>) -> Result<Box<dyn MixerConfig>, erased_serde::Error>;
/// Reads a loss's settings from the body of a recipe entry.
pub type ReadLoss = fn(&mut dyn AnyDeserializer<'_>) -> Result<Box<dyn LossConfig>, erased_serde::Error>;

/// How a plugin's settings are read.
#[derive(Clone, Copy)]
pub enum Reader {
    /// For a mixer, with its own defaults of the settings that the host serves.
    Mixer(ReadMixer, fn() -> Pairing),
    /// For a loss.
    Loss(ReadLoss),
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mixer(..) => "Mixer",
            Self::Loss(_) => "Loss",
        })
    }
}

/// One plugin.
#[derive(Debug, Clone)]
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
    pub schema: fn() -> schemars::Schema,
    /// Its settings at their defaults.
    pub defaults: fn() -> serde_json::Value,
    /// Where it comes from: crate and file.
    pub origin: String,
    /// Reads the settings.
    pub reader: Reader,
}

impl Entry {
    /// The kind.
    pub fn kind(&self) -> PluginKind {
        match self.reader {
            Reader::Mixer(..) => PluginKind::Mixer,
            Reader::Loss(_) => PluginKind::Loss,
        }
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
                first: first.origin.clone(),
                second: entry.origin.clone(),
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
            known: self.names(kind).join(", "),
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
#[macro_export]
macro_rules! mixer {
    ($config:ty, $name:literal, $summary:literal, source: $source:literal, pairing: $pairing:expr) => {
        impl $crate::Describe for $config {
            fn entry() -> $crate::Entry {
                fn read(
                    body: &mut dyn $crate::erased_serde::Deserializer<'_>,
                ) -> ::std::result::Result<Box<dyn $crate::MixerConfig>, $crate::erased_serde::Error>
                {
                    let config: $config = $crate::erased_serde::deserialize(body)?;
                    Ok(Box::new(config))
                }
                $crate::Entry {
                    name: $name.into(),
                    type_name: stringify!($config).into(),
                    summary: $summary.into(),
                    source: $source.into(),
                    schema: || $crate::schemars::schema_for!($config),
                    defaults: || $crate::MixerConfig::resolved(&<$config as Default>::default()),
                    origin: concat!(env!("CARGO_PKG_NAME"), " (", file!(), ")").into(),
                    reader: $crate::Reader::Mixer(read, || $pairing),
                }
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
                fn read(
                    body: &mut dyn $crate::erased_serde::Deserializer<'_>,
                ) -> ::std::result::Result<Box<dyn $crate::LossConfig>, $crate::erased_serde::Error> {
                    let config: $config = $crate::erased_serde::deserialize(body)?;
                    Ok(Box::new(config))
                }
                $crate::Entry {
                    name: $name.into(),
                    type_name: stringify!($config).into(),
                    summary: $summary.into(),
                    source: $source.into(),
                    schema: || $crate::schemars::schema_for!($config),
                    defaults: || $crate::LossConfig::resolved(&<$config as Default>::default()),
                    origin: concat!(env!("CARGO_PKG_NAME"), " (", file!(), ")").into(),
                    reader: $crate::Reader::Loss(read),
                }
            }
        }
    };
}

/// Lists the plugins of a crate: `export_plugins! { MixUp, CutMix }`.
#[macro_export]
macro_rules! export_plugins {
    ($($plugin:ty),* $(,)?) => {
        $($crate::inventory::submit! {
            $crate::StaticPlugin(<$plugin as $crate::Describe>::entry)
        })*
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
