//! The registry: every entry, by kind and name. Built once, then only read.

use std::collections::BTreeMap;

use crate::entry::{Entry, Origin};
use crate::kind::{Kind, Reader};
use crate::names::{did_you_mean, fold};
use crate::{Error, Result};

/// A statically linked entry, submitted by `export_plugins!`.
pub struct StaticPlugin(pub fn() -> Entry);

inventory::collect!(StaticPlugin);

/// All plugins.
#[derive(Debug, Default, Clone)]
pub struct Registry {
    entries: BTreeMap<(&'static str, String), Entry>,
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
                kind: entry.kind(),
                name: entry.name.clone(),
                first: first.origin.to_string(),
                second: entry.origin.to_string(),
            });
        }
        self.entries.insert(key, entry);
        Ok(())
    }

    /// Puts an entry in the place of the one of its kind and name, if there is one.
    pub fn replace(&mut self, entry: Entry) {
        self.entries.insert((entry.kind(), fold(&entry.name)), entry);
    }

    /// All entries, sorted by kind and name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The entries of one kind, sorted by name.
    pub fn of<K: Kind + ?Sized>(&self) -> impl Iterator<Item = &Entry> {
        self.entries().filter(|entry| entry.kind() == K::WORD)
    }

    /// The names of one kind.
    pub fn names<K: Kind + ?Sized>(&self) -> Vec<&str> {
        self.of::<K>().map(|entry| entry.name.as_str()).collect()
    }

    /// The entry of this kind and name, with its reader. `CutMix`, `cutmix` and `cut_mix` are the same name.
    ///
    /// # Errors
    /// There is none; the message suggests the nearest.
    pub fn find<K: Kind + ?Sized>(&self, name: &str) -> Result<(&Entry, &Reader<K>)> {
        let found = self.entries.get(&(K::WORD, fold(name)));
        found.and_then(|entry| Some((entry, entry.reader::<K>()?))).ok_or_else(|| {
            let names = self.names::<K>();
            Error::UnknownPlugin {
                kind: K::WORD,
                name: name.to_string(),
                known: if names.is_empty() { "none".into() } else { names.join(", ") },
                hint: format!("{}{}", K::MORE, did_you_mean(name, names)),
            }
        })
    }
}
