//! `t.freeze`: parameters that a step leaves as they are.
//!
//! A group is a trained network ("q"), a head on embeddings ("online") or a mixer ("amix"), or a part of one, as its parameters
//! are named in checkpoints ("q.backbone"). It is held until the step ends.

use std::collections::BTreeSet;

use admix_api::did_you_mean;

use crate::method::handle::{Call, Step, record};
use crate::method::{Cell, Entry, Executing, Frame, Node, Op, Place, line};
use crate::text::list;
use crate::world::World;
use crate::world::is_in;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[line("`t.freeze(group)`", "nothing; the parameters of the group stay as they are in this step")],
    register: |engine| {
        engine.register_fn("freeze", |call: Call<'_>, t: &mut Step, group: &str| {
            record(&call, &t.0, |frame, at| freeze(frame, group, at))
        });
    },
};

/// From here on the parameters of a group get no gradient in this step, and its optimiser leaves them alone.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Freeze {
    /// As parameters are named: "net.q.backbone", "mixer.amix".
    group: String,
}

fn freeze(frame: &mut Frame, group: &str, at: Place) -> Result<()> {
    if let Some(line) = frame.asked.terms.values().min() {
        return Err(Error::Input(format!(
            "`freeze` comes after the `learn` in line {line}, whose gradients are there already; put it before the first \
             `learn` of the step"
        )));
    }
    let found: BTreeSet<&'static str> = {
        let world = frame.world();
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
        frame.asked.frozen.push((group.clone(), at.0));
        if frame.turn.is_some() {
            frame.reached.insert(group.clone());
        }
        frame.push(Node::of(Freeze { group }, at))?;
    }
    Ok(())
}

/// For a message about what reaches no parameter: that some are frozen, if some are.
pub fn note(frame: &Frame) -> String {
    let frozen = &frame.asked.frozen;
    let Some((_, line)) = frozen.first() else { return String::new() };
    let groups = frozen.iter().filter_map(|(group, _)| Some(group.split_once('.')?.1));
    format!(". Frozen since line {line}: {}; leave out what trains nothing else", list(groups))
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

impl Op for Freeze {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        step.world.optimizer.freeze(&self.group)?;
        step.values.frozen.push(self.group.clone());
        Ok(Cell::Done)
    }

    fn label(&self, _world: &World) -> String {
        format!("freeze {}", self.group)
    }
}
