//! `admix plugin`: writes a new plugin, and holds a plugin to its contract.

use std::path::Path;

use admix_api::contract::{self, Outcome, Verdict};
use admix_api::{Entry, Kind, Loss, Mixer, Registry, did_you_mean};
use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::device::Choice;
use crate::failure::bad_input;
use crate::libraries;
use crate::output::{self, Format};
use crate::plugin_new::{NewArgs, new};

/// Commands of `admix plugin`.
#[derive(Subcommand)]
pub enum PluginCommand {
    /// Write the project of a new plugin: it builds, passes its tests and trains as it is.
    New(NewArgs),
    /// Hold a plugin to everything that a mixer or loss must promise.
    Check(CheckArgs),
}

/// Flags of `admix plugin check`.
#[derive(Args)]
pub struct CheckArgs {
    /// A library (.so), a script (.rhai), or the name of a plugin that is there already.
    #[arg(value_name = "LIBRARY|SCRIPT|NAME")]
    what: String,
    /// Check these settings instead of the defaults and each alternative: JSON, such as '{"cells": 2}'; may be given
    /// several times.
    #[arg(long, value_name = "JSON")]
    settings: Vec<String>,
    /// Where a mixer or loss is tried: cpu, cuda, cuda:1, or auto for a GPU if there is one.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: Choice,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs a command of `admix plugin`.
pub fn plugin(command: &PluginCommand) -> Result<()> {
    match command {
        PluginCommand::New(args) => new(args),
        PluginCommand::Check(args) => check(args),
    }
}

/// The settings to check a plugin with: its defaults, and each alternative of a choice or switch on its own.
fn alternatives(entry: &Entry) -> Vec<Value> {
    let (schema, defaults) = ((entry.schema)(), (entry.defaults)());
    let mut all = vec![json!({})];
    for (name, default) in defaults.as_object().into_iter().flatten() {
        let about = &schema["properties"][name];
        let about = match about["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
            Some(of) => &schema["$defs"][of],
            None => about,
        };
        let mut words: Vec<Value> = match (about["oneOf"].as_array(), about["enum"].as_array()) {
            (Some(many), _) => many
                .iter()
                .flat_map(|one| match one["enum"].as_array() {
                    Some(words) => words.clone(),
                    None => vec![one["const"].clone()],
                })
                .collect(),
            (None, Some(words)) => words.clone(),
            (None, None) => default.as_bool().map(|on| json!(!on)).into_iter().collect(),
        };
        words.retain(|word| !word.is_null() && word != default);
        all.extend(words.into_iter().map(|word| json!({ name: word })));
    }
    all
}

fn check(args: &CheckArgs) -> Result<()> {
    let device = args.device.open()?;
    let settings: Vec<Value> = args
        .settings
        .iter()
        .map(|text| match serde_json::from_str(text) {
            Ok(settings @ Value::Object(_)) => Ok(settings),
            Ok(_) => {
                Err(bad_input(format!("--settings {text}: expected a JSON object such as {{\"cells\": 2}}")))
            }
            Err(error) => Err(bad_input(format!("--settings {text}: {error}"))),
        })
        .collect::<Result<_>>()?;
    let mut broken = 0;
    let mut reports = Vec::new();
    let entries = wanted(&args.what)?;
    for settings in &settings {
        let refusals: Vec<_> = entries.iter().filter_map(|entry| known(entry, settings).err()).collect();
        if refusals.len() == entries.len() {
            refusals.into_iter().next().map_or(Ok(()), Err)?;
        }
    }
    for entry in entries {
        if device.is_cuda() && ![<dyn Mixer>::WORD, <dyn Loss>::WORD].contains(&entry.kind()) {
            return Err(bad_input(format!(
                "--device: {} {} can only be checked on the CPU, unlike mixers and losses; leave the flag out",
                entry.kind(),
                entry.name
            )));
        }
        let mut given = settings.clone();
        given.retain(|settings| known(&entry, settings).is_ok());
        if settings.is_empty() {
            given = alternatives(&entry);
        } else if given.is_empty() {
            output::note(&format!("{} {} has no such settings and is left out", entry.kind(), entry.name));
            continue;
        }
        let verdicts = contract::check_on(&entry, &given, device);
        if !settings.is_empty()
            && let Some(why) = verdicts.iter().find_map(unread)
        {
            return Err(bad_input(why));
        }
        broken += verdicts.iter().filter(|verdict| verdict.is_broken()).count();
        match args.format {
            Format::Text => output::print(&told(&entry, &given, &verdicts))?,
            Format::Json => reports.push(json!({
                "kind": entry.kind(),
                "name": entry.name,
                "origin": entry.origin.to_string(),
                "settings": given,
                "promises": verdicts,
            })),
        }
    }
    if let Format::Json = args.format {
        output::print_json(&reports)?;
    }
    if broken > 0 {
        let promises = if broken == 1 { "promise is" } else { "promises are" };
        return Err(anyhow::anyhow!("{broken} {promises} broken"));
    }
    Ok(())
}

/// Refuses names that the plugin does not know.
fn known(entry: &Entry, settings: &Value) -> Result<()> {
    let schema = (entry.schema)();
    let own = schema["properties"].as_object().into_iter().flat_map(|all| all.keys().cloned());
    let names: Vec<String> =
        own.chain(entry.reader.served().into_iter().map(|setting| setting.name.into())).collect();
    let given = settings.as_object().into_iter().flat_map(|all| all.keys());
    given.filter(|name| !names.contains(name)).try_for_each(|name| {
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        let known =
            if names.is_empty() { "it has none".into() } else { format!("it has {}", names.join(", ")) };
        Err(bad_input(format!(
            "--settings {settings}: {} has no setting `{name}`; {known}{hint}",
            entry.name
        )))
    })
}

/// Why settings that the user made up cannot be read, or are out of range.
fn unread(verdict: &Verdict) -> Option<String> {
    match &verdict.outcome {
        Outcome::Broken { message, reproduce, .. } if verdict.promise == contract::READ => {
            Some(format!("--settings {reproduce}: {message}"))
        }
        _ => None,
    }
}

fn told(entry: &Entry, settings: &[Value], verdicts: &[Verdict]) -> String {
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    format!(
        "{} {} from {}, with {}\n\n{}\n",
        entry.kind(),
        entry.name,
        entry.origin,
        settings.join(" "),
        contract::table(verdicts)
    )
}

/// The plugins that are meant: all of a library, a script, or those of a name.
fn wanted(what: &str) -> Result<Vec<Entry>> {
    let path = Path::new(what);
    let is = |extension: &str| path.extension().is_some_and(|own| own == extension);
    if is("rhai") {
        return Ok(vec![admix_engine::script_entry(path)?]);
    }
    // A library is loaded next to nothing: it may bear names that are taken.
    if is("so") || path.components().count() > 1 {
        let mut alone = Registry::default();
        admix_api::abi::load(path, &mut alone)?;
        return Ok(alone.entries().cloned().collect());
    }
    let registry = libraries::registry()?;
    let same = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let found: Vec<Entry> =
        registry.entries().filter(|entry| same(&entry.name) == same(what)).cloned().collect();
    if found.is_empty() {
        let names: Vec<&str> = registry.entries().map(|entry| entry.name.as_str()).collect();
        let hint = did_you_mean(what, names.iter().copied());
        return Err(bad_input(format!(
            "`{what}` is no library (.so), no script (.rhai) and no plugin; known: {}{hint}",
            names.join(", ")
        )));
    }
    Ok(found)
}
