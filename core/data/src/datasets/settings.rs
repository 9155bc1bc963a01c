//! The settings of datasets in a recipe: `data: (name: "toy", toy: (classes: 10))`.

use std::collections::BTreeMap;
use std::rc::Rc;

use admix_api::serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess};
use admix_api::serde::{Serialize, Serializer};
use admix_api::{Choice, OtherFields, Reader, Registry, erased_serde};
use serde_json::{Value as Json, json};

use super::kind::DatasetSource;
use crate::Result;
use crate::error::of_entry;

/// Settings of datasets by the name of the dataset.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SetSettings(BTreeMap<String, Choice<dyn DatasetSource>>);

impl SetSettings {
    /// The settings of one dataset.
    pub fn of(name: &str, set: Rc<dyn DatasetSource>) -> Self {
        Self(BTreeMap::from([(name.to_owned(), Choice::new(name, (), set))]))
    }

    /// The dataset of this name with its settings, if it has any here.
    pub fn get(&self, name: &str) -> Option<Rc<dyn DatasetSource>> {
        self.0.get(name).map(|choice| Rc::clone(&choice.config))
    }

    /// Adds the defaults of the dataset of this name, where it takes settings and none are given.
    pub(crate) fn complete(&mut self, name: &str, registry: &Registry) {
        if let Some(set) = with_settings(registry, name).filter(|_| !self.0.contains_key(name)) {
            self.0.insert(name.to_owned(), Choice::new(name, (), set));
        }
    }

    /// Checks ranges.
    pub(crate) fn validate(&self) -> Result<()> {
        self.0.iter().try_for_each(|(name, choice)| {
            choice.validate().map_err(|error| of_entry(&format!("data.{name}"), error))
        })
    }
}

/// The entry of this very name: other spellings may name a folder or a packed file.
pub(crate) fn reader<'a>(registry: &'a Registry, name: &str) -> Option<&'a Reader<dyn DatasetSource>> {
    registry
        .find::<dyn DatasetSource>(name)
        .ok()
        .filter(|(entry, _)| entry.name == name)
        .map(|(_, read)| read)
}

/// The dataset of this name at its defaults.
pub(crate) fn at_defaults(registry: &Registry, name: &str) -> Option<Box<dyn DatasetSource>> {
    (reader(registry, name)?.read)(&mut <dyn erased_serde::Deserializer<'_>>::erase(json!({}))).ok()
}

/// The same, if it takes settings.
fn with_settings(registry: &Registry, name: &str) -> Option<Rc<dyn DatasetSource>> {
    let has_some = |set: &dyn DatasetSource| set.resolved().as_object().is_some_and(|all| !all.is_empty());
    at_defaults(registry, name).filter(|set| has_some(set.as_ref())).map(Rc::from)
}

impl OtherFields for SetSettings {
    fn names(registry: &Registry) -> Vec<String> {
        let names = registry.names::<dyn DatasetSource>().into_iter();
        names.filter(|name| with_settings(registry, name).is_some()).map(str::to_owned).collect()
    }

    fn take<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        registry: &Registry,
    ) -> Result<bool, A::Error> {
        let Some(reader) = reader(registry, name) else { return Ok(false) };
        if self.0.contains_key(name) {
            return Err(A::Error::custom(format!("duplicate field `{name}`")));
        }
        let set = map.next_value_seed(Body(reader))?;
        self.0.insert(name.to_owned(), Choice::new(name, (), set));
        Ok(true)
    }
}

/// Reads the settings of one dataset, straight from the recipe's parser.
struct Body<'a>(&'a Reader<dyn DatasetSource>);

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = Rc<dyn DatasetSource>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let mut body = <dyn erased_serde::Deserializer<'_>>::erase(deserializer);
        (self.0.read)(&mut body).map(Rc::from).map_err(D::Error::custom)
    }
}

impl Serialize for SetSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let settings =
            |(name, choice): (&String, &Choice<dyn DatasetSource>)| (name.clone(), choice.config.resolved());
        self.0.iter().map(settings).collect::<serde_json::Map<String, Json>>().serialize(serializer)
    }
}
