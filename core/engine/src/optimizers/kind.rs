//! Optimisers as a kind of the registry.

use admix_api::Kind;

use super::contract;
use super::rule::{OptimizerConfig, OptimizerRule};

impl Kind for dyn OptimizerRule {
    const WORD: &'static str = "optimiser";
    const EXAMPLE: &'static str = "Sgd(lr: 0.1)";
    type Config = dyn OptimizerConfig;
    type Served = ();

    admix_api::by_contract! { contract }

    fn in_recipe(_: &str, written: &str) -> String {
        format!("optimizer: {written},")
    }
}
