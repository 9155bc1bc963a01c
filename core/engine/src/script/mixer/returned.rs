//! What the functions of a scripted mixer return.

use admix_api::{Hidden, Value};
use admix_torch::{Kind, Tensor};
use rhai::{Array, Dynamic, Map};

use crate::script::language::Script;
use crate::script::live::Live;
use crate::script::values::{kind_of, number};
use crate::{Result, float32};

/// A mask of a comparison holds true and false: as numbers.
pub(super) fn fractional(tensor: Tensor) -> Result<Tensor> {
    let is_float = matches!(tensor.kind(), Kind::Float | Kind::Double);
    Ok(if is_float { tensor } else { tensor.f_to_kind(Kind::Float)? })
}

/// What `mix` returned, while it is looked through.
pub(super) struct Returned<'a> {
    pub(super) script: &'a Script,
    pub(super) tensors: Map,
}

impl Returned<'_> {
    pub(super) fn refuse(&self, what: String) -> crate::Error {
        self.script.error(self.script.place_of("mix"), format!("`mix` {what}"))
    }

    /// The stage of a mix inside of the network; 0 is a mix of the images.
    pub(super) fn stage(&mut self) -> Result<Option<Hidden>> {
        let Some(value) = self.tensors.remove("stage") else { return Ok(None) };
        let stage = value.as_int().ok().and_then(|stage| usize::try_from(stage).ok());
        let refused = || format!("returned `stage` {}, expected a whole number from 0", told(&value));
        let stage = stage.ok_or_else(|| self.refuse(refused()))?;
        Ok((stage > 0).then_some(Hidden { stage }))
    }

    pub(super) fn take(&mut self, name: &str) -> Result<Option<Tensor>> {
        let Some(value) = self.tensors.remove(name) else { return Ok(None) };
        match value.read_lock::<Live>() {
            Some(live) => Ok(Some(live.tensor().shallow_clone())),
            None => Err(self.refuse(format!("returned `{name}` that is no tensor but {}", told(&value)))),
        }
    }

    pub(super) fn check(&self, name: &str, tensor: &Tensor, wanted: &[&[i64]]) -> Result<()> {
        let size = tensor.size();
        if wanted.iter().any(|shape| *shape == size) {
            return Ok(());
        }
        let shapes: Vec<String> = wanted
            .iter()
            .map(|shape| if shape.is_empty() { "one number (0-dim)".into() } else { format!("{shape:?}") })
            .collect();
        Err(self.refuse(format!("returned `{name}` of the shape {size:?}, expected {}", shapes.join(" or "))))
    }
}

/// A value as messages tell it.
pub(super) fn told(value: &Dynamic) -> String {
    match number(value) {
        Some(_) => value.to_string(),
        None => kind_of(value).to_string(),
    }
}

/// A value that `plan` returned.
pub(super) fn plan_value(value: &Dynamic, batch: usize, per_sample: bool) -> Result<Value, String> {
    let finite = |value: f64| {
        if float32::holds(value) { Ok(value) } else { Err(format!("is {}", float32::refused(value))) }
    };
    if let Ok(whole) = value.as_int() {
        return Ok(Value::Int(whole));
    }
    if let Ok(one) = value.as_float() {
        return Ok(Value::Float(finite(one)?));
    }
    let Some(all) = value.read_lock::<Array>() else {
        return Err(format!("must be a number or an array of numbers, got {}", told(value)));
    };
    if all.len() == 1 && !per_sample {
        return plan_value(&all[0], batch, per_sample);
    }
    if all.len() != batch {
        let or_one = if per_sample { "" } else { ", or one for all" };
        return Err(format!(
            "has {} elements, expected {batch}: one number for each sample{or_one}",
            all.len()
        ));
    }
    if let Ok(whole) = all.iter().map(Dynamic::as_int).collect::<Result<Vec<i64>, _>>() {
        return Ok(Value::Ints(whole));
    }
    all.iter()
        .map(|one| {
            finite(number(one).ok_or_else(|| format!("must be an array of numbers; it holds {}", told(one)))?)
        })
        .collect::<Result<_, _>>()
        .map(Value::Floats)
}
