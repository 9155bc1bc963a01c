//! Everything that the host expects of a plugin, as `admix plugin check` looks at it.

use @NAME@::@TYPE@;
use admix_api::{Describe, contract};

#[test]
fn it_keeps_the_contract() {
    let verdicts = contract::check(&@TYPE@::entry(), &[serde_json::json!({})]);
    assert!(verdicts.iter().all(|verdict| !verdict.is_broken()), "{}", contract::table(&verdicts));
}
