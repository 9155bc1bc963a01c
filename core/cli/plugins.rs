//! `admix plugins`: the mixers and losses, and their settings.

use admix_api::{Argument, Entry, MixerConfig, Needs, Pairing, PluginKind, Reader, Registry, did_you_mean};
use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use crate::failure::bad_input;
use crate::libraries;
use crate::output::{self, Format};

/// Documentation lines are broken here.
const WIDTH: usize = 100;

/// Flags of `admix plugins`.
#[derive(Args)]
pub struct PluginsArgs {
    /// Print this one's settings.
    name: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Lists the plugins, or prints one.
pub fn plugins(args: &PluginsArgs) -> Result<()> {
    admix_torch::open_cuda(admix_torch::Wanted::Cpu)?;
    let registry = libraries::registry()?;
    let Some(name) = &args.name else {
        return match args.format {
            Format::Json => output::print_json(&registry.entries().map(facts).collect::<Vec<_>>()),
            Format::Text => {
                let row = |e: &Entry| {
                    let (kind, name) = (e.kind().word().to_string(), e.name.clone());
                    vec![kind, name, e.summary.clone(), e.origin.version().to_string(), from(e)]
                };
                output::print(&output::table(&registry.entries().map(row).collect::<Vec<_>>()))
            }
        };
    };
    // A mixer and a loss may share a name: print both.
    let found: Vec<&Entry> = [PluginKind::Mixer, PluginKind::Loss]
        .iter()
        .filter_map(|kind| registry.find(*kind, name).ok())
        .collect();
    if found.is_empty() {
        let names: Vec<&str> = registry.entries().map(|entry| entry.name.as_str()).collect();
        let hint = did_you_mean(name, names.iter().copied());
        return Err(bad_input(format!("no plugin named `{name}`; known: {}{hint}", names.join(", "))));
    }
    for entry in found {
        match args.format {
            Format::Json => output::print_json(&details(entry, &registry)?)?,
            Format::Text => output::print(&told(entry, &registry)?)?,
        }
    }
    Ok(())
}

/// Where a plugin comes from, with the version of the ABI if it crosses one.
fn from(entry: &Entry) -> String {
    match entry.origin.abi() {
        Some(abi) => format!("{} (ABI {abi})", entry.origin),
        None => entry.origin.to_string(),
    }
}

fn facts(entry: &Entry) -> Value {
    json!({
        "kind": entry.kind().word(),
        "name": entry.name,
        "in_recipes": entry.type_name,
        "summary": entry.summary,
        "source": entry.source,
        "origin": entry.origin.to_string(),
        "version": entry.origin.version(),
        "abi": entry.origin.abi(),
    })
}

fn details(entry: &Entry, registry: &Registry) -> Result<Value> {
    let mut all = facts(entry);
    all["schema"] = (entry.schema)();
    all["defaults"] = (entry.defaults)();
    all["needs"] = json!(needs(entry)?);
    if let Reader::Mixer(_, pairing) = &entry.reader {
        all["pairing"] = serde_json::to_value(pairing)?;
    }
    all["example"] = json!(example(entry, registry)?);
    Ok(all)
}

fn told(entry: &Entry, registry: &Registry) -> Result<String> {
    let mut text = format!("{} {}: {}\n", entry.kind().word(), entry.name, entry.summary);
    text.push_str(&output::wrap(&format!("source: {}", entry.source), 2, WIDTH));
    text.push_str(&output::wrap(
        &format!("origin: {}, version {}", from(entry), entry.origin.version()),
        2,
        WIDTH,
    ));
    text.push_str(&output::wrap(&format!("needs: {}", needs(entry)?.join(", ")), 2, WIDTH));

    let settings = settings(&(entry.schema)(), &(entry.defaults)());
    text.push_str(match (settings.is_empty(), (entry.defaults)().is_null()) {
        (true, _) => "\nno settings of its own\n",
        (false, true) => "\nsettings (with an example):\n",
        (false, false) => "\nsettings (with their defaults):\n",
    });
    text.extend(settings.iter().map(Setting::told));
    if let Reader::Mixer(_, pairing) = &entry.reader {
        let ignored = shown_config(entry)?.map_or(&[][..], |config| config.ignores());
        let shared = shared_settings(pairing);
        let shared: Vec<_> = shared.iter().filter(|one| !ignored.contains(&one.name.as_str())).collect();
        if !shared.is_empty() {
            text.push_str("\nsettings that every mixer has (with this one's defaults):\n");
            text.extend(shared.into_iter().map(Setting::told));
        }
        if !ignored.is_empty() {
            text.push_str(&format!("\nplays no part here: {}\n", ignored.join(", ")));
        }
    }
    text.push_str(&format!("\nin a recipe:\n  {}\n", example(entry, registry)?));
    Ok(text)
}

/// What a mixer reads beside images, what a loss is given.
fn needs(entry: &Entry) -> Result<Vec<String>> {
    let defaults = (entry.defaults)();
    if shown_config(entry)?.is_some_and(|config| config.choices().is_some()) {
        return Ok(vec!["images, and what the mixers that it picks from need".into()]);
    }
    if defaults.is_null() {
        let says = match entry.kind() {
            PluginKind::Mixer => "images, and what the script's `needs()` says",
            PluginKind::Loss => "what the script's `arguments()` says",
        };
        return Ok(vec![says.into()]);
    }
    let mut body = <dyn admix_api::erased_serde::Deserializer<'_>>::erase(defaults);
    let refused = |error| anyhow!("{}: its own defaults are refused: {error}", entry.name);
    Ok(match &entry.reader {
        Reader::Mixer(read, _) => mixer_needs(&read(&mut body).map_err(refused)?.needs()),
        Reader::Loss(read) => {
            let arguments = read(&mut body).map_err(refused)?.build()?.arguments();
            arguments.into_iter().map(Argument::describe).collect()
        }
    })
}

fn mixer_needs(needs: &Needs) -> Vec<String> {
    let mut list = vec!["images".to_string()];
    list.extend(needs.features.map(|stage| format!("features of stage {stage}")));
    list.extend(needs.saliency.then(|| "saliency".to_string()));
    list.extend(needs.pseudo.then(|| "pseudo labels".to_string()));
    let inside = |deepest| format!("a network to mix inside of, at stages up to {deepest}");
    list.extend(needs.hidden.map(inside));
    list.extend(needs.shown.then(|| "where given, images to show in their place".to_string()));
    list.extend(needs.host_solver.then(|| "a part of the work runs on the host".to_string()));
    list
}

/// A mixer's settings at their defaults, or at its example; `None` where the example names what is not here, a file.
fn shown_config(entry: &Entry) -> Result<Option<Box<dyn MixerConfig>>> {
    let Reader::Mixer(read, _) = &entry.reader else { return Ok(None) };
    let defaults = (entry.defaults)();
    if !defaults.is_null() {
        let mut body = <dyn admix_api::erased_serde::Deserializer<'_>>::erase(defaults);
        let refused = |error| anyhow!("{}: its own defaults are refused: {error}", entry.name);
        return read(&mut body).map(Some).map_err(refused);
    }
    let schema = (entry.schema)();
    let fields = schema["properties"].as_object().into_iter().flatten();
    let example: serde_json::Map<String, Value> =
        fields.map(|(name, field)| (name.clone(), field["examples"][0].clone())).collect();
    let mut body = <dyn admix_api::erased_serde::Deserializer<'_>>::erase(Value::Object(example));
    Ok(read(&mut body).ok())
}

/// One setting, for people.
#[derive(Debug, PartialEq)]
struct Setting {
    name: String,
    default: String,
    kind: String,
    doc: String,
    /// Variants that have a documentation.
    variants: Vec<(String, String)>,
}

impl Setting {
    fn new(name: &str, default: impl ToString, kind: &str, doc: &str) -> Self {
        Self {
            name: name.into(),
            default: default.to_string(),
            kind: kind.into(),
            doc: doc.into(),
            variants: vec![],
        }
    }

    fn told(&self) -> String {
        let mut text = format!("  {}: {}   [{}]\n", self.name, self.default, self.kind);
        text.push_str(&output::wrap(&self.doc, 6, WIDTH));
        for (variant, doc) in &self.variants {
            text.push_str(&output::wrap(&format!("{variant}: {doc}"), 8, WIDTH));
        }
        text
    }
}

fn shared_settings(pairing: &Pairing) -> Vec<Setting> {
    let yes = |on: bool| if on { "true" } else { "false" };
    vec![
        Setting::new(
            "alpha",
            format!("{:?}", pairing.alpha),
            "number",
            "lambda ~ Beta(alpha, alpha); above 0.",
        ),
        Setting::new(
            "per",
            format!("{:?}", pairing.per),
            "Batch | Sample",
            "One lambda for the batch, or one for each sample.",
        ),
        Setting::new(
            "fold",
            yes(pairing.fold),
            "true or false",
            "Use max(lambda, 1 - lambda): the own image dominates.",
        ),
        Setting::new(
            "partner",
            pairing.partner,
            "Permutation | Derangement | Flip | ClusterAware(share: number)",
            "How partners are chosen: any permutation, one without fixed points, sample i meets sample N - 1 - i, or one \
             without fixed points in which a share of the samples meet one of their own pseudo label.",
        ),
    ]
}

fn settings(schema: &Value, defaults: &Value) -> Vec<Setting> {
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    let about = |(name, property): (&String, &Value)| Setting {
        name: name.clone(),
        default: as_written(
            // What is nothing without settings has examples in place of defaults.
            if defaults.is_null() { &property["examples"][0] } else { &defaults[name] },
            resolved(property, schema),
        ),
        kind: kind(property, schema),
        doc: property["description"].as_str().unwrap_or_default().into(),
        variants: variants(property, schema),
    };
    properties.iter().map(about).collect()
}

/// Follows `$ref` and a lone `allOf` or `anyOf`.
fn resolved<'a>(property: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(path) = property["$ref"].as_str() {
        return schema
            .pointer(path.trim_start_matches('#'))
            .map_or(property, |target| resolved(target, schema));
    }
    for list in ["allOf", "anyOf"] {
        if let Some([only]) = property[list].as_array().map(Vec::as_slice) {
            return resolved(only, schema);
        }
    }
    property
}

/// The type in words.
fn kind(property: &Value, schema: &Value) -> String {
    let property = resolved(property, schema);
    let all = |list: &Value, of: &dyn Fn(&Value) -> String| {
        list.as_array().map(|list| list.iter().map(of).collect::<Vec<_>>().join(" | "))
    };
    if let Some(names) =
        all(&property["enum"], &|name| name.as_str().map_or(name.to_string(), str::to_string))
    {
        return names;
    }
    let of_list = |list: &Value| all(list, &|variant| variant_name(variant, schema));
    if let Some(names) = of_list(&property["oneOf"]).or_else(|| of_list(&property["anyOf"])) {
        return names;
    }
    match &property["type"] {
        Value::String(word) => type_in_words(word, property, schema),
        Value::Array(words) => {
            let some = words.iter().filter_map(Value::as_str).find(|word| *word != "null").unwrap_or("value");
            format!("{} or None", type_in_words(some, property, schema))
        }
        _ => "value".into(),
    }
}

fn type_in_words(word: &str, property: &Value, schema: &Value) -> String {
    match word {
        "integer" => "whole number".into(),
        "boolean" => "true or false".into(),
        "string" => "text".into(),
        "null" => "None".into(),
        "array" if property["items"].is_object() => format!("list: {}", kind(&property["items"], schema)),
        "array" => "list".into(),
        "object" if property["additionalProperties"].is_object() => {
            format!("map: names to {}", kind(&property["additionalProperties"], schema))
        }
        other => other.into(),
    }
}

/// A variant as a recipe writes it: `Learnable`, `Constant(number)`.
fn variant_name(variant: &Value, schema: &Value) -> String {
    if let Some(name) = variant["const"].as_str() {
        return name.into();
    }
    match variant["properties"].as_object().and_then(|fields| fields.iter().next()) {
        Some((name, inner)) => format!("{name}({})", kind(inner, schema)),
        None => kind(variant, schema),
    }
}

fn variants(property: &Value, schema: &Value) -> Vec<(String, String)> {
    let Some(list) = resolved(property, schema)["oneOf"].as_array() else { return Vec::new() };
    let documented =
        |variant: &Value| Some((variant_name(variant, schema), variant["description"].as_str()?.to_string()));
    list.iter().filter_map(documented).collect()
}

/// A value as a recipe writes it.
fn as_written(value: &Value, property: &Value) -> String {
    match value {
        Value::String(text) if property["type"] == "string" && property["enum"].is_null() => {
            format!("{text:?}")
        }
        Value::String(name) => name.clone(),
        Value::Null => "None".into(),
        Value::Object(map) if property["additionalProperties"].is_object() => {
            let inside = &property["additionalProperties"];
            let entries = map.iter().map(|(name, value)| format!("{name:?}: {}", as_written(value, inside)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => match fields.iter().next() {
            // An enum's variant with a value.
            Some((name, inner)) if fields.len() == 1 => {
                format!("{name}({})", as_written(inner, &Value::Null))
            }
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// A line that a recipe could have.
fn example(entry: &Entry, registry: &Registry) -> Result<String> {
    let first = settings(&(entry.schema)(), &(entry.defaults)()).into_iter().next();
    let (mut inside, mut before) = (Vec::new(), String::new());
    let table = match &entry.reader {
        Reader::Mixer(_, pairing) => {
            let config = shown_config(entry)?;
            if !config.as_ref().is_some_and(|config| config.ignores().contains(&"alpha")) {
                inside.push(format!("alpha: {:?}", pairing.alpha));
            }
            // What it picks from stands beside it.
            for name in config.iter().filter_map(|config| config.choices()).flat_map(|of| of.keys()) {
                let found = registry.find(PluginKind::Mixer, name)?;
                before.push_str(&format!("\"{name}\": {}(), ", found.type_name));
            }
            "mixers"
        }
        Reader::Loss(_) => "losses",
    };
    inside.extend(first.map(|setting| format!("{}: {}", setting.name, setting.default)));
    Ok(format!("{table}: {{{before}\"{}\": {}({})}},", entry.name, entry.type_name, inside.join(", ")))
}

#[cfg(test)]
mod tests {
    use admix_engine::Recipe;

    use super::*;

    #[test]
    fn every_plugin_is_documented_and_its_example_can_be_read() {
        let registry = admix_engine::registry().expect("plugins");
        assert!(registry.entries().count() >= 8);
        for entry in registry.entries() {
            let text = told(entry, &registry).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
            for setting in settings(&(entry.schema)(), &(entry.defaults)()) {
                assert!(!setting.doc.is_empty(), "{}: `{}` has no documentation", entry.name, setting.name);
                assert_ne!(setting.kind, "value", "{}: `{}`", entry.name, setting.name);
                assert!(text.contains(&format!("  {}: {}", setting.name, setting.default)), "{text}");
            }
            let recipe =
                format!("(epochs: 1, method: \"mixup\", {})", example(entry, &registry).expect("a line"));
            Recipe::parse(&recipe, &entry.name, &[], &registry)
                .unwrap_or_else(|error| panic!("{error}\n{recipe}"));
        }
    }

    #[test]
    fn types_are_told_as_a_recipe_writes_them() {
        let schema = json!({
            "properties": {
                "gamma": { "$ref": "#/$defs/Gamma", "description": "Strength." },
                "size": { "type": ["integer", "null"], "description": "Side." },
            },
            "$defs": { "Gamma": { "oneOf": [
                { "const": "Learnable", "type": "string", "description": "Trained." },
                { "type": "object", "properties": { "Constant": { "type": "number" } }, "description": "Fixed." },
            ] } },
        });
        let found = settings(&schema, &json!({ "gamma": { "Constant": 0.5 }, "size": null }));
        assert_eq!(found[0].kind, "Learnable | Constant(number)");
        assert_eq!(found[0].default, "Constant(0.5)");
        assert_eq!(found[0].variants[1], ("Constant(number)".into(), "Fixed.".into()));
        assert_eq!((found[1].kind.as_str(), found[1].default.as_str()), ("whole number or None", "None"));
    }
}
