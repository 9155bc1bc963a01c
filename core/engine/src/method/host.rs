//! A method: a compiled script and how to call it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use admix_api::did_you_mean;
use rhai::packages::{
    BasicArrayPackage, BasicMapPackage, BasicMathPackage, CorePackage, LogicPackage, MoreStringPackage,
    Package,
};
use rhai::{AST, CallFnOptions, Dynamic, Engine, EvalAltResult, Map, Position, Scope, Token};
use serde::{Deserialize, Serialize};

use crate::method::frame::Frame;
use crate::method::verbs::{self, HANDLE_VERBS, SCHEDULES, STEP_VERBS, Step};
use crate::method::vocabulary::VERBS;
use crate::world::list;
use crate::{Error, Result};

/// A parameter of a method, as `params()` or the recipe gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Param {
    /// true or false.
    Switch(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl Param {
    /// Its type in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Switch(_) => "true or false,",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text in quotes",
        }
    }
}

impl std::fmt::Display for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switch(switch) => write!(f, "{switch}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// What moves over time, for one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scheduled {
    /// Learning rate by group, where the script gives one: "net" or a mixer's name.
    pub rates: BTreeMap<String, f64>,
    /// Momentum of the pairs, where the script gives one.
    pub ema: Option<f64>,
}

/// A compiled script.
#[derive(Debug)]
pub struct Method {
    engine: Engine,
    ast: AST,
    file: String,
    text: String,
}

/// Script operations allowed in one call, the same in debug and release builds. A step needs some hundred.
const MAX_OPERATIONS: u64 = 1_000_000;
/// How deep functions of a script may call each other.
const MAX_DEPTH: usize = 32;

impl Method {
    /// Compiles a script. `file` is its name in messages.
    ///
    /// # Errors
    /// A syntax error, or no function `step`.
    pub fn compile(text: &str, file: &str) -> Result<Self> {
        let mut engine = Engine::new_raw();
        // No clock, files, modules or randomness: what is not in these packages does not exist.
        CorePackage::new().register_into_engine(&mut engine);
        LogicPackage::new().register_into_engine(&mut engine);
        BasicMathPackage::new().register_into_engine(&mut engine);
        BasicArrayPackage::new().register_into_engine(&mut engine);
        BasicMapPackage::new().register_into_engine(&mut engine);
        MoreStringPackage::new().register_into_engine(&mut engine);
        engine
            .set_strict_variables(true)
            .set_max_operations(MAX_OPERATIONS)
            .set_max_call_levels(MAX_DEPTH)
            .set_max_expr_depths(64, 32)
            .set_max_string_size(10_000)
            .set_max_array_size(10_000)
            .set_max_map_size(1_000)
            .set_fail_on_invalid_map_property(true)
            .disable_symbol("eval");
        // `as` names a draw in `t.mix(...)`. Scripts cannot import, so nothing else needs the word.
        #[allow(deprecated, reason = "marked so by rhai to say that it may change, not that it will go")]
        engine.on_parse_token(|token, _, _| match token {
            Token::As => Token::Identifier(Box::new("as".into())),
            other => other,
        });
        verbs::register(&mut engine);
        let ast = engine.compile(text).map_err(|error| {
            let (line, column) = place(error.position());
            Error::Script { file: file.into(), line, column, message: error.err_type().to_string() }
        })?;
        let method = Self { engine, ast, file: file.into(), text: text.into() };
        for (name, parameters) in [("step", 1), ("weights", 1), ("schedule", 1), ("params", 0)] {
            let found = method.ast.iter_functions().find(|f| f.name == name);
            match found {
                Some(function) if function.params.len() != parameters => {
                    let message =
                        format!("`{name}` takes {} arguments, expected {parameters}", function.params.len());
                    return Err(method.error(method.place_of(name), message));
                }
                None if name == "step" || name == "weights" => {
                    let message = format!("a method needs a function `{name}(t)`; see docs/scripts.md");
                    return Err(method.error(Position::NONE, message));
                }
                _ => {}
            }
        }
        if let Some(hook) = method.ast.iter_functions().find(|f| f.name == "start" || f.name == "epoch_end") {
            // Silently never calling it would be worse.
            let message = format!(
                "the hook `{}` is not called by this version: give the function another name",
                hook.name
            );
            return Err(method.error(method.place_of(hook.name), message));
        }
        Ok(method)
    }

    /// The script's name in messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The script itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn error(&self, at: Position, message: String) -> Error {
        let (line, column) = place(at);
        Error::Script { file: self.file.clone(), line, column, message }
    }

    fn has(&self, name: &str) -> bool {
        self.ast.iter_functions().any(|f| f.name == name)
    }

    fn call(&self, name: &str, arguments: impl rhai::FuncArgs) -> Result<Dynamic> {
        let options = CallFnOptions::new().eval_ast(false).rewind_scope(true);
        self.engine
            .call_fn_with_options::<Dynamic>(options, &mut Scope::new(), &self.ast, name, arguments)
            .map_err(|error| self.translate(*error, name))
    }

    /// Where a function of the script begins.
    fn place_of(&self, function: &str) -> Position {
        let is_it = |rest: &str| {
            let name = rest.trim_start().strip_prefix(function);
            rest.starts_with(char::is_whitespace)
                && name.is_some_and(|rest| rest.trim_start().starts_with('('))
        };
        let found = self.text.match_indices("fn").find(|(at, word)| is_it(&self.text[at + word.len()..]));
        let Some((at, _)) = found else { return Position::NONE };
        let before = &self.text[..at];
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        let small = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        Position::new(small(before.matches('\n').count() + 1), small(column))
    }

    fn map(&self, name: &str, value: Dynamic) -> Result<Map> {
        let got = verbs::kind_of(&value).to_string();
        value.try_cast::<Map>().ok_or_else(|| {
            self.error(
                self.place_of(name),
                format!("`{name}` must return a map `#{{ ... }}`, it returned {got}"),
            )
        })
    }

    /// The method's parameters and their defaults.
    ///
    /// # Errors
    /// `params` fails or returns something else than numbers, switches and texts.
    pub fn params(&self) -> Result<BTreeMap<String, Param>> {
        if !self.has("params") {
            return Ok(BTreeMap::new());
        }
        let map = self.map("params", self.call("params", ())?)?;
        map.into_iter()
            .map(|(name, value)| {
                let param = if let Ok(switch) = value.as_bool() {
                    Param::Switch(switch)
                } else if let Some(number) = verbs::number(&value) {
                    Param::Number(number)
                } else if let Ok(text) = value.clone().into_string() {
                    Param::Text(text)
                } else {
                    return Err(self.error(
                        self.place_of("params"),
                        format!("parameter `{name}` must be a number, true/false or a text"),
                    ));
                };
                Ok((name.to_string(), param))
            })
            .collect()
    }

    /// The weight of every term at this moment.
    ///
    /// # Errors
    /// `weights` fails or returns something else than numbers.
    pub fn weights(&self, frame: &Rc<RefCell<Frame>>) -> Result<BTreeMap<String, f64>> {
        let map = self.map("weights", self.call("weights", (Step(frame.clone()),))?)?;
        map.into_iter()
            .map(|(name, value)| match verbs::number(&value) {
                Some(weight) if weight.is_finite() => Ok((name.to_string(), weight)),
                _ => Err(self.error(
                    self.place_of("weights"),
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
        if !self.has("schedule") {
            return Ok(Scheduled::default());
        }
        let map = self.map("schedule", self.call("schedule", (Step(frame.clone()),))?)?;
        let mut scheduled = Scheduled::default();
        let at = self.place_of("schedule");
        for (name, value) in map {
            let number = verbs::number(&value).filter(|v| v.is_finite()).ok_or_else(|| {
                self.error(at, format!("`{name}` in `schedule` must be a finite number, got {value}"))
            })?;
            match name.as_str() {
                "lr" => drop(scheduled.rates.insert("net".into(), number)),
                "ema" if (0.0..=1.0).contains(&number) => scheduled.ema = Some(number),
                "ema" => {
                    return Err(self.error(at, format!("`ema` must be in [0, 1], got {number}")));
                }
                other => match other.strip_prefix("lr_").filter(|group| groups.iter().any(|g| g == group)) {
                    Some(group) => drop(scheduled.rates.insert(group.into(), number)),
                    None => {
                        let mut known = vec!["lr".to_string(), "ema".to_string()];
                        known.extend(groups.iter().skip(1).map(|g| format!("lr_{g}")));
                        return Err(self.error(
                            at,
                            format!("`schedule` returned `{other}`; it may return {}", list(&known)),
                        ));
                    }
                },
            }
        }
        Ok(scheduled)
    }

    /// One training step.
    ///
    /// # Errors
    /// The script fails; the message has the place.
    pub fn step(&self, frame: &Rc<RefCell<Frame>>) -> Result<()> {
        self.call("step", (Step(frame.clone()),)).map(drop)
    }

    /// An error of a call of `function`.
    fn translate(&self, error: EvalAltResult, function: &str) -> Error {
        let mut error = error;
        let mut outer = Position::NONE;
        while let EvalAltResult::ErrorInFunctionCall(_, _, inner, at) = error {
            outer = at;
            error = *inner;
        }
        let known = [error.position(), outer].into_iter().find(|at| !at.is_none());
        let at = known.unwrap_or_else(|| self.place_of(function));
        let named = || STEP_VERBS.iter().chain(&HANDLE_VERBS).chain(&SCHEDULES).copied();
        let verbs = || named().chain(VERBS.iter().map(|verb| verb.name));
        let message = match &error {
            EvalAltResult::ErrorFunctionNotFound(signature, _) => {
                let name = signature.split_whitespace().next().unwrap_or(signature);
                if verbs().any(|verb| verb == name) || !name.starts_with(|c: char| c.is_alphabetic()) {
                    format!("`{name}` does not take these arguments: {signature}")
                } else {
                    format!("no verb or function named `{name}`{}", did_you_mean(name, verbs()))
                }
            }
            EvalAltResult::ErrorDotExpr(text, _) | EvalAltResult::ErrorPropertyNotFound(text, _) => {
                let name = text.split(['\'', '"']).nth(1).unwrap_or(text);
                // Another kind of value has it.
                let hint = if verbs().any(|verb| verb == name) {
                    String::new()
                } else {
                    did_you_mean(name, verbs())
                };
                format!("no property `{name}` on this value{hint}")
            }
            EvalAltResult::ErrorTooManyOperations(_) => format!(
                "`{function}` ran more than {MAX_OPERATIONS} operations in one call: is there a loop that does not end?"
            ),
            EvalAltResult::ErrorStackOverflow(_) => {
                format!(
                    "functions call each other more than {MAX_DEPTH} deep: is there a recursion that does not end?"
                )
            }
            EvalAltResult::ErrorVariableNotFound(name, _) => format!("no variable named `{name}`"),
            EvalAltResult::ErrorRuntime(value, _) => value.to_string(),
            other => {
                // The position is said already.
                let text = other.to_string();
                text.split(" (line ").next().unwrap_or(&text).to_string()
            }
        };
        self.error(at, message)
    }
}

fn place(at: Position) -> (usize, usize) {
    (at.line().unwrap_or(0), at.position().unwrap_or(0))
}
