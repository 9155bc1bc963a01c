//! Settings that start from a named preset: what a recipe writes beside `preset` wins.

use serde::{Deserialize, Deserializer};

/// Reads a field that stands in the recipe, so that an absent one is told from any value.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Declares a struct of settings with a `preset` field. The struct holds final values; reading it lays the fields
/// that were given over `Self::preset(preset)`, and `Default` is the default preset.
macro_rules! settings_with_preset {
    (
        $(#[doc = $about:literal])*
        $name:ident as $text:literal, preset $preset:ty {
            $($(#[doc = $doc:literal])* $field:ident: $type:ty,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, ::serde::Serialize, ::schemars::JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// Where the values that are not given come from.
            pub preset: $preset,
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self::preset(<$preset>::default())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                #[derive(Default, ::serde::Deserialize)]
                #[serde(deny_unknown_fields, default, rename = $text)]
                struct Given {
                    preset: $preset,
                    $(#[serde(deserialize_with = "crate::presets::given")] $field: Option<$type>,)*
                }
                let given = Given::deserialize(from)?;
                let mut settings = Self::preset(given.preset);
                $(if let Some(value) = given.$field { settings.$field = value; })*
                Ok(settings)
            }
        }
    };
}
