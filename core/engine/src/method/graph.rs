//! The graphs of a step while it is recorded: what they come from, which are used up, and what they train.

use std::collections::BTreeSet;

use crate::method::cell::Id;
use crate::method::frame::{Frame, Spent};
use crate::world::is_in;
use crate::{Error, Result};

impl Frame {
    /// A node and all that its graph comes from.
    pub(crate) fn ancestors(&self, id: Id) -> BTreeSet<Id> {
        let (mut open, mut seen) = (vec![id], BTreeSet::new());
        while let Some(id) = open.pop() {
            if self.node(id).graph && seen.insert(id) {
                open.extend(self.node(id).parents.iter().copied());
            }
        }
        seen
    }

    /// The heads whose outputs a value is made of, through a graph.
    pub(crate) fn heads_of(&self, id: Id) -> Vec<String> {
        let all = self.ancestors(id);
        let grown = |id: &Id| self.node(*id).op().grows().is_some();
        let read = all.iter().filter(|id| !grown(id)).flat_map(|id| self.node(*id).parents.iter().copied());
        read.chain([id]).filter_map(|id| self.node(id).op().head(self.world())).collect()
    }

    /// Refuses what needs a graph that is gone. `what` names it for the message.
    pub(crate) fn refuse_spent(&self, id: Id, what: &str) -> Result<()> {
        let graphs = self.ancestors(id).into_iter().rev().filter(|id| !self.node(*id).op().is_place());
        for id in graphs {
            if let Some(Spent { verb, remedy, line }) = self.asked.spent.get(&id) {
                return Err(Error::Input(format!(
                    "{what} needs the graph of what line {} made, which the `{verb}` in line {line} has used up; {remedy}",
                    self.node(id).at.0
                )));
            }
        }
        Ok(())
    }

    /// Marks the graphs of these nodes as used up.
    pub(crate) fn spend(&mut self, ids: impl IntoIterator<Item = Id>, by: Spent) {
        for id in ids {
            for node in self.ancestors(id) {
                self.asked.spent.entry(node).or_insert(by);
            }
        }
    }

    /// Whether the graph of a node leads to a parameter that moves in this step: of a trained network, of a mixer that has
    /// some, of a head.
    pub(crate) fn reaches_parameters(&self, id: Id) -> bool {
        let world = self.world();
        let mut owners = self.ancestors(id).into_iter().filter_map(|id| self.node(id).op().trains(world));
        owners.any(|owner| self.moves(&owner))
    }

    /// Whether parameters of an owner ("net.q", "mixer.amix") move in this step. Only asked of those that have some.
    pub(crate) fn moves(&self, owner: &str) -> bool {
        let frozen = &self.asked.frozen;
        if frozen.is_empty() {
            return true;
        }
        let world = self.world();
        let mut own = world.optimizer.parameters().filter(|(name, _)| is_in(name, owner));
        own.any(|(name, _)| !frozen.iter().any(|(group, _)| is_in(name, group)))
    }
}
