//! The tensor vocabulary in a method: each of its operations is recorded.

use crate::Result;
use crate::method::handle::{Call, TensorHandle, tensor};
use crate::method::vocabulary;
use crate::method::{Cell, Executing, Frame, Id, Node, Op, Operand, Outcome, SlotId, refuse};
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
            let shape = joined(frame, verb, &arguments, sizes);
            let applied = Applied { verb, arguments, numbers, sizes: sizes.to_vec() };
            frame.push(Node::of(applied, at).after(parents).shaped(shape))
        })
    }
}

/// The shape of batches of images of one size that are joined one behind the other, as for a pass of several views: its
/// samples are dealt out to BatchNorm groups.
fn joined(frame: &Frame, verb: &str, arguments: &[Id], sizes: &[i64]) -> Option<[i64; 4]> {
    if verb != "cat" || sizes != [0] {
        return None;
    }
    let mut shapes = arguments.iter().map(|id| frame.node(*id).shape);
    let first = shapes.next()??;
    shapes.try_fold(first, |[samples, own @ ..], shape| {
        let [more, other @ ..] = shape?;
        let [channels, height, width] = own;
        (own == other).then_some([samples + more, channels, height, width])
    })
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
