//! The ways to run the verbs of a step: as the script reaches them, as recorded, or as captured.

use admix_data::Batch;

use super::{Session, StepOptions};
use crate::Result;
use crate::method::{Mode, Slots, StepGraphs, StepReport, Traced, Turn, Underway, execute, refusal};

impl Session {
    /// Begins a part of a step: its own batch, its own draws.
    ///
    /// The parts of all processes are counted in turns: first the first one of each. So what processes join at each verb is in
    /// the order of parts.
    fn begin(&self, batch: Batch, mode: Mode, detail: bool, (part, parts): (usize, usize)) {
        let mut frame = self.frame.borrow_mut();
        let (rank, processes) = frame.world().place();
        let (part, parts) = (part * processes + rank, parts * processes);
        frame.draw_step = self.clock.step * parts as u64 + part as u64;
        frame.begin(batch, mode, detail, parts);
    }

    /// Executes every verb as the script reaches it.
    pub(super) fn directly(&mut self, batches: Vec<Batch>, detail: bool) -> Result<StepReport> {
        let parts = batches.len();
        if parts > 1
            && let Some(traced) = self.gathering(&batches, detail)
        {
            return self.as_recorded(&traced, detail);
        }
        let low = self.world_mut().open_step()?;
        let mut report = StepReport::default();
        for (part, batch) in batches.into_iter().enumerate() {
            self.begin(batch, Mode::Execute, detail, (part, parts));
            self.method.step(&self.frame)?;
            report.absorb(self.frame.borrow_mut().end());
            self.world().end_part(part)?;
        }
        drop(low);
        self.close(report, detail)
    }

    /// What was recorded of parts that wait for each other, which a script that executes cannot.
    fn gathering(&self, batches: &[Batch], detail: bool) -> Option<Vec<Traced>> {
        let traced = self.record(batches.iter().map(Batch::shallow_clone).collect(), detail);
        self.frame.borrow_mut().end();
        traced.ok().filter(|traced| traced.iter().any(Traced::gathers))
    }

    /// Lets the script record each part of a step.
    pub(super) fn record(&self, batches: Vec<Batch>, detail: bool) -> Result<Vec<Traced>> {
        let parts = batches.len();
        let part = |(part, batch): (usize, Batch)| {
            self.begin(batch, Mode::Record, detail, (part, parts));
            self.method.step(&self.frame)?;
            self.frame.borrow_mut().traced()
        };
        batches.into_iter().enumerate().map(part).collect()
    }

    /// Executes what was recorded: finds (or makes) the place of each part's slots, and fills them.
    pub(super) fn as_recorded(&mut self, traced: &[Traced], detail: bool) -> Result<StepReport> {
        let keys: Vec<_> =
            traced.iter().enumerate().map(|(number, part)| (part.structure(), number)).collect();
        let mut slots: Vec<Slots> =
            keys.iter().map(|key| self.recorded.remove(key).unwrap_or_default()).collect();
        let done = {
            let frame = &mut *self.frame.borrow_mut();
            let world = frame.world_mut();
            let filled =
                traced.iter().zip(&mut slots).try_for_each(|(part, own)| part.fill(own, world.device));
            filled.and_then(|()| {
                let _low = world.open_step()?;
                let parts = traced.iter().zip(&mut slots);
                let parts = parts.map(|(part, own)| Underway::new(part, &part.batch, own));
                execute(world, parts.collect(), detail)
            })
        };
        self.recorded.extend(keys.into_iter().zip(slots));
        let report = done?;
        self.close(report, detail)
    }

    /// Replays what was recorded, where it is captured or can be now; else executes it.
    pub(super) fn captured(
        &mut self,
        graphs: &mut StepGraphs,
        batches: Vec<Batch>,
        options: &StepOptions,
    ) -> Result<StepReport> {
        let again = batches.iter().map(Batch::shallow_clone).collect();
        let traced = match self.record(batches, options.detail) {
            Ok(traced) => traced,
            Err(error) => {
                // Some scripts work only where the shape of every value is known. What is wrong otherwise fails again.
                self.frame.borrow_mut().end();
                let report = self.directly(again, options.detail)?;
                graphs.refuse(format!("the script cannot be recorded ahead of its work: {error}"));
                return Ok(report);
            }
        };
        let reason = match options {
            StepOptions { detail: true, .. } => Some("details of a step are asked for".to_string()),
            StepOptions { plans, .. } if !plans.is_empty() => Some("plans are given".to_string()),
            _ => refusal(&self.world(), &traced),
        };
        if let Some(reason) = reason {
            graphs.refuse(reason);
            return self.as_recorded(&traced, options.detail);
        }
        let turn = graphs.turn(&traced);
        match turn {
            Turn::Capture(key) if graphs.capture(&mut self.world_mut(), key, &traced) => {
                self.moved = true;
                graphs.replay(&mut self.world_mut(), key, &traced)
            }
            Turn::Replay(key) => {
                // The device does it as one: nothing tells how far it came.
                self.moved = true;
                graphs.replay(&mut self.world_mut(), key, &traced)
            }
            Turn::Record | Turn::Capture(_) => self.as_recorded(&traced, options.detail),
        }
    }
}
