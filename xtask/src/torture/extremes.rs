//! Sizes and settings at their limits: what `check` calls good runs, and what it refuses gets one message.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Attack;
use super::dice::Dice;
use super::ring::{Finding, Ring};

pub const ATTACK: Attack =
    Attack { name: "extremes", does: "odd shapes, and mixers' settings at and beyond their limits", strike };

const BATCHES: [u64; 6] = [1, 2, 3, 4, 7, 8];
const SIDES: [u64; 14] = [8, 9, 11, 13, 16, 20, 23, 28, 31, 40, 64, 97, 128, 260];
const CHANNELS: [u64; 3] = [1, 3, 4];
const CLASSES: [u64; 4] = [2, 3, 10, 1000];
const NUMBERS: [&str; 12] =
    ["0", "-1", "1", "2", "0.5", "1e-30", "0.999999", "64", "1e9", "1e30", "1e300", "-1e300"];
const WHOLE: [&str; 10] = ["0", "-1", "1", "2", "3", "5", "16", "1000", "2147483648", "9223372036854775807"];

fn strike(ring: &Ring<'_>, dice: &mut Dice) -> Result<Option<Finding>> {
    let (recipe, mut sets) = if dice.once_in(2) { ring.recipe(dice)? } else { mixer(ring, dice)? };
    let (batch, side, classes) = (dice.one(&BATCHES), dice.one(&SIDES), dice.one(&CLASSES));
    let train = (2 * batch).max(classes);
    sets.extend([
        format!("batch={batch}"),
        format!("data.toy.size={side}"),
        format!("data.toy.channels={}", dice.one(&CHANNELS)),
        format!("data.toy.classes={classes}"),
        format!("data.toy.train={train}"),
    ]);
    let queue = sets.iter().any(|set| set.contains("queues"));
    if queue || dice.once_in(4) {
        sets.push(format!("accumulate={}", dice.one(&["1", "2", "3"])));
    }
    let check = ring.end("", &["check", &recipe, "--device", "cpu"], &sets)?;
    if let Some(finding) = check.judge(&[0, 2]) {
        return Ok(Some(finding));
    }
    if check.code() == Some(2) {
        return Ok(None);
    }
    let run = ring.end(
        "",
        &["run", &recipe, "--device", "cpu", "--threads", "1", "--out", "run", "--max-steps", "3"],
        &sets,
    )?;
    // Values that grow beyond every bound are no fault of the program, if it says so.
    let is_diverged = run.code() == Some(1) && run.errors().contains("not finite");
    Ok(run.judge(if is_diverged { &[0, 1] } else { &[0] }))
}

/// A small recipe with one mixer, some of whose settings are drawn.
fn mixer(ring: &Ring<'_>, dice: &mut Dice) -> Result<(String, Vec<String>)> {
    let list = |words: &[&str]| -> Result<Value> {
        let printed = ring.end("", &[words, &["--format", "json"]].concat(), &[])?;
        serde_json::from_slice(&printed.output.stdout).context("`admix plugins` prints no JSON")
    };
    let all = list(&["plugins", "mixer"])?;
    let others = ["script", "choice", "amix", "automix"];
    let names: Vec<&str> =
        all.as_array().into_iter().flatten().filter_map(|entry| entry["name"].as_str()).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !others.contains(name)).collect();
    let entry = list(&["plugins", "mixer", dice.one(&names)])?;
    let mut settings = Vec::new();
    for (name, schema) in entry["schema"]["properties"].as_object().into_iter().flatten() {
        if dice.once_in(3)
            && let Some(value) = value(schema, dice)
        {
            settings.push(format!("{name}: {value}"));
        }
    }
    let mixer = format!("{}({})", entry["in_recipes"].as_str().unwrap_or_default(), settings.join(", "));
    let name = entry["name"].as_str().unwrap_or_default();
    let recipe = [format!("cifar10/r18/{name}"), format!("cifar10/r18/moco_{name}")];
    let recipe = recipe.into_iter().find(|recipe| ring.has(recipe));
    let recipe = recipe.with_context(|| format!("no recipe for CIFAR-10 with the mixer {name}"))?;
    let mut sets = ring.small(&recipe)?;
    sets.push(format!("mixers={{\"mix\": {mixer}}}"));
    Ok((recipe, sets))
}

/// A value for a setting of this schema; `None` for a kind of setting that is not drawn.
fn value(schema: &Value, dice: &mut Dice) -> Option<String> {
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first()?.as_str()?,
        kind => kind.as_str()?,
    };
    Some(match kind {
        "number" => float(dice.one(&NUMBERS)),
        "integer" => dice.one(&WHOLE).to_string(),
        "boolean" => dice.one(&["true", "false"]).to_string(),
        "array" => {
            let values: Option<Vec<_>> = (0..dice.below(4)).map(|_| value(&schema["items"], dice)).collect();
            format!("[{}]", values?.join(", "))
        }
        _ => return None,
    })
}

fn float(text: &str) -> String {
    if text.contains(['.', 'e']) { text.into() } else { format!("{text}.0") }
}
