//! How many views a batch holds of each image, in groups that are made alike.

use std::fmt;

use admix_api::serde::de::{Deserializer, Error, SeqAccess, Visitor};
use admix_api::{FromRecipe, Registry, With, section};
use serde::Serialize;

use crate::augment::AugmentChoice;

section! {
    /// Views that are made alike.
    pub struct ViewGroup {
        /// How many there are, from 1.
        pub count: usize,
        /// How they are made.
        pub augment: AugmentChoice,
    }
}

/// The `views` of a recipe's data: a number, or a list of groups.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ViewsConfig {
    /// So many, all made as `augment` says.
    Count(usize),
    /// The views of the first group, then those of the next.
    Groups(Vec<ViewGroup>),
}

impl From<usize> for ViewsConfig {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

impl FromRecipe for ViewsConfig {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, registry: &Registry) -> Result<Self, D::Error> {
        struct Either<'a>(&'a Registry);
        impl<'de> Visitor<'de> for Either<'_> {
            type Value = ViewsConfig;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a number of views, or a list of groups such as [(count: 2, augment: Moco(size: 96))]",
                )
            }
            fn visit_u64<E: Error>(self, count: u64) -> Result<Self::Value, E> {
                // Far too many are refused with the other settings.
                Ok(ViewsConfig::Count(usize::try_from(count).unwrap_or(usize::MAX)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut groups = Vec::new();
                while let Some(group) = list.next_element_seed(With::<ViewGroup>::new(self.0))? {
                    groups.push(group);
                }
                Ok(ViewsConfig::Groups(groups))
            }
        }
        deserializer.deserialize_any(Either(registry))
    }
}
