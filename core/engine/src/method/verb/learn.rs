//! `t.learn`: the backward pass of a weighted sum of terms.

use admix_api::did_you_mean;
use admix_torch::Tensor;
use rhai::Map;

use crate::method::handle::{Call, Step, TensorHandle, kind_of, record, tensor};
use crate::method::recompute;
use crate::method::verb::freeze;
use crate::method::verb::gradient::no_way_back;
use crate::method::verb::leaf::Leaf;
use crate::method::{
    Cell, Entry, Executing, Frame, Id, Node, Op, Outcome, Place, SlotId, Spent, line, refuse,
};
use crate::text::list;
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line(
            "`t.learn(#{ name: loss, ... })`",
            "nothing; the backward pass of the terms' sum, each multiplied by its weight, has run",
        ),
        line(
            "`t.learn(#{ ... }, #{ input_grad: x })`",
            "`learn` as ever, and the gradient of the weighted sum for the leaf `x` from the same backward pass",
        ),
    ],
    register: |engine| {
        engine.register_fn("learn", |call: Call<'_>, t: &mut Step, terms: Map| {
            let terms = told_terms(&call, terms)?;
            record(&call, &t.0, |frame, at| learn(frame, terms, None, at).map(drop))
        });
        engine.register_fn("learn", |call: Call<'_>, t: &mut Step, terms: Map, options: Map| {
            let input = told_input(&call, options)?;
            let terms = told_terms(&call, terms)?;
            tensor(&call, &t.0, |frame, at| learn(frame, terms, Some(input), at))
        });
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Learn {
    /// Name, value, weight.
    terms: Vec<(String, Id, SlotId)>,
    /// The leaf whose gradient is handed back.
    input_grad: Option<Id>,
}

fn told_terms(call: &Call<'_>, terms: Map) -> Outcome<Vec<(String, Id)>> {
    let term = |(name, value): (_, rhai::Dynamic)| {
        let id = value.read_lock::<TensorHandle>().map(|handle| handle.id);
        let wrong = || format!("the term `{name}` must be a loss, got {}", kind_of(&value));
        let id = id.ok_or_else(|| refuse(wrong(), call.call_position()))?;
        Ok((rhai::ImmutableString::from(name).to_string(), id))
    };
    terms.into_iter().map(term).collect()
}

fn told_input(call: &Call<'_>, options: Map) -> Outcome<Id> {
    let at = call.call_position();
    let mut input = None;
    for (name, value) in options {
        if name != "input_grad" {
            let hint = did_you_mean(&name, ["input_grad"]);
            return Err(refuse(format!("`learn` takes no `{name}`; it takes `input_grad`{hint}"), at));
        }
        let wrong =
            || format!("`input_grad` must be a leaf, as t.leaf(t.images) gives, got {}", kind_of(&value));
        let leaf = value.read_lock::<TensorHandle>().map(|handle| handle.id);
        input = Some(leaf.ok_or_else(|| refuse(wrong(), at))?);
    }
    input.ok_or_else(|| refuse("give `learn` its terms alone, or #{ input_grad: leaf } too", at))
}

/// Learns from terms. With `input_grad`, a leaf, the result is the gradient of their weighted sum for it.
fn learn(frame: &mut Frame, terms: Vec<(String, Id)>, input_grad: Option<Id>, at: Place) -> Result<Id> {
    let mut weighted = Vec::new();
    for (name, id) in terms {
        if let Some(first) = frame.asked.terms.insert(name.clone(), at.0) {
            return Err(Error::Input(format!(
                "the term `{name}` was learned in line {first} already, and again in line {}; give one of them \
                 another name",
                at.0
            )));
        }
        frame.refuse_spent(id, &format!("the term `{name}`"))?;
        let weight = *frame.weights.get(&name).ok_or_else(|| {
            Error::Input(format!(
                "the term `{name}` is not in `weights`, which has {}{}",
                list(frame.weights.keys()),
                did_you_mean(&name, frame.weights.keys().map(String::as_str))
            ))
        })?;
        frame.learned.insert(name.clone());
        let weight = weight / frame.values.accumulate.max(1) as f64;
        let slot = frame.slot(|| format!("the weight of the term `{name}`"), weight)?;
        weighted.push((name, id, slot));
    }
    let ids: Vec<Id> = weighted.iter().map(|(_, id, _)| *id).collect();
    if !ids.is_empty() && !ids.iter().any(|id| frame.reaches_parameters(*id)) {
        return Err(Error::Input(format!(
            "no term of this `learn` reaches a trained parameter: pass a trained network, or a mix made by \
             `t.mix` of a mixer with parameters{}",
            freeze::note(frame)
        )));
    }
    if let Some(input) = input_grad {
        check_input_grad(frame, input, &ids)?;
    }
    if frame.turn.is_some() {
        let heads: Vec<String> = ids.iter().flat_map(|id| frame.heads_of(*id)).collect();
        frame.reached.extend(heads);
    }
    let shape = input_grad.and_then(|input| frame.node(input).shape);
    let id = frame.push(Node::of(Learn { terms: weighted, input_grad }, at).shaped(shape))?;
    let remedy = "put terms that share a graph into one `learn`";
    frame.spend(ids, Spent { verb: "learn", remedy, line: at.0 });
    Ok(id)
}

/// Checks what `learn` hands the gradient back for.
fn check_input_grad(frame: &Frame, input: Id, terms: &[Id]) -> Result<()> {
    let line = frame.node(input).at.0;
    if frame.node(input).get::<Leaf>().is_none() {
        return Err(Error::Input(format!(
            "`input_grad` takes a leaf, and line {line} made none: let x = t.leaf(t.images); give x to the pass, and \
             learn with #{{ input_grad: x }}"
        )));
    }
    if terms.iter().any(|term| frame.ancestors(*term).contains(&input)) {
        return Ok(());
    }
    Err(Error::Input(format!(
        "no term of this `learn` has a graph that leads back to the leaf of line {line}: give that leaf to a pass of one \
         of the terms"
    )))
}

impl Op for Learn {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let _graph = admix_torch::with_grad();
        let _full = step.world.precision.leave(step.world.device)?;
        let mut total: Option<Tensor> = None;
        for (name, value, weight) in &self.terms {
            let value = step.scalar(*value, &format!("the term `{name}`"))?;
            let weighted = value.f_mul(&step.values.slots.numbers[*weight])?;
            step.values.report.losses.push((name.clone(), value.f_detach()?));
            total = Some(match total {
                None => weighted,
                Some(sum) => sum.f_add(&weighted)?,
            });
        }
        let Some(total) = total else { return Ok(Cell::Done) };
        if !total.requires_grad() {
            return Err(Error::Input(
                "no term of this `learn` has a graph: a loss gave back a value without one".into(),
            ));
        }
        let input = self.input_grad.map(|id| step.tensor(id)).transpose()?;
        if let Some(input) = &input {
            // Of this backward pass alone.
            admix_torch::clear_grads(std::slice::from_ref(input))?;
        }
        recompute::backward(step.world, &total, &mut step.values.segments)?;
        // A term may be off where its gradients are not. The sum is nobody else's: it may be written to.
        admix_torch::nonfinite(&[total.f_detach()?], &step.world.found_inf)?;
        for (_, value, _) in &self.terms {
            step.let_go(*value)?;
        }
        let Some(input) = input else { return Ok(Cell::Done) };
        let gradient = admix_torch::grad_of(&input).ok_or_else(no_way_back)?;
        admix_torch::clear_grads(&[input])?;
        Ok(Cell::Tensor(gradient))
    }

    fn label(&self, _world: &World) -> String {
        let names: Vec<&str> = self.terms.iter().map(|(name, ..)| name.as_str()).collect();
        format!("learn {}", names.join("+"))
    }
}
