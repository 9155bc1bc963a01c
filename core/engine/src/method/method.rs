//! A method: a compiled script and how to call it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rhai::{Dynamic, Map, Position};

use crate::choice::{self, Weights};
use crate::method::frame::Frame;
use crate::method::handle::{Step, kind_of, kind_of_handle};
use crate::method::verb;
use crate::param::Param;
use crate::script::values::number;
use crate::script::{Dialect, Script};
use crate::text::list;
use crate::world::MixerUnit;
use crate::{Result, float32};

/// What moves over time, for one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scheduled {
    /// Learning rate by group, where the script gives one: "net" or a mixer's name.
    pub rates: BTreeMap<String, f64>,
    /// Momentum of the pairs, where the script gives one.
    pub ema: Option<f64>,
    /// Weights of choices among mixers, where the script gives some.
    pub choices: Weights,
}

/// A compiled method.
#[derive(Debug)]
pub struct Method {
    script: Script,
}

impl Method {
    /// Compiles a script. `file` is its name in messages.
    ///
    /// # Errors
    /// A syntax error, or no function `step`.
    pub fn compile(text: &str, file: &str) -> Result<Self> {
        let dialect = Dialect { names: verb::names(), kind_of: kind_of_handle, register: verb::register };
        let script = Script::compile(text, file, dialect)?;
        for (name, parameters) in [("step", 1), ("weights", 1), ("schedule", 1), ("params", 0)] {
            if !script.takes(name, parameters)? && (name == "step" || name == "weights") {
                let message = format!("a method needs a function `{name}(t)`; see docs/scripts.md");
                return Err(script.error(Position::NONE, message));
            }
        }
        if let Some(hook) = ["start", "epoch_end"].into_iter().find(|hook| script.has(hook)) {
            // Silently never calling it would be worse.
            let message =
                format!("the hook `{hook}` is not called by this version: give the function another name");
            return Err(script.error(script.place_of(hook), message));
        }
        Ok(Self { script })
    }

    /// The script's name in messages.
    pub fn file(&self) -> &str {
        self.script.file()
    }

    /// The script itself.
    pub fn text(&self) -> &str {
        self.script.text()
    }

    /// The method's parameters and their defaults.
    ///
    /// # Errors
    /// `params` fails or returns something else than numbers, switches and texts.
    pub fn params(&self) -> Result<BTreeMap<String, Param>> {
        self.script.params()
    }

    /// The weight of every term at this moment.
    ///
    /// # Errors
    /// `weights` fails or returns something else than numbers.
    pub fn weights(&self, frame: &Rc<RefCell<Frame>>) -> Result<BTreeMap<String, f64>> {
        let map = self.script.map("weights", self.script.call("weights", (Step(frame.clone()),))?)?;
        map.into_iter()
            .map(|(name, value)| match number(&value) {
                Some(weight) if float32::holds(weight) => Ok((name.to_string(), weight)),
                Some(beyond) if beyond.is_finite() => Err(self.script.error(
                    self.script.place_of("weights"),
                    format!("the weight of `{name}` is {}", float32::refused(beyond)),
                )),
                _ => Err(self.script.error(
                    self.script.place_of("weights"),
                    format!("the weight of `{name}` must be a finite number, got {value}"),
                )),
            })
            .collect()
    }

    /// Learning rates and momentum at this moment.
    ///
    /// # Errors
    /// `schedule` fails, or returns a key that nothing answers to.
    pub fn schedule(&self, frame: &Rc<RefCell<Frame>>, groups: &[String]) -> Result<Scheduled> {
        if !self.script.has("schedule") {
            return Ok(Scheduled::default());
        }
        let map = self.script.map("schedule", self.script.call("schedule", (Step(frame.clone()),))?)?;
        let mut scheduled = Scheduled::default();
        let at = self.script.place_of("schedule");
        for (name, value) in map {
            if name == "choice" {
                scheduled.choices = self.choices(&frame.borrow().world().mixers, value)?;
                continue;
            }
            let number = number(&value).filter(|v| v.is_finite()).ok_or_else(|| {
                self.script.error(at, format!("`{name}` in `schedule` must be a finite number, got {value}"))
            })?;
            if !float32::holds(number) {
                let message = format!("`{name}` in `schedule` is {}", float32::refused(number));
                return Err(self.script.error(at, message));
            }
            if number < 0.0 && name.starts_with("lr") {
                let message = format!("`{name}` in `schedule` is {number}, expected a learning rate from 0");
                return Err(self.script.error(at, message));
            }
            match name.as_str() {
                "lr" => drop(scheduled.rates.insert("net".into(), number)),
                "ema" if (0.0..=1.0).contains(&number) => scheduled.ema = Some(number),
                "ema" => {
                    return Err(self.script.error(at, format!("`ema` must be in [0, 1], got {number}")));
                }
                other => match other.strip_prefix("lr_").filter(|group| groups.iter().any(|g| g == group)) {
                    Some(group) => drop(scheduled.rates.insert(group.into(), number)),
                    None => {
                        let mut known = ["lr", "ema", "choice"].map(String::from).to_vec();
                        known.extend(groups.iter().skip(1).map(|g| format!("lr_{g}")));
                        return Err(self.script.error(
                            at,
                            format!("`schedule` returned `{other}`; it may return {}", list(&known)),
                        ));
                    }
                },
            }
        }
        Ok(scheduled)
    }

    /// `choice` of a schedule: a map of weights for each choice that it names.
    fn choices(&self, mixers: &[MixerUnit], value: Dynamic) -> Result<Weights> {
        let refuse = |message: String| self.script.error(self.script.place_of("schedule"), message);
        let map = |value: Dynamic, what: &str| {
            let kind = kind_of(&value).to_string();
            value.try_cast::<Map>().ok_or_else(|| {
                refuse(format!("`{what}` in `schedule` must be a map such as #{{ mixup: 1.0 }}, got {kind}"))
            })
        };
        let mut weights = Weights::new();
        for (name, options) in map(value, "choice")? {
            let options = map(options, &format!("choice.{name}"))?.into_iter();
            let options = options.map(|(option, weight)| (option.to_string(), number(&weight))).collect();
            weights.insert(name.to_string(), choice::scheduled(mixers, &name, options).map_err(refuse)?);
        }
        Ok(weights)
    }

    /// One training step.
    ///
    /// # Errors
    /// The script fails; the message has the place.
    pub fn step(&self, frame: &Rc<RefCell<Frame>>) -> Result<()> {
        self.script.call("step", (Step(frame.clone()),)).map(drop)
    }
}
