//! Gradients of a step beside those that train: of a loss for the images, in evaluation mode or from a pass that trains.
//!
//! Each is one node of the trace. A graph that a gradient was taken from is used up, as by `learn`.

use std::collections::BTreeSet;

use admix_api::did_you_mean;

use crate::method::frame::Frame;
use crate::method::trace::{Id, Op};
use crate::world::list;
use crate::{Error, Result};

/// The verbs that use graphs up.
pub(crate) const LEARN: &str = "learn";
const GRADIENT: &str = "gradient";

/// A network as a pass takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Index of the network.
    pub net: usize,
    /// Train mode, or evaluation mode.
    pub train: bool,
}

impl Frame {
    /// The network of this name, in train mode.
    pub(crate) fn net(&self, name: &str) -> Result<Run> {
        let world = self.world.borrow();
        let net = world.nets.iter().position(|net| net.name == name).ok_or_else(|| {
            let names: Vec<&str> = world.nets.iter().map(|net| net.name.as_str()).collect();
            Error::Input(format!(
                "no network named `{name}`; the recipe has {}{}",
                list(&names),
                did_you_mean(name, names.iter().copied())
            ))
        })?;
        Ok(Run { net, train: true })
    }

    /// The same values as the root of a graph of their own, so that a gradient for them can be asked for.
    pub(crate) fn leaf(&mut self, of: Id, at: (usize, usize)) -> Result<Id> {
        self.refuse_hidden([of])?;
        let shape = self.trace.nodes[of].shape;
        self.push(Op::Leaf { of }, at, true, Vec::new(), shape)
    }

    /// The gradient of a loss for `input` alone; parameters get none. Uses up the graph of the loss.
    pub(crate) fn gradient(&mut self, of: Id, input: Id, at: (usize, usize)) -> Result<Id> {
        self.refuse_spent(of, "the loss of this `gradient`")?;
        if !self.graph(input) || !self.ancestors(of).contains(&input) {
            return Err(Error::Input(format!(
                "this loss has no graph that leads back to what line {} made: let x = t.leaf(t.images); give x to the \
                 pass, and ask for t.gradient(loss, x)",
                self.trace.nodes[input].at.0
            )));
        }
        let shape = self.trace.nodes[input].shape;
        let id = self.push(Op::Gradient { of, input }, at, false, Vec::new(), shape)?;
        self.spend([of], GRADIENT, at.0);
        Ok(id)
    }

    /// Checks what `learn` hands the gradient back for.
    pub(crate) fn check_input_grad(&self, input: Id, terms: &[Id]) -> Result<()> {
        let line = self.trace.nodes[input].at.0;
        if !matches!(self.trace.nodes[input].op, Op::Leaf { .. }) {
            return Err(Error::Input(format!(
                "`input_grad` takes a leaf, and line {line} made none: let x = t.leaf(t.images); give x to the pass, and \
                 learn with #{{ input_grad: x }}"
            )));
        }
        if terms.iter().any(|term| self.ancestors(*term).contains(&input)) {
            return Ok(());
        }
        Err(Error::Input(format!(
            "no term of this `learn` has a graph that leads back to the leaf of line {line}: give that leaf to a pass of one \
             of the terms"
        )))
    }

    /// A node and all that its graph comes from.
    pub(crate) fn ancestors(&self, id: Id) -> BTreeSet<Id> {
        let (mut open, mut seen) = (vec![id], BTreeSet::new());
        while let Some(id) = open.pop() {
            if self.graph(id) && seen.insert(id) {
                open.extend(self.trace.nodes[id].parents.iter().copied());
            }
        }
        seen
    }

    /// Refuses what needs a graph that is gone. `what` names it for the message.
    pub(crate) fn refuse_spent(&self, id: Id, what: &str) -> Result<()> {
        // Passes and leaves are places, not graphs: what grows from them is.
        let is_place = |id: &Id| matches!(self.trace.nodes[*id].op, Op::Pass { .. } | Op::Leaf { .. });
        let spent = self.ancestors(id).into_iter().rev().filter(|id| !is_place(id));
        for node in spent {
            if let Some((verb, line)) = self.spent.get(&node) {
                let remedy = match *verb {
                    LEARN => "put terms that share a graph into one `learn`",
                    _ => "one pass gives both by t.learn(#{ ... }, #{ input_grad: x })",
                };
                return Err(Error::Input(format!(
                    "{what} needs the graph of what line {} made, which the `{verb}` in line {line} has used up; {remedy}",
                    self.trace.nodes[node].at.0
                )));
            }
        }
        Ok(())
    }

    /// Marks the graphs of these nodes as used up.
    pub(crate) fn spend(&mut self, ids: impl IntoIterator<Item = Id>, verb: &'static str, line: usize) {
        for id in ids {
            for node in self.ancestors(id) {
                self.spent.entry(node).or_insert((verb, line));
            }
        }
    }

    /// Whether the graph of a node leads to a parameter that moves in this step: of a trained network, of a mixer that has
    /// some, of a head.
    pub(crate) fn reaches_parameters(&self, id: Id) -> bool {
        let world = self.world.borrow();
        self.ancestors(id).into_iter().any(|id| match &self.trace.nodes[id].op {
            Op::Pass { net, .. } => self.net_learns(*net),
            Op::Mix(mix) => {
                let unit = &world.mixers[mix.mixer];
                unit.trained() && self.moves(&format!("mixer.{}", unit.name))
            }
            Op::Head { head, .. } => {
                let unit = &world.heads[*head];
                unit.trained && self.moves(&format!("head.{}", unit.name))
            }
            _ => false,
        })
    }
}
