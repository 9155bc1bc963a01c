//! Settings that the host serves for every entry of a kind. In a recipe they stand beside the entry's own:
//! `CutMix(alpha: 1.0, own_setting: 3)`.
//!
//! While an entry's settings are read, the host's are taken out, straight from the format's reader: errors keep the
//! recipe's line and column.

use std::cell::RefCell;
use std::fmt;

use erased_serde::Deserializer as AnyDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde_json::Value as Json;

use crate::Result;

/// The settings that the host serves for every entry of a kind, with one entry's defaults.
///
/// ```
/// use admix_api::{Pairing, Served};
///
/// let mut served = Pairing::alpha(1.0);
/// let mut value = <dyn erased_serde::Deserializer<'_>>::erase(serde_json::json!(0.5));
/// served.take("alpha", &mut value)?;
/// assert_eq!(served.resolved()["alpha"], 0.5);
/// # Ok::<(), erased_serde::Error>(())
/// ```
pub trait Served: Clone + fmt::Debug + 'static {
    /// Their names.
    const FIELDS: &'static [&'static str];

    /// Reads the value of one of [`FIELDS`](Self::FIELDS).
    ///
    /// # Errors
    /// The format's own: a wrong type.
    fn take(&mut self, field: &str, value: &mut dyn AnyDeserializer<'_>) -> Result<(), erased_serde::Error>;

    /// Checks the ranges, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    fn validate(&self) -> Result<()>;

    /// Takes one of [`FIELDS`](Self::FIELDS) over from another.
    fn copy(&mut self, field: &str, from: &Self);

    /// All of them as JSON.
    fn resolved(&self) -> serde_json::Map<String, Json>;

    /// All of them for people.
    fn settings(&self) -> Vec<ServedSetting>;
}

/// One setting that the host serves, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedSetting {
    /// Its name.
    pub name: &'static str,
    /// The default, as a recipe writes it.
    pub default: String,
    /// The type in words: "number".
    pub kind: &'static str,
    /// What it does.
    pub doc: &'static str,
}

impl Served for () {
    const FIELDS: &'static [&'static str] = &[];

    fn take(&mut self, _: &str, _: &mut dyn AnyDeserializer<'_>) -> Result<(), erased_serde::Error> {
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        Ok(())
    }

    fn copy(&mut self, _: &str, (): &Self) {}

    fn resolved(&self) -> serde_json::Map<String, Json> {
        serde_json::Map::new()
    }

    fn settings(&self) -> Vec<ServedSetting> {
        Vec::new()
    }
}

/// The host's settings after a read.
#[derive(Debug)]
pub(crate) struct Taken<S> {
    pub(crate) served: S,
    /// Those that the text names, in its order.
    pub(crate) given: Vec<&'static str>,
}

/// Reads an entry's own settings with `read`, and the host's into a copy of `defaults`.
pub(crate) fn sift<S: Served, T>(
    read: &dyn Fn(&mut dyn AnyDeserializer<'_>) -> Result<T, erased_serde::Error>,
    defaults: &S,
    body: &mut dyn AnyDeserializer<'_>,
) -> Result<(T, Taken<S>), erased_serde::Error> {
    let taken = RefCell::new(Taken { served: defaults.clone(), given: Vec::new() });
    let own = read(&mut <dyn AnyDeserializer<'_>>::erase(Sieve { inner: body, taken: &taken }))?;
    Ok((own, taken.into_inner()))
}

/// A deserializer of a struct that keeps the host's fields to itself.
struct Sieve<'a, D, S> {
    inner: D,
    taken: &'a RefCell<Taken<S>>,
}

impl<'de, D: Deserializer<'de>, S: Served> Deserializer<'de> for Sieve<'_, D, S> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(SieveVisitor { visitor, taken: self.taken })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_struct(name, fields, SieveVisitor { visitor, taken: self.taken })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(SieveVisitor { visitor, taken: self.taken })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        // An entry without settings of its own may still be given the host's.
        self.inner.deserialize_struct(name, &[], SieveVisitor { visitor, taken: self.taken })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        newtype_struct seq tuple tuple_struct enum identifier ignored_any
    }
}

struct SieveVisitor<'a, V, S> {
    visitor: V,
    taken: &'a RefCell<Taken<S>>,
}

impl<'de, V: Visitor<'de>, S: Served> Visitor<'de> for SieveVisitor<'_, V, S> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(SieveMap { map, taken: self.taken })
    }

    // An entry whose one setting may stand alone, as a text: `Script("mine.rhai")`.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<V::Value, E> {
        self.visitor.visit_str(text)
    }
}

struct SieveMap<'a, A, S> {
    map: A,
    taken: &'a RefCell<Taken<S>>,
}

impl<'de, A: MapAccess<'de>, S: Served> MapAccess<'de> for SieveMap<'_, A, S> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            let Some(key) = self.map.next_key_seed(Name)? else { return Ok(None) };
            let Some(field) = S::FIELDS.iter().find(|field| **field == key) else {
                return seed.deserialize(key.into_deserializer()).map(Some);
            };
            let Taken { served, given } = &mut *self.taken.borrow_mut();
            if given.contains(field) {
                return Err(serde::de::Error::duplicate_field(field));
            }
            given.push(field);
            self.map.next_value_seed(Take { served, field })?;
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

struct Take<'a, S> {
    served: &'a mut S,
    field: &'static str,
}

impl<'de, S: Served> DeserializeSeed<'de> for Take<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let mut value = <dyn AnyDeserializer<'_>>::erase(deserializer);
        self.served.take(self.field, &mut value).map_err(serde::de::Error::custom)
    }
}

/// Reads an identifier: the name of a field or of an entry.
pub(crate) struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = String;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a plugin")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<String, E> {
                Ok(name.to_string())
            }
        }
        deserializer.deserialize_identifier(Text)
    }
}
