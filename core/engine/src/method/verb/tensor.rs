//! The tensor vocabulary in a method: each of its operations is recorded.

use crate::Result;
use crate::method::handle::{Call, TensorHandle, tensor};
use crate::method::{Cell, Executing, Id, Node, Op, Operand, Outcome, SlotId, refuse};
use crate::method::{cut, vocabulary};
use crate::world::World;
use admix_torch::Tensor;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Applied {
    verb: &'static str,
    /// Tensors.
    arguments: Vec<Id>,
    /// Numbers that change between steps.
    numbers: Vec<SlotId>,
    /// Numbers that fix the shape of the result (axes, sizes).
    sizes: Vec<i64>,
}

impl Operand for TensorHandle {
    fn apply(
        call: &Call<'_>,
        verb: &'static str,
        tensors: &[Self],
        numbers: &[f64],
        sizes: &[i64],
    ) -> Outcome<Self> {
        let Some(first) = tensors.first() else {
            return Err(refuse(format!("`{verb}` takes at least one tensor"), call.call_position()));
        };
        tensor(call, &first.frame, |frame, at| {
            let arguments: Vec<Id> = tensors.iter().map(|handle| handle.id).collect();
            let numbers = numbers
                .iter()
                .map(|number| frame.slot(|| format!("the number of `{verb}`"), *number))
                .collect::<Result<_>>()?;
            let parents = match vocabulary::without_graph(verb) {
                true => Vec::new(),
                false => frame.with_graph(arguments.iter().copied()),
            };
            let shapes: Vec<_> = arguments.iter().map(|id| frame.node(*id).shape).collect();
            let shape = cut::shape_of(verb, &shapes, sizes);
            let applied = Applied { verb, arguments, numbers, sizes: sizes.to_vec() };
            frame.push(Node::of(applied, at).after(parents).shaped(shape))
        })
    }

    fn constant(call: &Call<'_>, verb: &'static str, number: f64, like: &Self) -> Outcome<Self> {
        tensor(call, &like.frame, |frame, at| {
            let slot = frame.slot(|| format!("the number of `{verb}`"), number)?;
            frame.push(Node::of(Constant { slot }, at))
        })
    }

    fn size(&self) -> Option<Vec<i64>> {
        self.frame.borrow().size(self.id)
    }
}

/// A number in the place of a tensor: 0-dim.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    slot: SlotId,
}

impl Op for Constant {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        Ok(Cell::Tensor(step.values.slots.numbers[self.slot].shallow_clone()))
    }

    fn works(&self) -> bool {
        false
    }
}

impl Op for Applied {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let tensors = self.arguments.iter().map(|id| step.tensor(*id)).collect::<Result<Vec<_>>>()?;
        let numbers = self.numbers.iter().map(|slot| &step.values.slots.numbers[*slot]);
        let operands: Vec<&Tensor> = tensors.iter().chain(numbers).collect();
        Ok(Cell::Tensor(vocabulary::apply(self.verb, &operands, &self.sizes)?))
    }

    fn label(&self, _world: &World) -> String {
        self.verb.into()
    }
}
