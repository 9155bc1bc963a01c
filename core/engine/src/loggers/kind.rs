//! Loggers as a kind of the registry.

use admix_api::contract::{Ledger, Promise};
use admix_api::{Choice, Kind};
use serde_json::Value as Json;

use super::contract;
use super::logger::{Logger, LoggerConfig};

impl Kind for dyn Logger {
    const WORD: &'static str = "logger";
    const EXAMPLE: &'static str = "JsonLines(file: \"events.jsonl\")";
    type Config = dyn LoggerConfig;
    type Served = ();

    fn promises() -> Vec<Promise> {
        contract::PROMISES.to_vec()
    }

    fn validate(config: &dyn LoggerConfig) -> admix_api::Result<()> {
        config.validate()
    }

    fn resolved(config: &dyn LoggerConfig) -> Json {
        config.resolved()
    }

    fn check(choice: &Choice<Self>, at: &str, ledger: &mut Ledger) {
        contract::check(choice.config.as_ref(), at, ledger);
    }

    fn in_recipe(_: &str, written: &str) -> String {
        format!("loggers: [{written}],")
    }
}
