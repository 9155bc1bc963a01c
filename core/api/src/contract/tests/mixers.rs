//! Mixers, one vice at a time.

use std::rc::Rc;

use serde::Deserialize;

use super::bad_mixer::{Bad, Vice};
use super::*;
use crate::{Describe, MixerConfig, Reader};

#[test]
fn a_mixer_without_a_vice_keeps_every_promise() {
    let _alone = alone();
    let verdicts = check(&Bad::entry(), &[json!({}), json!({"shift": 2, "alpha": 0.3})]);
    assert_eq!((broken(&verdicts), idle(&verdicts)), (vec![], vec![]), "{}", table(&verdicts));
}

#[test]
fn a_vice_breaks_its_own_promise_and_hides_no_other() {
    let loud = "per Batch, loud, seed 3, step 0";
    let rows: &[(Vice, &str, &str, &str, usize)] = &[
        (Vice::ResolvesToOthers, "settings read back as themselves", "\"shift\":2", "ResolvesToOthers", 0),
        (Vice::RefusesItself, "settings are read and in range", "out of range", "RefusesItself", 30),
        (Vice::FailsToBuild, "is built from its settings", "no build", "for 1x3x8x8", 26),
        (Vice::PanicsInBuild, "is built from its settings", "no build at all", "for 1x3x8x8", 26),
        (Vice::PanicsInDrop, "is built from its settings", "it does not go quietly", "PanicsInDrop", 0),
        (Vice::NeedsPanic, "needs are the same before and after building", "no needs", "", 28),
        (
            Vice::NeedsDiffer,
            "needs are the same before and after building",
            "host_solver: true",
            "1x3x8x8",
            0,
        ),
        (Vice::PanicsInPlan, "every batch can be planned", "panicked at", loud, 23),
        (Vice::ImpurePlan, "the same draws give the same plan", "count", loud, 0),
        (Vice::ChangingNames, "plans keep their names", "sometimes", "1x3x8x8", 0),
        (Vice::ChangingForms, "plans keep their names", "`form`", "1x3x8x8", 0),
        (Vice::LambdaOutside, "a plan's lambdas lie in [0, 1]", "lambda is 1.25", loud, 18),
        (Vice::NoLambda, "every batch can be mixed", "no `lambda`", loud, 17),
        (Vice::RefusesSizes, "every batch can be planned", "expected a divisor of 8", loud, 0),
        (
            Vice::RefusesSomeDraws,
            "images of one size are refused by every plan or by none",
            "and at step 0",
            "on 1x3x33x33",
            0,
        ),
        (Vice::PartnersOutside, "a plan's partners lie in the batch", "partners [1] of 1", loud, 18),
        (Vice::Fails, "every batch can be mixed", "no mix and a second line", loud, 16),
        (Vice::Panics, "every batch can be mixed", "panicked at", loud, 16),
        (Vice::PanicsInEvaluation, "every batch can be mixed", "it only trains", "after train(false)", 0),
        (Vice::PanicsAfterStep, "evaluation mode and after_step work", "no step", "after train(false)", 0),
        (Vice::WrongShape, "images keep shape, kind and device", "became 1x3x7x8", loud, 5),
        (Vice::WrongKind, "images keep shape, kind and device", "became 1x3x8x8 Double", loud, 5),
        (Vice::UndefinedImages, "images keep shape, kind and device", "undefined", loud, 6),
        (Vice::NotFinite, "images are finite", "NaN or infinity", loud, 3),
        (Vice::NoSources, "the label's sources lie in the batch", "undefined", loud, 4),
        (
            Vice::SourcesOutside,
            "the label's sources lie in the batch",
            "from 1 to 1 in a batch of 1",
            loud,
            4,
        ),
        (Vice::SharesOfTooMuch, "shares are float32, not negative, and sum to 1", "1.2", loud, 3),
        (Vice::NegativeShares, "shares are float32, not negative, and sum to 1", "-0.5", loud, 3),
        (Vice::DoubleShares, "shares are float32, not negative, and sum to 1", "Double", loud, 3),
        (Vice::CreditsAnything, "a pair is credited with the planned lambda or the area", "0.123", loud, 0),
        (Vice::MaskOutside, "a mask is [N, 1, H, W] in [0, 1]", "the mask goes from", "", 2),
        (Vice::MaskOfOneColour, "a mask is [N, 1, H, W] in [0, 1]", "1x8x8", loud, 3),
        (Vice::UndefinedMask, "a mask is [N, 1, H, W] in [0, 1]", "undefined", loud, 3),
        (Vice::LeavesItsMask, "images follow their mask", "away from", "on 2x3x8x8", 1),
        (Vice::PlacesOthers, "images follow their mask", "outside the range", "on 2x3x8x8", 1),
        (Vice::PlacesHalf, "images follow their mask", "placed are 1x3x8x7", loud, 1),
        (Vice::UndefinedExtra, "extras are tensors", "`nothing`", loud, 0),
        (Vice::DrawsGlobally, "nothing is drawn from libtorch's generator", "drawn from", loud, 0),
        (Vice::WritesImages, "inputs and plan are left alone", "images were changed", loud, 3),
        (Vice::WritesFeatures, "inputs and plan are left alone", "features were changed", loud, 3),
        (Vice::WritesPlan, "inputs and plan are left alone", "`lambda` was changed", loud, 3),
        (Vice::Waits, "a capturable mix does not wait for the device", "aten::item", loud, 0),
        (Vice::LeavesGradOff, "gradient mode and autocast are left alone", "gradients: false", loud, 1),
        (Vice::LeavesAutocast, "gradient mode and autocast are left alone", "BFloat16", loud, 0),
        (Vice::QuietGraph, "only a loud mix of trained parameters has a graph", "have a graph", "quiet", 0),
        (Vice::Detached, "only a loud mix of trained parameters has a graph", "no graph", loud, 1),
        (Vice::OneDetached, "a loud mix gives its parameters finite gradients", "mixer.a", "any loud", 0),
        (Vice::CountsMixes, "the same plan gives the same bits", "differ", "step 4", 1),
        (Vice::KeepsFirstPlan, "everything is read from the plan", "differ", "step", 0),
        (Vice::KeepsLastPlan, "everything is read from the plan", "differ", "step", 0),
        (
            Vice::WidensImages,
            "half precision images stay so, masks are float32",
            "became Float",
            "bfloat16",
            0,
        ),
        (Vice::LowMask, "half precision images stay so, masks are float32", "BFloat16", "bfloat16", 0),
        (
            Vice::PlacesOneView,
            "partners come from the other view, if there is one",
            "outside the range",
            "step 10",
            0,
        ),
        (Vice::OneView, "partners come from the other view, if there is one", "away from", "step 10", 0),
        (
            Vice::PanicsWithoutFeatures,
            "what is missing or unfit is an error in one line",
            "where are they",
            "without features",
            0,
        ),
        (
            Vice::SilentAboutSaliency,
            "what is missing or unfit is an error in one line",
            "something is missing",
            "without saliency",
            0,
        ),
        (Vice::FailsAlone, "every batch can be mixed", "nobody to meet", "on 1x3x8x8", 0),
        (Vice::DropsTheOdd, "images keep shape, kind and device", "3x3x8x12 Float", "on 3x3x8x12", 1),
        (Vice::SwapsSides, "images keep shape, kind and device", "became 3x3x12x8", "on 3x3x8x12", 1),
        (Vice::WantsColours, "every batch can be mixed", "three colours", "on 5x1x6x4", 0),
    ];
    let rows: Vec<Row<'_>> =
        rows.iter().map(|row| (json!({"vice": row.0}), row.1, row.2, row.3, row.4)).collect();
    breaks(&Bad::entry(), &rows);
}

#[test]
fn a_mixer_that_says_that_it_waits_may_wait() {
    let _alone = alone();
    let verdicts = check(&Bad::entry(), &[json!({"vice": "WaitsButSaysSo"})]);
    assert_eq!(broken(&verdicts), Vec::<&str>::new());
    assert_eq!(idle(&verdicts), ["a capturable mix does not wait for the device"]);
}

#[test]
fn a_mixer_may_refuse_sizes_that_little_divides() {
    let _alone = alone();
    let verdicts = check(&Bad::entry(), &[json!({"vice": "RefusesOddSizes"})]);
    assert_eq!((broken(&verdicts), idle(&verdicts)), (vec![], vec![]), "{}", table(&verdicts));
}

#[test]
fn what_an_entry_says_of_itself_is_checked() {
    type Change = fn(&mut Entry);
    let with = |change: Change| {
        let mut entry = Bad::entry();
        change(&mut entry);
        entry
    };
    let documented = "settings are documented, with their defaults";
    let told = "has a name, a summary and a source";
    let rows: [(Change, &str, &str); 7] = [
        (|entry| entry.summary = " ".into(), told, "summary is empty"),
        (|entry| entry.source = "a\nb".into(), told, "more than one line"),
        (|entry| entry.schema = Rc::new(|| json!({})), documented, "no description"),
        (
            |entry| {
                let schema = entry.schema.clone();
                entry.schema = Rc::new(move || {
                    let mut schema = schema();
                    schema["properties"]["shift"]["default"] = json!(7);
                    schema
                });
            },
            documented,
            "the default of `shift` is 0, and documented as 7",
        ),
        (|entry| entry.schema = Rc::new(|| panic!("no schema")), documented, "no schema"),
        (|entry| entry.defaults = Rc::new(|| json!([1])), documented, "no object"),
        (
            |entry| {
                let read: crate::ReadConfig<dyn crate::Mixer> = Rc::new(|body| {
                    let mut body: serde_json::Value = erased_serde::deserialize(body)?;
                    if let Some(fields) = body.as_object_mut() {
                        fields.remove("no_such_setting");
                    }
                    let config = Bad::deserialize(body).map_err(serde::de::Error::custom)?;
                    Ok(Box::new(config) as Box<dyn MixerConfig>)
                });
                entry.reader =
                    Rc::new(Reader::<dyn crate::Mixer> { read, served: crate::Pairing::default() });
            },
            "unknown settings are refused by name",
            "without a word",
        ),
    ];
    for (change, promise, message) in rows {
        breaks(
            &with(change),
            &[(json!({"shift": 1}), promise, message, "", usize::from(message == "no object"))],
        );
    }
    let panics = with(|entry| {
        let read: crate::ReadConfig<dyn crate::Mixer> = Rc::new(|_| panic!("no reader"));
        entry.reader = Rc::new(Reader::<dyn crate::Mixer> { read, served: crate::Pairing::default() });
    });
    let _alone = alone();
    let verdicts = check(&panics, &[json!({})]);
    assert_eq!(
        broken(&verdicts),
        ["settings are read and in range", "unknown settings are refused by name"],
        "{}",
        table(&verdicts)
    );
}

#[test]
fn settings_of_the_host_are_taken_and_judged() {
    breaks(
        &Bad::entry(),
        &[(json!({"alpha": -1.0}), "settings are read and in range", "alpha is -1", "alpha", 30)],
    );
    let mut entry = Bad::entry();
    let (defaults, schema) = (entry.defaults.clone(), entry.schema.clone());
    entry.defaults = Rc::new(move || {
        let mut all = defaults();
        all["per"] = json!(1);
        all
    });
    entry.schema = Rc::new(move || {
        let mut all = schema();
        all["properties"]["per"] = json!({"description": "a clash", "default": 1});
        all
    });
    let settings = json!({"shift": 1});
    let promise = "leaves alpha, per, fold and partner to the host";
    breaks(&entry, &[(settings, promise, "`per`", "`bad`", 0)]);
}

#[test]
fn one_bad_setting_does_not_hide_the_others() {
    let _alone = alone();
    let verdicts = check(
        &Bad::entry(),
        &[json!(7), json!({"vice": "NotFinite"}), json!({"vice": "Panics"}), json!({"vice": "PanicsInDrop"})],
    );
    let wanted = [
        "settings are read and in range",
        "unknown settings are refused by name",
        "is built from its settings",
        "every batch can be mixed",
        "images are finite",
    ];
    assert_eq!(broken(&verdicts), wanted, "{}", table(&verdicts));
}
