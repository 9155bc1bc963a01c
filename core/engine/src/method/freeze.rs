//! Parameters that a step leaves as they are: `t.freeze`.
//!
//! A group is a trained network ("q"), a head on embeddings ("online") or a mixer ("amix"), or a part of one, as its parameters
//! are named in checkpoints ("q.backbone"). It is held until the step ends.

use std::collections::BTreeSet;

use admix_api::did_you_mean;

use crate::method::frame::Frame;
use crate::method::trace::Op;
use crate::optimizer::is_in;
use crate::world::list;
use crate::{Error, Result};

impl Frame {
    /// Freezes a group for the rest of the step.
    pub(crate) fn freeze(&mut self, group: &str, at: (usize, usize)) -> Result<()> {
        if let Some(line) = self.learned_at() {
            return Err(Error::Input(format!(
                "`freeze` comes after the `learn` in line {line}, whose gradients are there already; put it before the first \
                 `learn` of the step"
            )));
        }
        let found: BTreeSet<&'static str> = {
            let world = self.world.borrow();
            let names = || world.optimizer.parameters().map(|(name, _)| name);
            let kinds = ["net", "head", "mixer"].into_iter();
            let found: BTreeSet<_> =
                kinds.filter(|kind| names().any(|name| is_in(name, &format!("{kind}.{group}")))).collect();
            if found.is_empty() {
                let known = groups(names());
                return Err(Error::Input(format!(
                    "no group named `{group}` to freeze; there is {}{}",
                    list(&known),
                    did_you_mean(group, known.iter().map(String::as_str))
                )));
            }
            found
        };
        if found.len() > 1 {
            let kinds: Vec<_> = found.into_iter().collect();
            return Err(Error::Input(format!(
                "`{group}` is the name of more than one group to freeze ({}): give them names of their own in the recipe",
                kinds.join(", ")
            )));
        }
        for kind in found {
            let group = format!("{kind}.{group}");
            self.frozen.push((group.clone(), at.0));
            self.push(Op::Freeze { group }, at, false, Vec::new(), None)?;
        }
        Ok(())
    }

    /// Whether parameters of an owner ("net.q", "mixer.amix") move in this step. Only asked of those that have some.
    pub(crate) fn moves(&self, owner: &str) -> bool {
        if self.frozen.is_empty() {
            return true;
        }
        let world = self.world.borrow();
        let mut own = world.optimizer.parameters().filter(|(name, _)| is_in(name, owner));
        own.any(|(name, _)| !self.frozen.iter().any(|(group, _)| is_in(name, group)))
    }

    /// For a message about what reaches no parameter: that some are frozen, if some are.
    pub(crate) fn frozen_note(&self) -> String {
        let Some((_, line)) = self.frozen.first() else { return String::new() };
        let groups = self.frozen.iter().filter_map(|(group, _)| Some(group.split_once('.')?.1));
        format!(
            ". Frozen since line {line}: {}; leave out what trains nothing else",
            list(groups.collect::<Vec<_>>())
        )
    }
}

/// Every owner of parameters and its parts, from their names: "q", "q.backbone", "amix".
fn groups<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all = Vec::new();
    for name in names {
        let parts: Vec<&str> = name.split('.').skip(1).collect();
        // The last part is the parameter itself.
        for length in 1..parts.len().min(3) {
            let group = parts[..length].join(".");
            if !all.contains(&group) {
                all.push(group);
            }
        }
    }
    all
}
