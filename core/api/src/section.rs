//! The sections of a recipe: structs whose fields are written once, and read with the registry at hand.
//!
//! serde's derived readers cannot hand a context down to a field. [`section!`](crate::section) writes a reader that does:
//! a field's type says how it is read through [`FromRecipe`].

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::kind::{Choice, Kind};
use crate::read::Seed;
use crate::registry::Registry;

/// A value of a recipe, read with the registry at hand.
///
/// ```
/// use admix_api::{FromRecipe, Registry};
///
/// let mut text = serde_json::Deserializer::from_str("[1, 2]");
/// assert_eq!(Vec::<u64>::read(&mut text, &Registry::default())?, [1, 2]);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub trait FromRecipe: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// The format's own: an unknown field or name, a wrong type.
    fn read<'de, D: Deserializer<'de>>(deserializer: D, registry: &Registry) -> Result<Self, D::Error>;
}

/// Seed that reads a [`FromRecipe`].
#[doc(hidden)]
pub struct With<'a, T>(&'a Registry, PhantomData<T>);

impl<'a, T> With<'a, T> {
    #[doc(hidden)]
    pub fn new(registry: &'a Registry) -> Self {
        Self(registry, PhantomData)
    }
}

impl<'de, T: FromRecipe> DeserializeSeed<'de> for With<'_, T> {
    type Value = T;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::read(deserializer, self.0)
    }
}

/// Types that name nothing of the registry: serde reads them.
#[macro_export]
macro_rules! plain {
    ($($type:ty),* $(,)?) => {
        $(impl $crate::FromRecipe for $type {
            fn read<'de, D: $crate::serde::Deserializer<'de>>(
                deserializer: D,
                _: &$crate::Registry,
            ) -> ::std::result::Result<Self, D::Error> {
                $crate::serde::Deserialize::deserialize(deserializer)
            }
        })*
    };
}

plain!(bool, u64, usize, i64, f64, String, PathBuf);

impl<K: Kind + ?Sized> FromRecipe for Choice<K> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, registry: &Registry) -> Result<Self, D::Error> {
        Seed::of(registry).deserialize(deserializer)
    }
}

impl<T: FromRecipe> FromRecipe for Option<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, registry: &Registry) -> Result<Self, D::Error> {
        struct Maybe<'a, T>(&'a Registry, PhantomData<T>);
        impl<'de, T: FromRecipe> Visitor<'de> for Maybe<'_, T> {
            type Value = Option<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("option")
            }
            fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                T::read(deserializer, self.0).map(Some)
            }
        }
        deserializer.deserialize_option(Maybe(registry, PhantomData))
    }
}

impl<T: FromRecipe> FromRecipe for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, registry: &Registry) -> Result<Self, D::Error> {
        struct List<'a, T>(&'a Registry, PhantomData<T>);
        impl<'de, T: FromRecipe> Visitor<'de> for List<'_, T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = list.next_element_seed(With::new(self.0))? {
                    all.push(value);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_seq(List(registry, PhantomData))
    }
}

impl<T: FromRecipe> FromRecipe for BTreeMap<String, T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, registry: &Registry) -> Result<Self, D::Error> {
        Named::read(deserializer, registry).map(|Named(all)| all.into_iter().collect())
    }
}

/// A map from names in the order of the text. A repeated name is an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T>(pub Vec<(String, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Named<T> {
    /// All of them with their names.
    pub fn iter(&self) -> std::slice::Iter<'_, (String, T)> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> std::ops::Index<usize> for Named<T> {
    type Output = (String, T);
    fn index(&self, index: usize) -> &Self::Output {
        &self.0[index]
    }
}

impl<'a, T> IntoIterator for &'a Named<T> {
    type Item = &'a (String, T);
    type IntoIter = std::slice::Iter<'a, (String, T)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<T: FromRecipe> FromRecipe for Named<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, registry: &Registry) -> Result<Self, D::Error> {
        struct InOrder<'a, T>(&'a Registry, PhantomData<T>);
        impl<'de, T: FromRecipe> Visitor<'de> for InOrder<'_, T> {
            type Value = Named<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from names to values, such as {\"mix\": MixUp()}")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all: Vec<(String, T)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if all.iter().any(|(have, _)| *have == name) {
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                    let value = map.next_value_seed(With::new(self.0))?;
                    all.push((name, value));
                }
                Ok(Named(all))
            }
        }
        deserializer.deserialize_map(InOrder(registry, PhantomData))
    }
}

/// Reads a key of a section.
#[doc(hidden)]
pub fn key<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<String>, A::Error> {
    map.next_key_seed(crate::served::Name)
}

/// Fields of a section whose names are those of entries of the registry.
///
/// ```
/// use admix_api::serde::de::{MapAccess, value::Error};
/// use admix_api::{OtherFields, Registry};
///
/// /// Any field that begins with `x_`.
/// #[derive(Debug, Default, Clone, PartialEq, serde::Serialize)]
/// struct Extra(std::collections::BTreeMap<String, u64>);
///
/// impl OtherFields for Extra {
///     fn names(_: &Registry) -> Vec<String> {
///         vec!["x_...".into()]
///     }
///
///     fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A, _: &Registry) -> Result<bool, A::Error> {
///         let is_mine = name.starts_with("x_");
///         if is_mine {
///             self.0.insert(name.into(), map.next_value()?);
///         }
///         Ok(is_mine)
///     }
/// }
///
/// admix_api::section! {
///     /// What is drawn.
///     default pub struct Drawing {
///         /// Side in pixels.
///         pub side: u64 = 32,
///         ; others
///         /// What else there is.
///         pub extra: Extra,
///     }
/// }
///
/// let mut text = serde_json::Deserializer::from_str(r#"{"x_a": 1}"#);
/// let read = <Drawing as admix_api::FromRecipe>::read(&mut text, &Registry::default())?;
/// assert_eq!((read.side, read.extra.0["x_a"]), (32, 1));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub trait OtherFields: Default {
    /// The names that such a field may have, for messages.
    fn names(registry: &Registry) -> Vec<String>;

    /// Reads the field of this name; `false` if it is none of these.
    ///
    /// # Errors
    /// The format's own, or the field was read before.
    fn take<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        registry: &Registry,
    ) -> Result<bool, A::Error>;
}

/// The message for a field that a section with [`OtherFields`] does not have.
#[doc(hidden)]
pub fn unknown_among(unknown: &str, fields: &[&str], others: &[String]) -> String {
    let known = fields.iter().copied().chain(others.iter().map(String::as_str));
    format!("unknown field `{unknown}`, expected one of `{}`", known.collect::<Vec<_>>().join("`, `"))
}

/// A section of a recipe: a struct with a default for each field, each written once.
///
/// ```
/// admix_api::section! {
///     /// What is drawn.
///     default pub struct Drawing {
///         /// Side in pixels.
///         pub side: usize = 32,
///     }
/// }
/// assert_eq!(Drawing::default().side, 32);
/// ```
///
/// Without `default`, a field may have no default: a text that leaves it out is refused, and the section has no `Default`.
/// A field after `others` takes the [`OtherFields`]; fields after `beside` are no part of the text and begin as their type's
/// default.
#[macro_export]
macro_rules! section {
    (
        $(#[$meta:meta])* default $vis:vis struct $name:ident {
            $($(#[$about:meta])* $seen:vis $field:ident: $type:ty = $default:expr),* $(,)?
            $(; others $(#[$others_about:meta])* $others_seen:vis $others:ident: $others_type:ty $(,)?)?
        }
    ) => {
        $crate::section! {
            $(#[$meta])* $vis struct $name {
                $($(#[$about])* $seen $field: $type = $default),*
                $(; others $(#[$others_about])* $others_seen $others: $others_type)?
            }
        }
        impl ::std::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* $($others: ::std::default::Default::default(),)? }
            }
        }
    };
    (
        $(#[$meta:meta])* $vis:vis struct $name:ident {
            $($(#[$about:meta])* $seen:vis $field:ident: $type:ty $(= $default:expr)?),* $(,)?
            $(; others $(#[$others_about:meta])* $others_seen:vis $others:ident: $others_type:ty $(,)?)?
            $(; beside $($(#[$beside_about:meta])* $beside_seen:vis $beside:ident: $beside_type:ty),* $(,)?)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, $crate::serde::Serialize)]
        #[serde(crate = "admix_api::serde")]
        $vis struct $name {
            $($(#[$about])* $seen $field: $type,)*
            $($(#[$others_about])* #[serde(flatten)] $others_seen $others: $others_type,)?
            $($($(#[$beside_about])* #[serde(skip)] $beside_seen $beside: $beside_type,)*)?
        }

        impl $crate::FromRecipe for $name {
            fn read<'de, D: $crate::serde::Deserializer<'de>>(
                deserializer: D,
                registry: &$crate::Registry,
            ) -> ::std::result::Result<Self, D::Error> {
                use $crate::serde::de::{Error, MapAccess, Visitor};
                const FIELDS: &[&str] = &[$(stringify!($field)),*];
                struct Fields<'a>(&'a $crate::Registry);
                impl<'de> Visitor<'de> for Fields<'_> {
                    type Value = $name;
                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str(concat!("struct ", stringify!($name)))
                    }
                    fn visit_map<A: MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> ::std::result::Result<Self::Value, A::Error> {
                        $(let mut $field: Option<$type> = None;)*
                        $(let mut $others: $others_type = ::std::default::Default::default();)?
                        while let Some(key) = $crate::section_key(&mut map)? {
                            match key.as_str() {
                                $(stringify!($field) if $field.is_some() => {
                                    return Err(A::Error::duplicate_field(stringify!($field)));
                                }
                                stringify!($field) => {
                                    $field = Some(map.next_value_seed($crate::With::new(self.0))?);
                                })*
                                $(other if $crate::OtherFields::take(&mut $others, other, &mut map, self.0)? => {})?
                                unknown => return Err($crate::section!(@unknown self unknown $($others_type)?)),
                            }
                        }
                        Ok($name {
                            $($field: match $field {
                                Some(given) => given,
                                None => $crate::section!(@default $field $($default)?),
                            },)*
                            $($others,)?
                            $($($beside: ::std::default::Default::default(),)*)?
                        })
                    }
                }
                deserializer.deserialize_struct(stringify!($name), FIELDS, Fields(registry))
            }
        }
    };
    (@unknown $fields:ident $unknown:ident) => { A::Error::unknown_field($unknown, FIELDS) };
    (@unknown $fields:ident $unknown:ident $others:ty) => {
        A::Error::custom($crate::unknown_field(
            $unknown,
            FIELDS,
            &<$others as $crate::OtherFields>::names($fields.0),
        ))
    };
    (@default $field:ident $default:expr) => { $default };
    (@default $field:ident) => { return Err(A::Error::missing_field(stringify!($field))) };
}
