//! Clusterers as a kind of the registry.

use admix_api::contract::{Ledger, Promise};
use admix_api::{Choice, Kind};
use serde_json::Value as Json;

use super::clusterer::{Clusterer, ClustererConfig};
use super::contract;

impl Kind for dyn Clusterer {
    const WORD: &'static str = "clusterer";
    const EXAMPLE: &'static str = "Odc(k: 200)";
    type Config = dyn ClustererConfig;
    type Served = ();

    fn promises() -> Vec<Promise> {
        contract::PROMISES.to_vec()
    }

    fn validate(config: &dyn ClustererConfig) -> admix_api::Result<()> {
        config.validate()
    }

    fn resolved(config: &dyn ClustererConfig) -> Json {
        config.resolved()
    }

    fn check(choice: &Choice<Self>, at: &str, ledger: &mut Ledger) {
        contract::check(choice.config.as_ref(), at, ledger);
    }

    fn in_recipe(name: &str, written: &str) -> String {
        format!("clusterers: {{\"{name}\": {written}}},")
    }
}
