//! The parts of a step while they are executed: one after the other, and parts that gather wait for each other.

use admix_data::Batch;
use admix_torch::Tensor;

use crate::method::cell::Id;
use crate::method::execute::{Gathered, Values};
use crate::method::report::StepReport;
use crate::method::slots::Slots;
use crate::method::traced::Traced;
use crate::world::World;
use crate::{Error, Result};

/// A part of a step and how far it is.
#[derive(Debug)]
pub(crate) struct Underway<'a> {
    traced: &'a Traced,
    batch: &'a Batch,
    slots: &'a mut Slots,
    values: Values,
    next: Id,
}

impl<'a> Underway<'a> {
    /// A part before its first operation. Its slots are filled.
    pub(crate) fn new(traced: &'a Traced, batch: &'a Batch, slots: &'a mut Slots) -> Self {
        Self { traced, batch, slots, values: Values::default(), next: 0 }
    }

    /// Goes on to the end, or to where it gathers: then these are the rows that it has to give.
    fn go_on(&mut self, world: &mut World) -> Result<Option<Tensor>> {
        while let Some(node) = self.traced.nodes().get(self.next) {
            if let (Some(rows), None) = (node.op().waits_with(), &self.values.gathered) {
                return Ok(Some(self.values.tensor(rows)?.f_detach()?));
            }
            node.execute(self.next, world, self.batch, &mut self.values)?;
            self.next += 1;
        }
        Ok(None)
    }
}

/// Executes all parts of a step that this process has.
///
/// # Errors
/// A plugin or libtorch refused. The slots are as they were.
pub(crate) fn execute(world: &mut World, mut parts: Vec<Underway<'_>>, detail: bool) -> Result<StepReport> {
    for part in &mut parts {
        part.values = Values { slots: std::mem::take(part.slots), detail, ..Values::default() };
    }
    let done = in_turns(world, &mut parts);
    world.optimizer.thaw();
    for part in parts {
        *part.slots = part.values.slots;
    }
    done
}

fn in_turns(world: &mut World, parts: &mut [Underway<'_>]) -> Result<StepReport> {
    let mut report = StepReport::default();
    loop {
        let mut given = Vec::new();
        for (number, part) in parts.iter_mut().enumerate() {
            if part.next > 0 {
                world.resume_part(number, &part.values.frozen)?;
            }
            if let Some(rows) = part.go_on(world)? {
                given.push(rows);
                world.pause_part(number)?;
                continue;
            }
            world.optimizer.thaw();
            report.absorb(std::mem::take(&mut part.values.report));
            // Its graphs make room for those of the next part.
            part.values = Values { slots: std::mem::take(&mut part.values.slots), ..Values::default() };
            world.end_part(number)?;
        }
        if given.is_empty() {
            return Ok(report);
        }
        if given.len() < parts.len() {
            return Err(Error::Input(format!(
                "{} of the {} parts of the step call `all_gather`, and the others do not: call it in every part alike",
                given.len(),
                parts.len()
            )));
        }
        let all = world.rows_of_parts(&given)?;
        let (rank, processes) = world.place();
        let count = parts.len() * processes;
        for (number, part) in parts.iter_mut().enumerate() {
            let own = number * processes + rank;
            part.values.gathered = Some(Gathered { all: all.shallow_clone(), own, parts: count });
        }
    }
}
