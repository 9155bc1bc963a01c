//! `admix plugins`: the entries of the registry, and their settings.

use std::collections::BTreeSet;

use admix_api::{Entry, Mixer, Registry, did_you_mean, same_name};
use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use crate::failure::bad_input;
use crate::libraries;
use crate::output::{self, Format};
use crate::settings::{Setting, WIDTH, settings};

/// Flags of `admix plugins`.
#[derive(Args)]
pub struct PluginsArgs {
    /// A kind, such as `mixer`, or the name of an entry.
    pub what: Option<String>,
    /// The name of an entry of that kind.
    pub name: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Lists the entries of the registry, or prints one.
pub fn plugins(args: &PluginsArgs) -> Result<()> {
    admix_torch::open_cuda(admix_torch::Wanted::Cpu)?;
    let registry = libraries::registry()?;
    match (&args.what, &args.name) {
        (None, _) => list(registry.entries(), args.format),
        (Some(what), None) => match kind_of(&registry, what) {
            Some(kind) => list(registry.entries().filter(|entry| entry.kind() == kind), args.format),
            None => print(&registry, None, what, args.format),
        },
        (Some(word), Some(name)) => {
            let kind = kind_of(&registry, word).ok_or_else(|| {
                let hint = did_you_mean(word, kinds(&registry));
                let kinds = kinds(&registry).into_iter().collect::<Vec<_>>().join(", ");
                bad_input(format!("no kind named `{word}`; there are {kinds}{hint}"))
            })?;
            print(&registry, Some(kind), name, args.format)
        }
    }
}

/// The words of all kinds.
fn kinds(registry: &Registry) -> BTreeSet<&'static str> {
    registry.entries().map(Entry::kind).collect()
}

/// The kind of this word, in the singular or the plural, or as a recipe spells it (`optimizer`).
fn kind_of(registry: &Registry, word: &str) -> Option<&'static str> {
    let word = word.replace("optimizer", "optimiser");
    let named =
        |kind: &&'static str| [kind.to_string(), format!("{kind}s"), format!("{kind}es")].contains(&word);
    registry.entries().map(Entry::kind).find(|kind| named(kind))
}

fn list<'a>(entries: impl Iterator<Item = &'a Entry>, format: Format) -> Result<()> {
    match format {
        Format::Json => output::print_json(&entries.map(facts).collect::<Vec<_>>()),
        Format::Text => {
            let row = |e: &Entry| {
                let (kind, name) = (e.kind().to_string(), e.name.clone());
                vec![kind, name, e.summary.clone(), e.origin.version().to_string(), from(e)]
            };
            output::print(&output::table(&entries.map(row).collect::<Vec<_>>()))
        }
    }
}

/// Prints the entry of this name. Entries of several kinds may share a name: then all of them.
pub fn print(registry: &Registry, kind: Option<&str>, name: &str, format: Format) -> Result<()> {
    let of_kind = |entry: &&Entry| kind.is_none_or(|kind| kind == entry.kind());
    let found: Vec<&Entry> =
        registry.entries().filter(of_kind).filter(|entry| same_name(&entry.name, name)).collect();
    if found.is_empty() {
        let mut names: Vec<&str> =
            registry.entries().filter(of_kind).map(|entry| entry.name.as_str()).collect();
        if kind.is_none() {
            names.splice(..0, kinds(registry));
        }
        let hint = did_you_mean(name, names.iter().copied());
        let kind = kind.unwrap_or("kind or plugin");
        return Err(bad_input(format!("no {kind} named `{name}`; known: {}{hint}", names.join(", "))));
    }
    for entry in found {
        match format {
            Format::Json => output::print_json(&details(entry, registry)?)?,
            Format::Text => output::print(&told(entry, registry)?)?,
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
        "kind": entry.kind(),
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
    for (word, texts) in words(entry)? {
        all[word] = json!(texts);
    }
    if let Some(reader) = entry.reader::<dyn Mixer>() {
        all["pairing"] = serde_json::to_value(&reader.served)?;
    }
    all["example"] = json!(example(entry, registry)?);
    Ok(all)
}

fn told(entry: &Entry, registry: &Registry) -> Result<String> {
    let mut text = format!("{} {}: {}\n", entry.kind(), entry.name, entry.summary);
    text.push_str(&output::wrap(&format!("source: {}", entry.source), 2, WIDTH));
    text.push_str(&output::wrap(
        &format!("origin: {}, version {}", from(entry), entry.origin.version()),
        2,
        WIDTH,
    ));
    for (word, texts) in words(entry)? {
        text.push_str(&output::wrap(&format!("{word}: {}", texts.join(", ")), 2, WIDTH));
    }

    let settings = settings(&(entry.schema)(), &(entry.defaults)());
    text.push_str(match (settings.is_empty(), (entry.defaults)().is_null()) {
        (true, _) => "\nno settings of its own\n",
        (false, true) => "\nsettings (with an example):\n",
        (false, false) => "\nsettings (with their defaults):\n",
    });
    text.extend(settings.iter().map(Setting::told));
    let ignored = entry.reader.ignores(&entry.shown_settings());
    let mut served = entry.reader.served();
    served.retain(|setting| !ignored.contains(&setting.name));
    if !served.is_empty() {
        text.push_str(&format!("\nsettings that every {} has (with this one's defaults):\n", entry.kind()));
        text.extend(served.iter().map(|one| Setting::new(one.name, &one.default, one.kind, one.doc).told()));
    }
    if !ignored.is_empty() {
        text.push_str(&format!("\nplays no part here: {}\n", ignored.join(", ")));
    }
    text.push_str(&format!("\nin a recipe:\n  {}\n", example(entry, registry)?));
    Ok(text)
}

/// What the entry's kind says of it: what a mixer reads beside images, what a loss is given.
fn words(entry: &Entry) -> Result<Vec<(&'static str, Vec<String>)>> {
    let shown = entry.shown_settings();
    // What is known of a script is known of the script at hand alone.
    let open = (entry.defaults)().is_null() && entry.reader.names_others(&shown).is_empty();
    Ok(entry.reader.facts(if open { &Value::Null } else { &shown })?)
}

/// A line that a recipe could have.
fn example(entry: &Entry, registry: &Registry) -> Result<String> {
    let shown = entry.shown_settings();
    let ignored = entry.reader.ignores(&shown);
    let served = entry.reader.served().into_iter().next().filter(|setting| !ignored.contains(&setting.name));
    let mut inside: Vec<String> =
        served.map(|setting| format!("{}: {}", setting.name, setting.default)).into_iter().collect();
    let first = settings(&(entry.schema)(), &(entry.defaults)()).into_iter().next();
    inside.extend(first.map(|setting| format!("{}: {}", setting.name, setting.default)));
    let written = format!("{}({})", entry.type_name, inside.join(", "));
    let line = entry.reader.in_recipe(&entry.name, &written);
    // What it picks from stands beside it.
    let mut others = String::new();
    for name in entry.reader.names_others(&shown) {
        let mut known = registry.entries().filter(|other| other.kind() == entry.kind());
        let other = known.find(|other| same_name(&other.name, &name));
        let other = other.ok_or_else(|| anyhow!("{}: its example names `{name}`", entry.name))?;
        others.push_str(&format!("\"{name}\": {}(), ", other.type_name));
    }
    Ok(line.replacen('{', &format!("{{{others}"), 1))
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
}
