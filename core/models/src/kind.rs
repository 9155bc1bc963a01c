//! Backbones as a kind of the registry.

use admix_api::{Choice, Kind, Result};

use crate::{Backbone, BackboneConfig, contract};

/// A backbone as a recipe chooses it.
pub type BackboneChoice = Choice<dyn Backbone>;

impl Kind for dyn Backbone {
    const WORD: &'static str = "backbone";
    const EXAMPLE: &'static str = "ResNet(depth: 18)";
    type Config = dyn BackboneConfig;
    type Served = ();

    admix_api::by_contract! { contract }

    fn facts(config: Option<&dyn BackboneConfig>) -> Result<Vec<(&'static str, Vec<String>)>> {
        let sizes = config.map(BackboneConfig::sizes).unwrap_or_default();
        Ok(if sizes.is_empty() { Vec::new() } else { vec![("parameters", vec![sizes.join("; ")])] })
    }

    fn in_recipe(_: &str, written: &str) -> String {
        format!("model: {written},")
    }
}

/// Describes a backbone for the registry: type of its settings, name in recipes, name in messages, summary, source.
#[macro_export]
macro_rules! backbone {
    ($config:ty, $type_name:literal, $name:literal, $summary:literal, source: $source:literal) => {
        ::admix_api::describe! {
            dyn $crate::Backbone, dyn $crate::BackboneConfig: $config, $type_name, $name, $summary,
            source: $source, served: ()
        }
    };
}
