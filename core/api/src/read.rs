//! Reading an entry of any kind out of a recipe: `CutMix(alpha: 1.0, own_setting: 3)`.
//!
//! The name is looked up in the registry at run time, and the body is handed to the entry's own reader, straight from
//! the recipe's parser: errors keep the recipe's line and column.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error as _, VariantAccess, Visitor};

use crate::served::Name;
use crate::{Choice, Kind, Reader, Registry};

/// Seed that reads one entry of kind `K`.
pub struct Seed<'a, K: ?Sized> {
    registry: &'a Registry,
    kind: PhantomData<fn(&K)>,
}

impl<'a, K: Kind + ?Sized> Seed<'a, K> {
    /// Reads entries of this registry.
    pub fn of(registry: &'a Registry) -> Self {
        Self { registry, kind: PhantomData }
    }
}

impl<'de, K: Kind + ?Sized> DeserializeSeed<'de> for Seed<'_, K> {
    type Value = Choice<K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Choice<K>, D::Error> {
        deserializer.deserialize_enum(K::WORD, &[], self)
    }
}

impl<'de, K: Kind + ?Sized> Visitor<'de> for Seed<'_, K> {
    type Value = Choice<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} with its settings in parentheses, such as {}", K::WORD, K::EXAMPLE)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Choice<K>, A::Error> {
        let (name, body) = data.variant_seed(Name)?;
        let (entry, reader) = self.registry.find::<K>(&name).map_err(A::Error::custom)?;
        let (entry, entered) = (&entry.name, Cell::new(false));
        match body.newtype_variant_seed(Body { entry, reader, entered: &entered }) {
            // The name stands alone: nothing of a body was read.
            Err(_) if K::BARE && !entered.get() => {
                let none = serde_json::Value::Object(serde_json::Map::new());
                let mut none = <dyn erased_serde::Deserializer<'_>>::erase(none);
                reader.choose(entry, &mut none).map_err(A::Error::custom)
            }
            read => read,
        }
    }
}

struct Body<'a, K: Kind + ?Sized> {
    entry: &'a str,
    reader: &'a Reader<K>,
    /// Set once the body is there to be read.
    entered: &'a Cell<bool>,
}

impl<'de, K: Kind + ?Sized> DeserializeSeed<'de> for Body<'_, K> {
    type Value = Choice<K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Choice<K>, D::Error> {
        self.entered.set(true);
        let mut erased = <dyn erased_serde::Deserializer<'_>>::erase(deserializer);
        self.reader.choose(self.entry, &mut erased).map_err(D::Error::custom)
    }
}
