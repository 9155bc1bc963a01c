//! Every recipe and every script of the documents.

use std::collections::BTreeMap;

use admix_api::{Ask, Loss, LossInput, MixInput, Mixer, Pairing, Streams};
use admix_engine::{Method, RecipeText, ScriptKind, ScriptedLoss, ScriptedMixer, variants};
use admix_torch::Device;

use super::{Block, blocks_in, read, registry};
use crate::engine::{batch, session};
use crate::program::{Place, files_below, repository};

#[test]
fn every_recipe_in_the_documents_is_read() {
    let blocks = blocks_in("ron");
    assert!(blocks.len() > 4);
    for block in blocks {
        let has = |field: &str| block.text.lines().any(|line| line.trim_start().starts_with(field));
        let is_whole =
            block.text.lines().find(|line| !line.starts_with("//")).is_some_and(|l| l.starts_with('('));
        let text = if is_whole {
            block.text.clone()
        } else {
            // Some fields: the two that must be there come with them.
            let epochs = if has("epochs:") { "" } else { "epochs: 1,\n" };
            let method = if has("method:") { "" } else { "method: \"amix\",\n" };
            format!("({epochs}{method}{})", block.text)
        };
        let several = variants(&text).into_iter().map(|variant| Some(variant.name));
        let names = if text.contains("variants:") { several.collect() } else { vec![None] };
        for name in names {
            let recipe = RecipeText::of(&text, &block.at(), name.as_deref());
            let read = recipe.and_then(|recipe| recipe.read(&[], &registry()));
            read.unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// What the scripts of the documents may name: two networks, two heads, mixers and a choice among them, a group.
pub const STAGE: &str = r#"(
    epochs: 10, batch: 8, method: "any", heads: ["one", "mix"],
    model: ConvNet(widths: [8, 16, 16], strides: [2, 2, 1]),
    pairs: [(from: "q", to: "k", momentum: 0.9)],
    mixers: {"amix": AMix(stage: 2), "cut": CutMix(), "mixup": MixUp(), "cutmix": CutMix(),
        "mix": Choice(of: {"mixup": 0.5, "cutmix": 0.5})},
    groups: {"amix": (lr: 0.01)},
)"#;

/// Lines of a document as a method: what they lack is added.
fn whole_method(text: &str) -> String {
    let mut script = text.to_string();
    let has = |name: &str| text.contains(&format!("fn {name}("));
    if !text.contains("fn ") {
        script = format!("fn step(t) {{ let x = t.images;\n{text}}}\n");
    } else if !has("step") {
        script.push_str("fn step(t) {}\n");
    }
    if !has("weights") {
        script.push_str("fn weights(t) { #{ one: 1.0, mix: 1.0, gen: 1.0, mask: 0.1 } }\n");
    }
    script
}

/// Runs a script that is a mixer or a loss; false where it is a method.
fn run_part(block: &Block) -> bool {
    let none = BTreeMap::new();
    let refused = |error: &dyn std::fmt::Display| -> ! { panic!("{}: {error}", block.at()) };
    match ScriptKind::of(&block.text) {
        ScriptKind::Method => return false,
        ScriptKind::Mixer => {
            let mut mixer =
                ScriptedMixer::compile(&block.text, "mine.rhai", &none).unwrap_or_else(|e| refused(&e));
            let images = batch(0, 4).images;
            let input = MixInput { features: Some(&images), ..MixInput::of(&images) };
            let pairing = Pairing::default();
            let ask =
                Ask { batch: 4, height: 16, width: 16, pairing, lambda: None, quiet: false, progress: 0.0 };
            let plan = mixer
                .plan(&ask, &mut Streams::new(0).draws("mix", "a", 0, 0))
                .unwrap_or_else(|e| refused(&e));
            mixer.mix(&input, &plan.on(Device::Cpu).expect("a plan")).unwrap_or_else(|e| refused(&e));
        }
        ScriptKind::Loss => {
            let loss = ScriptedLoss::compile(&block.text, "mine.rhai", &none).unwrap_or_else(|e| refused(&e));
            let batch = batch(0, 4);
            let logits = batch.images.flatten(1, -1).narrow(1, 0, 5);
            let input =
                LossInput::default().with("logits", logits).with_labels(&batch.labels).expect("labels");
            let value = loss.loss(&input).unwrap_or_else(|e| refused(&e));
            assert!(value.double_value(&[]).is_finite(), "{}", block.at());
        }
    }
    true
}

#[test]
fn every_script_in_the_documents_compiles_and_runs_dry() {
    let blocks = blocks_in("rhai");
    assert!(blocks.len() > 6);
    for block in blocks {
        // An excerpt is a part of a file that is tried as a whole.
        // One of the example program names entries of that program, whose own test runs it.
        let is_of_example = block.mark("file").is_some_and(|file| file.starts_with("examples/own_program/"));
        if block.mark("excerpt").is_some() || is_of_example || run_part(&block) {
            continue;
        }
        let dry = |text: &str| {
            let mut session = session(text, &whole_method(&block.text), 10)?;
            session.dry_run([4, 3], 5, &[(16, 16); 2])
        };
        let warnings = match dry(STAGE) {
            // A method of one head, or a part of one, which need not learn every head.
            Err(error) if error.to_string().contains("never learned") => {
                if block.text.contains("fn step(") {
                    dry(&STAGE.replace(r#", "mix"]"#, "]"))
                } else {
                    Ok(vec![])
                }
            }
            told => told,
        };
        let warnings = warnings.unwrap_or_else(|error| panic!("{}: {error}", block.at()));
        if block.text.contains("fn step(") {
            assert!(warnings.is_empty(), "{}: {warnings:?}", block.at());
        }
    }
}

#[test]
fn every_mixer_and_loss_that_is_a_script_keeps_every_promise() {
    let is_part = |text: &str| !matches!(ScriptKind::of(text), ScriptKind::Method);
    let mut parts: Vec<(String, String)> = ["mixers", "losses"]
        .iter()
        .flat_map(|folder| files_below(&repository().join("scripts").join(folder)))
        .map(|file| (file.display().to_string(), std::fs::read_to_string(&file).expect("a script")))
        .collect();
    let bundled = parts.len();
    let of_documents = blocks_in("rhai").into_iter().filter(|block| block.mark("file").is_none());
    parts.extend(of_documents.filter(|block| is_part(&block.text)).map(|block| (block.at(), block.text)));
    assert!(bundled > 12 && parts.len() > bundled, "{bundled} of {}", parts.len());
    let place = Place::new();
    for (at, text) in parts {
        place.write("mine.rhai", text);
        let told = place.admix(&["plugin", "check", "mine.rhai"]);
        assert_eq!(told.code, Some(0), "{at}:\n{}\n{}", told.stdout, told.stderr);
    }
}

#[test]
fn the_errors_that_the_documents_show_are_the_errors() {
    let mut seen = 0;
    for block in blocks_in("text").iter().filter(|block| block.mark("test") == Some("errors")) {
        for line in block.text.lines() {
            let (statement, wanted) =
                line.split_once("  ").unwrap_or_else(|| panic!("{}: {line}", block.at()));
            let script = format!(
                "fn weights(t) {{ #{{ one: 1.0 }} }}\nfn step(t) {{ let x = t.images;\n{statement}\n}}"
            );
            let method =
                Method::compile(&script, "mine.rhai").unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(method.file(), "mine.rhai");
            let mut session = session(STAGE, &script, 10).expect("a session");
            let error = session.step(batch(0, 8)).expect_err(statement).to_string();
            let found = format!("error: {}", error.replace("test.rhai", "mine.rhai"));
            assert_eq!(found, wanted.trim(), "{}", block.at());
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn the_worked_variant_adds_its_term_in_the_second_half_and_changes_no_other_draw() {
    let losses = |script: &str| -> Vec<BTreeMap<String, f64>> {
        let mut session = session(STAGE, script, 10).expect("a session");
        let step = |number| {
            let report = session.step(batch(number, 8)).expect("a step");
            report.losses.iter().map(|(name, value)| (name.clone(), value.double_value(&[]))).collect()
        };
        (0..10).map(step).collect()
    };
    let late = losses(&read("docs/late_cutmix.rhai"));
    let plain = losses(&read("scripts/amix.rhai"));
    for (step, (late, plain)) in late.iter().zip(&plain).enumerate() {
        assert_eq!(late.contains_key("cut"), step > 5, "step {step}");
        if step <= 5 {
            assert_eq!(late, plain, "step {step}: until then it is AMix");
        }
    }
}
