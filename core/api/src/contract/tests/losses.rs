//! Losses, one vice at a time.

use super::bad_loss::{BadLoss, Vice};
use super::*;
use crate::Describe;

const HOSTED: &str = "leaves alpha, per, fold and partner to the host";

#[test]
fn a_loss_without_a_vice_keeps_every_promise_also_with_an_argument_of_an_unknown_name() {
    let _alone = alone();
    let verdicts = check(&BadLoss::entry(), &[json!({})]);
    assert_eq!((broken(&verdicts), idle(&verdicts)), (vec![], vec![HOSTED]), "{}", table(&verdicts));
}

#[test]
fn a_loss_of_labels_alone_has_no_gradient_to_check() {
    let _alone = alone();
    let verdicts = check(&BadLoss::entry(), &[json!({"vice": "TargetOnly"})]);
    assert_eq!(broken(&verdicts), Vec::<&str>::new(), "{}", table(&verdicts));
    let gradients = ["a loss has finite gradients", "gradients match central differences"];
    assert_eq!(idle(&verdicts), [HOSTED, gradients[0], gradients[1]]);
}

#[test]
fn a_vice_breaks_its_own_promise_and_hides_no_other() {
    let rows: &[(Vice, &str, &str, &str, usize)] = &[
        (Vice::FailsToBuild, "is built from its settings", "no build", "FailsToBuild", 11),
        (Vice::PanicsInArguments, "names its arguments", "no arguments", "PanicsInArguments", 10),
        (Vice::NoArguments, "names its arguments", "a loss of nothing", "NoArguments", 10),
        (Vice::Fails, "every batch has a loss", "no loss", "on 1x4 Float", 8),
        (Vice::Panics, "every batch has a loss", "panicked at", "on 1x4 Float", 8),
        (Vice::NotScalar, "a loss is a float32 scalar", "1 Float", "on 1x4 Float", 5),
        (Vice::HalfValue, "a loss is a float32 scalar", "Half", "on 1x4 Float", 4),
        (Vice::Undefined, "a loss is a float32 scalar", "undefined", "on 1x4 Float", 5),
        (Vice::Overflows, "a loss is finite for finite inputs", "inf", "spread 10000", 1),
        (Vice::NanGradient, "a loss has finite gradients", "`logits` is not finite", "spread 0", 1),
        (Vice::NoGraph, "a loss has finite gradients", "", "on 1x4 Float", 2),
        (Vice::WrongGradient, "gradients match central differences", "the difference", "4x5 Double", 1),
        (Vice::WritesTarget, "inputs are left alone", "`target.shares` was changed", "on 1x4", 1),
        (Vice::Waits, "a loss does not wait for the device", "aten::item", "on 1x4", 1),
        (Vice::Counts, "the same inputs give the same loss", "again", "on 1x4", 3),
        (Vice::DrawsGlobally, "nothing is drawn from libtorch's generator", "drawn", "on 1x4", 1),
        (Vice::LeavesGradOff, "gradient mode and autocast are left alone", "gradients: false", "on 1x4", 3),
        (Vice::LeavesAutocast, "gradient mode and autocast are left alone", "BFloat16", "on 1x4", 1),
        (Vice::PairsOnly, "every batch has a loss", "pairs only", "one source", 1),
        (Vice::StaysLow, "half precision is widened", "BFloat16", "4x4 BFloat16", 1),
    ];
    let rows: Vec<Row<'_>> =
        rows.iter().map(|row| (json!({"vice": row.0}), row.1, row.2, row.3, row.4)).collect();
    breaks(&BadLoss::entry(), &rows);
}
