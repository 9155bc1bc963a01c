//! Loggers as a kind of the registry.

use admix_api::Kind;

use super::contract;
use super::logger::{Logger, LoggerConfig};

impl Kind for dyn Logger {
    const WORD: &'static str = "logger";
    const EXAMPLE: &'static str = "JsonLines(file: \"events.jsonl\")";
    type Config = dyn LoggerConfig;
    type Served = ();

    admix_api::by_contract! { contract }

    fn in_recipe(_: &str, written: &str) -> String {
        format!("loggers: [{written}],")
    }
}
