//! Reading a plugin out of a recipe: `CutMix(alpha: 1.0, own_setting: 3)`.
//!
//! The name is looked up at run time and the body is handed to the plugin's own reader, straight from the
//! recipe's parser, so that errors keep the recipe's line and column. On the way the settings that the host
//! serves (`alpha`, `per`, `fold`, `partner`) are taken out.

use std::cell::RefCell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, VariantAccess,
    Visitor,
};

use crate::{LossConfig, MixerConfig, Pairing, Partner, Per, PluginKind, Reader, Registry};

/// A mixer as a recipe declares it.
#[derive(Debug)]
pub struct MixerChoice {
    /// The plugin's name.
    pub plugin: String,
    /// The settings that the host serves.
    pub pairing: Pairing,
    /// Those of them that the recipe names.
    pub given: Vec<&'static str>,
    /// The plugin's own settings.
    pub config: Box<dyn MixerConfig>,
}

/// A loss as a recipe declares it.
#[derive(Debug)]
pub struct LossChoice {
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's settings.
    pub config: Box<dyn LossConfig>,
}

/// Seed that reads one mixer.
#[derive(Debug, Clone, Copy)]
pub struct MixerSeed<'a>(pub &'a Registry);
/// Seed that reads one loss.
#[derive(Debug, Clone, Copy)]
pub struct LossSeed<'a>(pub &'a Registry);

impl<'de> DeserializeSeed<'de> for MixerSeed<'_> {
    type Value = MixerChoice;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<MixerChoice, D::Error> {
        struct ByName<'a>(&'a Registry);
        impl<'de> Visitor<'de> for ByName<'_> {
            type Value = MixerChoice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mixer with its settings in parentheses, such as CutMix(alpha: 1.0)")
            }
            fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<MixerChoice, A::Error> {
                let (name, body) = data.variant_seed(Name)?;
                let entry = self.0.find(PluginKind::Mixer, &name).map_err(A::Error::custom)?;
                let Reader::Mixer(read, pairing) = &entry.reader else {
                    return Err(A::Error::custom("not a mixer"));
                };
                let taken = RefCell::new(Taken::of(pairing));
                let config = body.newtype_variant_seed(Body { read, taken: &taken })?;
                let Taken { pairing, given } = taken.into_inner();
                Ok(MixerChoice { plugin: entry.name.clone(), pairing, given, config })
            }
        }
        deserializer.deserialize_enum("mixer", &[], ByName(self.0))
    }
}

impl<'de> DeserializeSeed<'de> for LossSeed<'_> {
    type Value = LossChoice;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<LossChoice, D::Error> {
        struct ByName<'a>(&'a Registry);
        impl<'de> Visitor<'de> for ByName<'_> {
            type Value = LossChoice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a loss with its settings in parentheses, such as Mask(margin: 0.1)")
            }
            fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<LossChoice, A::Error> {
                let (name, body) = data.variant_seed(Name)?;
                let entry = self.0.find(PluginKind::Loss, &name).map_err(A::Error::custom)?;
                let Reader::Loss(read) = &entry.reader else {
                    return Err(A::Error::custom("not a loss"));
                };
                struct LossBody<'a>(&'a crate::ReadLoss);
                impl<'de> DeserializeSeed<'de> for LossBody<'_> {
                    type Value = Box<dyn LossConfig>;
                    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
                        let mut erased = <dyn erased_serde::Deserializer<'_>>::erase(d);
                        (self.0)(&mut erased).map_err(D::Error::custom)
                    }
                }
                let config = body.newtype_variant_seed(LossBody(read))?;
                Ok(LossChoice { plugin: entry.name.clone(), config })
            }
        }
        deserializer.deserialize_enum("loss", &[], ByName(self.0))
    }
}

struct Name;

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

/// The settings that the host serves, as they are taken out of a mixer's.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) pairing: Pairing,
    /// Those that were named, in the order of the text.
    pub(crate) given: Vec<&'static str>,
}

impl Taken {
    /// Nothing taken yet: the mixer's own defaults.
    pub(crate) fn of(defaults: &Pairing) -> Self {
        Self { pairing: defaults.clone(), given: Vec::new() }
    }
}

/// Reads a mixer's settings and puts aside those that the host serves.
pub(crate) struct Body<'a> {
    pub(crate) read: &'a crate::ReadMixer,
    pub(crate) taken: &'a RefCell<Taken>,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = Box<dyn MixerConfig>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let sieve = Sieve { inner: deserializer, taken: self.taken };
        let mut erased = <dyn erased_serde::Deserializer<'_>>::erase(sieve);
        (self.read)(&mut erased).map_err(D::Error::custom)
    }
}

/// A deserializer of a struct that keeps the host's fields to itself.
struct Sieve<'a, D> {
    inner: D,
    taken: &'a RefCell<Taken>,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Sieve<'_, D> {
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
        // A plugin without settings of its own may still be given the host's.
        self.inner.deserialize_struct(name, &[], SieveVisitor { visitor, taken: self.taken })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        newtype_struct seq tuple tuple_struct enum identifier ignored_any
    }
}

struct SieveVisitor<'a, V> {
    visitor: V,
    taken: &'a RefCell<Taken>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for SieveVisitor<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(SieveMap { map, taken: self.taken })
    }

    // A plugin whose one setting may stand alone, as a text: `Script("mine.rhai")`.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<V::Value, E> {
        self.visitor.visit_str(text)
    }
}

struct SieveMap<'a, A> {
    map: A,
    taken: &'a RefCell<Taken>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for SieveMap<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            let Some(key) = self.map.next_key_seed(Name)? else { return Ok(None) };
            let Some(field) = Pairing::FIELDS.into_iter().find(|field| *field == key) else {
                return seed.deserialize(key.into_deserializer()).map(Some);
            };
            let Taken { pairing, given } = &mut *self.taken.borrow_mut();
            given.push(field);
            match field {
                "alpha" => pairing.alpha = self.map.next_value::<f64>()?,
                "per" => pairing.per = self.map.next_value::<Per>()?,
                "fold" => pairing.fold = self.map.next_value::<bool>()?,
                _ => pairing.partner = self.map.next_value::<Partner>()?,
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
