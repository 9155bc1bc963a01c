//! Reading a recipe: RON with plugins looked up by name, errors with line and column.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use admix_api::{LossChoice, LossSeed, MixerChoice, MixerSeed, Registry, did_you_mean};
use admix_data::DataConfig;
use admix_models::{BackboneConfig, NeckConfig};
use ron::extensions::Extensions;
use serde::{Deserialize, Deserializer, Serialize};

use super::{CheckpointConfig, EmbeddingHeadConfig, EvaluateConfig, GroupConfig, PairConfig, Recipe, locate};
use crate::cluster::ClustererConfig;
use crate::method::Param;
use crate::optimizer::OptimizerConfig;
use crate::queue::QueueConfig;
use crate::script::{Reading, ScriptText, labelled};
use crate::{Error, Result};

/// A value set from outside: `--set path=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Dotted path: `optimizer.lr`.
    pub path: String,
    /// The value as a recipe writes it.
    pub value: String,
}

impl std::str::FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not path=value, such as optimizer.lr=0.05"))?;
        let valid =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
        if value.trim().is_empty() || !path.split('.').all(valid) {
            return Err(format!("`{text}` is not path=value, such as optimizer.lr=0.05"));
        }
        Ok(Self { path: path.to_string(), value: value.trim().to_string() })
    }
}

/// Where a value of a resolved recipe comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This line of the recipe.
    Line(usize),
    /// `--set`.
    Set,
    /// The default.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Set => f.write_str("--set"),
            Self::Default => f.write_str("default"),
        }
    }
}

thread_local! {
    /// The registry while a recipe is read: serde has no way to hand a context down.
    static REGISTRY: RefCell<Registry> = RefCell::new(Registry::default());
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    seed: u64,
    epochs: u64,
    #[serde(default = "hundred")]
    batch: usize,
    #[serde(default = "one")]
    accumulate: usize,
    #[serde(default)]
    data: DataConfig,
    #[serde(default = "resnet")]
    model: BackboneConfig,
    #[serde(default = "q")]
    nets: Vec<String>,
    #[serde(default = "one_head")]
    heads: Vec<String>,
    #[serde(default)]
    neck: Option<NeckConfig>,
    #[serde(default)]
    embedding_heads: BTreeMap<String, EmbeddingHeadConfig>,
    #[serde(default = "one_group")]
    bn_groups: i64,
    #[serde(default)]
    recompute_stages: Vec<usize>,
    #[serde(default)]
    queues: BTreeMap<String, QueueConfig>,
    #[serde(default)]
    pairs: Vec<PairConfig>,
    method: String,
    #[serde(default)]
    params: BTreeMap<String, Param>,
    #[serde(default)]
    weights: BTreeMap<String, f64>,
    #[serde(default)]
    mixers: Mixers,
    #[serde(default)]
    losses: Losses,
    #[serde(default)]
    clusterers: BTreeMap<String, ClustererConfig>,
    #[serde(default)]
    optimizer: OptimizerConfig,
    #[serde(default)]
    min_lr: f64,
    #[serde(default)]
    groups: BTreeMap<String, GroupConfig>,
    #[serde(default)]
    evaluate: EvaluateConfig,
    #[serde(default)]
    checkpoint: CheckpointConfig,
    #[serde(default = "fifty")]
    log_every: u64,
    #[serde(default = "ten")]
    max_bad_steps: u64,
}

fn resnet() -> BackboneConfig {
    BackboneConfig::ResNet(Default::default())
}
fn hundred() -> usize {
    100
}
fn one() -> usize {
    1
}
fn one_group() -> i64 {
    1
}
fn fifty() -> u64 {
    50
}
fn ten() -> u64 {
    10
}
fn q() -> Vec<String> {
    vec!["q".into()]
}
fn one_head() -> Vec<String> {
    vec!["one".into()]
}

#[derive(Default)]
struct Mixers(Vec<(String, MixerChoice)>);
#[derive(Default)]
struct Losses(Vec<(String, LossChoice)>);

/// One plugin, read with the registry of this thread.
struct Plugin<T>(T);

impl<'de> Deserialize<'de> for Plugin<MixerChoice> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::DeserializeSeed;
        REGISTRY.with_borrow(|registry| MixerSeed(registry).deserialize(deserializer)).map(Plugin)
    }
}

impl<'de> Deserialize<'de> for Plugin<LossChoice> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::DeserializeSeed;
        REGISTRY.with_borrow(|registry| LossSeed(registry).deserialize(deserializer)).map(Plugin)
    }
}

/// A map in the order of the text, without repeated keys.
fn ordered<'de, D, T>(table: &'static str, deserializer: D) -> Result<Vec<(String, T)>, D::Error>
where
    D: Deserializer<'de>,
    Plugin<T>: Deserialize<'de>,
{
    struct InOrder<T>(&'static str, std::marker::PhantomData<T>);
    impl<'de, T> serde::de::Visitor<'de> for InOrder<T>
    where
        Plugin<T>: Deserialize<'de>,
    {
        type Value = Vec<(String, T)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map from names to plugins, such as {\"mix\": MixUp()}")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all: Vec<(String, T)> = Vec::new();
            while let Some(name) = map.next_key::<String>()? {
                if all.iter().any(|(have, _)| *have == name) {
                    return Err(serde::de::Error::custom(format!("`{name}` is there twice")));
                }
                let plugin = map.next_value::<Plugin<T>>()?.0;
                labelled(self.0, &name);
                all.push((name, plugin));
            }
            Ok(all)
        }
    }
    deserializer.deserialize_map(InOrder(table, std::marker::PhantomData))
}

impl<'de> Deserialize<'de> for Mixers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ordered("mixers", deserializer).map(Mixers)
    }
}

impl<'de> Deserialize<'de> for Losses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ordered("losses", deserializer).map(Losses)
    }
}

pub(super) fn parse(
    text: &str,
    file: &str,
    overrides: &[Override],
    registry: &Registry,
    scripts: &[ScriptText],
) -> Result<Recipe> {
    let mut edited = text.to_string();
    let mut set: Vec<(&Override, String)> = Vec::new();
    for change in overrides {
        let before = edited;
        edited = locate::set(&before, &change.path, &change.value)
            // In a recipe that is broken itself, nothing can be set; that is then not the flag's fault.
            .map_err(|message| match parse(text, file, &[], registry, scripts) {
                Err(broken @ Error::Recipe { .. }) => broken,
                _ => Error::Input(format!("--set {}={}: {message}", change.path, change.value)),
            })?;
        set.push((change, before));
    }
    REGISTRY.set(registry.clone());
    let folder = Path::new(file).parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let reading = Reading::begin(folder, scripts);
    let options = ron::Options::default()
        .with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES | Extensions::IMPLICIT_SOME)
        .with_recursion_limit(64);
    let read: Result<Text, _> = options.from_str(&edited);
    REGISTRY.take();
    let scripts = reading.end();
    let read = read.map_err(|error| {
        let complaint = Complaint::of(&error, &edited);
        // An override that cannot be read is blamed by its flag, not by a place in the file.
        let blamed = set.iter().rev().find(|(change, before)| {
            locate::added(before, &edited, &change.path)
                .is_some_and(|span| span.start <= complaint.offset && complaint.offset <= span.end)
        });
        match blamed {
            Some((change, _)) => {
                Error::Input(format!("--set {}={}: {}", change.path, change.value, complaint.message))
            }
            None => {
                let (line, column) = locate::line_column(&edited, complaint.offset);
                Error::Recipe { file: file.into(), line, column, message: complaint.message }
            }
        }
    })?;
    let recipe = Recipe {
        seed: read.seed,
        epochs: read.epochs,
        batch: read.batch,
        accumulate: read.accumulate,
        data: read.data,
        model: read.model,
        nets: read.nets,
        heads: read.heads,
        neck: read.neck,
        embedding_heads: read.embedding_heads,
        bn_groups: read.bn_groups,
        recompute_stages: read.recompute_stages,
        queues: read.queues,
        pairs: read.pairs,
        method: read.method,
        params: read.params,
        weights: read.weights,
        mixers: read.mixers.0,
        losses: read.losses.0,
        clusterers: read.clusterers,
        optimizer: read.optimizer,
        min_lr: read.min_lr,
        groups: read.groups,
        evaluate: read.evaluate,
        checkpoint: read.checkpoint,
        log_every: read.log_every,
        max_bad_steps: read.max_bad_steps,
        file: file.into(),
        text: edited,
        overrides: overrides.to_vec(),
        scripts,
    };
    recipe.validate()?;
    Ok(recipe)
}

/// What is wrong with a text, and where.
struct Complaint {
    offset: usize,
    message: String,
}

impl Complaint {
    /// The parser's error in our words, at the value that it is about.
    fn of(error: &ron::error::SpannedError, text: &str) -> Self {
        use ron::Error as E;
        let start = offset_of(text, error.span.start.line, error.span.start.col);
        let end = offset_of(text, error.span.end.line, error.span.end.col);
        if text.trim().is_empty() {
            return Self { offset: 0, message: "the recipe is empty; expected ( field: value, ... )".into() };
        }
        let at_value = |wanted: &str| {
            let (path, span) = locate::path_at(text, end)?;
            let value = text[span.clone()].lines().next().unwrap_or_default();
            let mut wanted = wanted.to_string();
            if wanted == TEXT && value.chars().all(char::is_alphanumeric) && !value.is_empty() {
                wanted = format!("{TEXT}: \"{value}\"");
            }
            if wanted == IN_BOUNDS && value.starts_with('-') {
                wanted = "a whole number from 0".into();
            }
            Some(Self { offset: span.start, message: format!("`{path}` is {value}, expected {wanted}") })
        };
        let said = error.code.to_string();
        let whole_numbers_end_before_the_point = || {
            let (_, span) = locate::path_at(text, end)?;
            text[span].parse::<f64>().ok()?;
            at_value("a whole number")
        };
        let of_value = match &error.code {
            E::ExpectedComma => whole_numbers_end_before_the_point(),
            _ => wanted(&said).and_then(at_value),
        };
        let of_mixer = || {
            let path = locate::path_at(text, start).map(|(path, _)| path).unwrap_or_default();
            path.strip_prefix("mixers.").is_some_and(|name| !name.contains('.'))
        };
        of_value.unwrap_or_else(|| Self { offset: start, message: reword(&error.code, of_mixer()) })
    }
}

const TEXT: &str = "a text in quotes";
const IN_BOUNDS: &str = "a smaller whole number";

/// What the parser wants, in words. By its message, since a plugin's settings hand on nothing else.
fn wanted(message: &str) -> Option<&'static str> {
    Some(match message {
        "Expected integer" => "a whole number",
        "Integer is out of bounds" => IN_BOUNDS,
        "Expected float" => "a number",
        "Expected boolean" => "true or false",
        "Expected string" => TEXT,
        "Expected option" => "a value or None",
        "Expected opening `[`" => "a list in brackets: [a, b]",
        "Expected opening `{`" => "a map in braces: {\"name\": value}",
        "Expected opening `(`" => "settings in parentheses; without settings it is written Name()",
        "Expected identifier" => "a name without quotes, such as Name()",
        _ if message.starts_with("Expected opening `(` for struct") => {
            "fields in parentheses: (field: value)"
        }
        _ if message.starts_with("Expected only opening `(`") => "fields in parentheses: (field: value)",
        _ => return None,
    })
}

/// The byte of a line and column, both from 1; columns count characters.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    start + text[start..].chars().take(column.saturating_sub(1)).map(char::len_utf8).sum::<usize>()
}

/// The parser's message in our words, with the nearest name where one is unknown.
fn reword(error: &ron::Error, of_mixer: bool) -> String {
    use ron::Error as E;
    match error {
        E::NoSuchStructField { expected, found, .. } => format!(
            "unknown field `{found}`; known: {}{}",
            expected.join(", "),
            did_you_mean(found, expected.iter().copied())
        ),
        E::NoSuchEnumVariant { expected, found, .. } => format!(
            "unknown name `{found}`; known: {}{}",
            expected.join(", "),
            did_you_mean(found, expected.iter().copied())
        ),
        E::MissingStructField { field, .. } => format!("the field `{field}` is missing; add `{field}: ...`"),
        E::DuplicateStructField { field, .. } => format!("the field `{field}` is there twice; remove one"),
        E::ExpectedComma => "expected a comma before this".into(),
        E::Eof => "the recipe ends here, but a bracket or quote is still open".into(),
        E::ExpectedStringEnd => "a quote is still open at the end of the recipe".into(),
        E::ExpectedMapColon => "expected a colon between name and value".into(),
        E::TrailingCharacters => "expected the end of the recipe, which is one ( ... )".into(),
        other => suggest(&other.to_string(), of_mixer),
    }
}

/// Adds a suggestion to "Unexpected field named `a`, expected one of `b`, `c`", which plugins raise.
fn suggest(message: &str, of_mixer: bool) -> String {
    let quoted =
        |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_string).collect() };
    let unknown = |kind: &str| {
        let (unknown, known) = message.split_once(", expected")?;
        let named = unknown.starts_with(&format!("unknown {kind}"))
            || (unknown.starts_with("Unexpected ") && unknown.contains(&format!("{kind} named ")));
        named.then(|| (quoted(unknown).into_iter().next().unwrap_or_default(), quoted(known)))
    };
    let told = |word: &str, name: &str, known: Vec<String>| {
        let hint = did_you_mean(name, known.iter().map(String::as_str));
        format!("unknown {word} `{name}`; known: {}{hint}", known.join(", "))
    };
    if let Some((name, mut known)) = unknown("field") {
        if of_mixer {
            // What the host serves, the plugin does not know of.
            known.extend(admix_api::Pairing::FIELDS.map(str::to_string));
        }
        return told("field", &name, known);
    }
    match unknown("variant") {
        Some((name, known)) => told("name", &name, known),
        None => message.to_string(),
    }
}

/// Every value of a recipe with its path and origin, defaults included.
///
/// # Errors
/// A value that cannot be written.
pub fn describe(recipe: &Recipe, source: &str) -> Result<Vec<(String, String, Origin)>> {
    let mut all = serde_json::Map::new();
    let mut put = |name: &str, value: Result<serde_json::Value, serde_json::Error>| -> Result<()> {
        let value = value.map_err(|e| Error::Input(format!("`{name}` cannot be written: {e}")))?;
        all.insert(name.to_string(), value);
        Ok(())
    };
    put("seed", serde_json::to_value(recipe.seed))?;
    put("epochs", serde_json::to_value(recipe.epochs))?;
    put("batch", serde_json::to_value(recipe.batch))?;
    put("accumulate", serde_json::to_value(recipe.accumulate))?;
    put("data", serde_json::to_value(&recipe.data))?;
    put("model", serde_json::to_value(&recipe.model))?;
    put("nets", serde_json::to_value(&recipe.nets))?;
    put("heads", serde_json::to_value(&recipe.heads))?;
    put("neck", serde_json::to_value(&recipe.neck))?;
    put("embedding_heads", serde_json::to_value(&recipe.embedding_heads))?;
    put("bn_groups", serde_json::to_value(recipe.bn_groups))?;
    put("recompute_stages", serde_json::to_value(&recipe.recompute_stages))?;
    put("queues", serde_json::to_value(&recipe.queues))?;
    put("pairs", serde_json::to_value(&recipe.pairs))?;
    put("method", serde_json::to_value(&recipe.method))?;
    put("params", serde_json::to_value(&recipe.params))?;
    put("weights", serde_json::to_value(&recipe.weights))?;
    let mut mixers = serde_json::Map::new();
    for (name, choice) in &recipe.mixers {
        let mut settings = serde_json::Map::from_iter([("plugin".to_string(), choice.plugin.clone().into())]);
        if let Ok(serde_json::Value::Object(pairing)) = serde_json::to_value(&choice.pairing) {
            settings.extend(pairing);
        }
        if let serde_json::Value::Object(own) = choice.config.resolved() {
            settings.extend(own);
        }
        mixers.insert(name.clone(), settings.into());
    }
    put("mixers", Ok(mixers.into()))?;
    let mut losses = serde_json::Map::new();
    for (name, choice) in &recipe.losses {
        let mut settings = serde_json::Map::from_iter([("plugin".to_string(), choice.plugin.clone().into())]);
        if let serde_json::Value::Object(own) = choice.config.resolved() {
            settings.extend(own);
        }
        losses.insert(name.clone(), settings.into());
    }
    put("losses", Ok(losses.into()))?;
    put("clusterers", serde_json::to_value(&recipe.clusterers))?;
    put("optimizer", serde_json::to_value(&recipe.optimizer))?;
    put("min_lr", serde_json::to_value(recipe.min_lr))?;
    put("groups", serde_json::to_value(&recipe.groups))?;
    put("evaluate", serde_json::to_value(&recipe.evaluate))?;
    put("checkpoint", serde_json::to_value(&recipe.checkpoint))?;
    put("log_every", serde_json::to_value(recipe.log_every))?;
    put("max_bad_steps", serde_json::to_value(recipe.max_bad_steps))?;

    let mut rows = Vec::new();
    flatten("", &serde_json::Value::Object(all), &mut rows);
    Ok(rows
        .into_iter()
        .map(|(path, value)| {
            // `model.ResNet.depth` is written `model: ResNet(depth: ...)`: the variant is no field.
            let written: Vec<&str> =
                path.split('.').filter(|part| !part.starts_with(|c: char| c.is_uppercase())).collect();
            let written = written.join(".");
            let set = recipe
                .overrides
                .iter()
                .any(|o| written == o.path || written.starts_with(&format!("{}.", o.path)));
            let origin = if set {
                Origin::Set
            } else {
                let as_plugin = written.strip_suffix(".plugin").unwrap_or(&written);
                let alone = || {
                    // `Script("mine.rhai")` sets the field `file` without naming it.
                    let owner = written.strip_suffix(".file")?;
                    let span = locate::find(source, owner)?;
                    source[span.clone()].contains('"').then_some(span)
                };
                match locate::find(source, as_plugin).or_else(|| listed(source, as_plugin)).or_else(alone) {
                    Some(span) => Origin::Line(locate::line_column(source, span.start).0),
                    None => Origin::Default,
                }
            };
            (path, value, origin)
        })
        .collect())
}

/// Elements of lists (`pairs.0.from`) are found as far as their list.
fn listed(source: &str, path: &str) -> Option<std::ops::Range<usize>> {
    let list = path.split('.').next().filter(|first| *first == "pairs")?;
    locate::find(source, list)
}

fn flatten(path: &str, value: &serde_json::Value, rows: &mut Vec<(String, String)>) {
    let under = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
    match value {
        serde_json::Value::Object(map) => map.iter().for_each(|(name, v)| flatten(&under(name), v, rows)),
        serde_json::Value::Array(list) if list.iter().any(serde_json::Value::is_object) => {
            list.iter().enumerate().for_each(|(i, v)| flatten(&under(&i.to_string()), v, rows));
        }
        other => rows.push((path.to_string(), other.to_string())),
    }
}

impl Serialize for Override {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}={}", self.path, self.value))
    }
}
