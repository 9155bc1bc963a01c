//! Clusterers as a kind of the registry.

use admix_api::Kind;

use super::clusterer::{Clusterer, ClustererConfig};
use super::contract;

impl Kind for dyn Clusterer {
    const WORD: &'static str = "clusterer";
    const EXAMPLE: &'static str = "Odc(k: 200)";
    type Config = dyn ClustererConfig;
    type Served = ();

    admix_api::by_contract! { contract }

    fn in_recipe(name: &str, written: &str) -> String {
        format!("clusterers: {{\"{name}\": {written}}},")
    }
}
