//! Optimisers as a kind of the registry.

use admix_api::contract::{Ledger, Promise};
use admix_api::{Choice, Kind};
use serde_json::Value as Json;

use super::contract;
use super::rule::{OptimizerConfig, OptimizerRule};

impl Kind for dyn OptimizerRule {
    const WORD: &'static str = "optimiser";
    const EXAMPLE: &'static str = "Sgd(lr: 0.1)";
    type Config = dyn OptimizerConfig;
    type Served = ();

    fn promises() -> Vec<Promise> {
        contract::PROMISES.to_vec()
    }

    fn validate(config: &dyn OptimizerConfig) -> admix_api::Result<()> {
        config.validate()
    }

    fn resolved(config: &dyn OptimizerConfig) -> Json {
        config.resolved()
    }

    fn check(choice: &Choice<Self>, at: &str, ledger: &mut Ledger) {
        contract::check(choice.config.as_ref(), at, ledger);
    }

    fn in_recipe(_: &str, written: &str) -> String {
        format!("optimizer: {written},")
    }
}
