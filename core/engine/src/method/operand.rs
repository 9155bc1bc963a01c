//! The tensor vocabulary as functions and operators of the script language, for any kind of tensor handle.

use std::any::TypeId;

use rhai::{Array, Dynamic, Engine, EvalAltResult, NativeCallContext, Position};

use crate::method::cut;
use crate::method::vocabulary::{CONNECTIVES, OPERATORS, Takes, VERBS, Verb};

/// What a function of the language gives.
pub type Outcome<T> = Result<T, Box<EvalAltResult>>;

/// An error at a place of the script.
pub fn refuse(message: impl std::fmt::Display, at: Position) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(message.to_string().into(), at))
}

/// A handle that stands for a tensor: recorded (methods) or there at once (mixers and losses).
pub trait Operand: Clone + 'static {
    /// Applies a verb. `numbers` may change between calls, `sizes` fix the shape of the result.
    ///
    /// # Errors
    /// Shapes that do not fit, with the place of the call.
    fn apply(
        context: &NativeCallContext<'_>,
        verb: &'static str,
        tensors: &[Self],
        numbers: &[f64],
        sizes: &[i64],
    ) -> Outcome<Self>;

    /// A number in the place of a tensor, beside `like`.
    ///
    /// # Errors
    /// float32 does not hold it.
    fn constant(
        context: &NativeCallContext<'_>,
        verb: &'static str,
        number: f64,
        like: &Self,
    ) -> Outcome<Self>;

    /// Its shape, where it is known by now.
    fn size(&self) -> Option<Vec<i64>>;
}

/// Registers all operators and verbs.
pub fn register<T: Operand>(engine: &mut Engine) {
    type C<'a> = NativeCallContext<'a>;
    for (operator, verb, swapped) in OPERATORS {
        engine.register_fn(operator, move |c: C<'_>, a: T, b: T| T::apply(&c, verb, &[a, b], &[], &[]));
        engine.register_fn(operator, move |c: C<'_>, a: T, b: f64| T::apply(&c, verb, &[a], &[b], &[]));
        engine
            .register_fn(operator, move |c: C<'_>, a: T, b: i64| T::apply(&c, verb, &[a], &[b as f64], &[]));
        if operator == "**" {
            continue;
        }
        engine.register_fn(operator, move |c: C<'_>, a: f64, b: T| T::apply(&c, swapped, &[b], &[a], &[]));
        engine.register_fn(operator, move |c: C<'_>, a: i64, b: T| {
            T::apply(&c, swapped, &[b], &[a as f64], &[])
        });
    }
    for (operator, verb) in CONNECTIVES {
        engine.register_fn(operator, move |c: C<'_>, a: T, b: T| T::apply(&c, verb, &[a, b], &[], &[]));
    }
    for (operator, verb) in [("-", "neg"), ("!", "not")] {
        engine.register_fn(operator, move |c: C<'_>, a: T| T::apply(&c, verb, &[a], &[], &[]));
    }
    engine.register_fn("size", |c: C<'_>, a: T, axis: i64| size(&c, &a, axis));
    for verb in VERBS {
        for types in signatures::<T>(verb) {
            engine.register_raw_fn(verb.name, types, move |context, arguments: &mut [&mut Dynamic]| {
                call::<T>(&context, verb, arguments)
            });
        }
    }
}

/// The size of an axis, a whole number.
fn size<T: Operand>(context: &NativeCallContext<'_>, tensor: &T, axis: i64) -> Outcome<i64> {
    let at = context.call_position();
    let size = tensor.size().ok_or_else(|| {
        let known = "the sizes of `t.images`, of views and of mixes are known before a step is executed, and `t.batch` is";
        refuse(format!("the size of this tensor is not known yet; {known}"), at)
    })?;
    cut::length(&size, axis).map_err(|error| refuse(error, at))
}

/// The types of a verb's arguments: a number may be whole or not.
fn signatures<T: Operand>(verb: &Verb) -> Vec<Vec<TypeId>> {
    let mut all = vec![Vec::new()];
    for takes in verb.takes {
        let types = match takes {
            Takes::Tensor => vec![TypeId::of::<T>()],
            Takes::Tensors | Takes::Sizes => vec![TypeId::of::<Array>()],
            Takes::Number => vec![TypeId::of::<f64>(), TypeId::of::<i64>()],
            Takes::Value => vec![TypeId::of::<T>(), TypeId::of::<f64>(), TypeId::of::<i64>()],
            Takes::Size => vec![TypeId::of::<i64>()],
        };
        all = all
            .into_iter()
            .flat_map(|start: Vec<TypeId>| {
                types.iter().map(move |last| start.iter().copied().chain([*last]).collect())
            })
            .collect();
    }
    // Numbers alone are the language's own.
    all.retain(|types| types.contains(&TypeId::of::<T>()) || types.contains(&TypeId::of::<Array>()));
    all
}

fn call<T: Operand>(
    context: &NativeCallContext<'_>,
    verb: &'static Verb,
    arguments: &mut [&mut Dynamic],
) -> Outcome<T> {
    let at = context.call_position();
    let name = verb.name;
    let tensor = |value: &Dynamic| {
        let handle = value.read_lock::<T>().map(|handle| handle.clone());
        handle.ok_or_else(|| refuse(format!("`{name}` takes tensors here, got {}", value.type_name()), at))
    };
    let whole = |value: &Dynamic| {
        value.as_int().map_err(|got| refuse(format!("`{name}` takes whole numbers here, got {got}"), at))
    };
    let number = |value: &Dynamic| value.as_float().ok().or_else(|| value.as_int().ok().map(|v| v as f64));
    let like = || arguments.iter().find_map(|value| value.read_lock::<T>().map(|handle| handle.clone()));
    let (mut tensors, mut numbers, mut sizes) = (Vec::with_capacity(3), Vec::new(), Vec::new());
    for (takes, value) in verb.takes.iter().zip(arguments.iter()) {
        match takes {
            Takes::Tensor => tensors.push(tensor(value)?),
            Takes::Number => numbers.extend(number(value)),
            Takes::Value => match (number(value), like()) {
                (Some(number), Some(like)) => tensors.push(T::constant(context, name, number, &like)?),
                _ => tensors.push(tensor(value)?),
            },
            Takes::Size => sizes.push(whole(value)?),
            Takes::Tensors | Takes::Sizes => {
                let Some(list) = value.read_lock::<Array>() else { continue };
                for element in list.iter() {
                    match takes {
                        Takes::Tensors => tensors.push(tensor(element)?),
                        _ => sizes.push(whole(element)?),
                    }
                }
            }
        }
    }
    if tensors.is_empty() {
        return Err(refuse(format!("`{name}` takes at least one tensor"), at));
    }
    T::apply(context, name, &tensors, &numbers, &sizes)
}
