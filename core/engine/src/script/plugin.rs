//! `Script(...)` in a recipe: a mixer or a loss that is a file, read while the recipe is read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use admix_api::abi::settings::Shape;
use admix_api::erased_serde::{self, Deserializer as AnyDeserializer};
use admix_api::{
    AnyReader, Entry, Loss, LossConfig, Mixer, MixerConfig, MixerContext, Needs, Origin, Pairing, ReadConfig,
    Reader, Registry, did_you_mean,
};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::json;

use super::live::as_plugin;
use super::text::ScriptText;
use super::{ScriptKind, ScriptedLoss, ScriptedMixer};
use crate::param::Param;
use crate::text::list;
use crate::{Error, Result, bundled};

/// The scripts of a recipe while it is read: where they are looked for, and those that were found.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The folder that holds the recipe.
    folder: PathBuf,
    /// Texts to use in place of files: those of a checkpoint, or those read a moment ago.
    given: Vec<ScriptText>,
    /// What has been read. Their names are not known yet.
    read: Rc<RefCell<Vec<ScriptText>>>,
}

impl Reading {
    /// Looks for scripts beside the recipe in this folder, with these in place of files of the same name.
    pub fn beside(folder: PathBuf, given: &[ScriptText]) -> Self {
        Self { folder, given: given.to_vec(), read: Rc::default() }
    }

    /// The registry with entries `Script` that look for their files here, if it has such entries.
    pub fn registry(&self, registry: &Registry) -> Registry {
        let mut registry = registry.clone();
        for entry in self.entries() {
            if registry.entries().any(|own| (own.kind(), &own.name) == (entry.kind(), &entry.name)) {
                registry.replace(entry);
            }
        }
        registry
    }

    /// The script of the mixer or loss that a recipe read here calls `name`, if it is one. `table` is "mixers" or
    /// "losses".
    pub fn script(&self, table: &str, name: &str, settings: &serde_json::Value) -> Option<ScriptText> {
        let written = settings["file"].as_str()?;
        let read = self.read.borrow();
        let script = read.iter().find(|script| script.table == table && script.written == written)?;
        Some(ScriptText { name: name.to_string(), ..script.clone() })
    }

    fn entries(&self) -> [Entry; 2] {
        let reading = self.clone();
        let mixer: ReadConfig<dyn Mixer> = Rc::new(move |body| {
            let declared = reading.declared(Settings::read(body)?, "mixers", ScriptedMixer::compile);
            Ok(Box::new(declared) as Box<dyn MixerConfig>)
        });
        let reading = self.clone();
        let loss: ReadConfig<dyn Loss> = Rc::new(move |body| {
            let declared = reading.declared(Settings::read(body)?, "losses", ScriptedLoss::compile);
            Ok(Box::new(declared) as Box<dyn LossConfig>)
        });
        [entry("mixers/cutmix", mixer_reader(mixer)), entry("losses/focal", loss_reader(loss))]
    }

    fn declared<T>(
        &self,
        settings: Settings,
        table: &str,
        compile: impl Fn(&str, &str, &BTreeMap<String, Param>) -> Result<T>,
    ) -> Declared<T> {
        let Settings { file: written, params } = settings;
        let script = self.load(&written, table).and_then(|(file, text)| {
            let compiled = compile(&text, &file, &params).map_err(as_plugin);
            let (table, name) = (table.to_string(), String::new());
            self.read.borrow_mut().push(ScriptText { table, name, written: written.clone(), file, text });
            compiled
        });
        Declared { file: written, params, script, alone: false }
    }

    /// The script that a recipe writes as `written`: the file's name in messages, and the text.
    fn load(&self, written: &str, table: &str) -> Result<(String, String), admix_api::Error> {
        if let Some(given) = self.given.iter().find(|script| script.written == written) {
            return Ok((given.file.clone(), given.text.clone()));
        }
        let beside = self.folder.join(written);
        let refuse = |path: &Path, why: &str| admix_api::Error::Plugin {
            plugin: format!("the script {} cannot be read", path.display()),
            message: why.into(),
        };
        for path in [beside, PathBuf::from(written)] {
            if path.is_file() {
                let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
                    std::io::ErrorKind::InvalidData => {
                        refuse(&path, "it is not text; expected a script in Rhai")
                    }
                    _ => refuse(&path, &source.to_string()),
                })?;
                return Ok((path.display().to_string(), text));
            }
            if path.is_dir() {
                return Err(refuse(&path, "it is a folder; expected a script in Rhai"));
            }
        }
        match bundled::part(written) {
            Some((text, file)) => Ok((file.into(), text.into())),
            None => {
                let names: Vec<&str> = bundled::part_names(table).collect();
                let whole = format!("{written}.rhai");
                let there =
                    [PathBuf::from(&whole), self.folder.join(&whole)].iter().any(|path| path.is_file());
                let hint = if there {
                    format!(". Did you mean `{whole}`?")
                } else {
                    did_you_mean(written, names.iter().copied())
                };
                Err(admix_api::Error::Range {
                    what: "file".into(),
                    got: format!("{written:?}"),
                    wanted: format!(
                        "a script's file, from the recipe's folder or the working folder, or one of the bundled {}{}",
                        list(&names),
                        hint
                    ),
                })
            }
        }
    }
}

/// What a recipe writes: `Script("file")` or `Script(file: "file", params: {...})`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    file: String,
    #[serde(default)]
    params: BTreeMap<String, Param>,
}

impl Settings {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Settings;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a script's path in quotes, or fields: Script(file: \"mine.rhai\", params: {...})",
                )
            }
            fn visit_str<E: serde::de::Error>(self, file: &str) -> Result<Settings, E> {
                Ok(Settings { file: file.into(), params: BTreeMap::new() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Settings, A::Error> {
                Settings::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A mixer or a loss as a recipe declares it. A script that cannot be used is told by `validate`, which knows the
/// place in the recipe.
#[derive(Debug)]
struct Declared<T> {
    file: String,
    params: BTreeMap<String, Param>,
    script: Result<T, admix_api::Error>,
    /// Whether the parameters are the settings themselves: a script looked at on its own.
    alone: bool,
}

impl<T> Declared<T> {
    fn script(&self) -> admix_api::Result<&T> {
        use admix_api::Error as E;
        // An error cannot be cloned; those of `load` and `as_plugin` are of these two forms.
        self.script.as_ref().map_err(|error| match error {
            E::Range { what, got, wanted } => {
                E::Range { what: what.clone(), got: got.clone(), wanted: wanted.clone() }
            }
            E::Plugin { plugin, message } => E::Plugin { plugin: plugin.clone(), message: message.clone() },
            other => E::Plugin { plugin: self.file.clone(), message: other.to_string() },
        })
    }

    fn in_full(&self, params: impl Fn(&T) -> &BTreeMap<String, Param>) -> serde_json::Value {
        let params = self.script.as_ref().map_or(&self.params, params);
        if self.alone {
            return json!(params);
        }
        json!({ "file": self.file, "params": params })
    }
}

impl MixerConfig for Declared<ScriptedMixer> {
    fn needs(&self) -> Needs {
        self.script.as_ref().map_or_else(|_| Needs::images(), ScriptedMixer::needs)
    }

    fn validate(&self) -> admix_api::Result<()> {
        self.script().map(drop)
    }

    fn build(&self, _path: &admix_api::Path, _context: &MixerContext) -> admix_api::Result<Box<dyn Mixer>> {
        Ok(Box::new(self.script()?.clone()))
    }
}

impl admix_api::Settings for Declared<ScriptedMixer> {
    fn resolved(&self) -> serde_json::Value {
        self.in_full(ScriptedMixer::params)
    }
}

impl LossConfig for Declared<ScriptedLoss> {
    fn validate(&self) -> admix_api::Result<()> {
        self.script().map(drop)
    }

    fn build(&self) -> admix_api::Result<Box<dyn Loss>> {
        Ok(Box::new(self.script()?.clone()))
    }
}

impl admix_api::Settings for Declared<ScriptedLoss> {
    fn resolved(&self) -> serde_json::Value {
        self.in_full(ScriptedLoss::params)
    }
}

fn entry(example: &'static str, reader: Rc<dyn AnyReader>) -> Entry {
    let schema = move || {
        json!({
            "title": "Script",
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {
                    "type": "string",
                    "description": "The script: a file, looked for from the working folder and then from the recipe's, \
                                    or a bundled one. With this setting alone: Script(\"file\").",
                    "examples": [example],
                },
                "params": {
                    "type": "object",
                    "description": "Parameters of the script that differ from the defaults that its `params()` gives.",
                    "examples": [{}],
                },
            },
        })
    };
    Entry {
        name: "script".into(),
        type_name: "Script".into(),
        summary: format!("a {} written as a script, changed without recompiling", reader.word()),
        source: "docs/scripts.md".into(),
        schema: Rc::new(schema),
        defaults: Rc::new(|| serde_json::Value::Null),
        origin: Origin::Linked {
            package: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            file: file!().into(),
        },
        reader,
    }
}

/// Adds `Script` to the mixers and to the losses.
///
/// # Errors
/// A plugin of this name is there already.
pub fn script_plugins(registry: &mut Registry) -> Result<()> {
    for entry in Reading::default().entries() {
        registry.add(entry)?;
    }
    Ok(())
}

fn mixer_reader(read: ReadConfig<dyn Mixer>) -> Rc<dyn AnyReader> {
    Rc::new(Reader::<dyn Mixer> { read, served: Pairing::default() })
}

fn loss_reader(read: ReadConfig<dyn Loss>) -> Rc<dyn AnyReader> {
    Rc::new(Reader::<dyn Loss> { read, served: () })
}

/// A script as a plugin of its own, whose settings are the parameters of the script: to hold it to the contract.
///
/// # Errors
/// The file cannot be read, is a method, or does not compile.
pub fn script_entry(path: &Path) -> Result<Entry> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Input(format!("cannot read the script {file}: {source}")))?;
    let none = BTreeMap::new();
    let (params, reader) = match ScriptKind::of(&text) {
        ScriptKind::Method => {
            return Err(Error::Input(format!(
                "{file} is neither a mixer (it has no function `mix`) nor a loss (no function `loss`); a method is checked in a \
                 recipe: admix check RECIPE --script {file}"
            )));
        }
        ScriptKind::Mixer => {
            let params = ScriptedMixer::compile(&text, &file, &none)?.params().clone();
            let declared = alone(file.clone(), text, ScriptedMixer::compile, &params);
            let read = move |body: &mut dyn AnyDeserializer<'_>| {
                Ok(Box::new(declared(body)?) as Box<dyn MixerConfig>)
            };
            (params, mixer_reader(Rc::new(read)))
        }
        ScriptKind::Loss => {
            let params = ScriptedLoss::compile(&text, &file, &none)?.params().clone();
            let declared = alone(file.clone(), text, ScriptedLoss::compile, &params);
            let read = move |body: &mut dyn AnyDeserializer<'_>| {
                Ok(Box::new(declared(body)?) as Box<dyn LossConfig>)
            };
            (params, loss_reader(Rc::new(read)))
        }
    };
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let schema = schema_of(&params);
    Ok(Entry {
        name: stem.clone(),
        type_name: stem,
        summary: format!("a {} written as a script", reader.word()),
        source: file.clone(),
        schema: Rc::new(move || schema.clone()),
        defaults: Rc::new(move || json!(params)),
        origin: Origin::Script { path: path.to_path_buf() },
        reader,
    })
}

/// The parameters of a script as the schema of settings.
fn schema_of(params: &BTreeMap<String, Param>) -> serde_json::Value {
    let about = |value: &Param| {
        let kind = match value {
            Param::Switch(_) => "boolean",
            Param::Number(_) => "number",
            Param::Text(_) => "string",
        };
        json!({ "type": kind, "description": "A parameter of the script.", "default": value })
    };
    let properties: serde_json::Map<String, serde_json::Value> =
        params.iter().map(|(name, value)| (name.clone(), about(value))).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// Reads a script's parameters as settings.
fn alone<T, F>(
    file: String,
    text: String,
    compile: F,
    params: &BTreeMap<String, Param>,
) -> impl Fn(&mut dyn AnyDeserializer<'_>) -> Result<Declared<T>, erased_serde::Error> + use<T, F>
where
    F: Fn(&str, &str, &BTreeMap<String, Param>) -> Result<T>,
{
    let shape = Shape::of(&schema_of(params));
    move |body| {
        let given = (&shape).deserialize(body)?;
        let params: BTreeMap<String, Param> =
            serde_json::from_value(given).map_err(serde::de::Error::custom)?;
        let script = compile(&text, &file, &params).map_err(as_plugin);
        Ok(Declared { file: file.clone(), params, script, alone: true })
    }
}

/// The plugins that are linked into this program, and those that are scripts.
///
/// # Errors
/// Two of one kind share a name.
pub fn registry() -> Result<Registry> {
    let mut registry = Registry::linked()?;
    script_plugins(&mut registry)?;
    Ok(registry)
}
