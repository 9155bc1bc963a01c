//! The script language: a compiled script, how to call it, and what people are told when it fails.

use std::cell::RefCell;
use std::collections::BTreeMap;

use admix_api::did_you_mean;
use rhai::{AST, CallFnOptions, Dynamic, Engine, EvalAltResult, Map, ParseError, Position, Scope};

use crate::method::vocabulary::VERBS;
use crate::param::Param;
use crate::script::sandbox::{self, Limit, MAX_ARRAY, MAX_BYTES, MAX_DEPTH, MAX_MAP, MAX_TEXT, REFUSED};
use crate::script::values;
use crate::text::without_mark;
use crate::{Error, Result};

/// What one kind of script adds to the language.
#[derive(Debug)]
pub struct Dialect {
    /// What may follow a dot, for suggestions.
    pub names: Vec<&'static str>,
    /// The types of its handles, as people call them.
    pub kind_of: fn(&Dynamic) -> Option<&'static str>,
    /// Adds handles and their verbs.
    pub register: fn(&mut Engine),
}

/// A compiled script: of a method, a mixer or a loss.
#[derive(Debug)]
pub struct Script {
    engine: Engine,
    ast: AST,
    /// Functions without those whose name a verb has too: a verb in the form `m.plan(...)` would find them.
    inside: AST,
    scope: RefCell<Scope<'static>>,
    file: String,
    text: String,
    dialect: Dialect,
}

impl Script {
    /// Compiles a script. `file` is its name in messages.
    ///
    /// # Errors
    /// A syntax error, with its place.
    pub fn compile(text: &str, file: &str, dialect: Dialect) -> Result<Self> {
        let text = without_mark(text);
        if text.len() > MAX_BYTES {
            let message = format!("the script has {} bytes, expected at most {MAX_BYTES}", text.len());
            return Err(Error::Script { file: file.into(), line: 0, column: 0, message });
        }
        let mut engine = sandbox::engine();
        (dialect.register)(&mut engine);
        let ast = engine.compile(text).map_err(|error| {
            let (line, column) = place(error.position());
            Error::Script { file: file.into(), line, column, message: not_compiled(&error, text) }
        })?;
        let mut inside = ast.clone();
        inside.retain_functions(|_, _, name, _| name != "plan");
        let scope = RefCell::new(Scope::new());
        Ok(Self { engine, ast, inside, scope, file: file.into(), text: text.into(), dialect })
    }

    /// The script's name in messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The script itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// An error at a place of the script.
    pub fn error(&self, at: Position, message: String) -> Error {
        let (line, column) = place(at);
        Error::Script { file: self.file.clone(), line, column, message }
    }

    /// Whether there is a function of this name.
    pub fn has(&self, name: &str) -> bool {
        self.ast.iter_functions().any(|f| f.name == name)
    }

    /// Whether there is a function of this name.
    ///
    /// # Errors
    /// It takes another number of arguments.
    pub fn takes(&self, name: &str, count: usize) -> Result<bool> {
        match self.ast.iter_functions().find(|f| f.name == name) {
            Some(function) if function.params.len() != count => {
                let message = format!("`{name}` takes {} arguments, expected {count}", function.params.len());
                Err(self.error(self.place_of(name), message))
            }
            found => Ok(found.is_some()),
        }
    }

    /// Calls a function.
    ///
    /// # Errors
    /// Whatever fails in it, with its place.
    pub fn call(&self, name: &str, arguments: impl rhai::FuncArgs) -> Result<Dynamic> {
        let ast = if name == "plan" { &self.ast } else { &self.inside };
        let options = CallFnOptions::new().eval_ast(false).rewind_scope(true);
        let call = sandbox::enter();
        let outcome = self.engine.call_fn_with_options::<Dynamic>(
            options,
            &mut self.scope.borrow_mut(),
            ast,
            name,
            arguments,
        );
        match (outcome, call.broken()) {
            (Ok(value), None) => Ok(value),
            (Ok(_), Some(limit)) => Err(self.error(self.place_of(name), limit.told(name))),
            (Err(error), broken) => Err(self.translate(*error, name, broken)),
        }
    }

    /// Where a function of the script begins.
    pub fn place_of(&self, function: &str) -> Position {
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

    /// The type of a value, as people call it.
    fn kind_of<'a>(&self, value: &'a Dynamic) -> &'a str {
        (self.dialect.kind_of)(value).unwrap_or_else(|| values::kind_of(value))
    }

    /// The map that a function returned.
    ///
    /// # Errors
    /// It is none.
    pub fn map(&self, name: &str, value: Dynamic) -> Result<Map> {
        let got = self.kind_of(&value).to_string();
        value.try_cast::<Map>().ok_or_else(|| {
            self.error(
                self.place_of(name),
                format!("`{name}` must return a map `#{{ ... }}`, it returned {got}"),
            )
        })
    }

    /// What `params()` returns: every parameter with its default.
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
                } else if let Some(number) = values::number(&value) {
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

    /// An error of a call of `function`.
    fn translate(&self, error: EvalAltResult, function: &str, broken: Option<Limit>) -> Error {
        let mut error = error;
        let mut outer = Position::NONE;
        while let EvalAltResult::ErrorInFunctionCall(_, _, inner, at) = error {
            outer = at;
            error = *inner;
        }
        let known = [error.position(), outer].into_iter().find(|at| !at.is_none());
        let at = known.unwrap_or_else(|| self.place_of(function));
        let verbs = || self.dialect.names.iter().copied().chain(VERBS.iter().map(|verb| verb.name));
        if let Some(limit) = broken {
            return self.error(at, limit.told(function));
        }
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
            EvalAltResult::ErrorStackOverflow(_) => {
                format!(
                    "functions call each other more than {MAX_DEPTH} deep: is there a recursion that does not end?"
                )
            }
            EvalAltResult::ErrorMismatchDataType(wanted, got, _) if wanted == "bool" => {
                let got = if got.contains("Tensor") || got.contains("Handle") || got.contains("Live") {
                    "a tensor, whose values a script never sees: choose between tensors by `where(condition, a, b)`, and \
                     between branches by numbers of the script, such as `t.progress`, or by `t.flip(name, p)`"
                } else {
                    got.as_str()
                };
                format!("a condition must be true or false, got {got}")
            }
            EvalAltResult::ErrorVariableNotFound(name, _) => format!("no variable named `{name}`"),
            EvalAltResult::ErrorDataTooLarge(what, _) => format!(
                "{what}: a text has at most {MAX_TEXT} characters, an array {MAX_ARRAY} elements, a map {MAX_MAP}, with \
                 all that they hold"
            ),
            // What a script throws may be as large as any value.
            EvalAltResult::ErrorRuntime(value, _) if value.is_array() || value.is_map() => {
                format!("`throw` takes a text, got {}", self.kind_of(value))
            }
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

/// Why a script does not compile.
fn not_compiled(error: &ParseError, text: &str) -> String {
    let at = error.position();
    let line = at.line().and_then(|line| text.lines().nth(line - 1)).unwrap_or_default();
    let word = line.chars().skip(at.position().unwrap_or(1) - 1).take_while(|c| c.is_alphanumeric());
    let word: String = word.collect();
    if REFUSED.contains(&word.as_str()) {
        return format!("`{word}` is not part of this language; pass values as arguments of a function");
    }
    if matches!(error.err_type(), rhai::ParseErrorType::PropertyExpected) && !word.is_empty() {
        return format!("`{word}` is a word of the language: as a key it stands in quotes, \"{word}\": ...");
    }
    error.err_type().to_string()
}

fn place(at: Position) -> (usize, usize) {
    (at.line().unwrap_or(0), at.position().unwrap_or(0))
}
