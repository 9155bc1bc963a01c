//! `t.loss`: a loss by its name.

use std::any::TypeId;

use admix_api::{Argument, LossInput};
use admix_torch::{Device, Tensor};
use rhai::{Dynamic, ImmutableString};

use crate::method::handle::{Call, Step, TargetHandle, kind_of, tensor, tensor_id};
use crate::method::{Cell, Entry, Executing, Frame, Id, Node, Op, Outcome, Place, line, refuse};
use crate::text;
use crate::world::World;
use crate::{Error, Result};

/// More than any loss takes, so that a loss itself says how many it wants.
const MOST_ARGUMENTS: usize = 5;

pub const ENTRY: Entry = Entry {
    lines: &[line("`t.loss(name, ...)`", "the value of a loss, one number")],
    register: |engine| {
        for count in 1..=MOST_ARGUMENTS {
            let mut types = vec![TypeId::of::<Step>(), TypeId::of::<ImmutableString>()];
            types.resize(2 + count, TypeId::of::<Dynamic>());
            engine.register_raw_fn("loss", types, |call: Call<'_>, all: &mut [&mut Dynamic]| {
                let step = all[0].read_lock::<Step>().map(|step| step.clone());
                let name = all[1].read_lock::<ImmutableString>().map(|name| name.clone());
                let (Some(step), Some(name)) = (step, name) else {
                    return Err(refuse("`loss` takes the name of a loss", call.call_position()));
                };
                let ids = told(&call, &name, &all[2..])?;
                tensor(&call, &step.0, |frame, at| loss(frame, &name, ids, at))
            });
        }
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Loss {
    /// Its index.
    loss: usize,
    /// Its arguments in order.
    arguments: Vec<Id>,
}

fn told(call: &Call<'_>, name: &str, arguments: &[&mut Dynamic]) -> Outcome<Vec<Id>> {
    let id = |(index, argument): (usize, &&mut Dynamic)| {
        let target = || argument.read_lock::<TargetHandle>().map(|handle| handle.0);
        tensor_id(argument).or_else(target).ok_or_else(|| {
            let got = kind_of(argument);
            let message =
                format!("argument {} of loss `{name}` must be a tensor, target or mix, got {got}", index + 1);
            refuse(message, call.call_position())
        })
    };
    arguments.iter().enumerate().map(id).collect()
}

fn loss(frame: &mut Frame, name: &str, arguments: Vec<Id>, at: Place) -> Result<Id> {
    let loss = {
        let world = frame.world();
        let names = || world.losses.iter().map(|unit| unit.name.as_str());
        let index = text::find("loss", name, "known:", names)?;
        let unit = &world.losses[index];
        if unit.arguments.len() != arguments.len() {
            let wanted: Vec<String> = unit.arguments.iter().map(|a| a.describe()).collect();
            return Err(Error::Input(format!(
                "loss `{name}` takes {} ({} given); its settings in the recipe's `losses` may change that",
                wanted.join(" and "),
                arguments.len()
            )));
        }
        index
    };
    frame.call("losses", name);
    let parents = frame.with_graph(arguments.iter().copied());
    frame.push(Node::of(Loss { loss, arguments }, at).after(parents))
}

impl Op for Loss {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let unit = &step.world.losses[self.loss];
        let _full = step.world.precision.leave(step.world.device)?;
        let mut input = LossInput::default();
        for (argument, id) in unit.arguments.iter().zip(&self.arguments) {
            input = match (argument, &step.values.cells[*id]) {
                (Argument::Tensor(name), _) => input.with(name, step.tensor(*id)?),
                (Argument::Target, Cell::Target(labels, shares)) => input
                    .with("target.labels", labels.shallow_clone())
                    .with("target.shares", shares.shallow_clone()),
                (Argument::Target, Cell::Tensor(labels)) => input.with_labels(labels)?,
                (Argument::Contrast, Cell::Target(keys, shares)) if keys.dim() == 3 => input
                    .with("contrast.keys", keys.shallow_clone())
                    .with("contrast.shares", shares.shallow_clone()),
                (Argument::Contrast, Cell::Tensor(keys)) => input.with_keys(keys)?,
                (Argument::Mix, Cell::Mix(mixed, lambda)) => input.with_mix(mixed, lambda)?,
                (argument, _) => {
                    return Err(Error::Input(format!(
                        "loss `{}` expects {} here",
                        unit.name,
                        argument.describe()
                    )));
                }
            };
        }
        let input = input.float32_or_better()?;
        let value = unit.loss.loss(&input)?;
        if let Some(label) = &unit.watched
            && step.world.device == Device::Cpu
            && !f64::try_from(&value)?.is_finite()
        {
            let finite = |tensor: &Tensor| tensor.f_isfinite()?.f_all().and_then(bool::try_from);
            let inputs: Vec<bool> =
                input.tensors().map(|(_, tensor)| finite(tensor)).collect::<Result<_, _>>()?;
            if inputs.into_iter().all(|finite| finite) {
                let message = "returned a value that is not finite for inputs that are".into();
                return Err(admix_api::Error::Plugin { plugin: label.clone(), message }.into());
            }
        }
        Ok(Cell::Tensor(value))
    }

    fn label(&self, world: &World) -> String {
        format!("loss {}", world.losses[self.loss].name)
    }

    fn refuses_capture(&self, world: &World) -> Option<String> {
        let unit = &world.losses[self.loss];
        let library = || unit.watched.as_ref().filter(|_| unit.from_library);
        world
            .examined(&unit.watched)
            .or_else(|| Some(format!("{} comes from a library, and may keep to the host", library()?)))
    }
}
