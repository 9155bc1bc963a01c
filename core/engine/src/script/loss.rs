//! Losses written in the script language.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use admix_api::{Argument, Loss, LossInput, did_you_mean};
use admix_torch::Tensor;
use rhai::{Array, Engine, NativeCallContext, Position};

use super::language::{Dialect, Script};
use super::live::{Live, Params, as_plugin};
use crate::Result;
use crate::method::operand::{self, Outcome, refuse};
use crate::param::Param;
use crate::script::values::kind_of;
use crate::text::list;

/// What can follow `l.`, for suggestions.
const NAMES: [&str; 8] = ["logits", "labels", "shares", "mask", "lambda", "tensor", "param", "count"];

/// A loss that is a script: `loss(l)`, and where it has them `arguments()` and `params()`.
#[derive(Debug, Clone)]
pub struct ScriptedLoss {
    script: Rc<Script>,
    params: Params,
    arguments: Vec<Argument>,
}

impl ScriptedLoss {
    /// Compiles a script, with these values of its parameters. `file` is its name in messages.
    ///
    /// # Errors
    /// A syntax error, no function `loss`, arguments that are no names, a parameter that it does not have.
    pub fn compile(text: &str, file: &str, given: &BTreeMap<String, Param>) -> Result<Self> {
        let script =
            Script::compile(text, file, Dialect { names: NAMES.to_vec(), kind_of: |_| None, register })?;
        for (name, count) in [("loss", 1), ("params", 0), ("arguments", 0)] {
            if !script.takes(name, count)? && name == "loss" {
                let message = "a loss needs a function `loss(l)`; see docs/scripts.md".to_string();
                return Err(script.error(Position::NONE, message));
            }
        }
        let params = Params::of(script.params()?, given, file)?;
        let arguments = arguments(&script)?;
        Ok(Self { script: Rc::new(script), params, arguments })
    }

    /// The parameters: the script's defaults with the given values.
    pub fn params(&self) -> &BTreeMap<String, Param> {
        self.params.all()
    }

    fn value(&self, input: &LossInput) -> Result<Tensor> {
        let mut tensors = Vec::new();
        for argument in &self.arguments {
            let (names, keys): (&[&'static str], &[&str]) = match argument {
                Argument::Tensor(name) => (&[*name], &[*name]),
                Argument::Target => (&["labels", "shares"], &["target.labels", "target.shares"]),
                Argument::Contrast => (&["keys", "shares"], &["contrast.keys", "contrast.shares"]),
                Argument::Mix => (&["mask", "lambda"], &["mask", "lambda"]),
            };
            for (name, key) in names.iter().zip(keys) {
                tensors.push((*name, Live::of(input.get(key)?)));
            }
        }
        let given = Given(Rc::new(Inside { tensors, params: self.params.clone() }));
        let returned = self.script.call("loss", (given,))?;
        let refuse = |what: String| {
            let message = format!("`loss` must return one number as a tensor, it returned {what}");
            self.script.error(self.script.place_of("loss"), message)
        };
        let Some(value) = returned.read_lock::<Live>() else {
            return Err(refuse(kind_of(&returned).to_string()));
        };
        if value.tensor().dim() != 0 {
            return Err(refuse(format!("the shape {:?}; take its `mean`", value.tensor().size())));
        }
        Ok(value.tensor().shallow_clone())
    }
}

impl Loss for ScriptedLoss {
    fn arguments(&self) -> Vec<Argument> {
        self.arguments.clone()
    }

    fn loss(&self, input: &LossInput) -> admix_api::Result<Tensor> {
        self.value(input).map_err(as_plugin)
    }
}

/// What a method passes, in order; logits and a target where the script does not say.
fn arguments(script: &Script) -> Result<Vec<Argument>> {
    if !script.has("arguments") {
        return Ok(vec![Argument::Tensor("logits"), Argument::Target]);
    }
    let returned = script.call("arguments", ())?;
    let refuse = |what: &str| {
        let message =
            format!("`arguments` must return an array of one to five different names in quotes, {what}");
        script.error(script.place_of("arguments"), message)
    };
    let got = kind_of(&returned).to_string();
    let all = returned.try_cast::<Array>().ok_or_else(|| refuse(&format!("it returned {got}")))?;
    let mut names = BTreeSet::new();
    let mut arguments = Vec::new();
    for name in all {
        let got = kind_of(&name).to_string();
        let name = name.into_string().map_err(|_| refuse(&format!("it holds {got}")))?;
        if !names.insert(name.clone()) {
            return Err(refuse(&format!("it holds `{name}` twice")));
        }
        arguments.push(match name.as_str() {
            "target" => Argument::Target,
            "contrast" => Argument::Contrast,
            "mix" => Argument::Mix,
            _ => Argument::Tensor(kept(&name)),
        });
    }
    // A method passes no more to a loss.
    if arguments.is_empty() || arguments.len() > 5 {
        return Err(refuse(&format!("it holds {}", arguments.len())));
    }
    Ok(arguments)
}

/// A name that stays for good, as an argument's must. Each one is kept once, however often a script is read.
fn kept(name: &str) -> &'static str {
    thread_local! {
        static KEPT: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
    }
    KEPT.with_borrow_mut(|all| match all.get(name) {
        Some(have) => have,
        None => {
            let new: &'static str = Box::leak(name.to_string().into_boxed_str());
            all.insert(new);
            new
        }
    })
}

/// `l`: what the loss is given.
#[derive(Debug, Clone)]
struct Given(Rc<Inside>);

#[derive(Debug)]
struct Inside {
    tensors: Vec<(&'static str, Live)>,
    params: Params,
}

impl Inside {
    fn tensor(&self, name: &str, context: &NativeCallContext<'_>) -> Outcome<Live> {
        self.tensors.iter().find(|(have, _)| *have == name).map(|(_, live)| live.clone()).ok_or_else(|| {
            let names = || self.tensors.iter().map(|(name, _)| *name);
            let message = format!(
                "this loss is given no `{name}`; its `arguments` give {}{}",
                list(names()),
                did_you_mean(name, names())
            );
            refuse(message, context.call_position())
        })
    }
}

fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Live>("Tensor").register_type_with_name::<Given>("Loss");
    operand::register::<Live>(engine);
    for name in ["logits", "labels", "shares", "keys", "mask", "lambda"] {
        engine.register_get(name, move |c: NativeCallContext<'_>, l: &mut Given| l.0.tensor(name, &c));
    }
    engine.register_fn("tensor", |c: NativeCallContext<'_>, l: &mut Given, name: &str| l.0.tensor(name, &c));
    engine
        .register_fn("param", |c: NativeCallContext<'_>, l: &mut Given, name: &str| l.0.params.get(name, &c))
        .register_fn("count", |c: NativeCallContext<'_>, l: &mut Given, name: &str, least: i64| {
            l.0.params.count(name, least, &c)
        });
}
