//! A tensor in the hands of a scripted mixer or loss: verbs act on it at once.

use std::collections::BTreeMap;
use std::rc::Rc;

use admix_api::did_you_mean;
use admix_torch::{Kind, Tensor};
use rhai::{Dynamic, NativeCallContext};

use crate::method::operand::{Operand, Outcome, refuse};
use crate::method::vocabulary;
use crate::param::{self, Param};
use crate::script::sandbox;
use crate::text::list;
use crate::{Error, Result, float32};

/// A handle of a tensor that is there. A script can do nothing with it but apply verbs: no value is ever read back.
#[derive(Debug, Clone)]
pub struct Live(Rc<Tensor>);

impl Live {
    /// The handle of this tensor (its storage is shared).
    pub fn of(tensor: &Tensor) -> Self {
        Self(Rc::new(tensor.shallow_clone()))
    }

    /// The tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }
}

impl Operand for Live {
    fn apply(
        context: &NativeCallContext<'_>,
        verb: &'static str,
        tensors: &[Self],
        numbers: &[f64],
        sizes: &[i64],
    ) -> Outcome<Self> {
        let _outside = sandbox::outside();
        if let Some(bad) = numbers.iter().find(|number| !float32::holds(**number)) {
            let message = format!("the number of `{verb}` is {}", float32::refused(*bad));
            return Err(refuse(message, context.call_position()));
        }
        let result = match (tensors, numbers) {
            ([], _) => Err(Error::Input(format!("`{verb}` takes at least one tensor"))),
            ([first], [_, ..]) => vocabulary::apply_numbers(verb, &first.0, numbers),
            ([one], []) => vocabulary::apply(verb, &[&one.0], sizes),
            ([one, two], []) => vocabulary::apply(verb, &[&one.0, &two.0], sizes),
            (many, _) => {
                let operands: Vec<&Tensor> = many.iter().map(Live::tensor).collect();
                vocabulary::apply(verb, &operands, sizes)
            }
        };
        match result {
            Ok(tensor) => Ok(Self(Rc::new(tensor))),
            Err(error) => Err(refuse(error, context.call_position())),
        }
    }

    fn constant(
        context: &NativeCallContext<'_>,
        verb: &'static str,
        number: f64,
        like: &Self,
    ) -> Outcome<Self> {
        let _outside = sandbox::outside();
        if !float32::holds(number) {
            let message = format!("the number of `{verb}` is {}", float32::refused(number));
            return Err(refuse(message, context.call_position()));
        }
        let kind = if like.0.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        match Tensor::f_full([0i64; 0], number, (kind, like.0.device())) {
            Ok(tensor) => Ok(Self(Rc::new(tensor))),
            Err(error) => Err(refuse(admix_api::Error::from(error), context.call_position())),
        }
    }

    fn size(&self) -> Option<Vec<i64>> {
        Some(self.0.size())
    }
}

/// Parameters of a mixer or loss: the script's defaults with the recipe's values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Params(Rc<BTreeMap<String, Param>>);

impl Params {
    /// `own` with the values of `given`. `file` is the script's name in messages.
    ///
    /// # Errors
    /// A name that the script does not have, or a value of another type.
    pub fn of(mut own: BTreeMap<String, Param>, given: &BTreeMap<String, Param>, file: &str) -> Result<Self> {
        for (name, value) in given {
            let Some(have) = own.get_mut(name) else {
                return Err(Error::Input(format!(
                    "{file}: no parameter named `{name}`; its `params` has {}{}",
                    list(own.keys()),
                    did_you_mean(name, own.keys().map(String::as_str))
                )));
            };
            if std::mem::discriminant(have) != std::mem::discriminant(value) {
                return Err(Error::Input(format!(
                    "{file}: the parameter `{name}` is {value}, expected {} such as {have}",
                    have.kind()
                )));
            }
            if let Param::Number(number) = value
                && !float32::holds(*number)
            {
                let told = float32::refused(*number);
                return Err(Error::Input(format!("{file}: the parameter `{name}` is {told}")));
            }
            *have = value.clone();
        }
        Ok(Self(Rc::new(own)))
    }

    /// All of them, by name.
    pub fn all(&self) -> &BTreeMap<String, Param> {
        &self.0
    }

    /// One of them, for the script.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn get(&self, name: &str, context: &NativeCallContext<'_>) -> Outcome<Dynamic> {
        match param::named(&self.0, name) {
            Ok(param) => Ok(param.into()),
            Err(error) => Err(refuse(error, context.call_position())),
        }
    }

    /// One of them that counts, from `least`.
    ///
    /// # Errors
    /// There is none of this name, or it is no such number.
    pub fn count(&self, name: &str, least: i64, context: &NativeCallContext<'_>) -> Outcome<i64> {
        param::count(&self.0, name, least).map_err(|error| refuse(error, context.call_position()))
    }
}

/// An error of a script as the error of a plugin: "file:line:column: message".
pub fn as_plugin(error: Error) -> admix_api::Error {
    match error {
        Error::Api(own) => own,
        Error::Script { file, line, column, message } => {
            let plugin = if line > 0 { format!("{file}:{line}:{column}") } else { file };
            admix_api::Error::Plugin { plugin, message }
        }
        other => {
            let text = other.to_string();
            let (plugin, message) = text.split_once(": ").unwrap_or(("script", &text));
            admix_api::Error::Plugin { plugin: plugin.into(), message: message.into() }
        }
    }
}
