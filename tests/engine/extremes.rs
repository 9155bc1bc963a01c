//! Every setting of every entry and every number of a recipe at its extremes: it works, or is refused before anything runs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use admix_api::{Entry, Loss, Mixer, Registry};
use admix_data::Augmentation;
use admix_engine::{Clusterer, OptimizerRule, Precision, Probe, Recipe, prepare};
use admix_models::Backbone;
use admix_torch::Device;
use serde_json::Value;

const RECIPE: &str = r#"(
    epochs: 2, batch: 8, method: "mixup",
    data: (name: "toy", crop: None, toy: (train: 64, test: 32, classes: 4, size: 16)),
    model: ConvNet(widths: [8, 8], strides: [2, 2]),
    mixers: {"mix": MixUp()},
    //
)"#;

const NUMBERS: [&str; 7] = ["0.0", "-1.0", "1.0", "1e-300", "1e300", "NaN", "inf"];
const WHOLE: [&str; 5] = ["0", "-1", "1", "1000", "9223372036854775807"];

/// Values of a setting, by its schema: those between which it lies, and those that no setting takes.
fn values(schema: &Value) -> Vec<String> {
    let is = |kind: &str| match &schema["type"] {
        Value::String(have) => have == kind,
        Value::Array(all) => all.iter().any(|have| have == kind),
        _ => false,
    };
    let mut values: Vec<String> = Vec::new();
    if is("number") {
        values.extend(NUMBERS.map(String::from));
    } else if is("integer") {
        values.extend(WHOLE.map(String::from));
    } else if is("boolean") {
        values.extend(["true", "false"].map(String::from));
    }
    for bound in ["minimum", "maximum"] {
        values.extend(
            schema[bound]
                .as_f64()
                .map(|bound| if is("integer") { format!("{}", bound as i64) } else { format!("{bound:?}") }),
        );
    }
    values
}

/// Refused in one line, or good; tells which.
#[track_caller]
fn try_out(registry: &Registry, text: &str) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let recipe = Recipe::parse(text, "r.ron", &[], registry)?;
        prepare(recipe, None, registry, Device::Cpu, Precision::default()).map(drop)
    }));
    let told = match outcome.unwrap_or_else(|_| panic!("a panic under\n{text}")) {
        Ok(()) => return true,
        Err(error) => error.to_string(),
    };
    let raw = ["Exception raised", "frame #", ".cpp", "called `Result"];
    assert!(!told.contains('\n') && !raw.iter().any(|word| told.contains(word)), "{told}\nunder\n{text}");
    false
}

/// Every setting of an entry in a recipe that `put` makes of it; counts those that are good and those that are not.
fn entry(registry: &Registry, entry: &Entry, put: &dyn Fn(&str) -> String, count: &mut (usize, usize)) {
    let schema = (entry.schema)();
    let own = schema["properties"].as_object().into_iter().flatten();
    for (field, schema) in own {
        for value in values(schema) {
            let written = format!("{}({field}: {value})", entry.type_name);
            let good = try_out(registry, &put(&written));
            if good { count.0 += 1 } else { count.1 += 1 }
        }
    }
}

#[test]
fn every_setting_of_every_plugin_works_or_is_refused_up_front() {
    admix_torch::set_threads(1);
    let registry = admix_engine::registry().expect("plugins");
    let plain = |entry: &&Entry| !(entry.defaults)().is_null();
    let add = |text: &str| RECIPE.replace("//", text);
    let mut count = (0, 0);
    for mixer in registry.of::<dyn Mixer>().filter(plain) {
        let alone = |written: &str| RECIPE.replace("MixUp()", written);
        let beside = |written: &str| RECIPE.replace("MixUp()}", &format!("MixUp(), \"own\": {written}}}"));
        // One that reads more than images is built and plans, beside the method's own.
        let mixes = try_out(&registry, &alone(&format!("{}()", mixer.type_name)));
        entry(&registry, mixer, if mixes { &alone } else { &beside }, &mut count);
    }
    for loss in registry.of::<dyn Loss>().filter(plain) {
        entry(&registry, loss, &|written| add(&format!("losses: {{\"own\": {written}}},")), &mut count);
    }
    for rule in registry.of::<dyn OptimizerRule>().filter(plain) {
        entry(&registry, rule, &|written| add(&format!("optimizer: {written},")), &mut count);
    }
    for backbone in registry.of::<dyn Backbone>().filter(plain) {
        let put = |written: &str| RECIPE.replace("ConvNet(widths: [8, 8], strides: [2, 2])", written);
        entry(&registry, backbone, &put, &mut count);
    }
    for augmentation in registry.of::<dyn Augmentation>().filter(plain) {
        let put = |written: &str| RECIPE.replace("crop: None", &format!("augment: {written}"));
        entry(&registry, augmentation, &put, &mut count);
    }
    for clusterer in registry.of::<dyn Clusterer>().filter(plain) {
        entry(
            &registry,
            clusterer,
            &|written| add(&format!("clusterers: {{\"own\": {written}}},")),
            &mut count,
        );
    }
    for probe in registry.of::<dyn Probe>().filter(plain) {
        entry(&registry, probe, &|written| add(&format!("evaluate: (probes: [{written}]),")), &mut count);
    }
    for field in ["alpha", "prob", "until"] {
        for value in NUMBERS.iter().chain(&WHOLE) {
            let good = try_out(&registry, &RECIPE.replace("MixUp()", &format!("MixUp({field}: {value})")));
            if good { count.0 += 1 } else { count.1 += 1 }
        }
    }
    assert!(count.0 > 50 && count.1 > 100, "{count:?}");
}

#[test]
fn every_number_of_a_recipe_works_or_is_refused_up_front() {
    admix_torch::set_threads(1);
    let registry = admix_engine::registry().expect("plugins");
    let fields: [(&str, &[&str]); 15] = [
        ("epochs: 2", &WHOLE),
        ("batch: 8", &WHOLE),
        ("accumulate: 1", &WHOLE),
        ("seed: 0", &WHOLE),
        ("bn_groups: 1", &WHOLE),
        ("recompute_stages: [0]", &["[9223372036854775807]", "[2, 2]", "[-1]"]),
        ("min_lr: 0.0", &NUMBERS),
        ("weights: {}", &["{\"mix\": 1e300}", "{\"mix\": NaN}", "{\"\": 1}"]),
        ("log_every: 1", &WHOLE),
        ("max_bad_steps: 1", &WHOLE),
        (
            "evaluate: ()",
            &["(every: 0)", "(batch: 0)", "(every: 9223372036854775807)", "(batch: 9223372036854775807)"],
        ),
        ("checkpoint: ()", &["(keep: 0)", "(keep: 9223372036854775807)", "(every_steps: 0)"]),
        ("queues: {}", &["{\"keys\": (length: 0)}", "{\"keys\": (length: -8)}", "{\"keys\": (length: 7)}"]),
        ("groups: {}", &["{\"mix\": (lr: 1e300)}", "{\"mix\": (lr: NaN)}", "{\"mix\": (weight_decay: inf)}"]),
        (
            "pairs: []",
            &["[(from: \"q\", to: \"k\", momentum: NaN)]", "[(from: \"q\", to: \"k\", momentum: 1e300)]"],
        ),
    ];
    let mut good = 0;
    for (field, values) in fields {
        let (name, _) = field.split_once(':').expect("a field");
        for value in values {
            let set = format!("{name}: {value}");
            let there = RECIPE.contains(&format!(" {field},"));
            let text =
                if there { RECIPE.replace(field, &set) } else { RECIPE.replace("//", &format!("{set},")) };
            good += usize::from(try_out(&registry, &text));
        }
    }
    assert!(good > 8, "{good}");
}
