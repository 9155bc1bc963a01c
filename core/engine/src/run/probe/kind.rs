//! Probes as a kind of the registry.

use admix_api::Kind;

use super::contract;
use super::probe::Probe;

impl Kind for dyn Probe {
    const WORD: &'static str = "probe";
    const EXAMPLE: &'static str = "Knn(k: 200)";
    type Config = dyn Probe;
    type Served = ();

    admix_api::by_contract! { contract }

    fn in_recipe(_: &str, written: &str) -> String {
        format!("evaluate: (probes: [{written}]),")
    }
}
