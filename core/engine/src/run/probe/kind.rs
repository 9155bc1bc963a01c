//! Probes as a kind of the registry.

use admix_api::contract::{Ledger, Promise};
use admix_api::{Choice, Kind};
use serde_json::Value as Json;

use super::contract;
use super::probe::Probe;

impl Kind for dyn Probe {
    const WORD: &'static str = "probe";
    const EXAMPLE: &'static str = "Knn(k: 200)";
    type Config = dyn Probe;
    type Served = ();

    fn promises() -> Vec<Promise> {
        contract::PROMISES.to_vec()
    }

    fn validate(config: &dyn Probe) -> admix_api::Result<()> {
        config.validate()
    }

    fn resolved(config: &dyn Probe) -> Json {
        config.resolved()
    }

    fn check(choice: &Choice<Self>, at: &str, ledger: &mut Ledger) {
        contract::check(choice.config.as_ref(), at, ledger);
    }

    fn in_recipe(_: &str, written: &str) -> String {
        format!("evaluate: (probes: [{written}]),")
    }
}
