//! Stages whose activations are not kept: a backward pass computes them again (activation checkpointing).
//!
//! Source  Chen et al. 2016, arXiv:1604.06174.
//!
//! Such a stage runs without a graph, and what it gave is the root of the graph that follows. A backward pass ends there.
//! Then, from the last stage to the first, the stage runs again with a graph, and the gradient goes on from its output. In
//! memory are the maps between the stages and the activations of one stage at a time.

use std::rc::Rc;

use admix_api::spans;
use admix_models::{Map, Pass};
use admix_torch::{Kind, Tensor};

use crate::Result;
use crate::world::World;

/// A stage of a pass that ran without a graph.
#[derive(Debug)]
pub(crate) struct Segment {
    net: usize,
    stage: usize,
    pass: Rc<Pass>,
    /// What it read, with a graph if there was one.
    input: Map,
    /// What it gave, the root of what follows.
    leaf: Map,
}

impl Segment {
    /// Runs a stage without keeping its activations.
    ///
    /// # Errors
    /// As [`Backbone::stage`](admix_models::Backbone::stage).
    pub(crate) fn run(
        world: &World,
        (net, stage): (usize, usize),
        input: &Map,
        pass: &Rc<Pass>,
    ) -> Result<Self> {
        let output = {
            let _guard = admix_torch::no_grad();
            world.nets[net].network.backbone().stage(stage, input, pass)?
        };
        let leaf = output.like(output.tensor().f_detach()?.f_set_requires_grad(true)?);
        let input = input.like(input.tensor().shallow_clone());
        Ok(Self { net, stage, pass: pass.clone(), input, leaf })
    }

    /// What the stage gave.
    pub(crate) fn output(&self) -> Map {
        self.leaf.like(self.leaf.tensor().shallow_clone())
    }

    /// A number whose gradient for anything is that of the loss, given the loss's gradient for the output: the stage once
    /// more, with a graph. No BatchNorm moves its buffers a second time.
    /// `None` where the gradient ends: a stem without parameters, on images.
    fn again(&self, world: &World, gradient: &Tensor) -> Result<Option<Tensor>> {
        let _timed =
            spans::part(|| format!("stage {} of {} again", self.stage, world.nets[self.net].name), 0);
        let _guard = admix_torch::with_grad();
        let output = {
            let _low = world.precision.enter(world.device)?;
            world.nets[self.net].network.repeat_stage(self.stage, &self.input, &self.pass)?.into_tensor()
        };
        Ok(if output.requires_grad() { Some(output.f_mul(gradient)?.f_sum(Kind::Float)?) } else { None })
    }
}

/// Whether a backward pass will want a stage of this network on this input: something has a gradient, and graphs are made.
pub(crate) fn is_wanted(world: &World, net: usize, input: &Tensor) -> bool {
    let learns = || world.nets[net].store.parameters().iter().any(|(_, tensor, _)| tensor.requires_grad());
    admix_torch::grad_enabled() && (input.requires_grad() || learns())
}

/// A backward pass from a scalar through stages that were not kept. Those that it used are taken out of `segments`, which
/// are in the order in which they ran.
///
/// # Errors
/// libtorch refused.
pub(crate) fn backward(world: &World, total: &Tensor, segments: &mut Vec<Segment>) -> Result<()> {
    if segments.is_empty() {
        return Ok(admix_torch::backward(total)?);
    }
    // Graphs stay: what leads to the input of a stage may lead to the loss on other ways too, and is passed for each.
    admix_torch::backward_keep(total)?;
    let mut others = Vec::new();
    while let Some(segment) = segments.pop() {
        let Some(gradient) = admix_torch::grad_of(segment.leaf.tensor()) else {
            others.push(segment);
            continue;
        };
        if let Some(total) = segment.again(world, &gradient)? {
            admix_torch::backward_keep(&total)?;
        }
    }
    segments.extend(others.into_iter().rev());
    Ok(())
}

/// The gradient of a scalar for one tensor, through stages that were not kept; touches no `.grad`. `None` where the scalar
/// does not depend on it.
///
/// # Errors
/// libtorch refused.
pub(crate) fn gradient(
    world: &World,
    loss: &Tensor,
    input: &Tensor,
    segments: &mut Vec<Segment>,
) -> Result<Option<Tensor>> {
    if segments.is_empty() {
        let (loss, input) = (loss.shallow_clone(), input.shallow_clone());
        return Ok(admix_torch::gradients(&[loss], &[input], false, false)?.into_iter().flatten().next());
    }
    // By leaf, and last for the input.
    let mut found: Vec<Option<Tensor>> = (0..=segments.len()).map(|_| None).collect();
    let mut from = loss.shallow_clone();
    let mut others = Vec::new();
    loop {
        let leaves = segments.iter().map(|segment| segment.leaf.tensor()).chain([input]);
        let wanted: Vec<Tensor> = leaves.map(Tensor::shallow_clone).collect();
        let new = admix_torch::gradients(&[from], &wanted, true, false)?;
        let at = (0..segments.len()).chain([found.len() - 1]);
        for (at, new) in at.zip(new) {
            found[at] = match (found[at].take(), new) {
                (Some(sum), Some(new)) => Some(sum.f_add(&new)?),
                (one, other) => one.or(other),
            };
        }
        from = loop {
            let Some(segment) = segments.pop() else {
                segments.extend(others.into_iter().rev());
                return Ok(found.pop().flatten());
            };
            let Some(gradient) = found[segments.len()].take() else {
                others.push(segment);
                continue;
            };
            if let Some(total) = segment.again(world, &gradient)? {
                break total;
            }
        };
    }
}
