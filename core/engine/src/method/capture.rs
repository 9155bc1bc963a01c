//! Whole steps as graphs: work that was recorded several times is captured once and from then on replayed.
//!
//! A step is three parts. The host's first: the script records, weights, rates and plans are drawn, and everything that
//! changes is written into slots that stay where they are, the batch too. The device's: passes, losses, backward passes,
//! optimiser, queues, momentum networks. The host's last: the clock, clusterers, mixers that keep to the host. Only the
//! device's part is captured. The script runs in every step all the same: a replay is chosen by what it records, so a
//! captured run never does anything else than the script says.
//!
//! Where processes share a run, what they exchange is between two graphs: the passes are one, and the end of the step is the
//! other. So a process may replay a step that another one executes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use admix_data::Batch;
use admix_torch::{GraphId, Tensor, duplicate};
use serde::{Deserialize, Serialize};

use crate::method::parts::{Underway, execute};
use crate::method::recorder::GraphRecorder;
use crate::method::report::StepReport;
use crate::method::slots::Slots;
use crate::method::tally::{Guesses, Layout, TallyGraph, layout, tally};
use crate::method::traced::Traced;
use crate::world::{Passed, World};
use crate::{Error, Result};

/// How often work is executed as recorded before it is captured: libraries choose their kernels and make room in the first
/// executions, which a capture must not see.
const WARM_UPS: u32 = 2;
/// Captured variants at most: each holds a batch and a graph.
const MOST: usize = 8;

/// What became of capturing so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureReport {
    /// Traces that were captured.
    pub variants: usize,
    /// Steps that were replayed from them.
    pub replayed_steps: u64,
    /// Layouts of an evaluation's batches that were captured.
    pub evaluation_variants: usize,
    /// Batches of evaluations that were replayed from them.
    pub replayed_evaluation_batches: u64,
    /// Why steps were not captured, each reason once, in the order in which they came up. Empty while steps only warm up.
    pub reasons: Vec<String>,
}

impl CaptureReport {
    /// Notes a reason, and tells it at the first time.
    pub(crate) fn refuse(&mut self, reason: String) {
        if !self.reasons.contains(&reason) {
            tracing::info!("steps are not captured: {reason}");
            self.reasons.push(reason);
        }
    }
}

/// Why a step cannot be captured, if it cannot: what of its work is not the device's alone.
pub(crate) fn refusal(world: &World, traced: &[Traced]) -> Option<String> {
    let norms = world.waits_for_norms().then(|| "its BatchNorms wait for other processes".to_string());
    norms.or_else(|| traced.iter().flat_map(Traced::nodes).find_map(|node| node.op().refuses_capture(world)))
}

/// What is done with a step of some work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is executed as recorded.
    Record,
    /// It is captured, then replayed.
    Capture(u64),
    /// It is replayed.
    Replay(u64),
}

/// One batch of a captured step: its trace and what it reads.
#[derive(Debug)]
struct Part {
    /// With a batch of its own, which stays where it is.
    traced: Traced,
    slots: Slots,
}

/// Work that was captured.
#[derive(Debug)]
struct Variant {
    parts: RefCell<Vec<Part>>,
    outputs: RefCell<Option<Outputs>>,
    graph: GraphId,
    /// The end of the step, where it is a graph of its own.
    end: Option<End>,
}

/// The captured end of a step that processes share.
#[derive(Debug)]
struct End {
    /// What it reads: what all processes together handed on.
    passed: Passed,
    graph: GraphId,
}

/// What a captured step hands out, at fixed places too.
#[derive(Debug)]
struct Outputs {
    losses: Vec<(String, Tensor)>,
    logged: Vec<(String, Tensor)>,
    health: Vec<(String, Tensor)>,
    /// Where processes share the run.
    passed: Option<Passed>,
}

/// The captured steps of a session.
#[derive(Debug)]
pub(crate) struct StepGraphs {
    recorder: Box<dyn GraphRecorder>,
    /// How often work was executed that is not captured.
    seen: HashMap<u64, u32>,
    variants: HashMap<u64, Variant>,
    /// How often batches of an evaluation were counted for directly, and the captured counting.
    tallies: HashMap<Layout, (u32, Option<TallyGraph>)>,
    /// A capture failed: there is no other attempt.
    failed: bool,
    report: CaptureReport,
}

impl StepGraphs {
    pub(crate) fn new(recorder: Box<dyn GraphRecorder>) -> Self {
        Self {
            recorder,
            seen: HashMap::new(),
            variants: HashMap::new(),
            tallies: HashMap::new(),
            failed: false,
            report: CaptureReport::default(),
        }
    }

    pub(crate) fn report(&self) -> &CaptureReport {
        &self.report
    }

    pub(crate) fn refuse(&mut self, reason: String) {
        self.report.refuse(reason);
    }

    /// What to do with a step that nothing speaks against.
    pub(crate) fn turn(&mut self, traced: &[Traced]) -> Turn {
        let key = key(traced);
        if let Some(variant) = self.variants.get(&key) {
            let parts = variant.parts.borrow();
            let mut pairs = parts.iter().zip(traced);
            let same = parts.len() == traced.len() && pairs.all(|(part, new)| part.traced.same_work(new));
            // Else two works share a number: the later one is never captured.
            return if same { Turn::Replay(key) } else { Turn::Record };
        }
        if self.failed {
            return Turn::Record;
        }
        let seen = self.seen.entry(key).or_default();
        if *seen < WARM_UPS {
            *seen += 1;
            return Turn::Record;
        }
        if self.variants.len() >= MOST {
            self.refuse(format!("there are more than {MOST} variants of the step"));
            return Turn::Record;
        }
        Turn::Capture(key)
    }

    /// Captures the work of a step; nothing of it is executed. False where that failed: then there is no trace of the
    /// attempt, and never another one.
    pub(crate) fn capture(&mut self, world: &mut World, key: u64, traced: &[Traced]) -> bool {
        match self.try_capture(world, traced) {
            Ok(variant) => {
                self.variants.insert(key, variant);
                self.report.variants = self.variants.len();
                true
            }
            Err(error) => {
                // The host's side of work that broke off. On the device nothing was executed.
                if let Err(error) = world.forget_step() {
                    tracing::debug!("gradients of a failed capture: {error}");
                }
                self.failed = true;
                self.refuse(format!("capturing failed: {error}"));
                false
            }
        }
    }

    fn try_capture(&mut self, world: &mut World, traced: &[Traced]) -> Result<Variant> {
        let device = world.device;
        let part = |traced: &Traced| -> Result<Part> {
            let mut slots = Slots::default();
            traced.fill(&mut slots, device)?;
            let (trace, plans) = (traced.trace.clone(), traced.plans.clone());
            Ok(Part { traced: Traced { trace, plans, batch: copied(&traced.batch)? }, slots })
        };
        let parts = RefCell::new(traced.iter().map(part).collect::<Result<Vec<_>>>()?);
        let outputs = RefCell::new(None);
        let world = RefCell::new(world);
        let graph =
            self.recorder.capture(&|| fixed(&world, &parts), &mut || work(&world, &parts, &outputs))?;
        Ok(Variant { parts, outputs, graph, end: None })
    }

    /// Counts what every head guesses on a batch of an evaluation: by a graph, from the third batch of a layout on.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn tally(&mut self, world: &World, images: &Tensor, labels: &Tensor) -> Result<Guesses> {
        let directly = || tally(world, images, labels);
        let (seen, graph) = self.tallies.entry(layout(images, labels)).or_default();
        if graph.is_none() {
            if *seen < WARM_UPS || self.failed || self.report.evaluation_variants >= MOST {
                *seen += 1;
                return directly();
            }
            match TallyGraph::capture(self.recorder.as_mut(), world, images, labels) {
                Ok(captured) => *graph = Some(captured),
                Err(error) => {
                    self.failed = true;
                    self.refuse(format!("capturing an evaluation failed: {error}"));
                    return directly();
                }
            }
            self.report.evaluation_variants += 1;
        }
        let Some(graph) = graph else { return directly() };
        let counts = graph.replay(self.recorder.as_mut(), world, images, labels)?;
        self.report.replayed_evaluation_batches += 1;
        Ok(counts)
    }

    /// Fills the slots of captured work and does it.
    ///
    /// # Errors
    /// The device refused.
    pub(crate) fn replay(&mut self, world: &mut World, key: u64, traced: &[Traced]) -> Result<StepReport> {
        let none = || Error::Input("a step is to be replayed that was never captured".into());
        let Variant { parts, outputs, graph, end } = self.variants.get_mut(&key).ok_or_else(none)?;
        let device = world.device;
        for (part, new) in parts.borrow_mut().iter_mut().zip(traced) {
            new.fill(&mut part.slots, device)?;
            overwrite(&part.traced.batch, &new.batch)?;
        }
        let world = RefCell::new(world);
        self.recorder.replay(*graph, &|| fixed(&world, parts), &mut || work(&world, parts, outputs))?;
        if let Some(passed) = outputs.borrow().as_ref().and_then(|outputs| outputs.passed.as_ref()) {
            let may_capture = !self.failed;
            if let Err(error) = end_together(self.recorder.as_mut(), &world, passed, end, may_capture)? {
                self.failed = true;
                self.report.refuse(format!("capturing the end of a step failed: {error}"));
            }
        }
        self.report.replayed_steps += 1;
        let outputs = outputs.borrow();
        let mut report = outputs.as_ref().ok_or_else(none)?.report()?;
        report.found_inf = Some(world.borrow().found_inf.f_detach_copy()?);
        Ok(report)
    }
}

/// What tells captured work apart: the traces with the forms of their plans, and how the batches lie in memory.
fn key(traced: &[Traced]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in traced {
        (part.structure(), is_first_view(&part.batch)).hash(&mut hasher);
        for tensor in tensors(&part.batch) {
            (tensor.size(), tensor.stride(), tensor.kind() as i32).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Each tensor of a batch once.
fn tensors(batch: &Batch) -> impl Iterator<Item = &Tensor> {
    let images = (!is_first_view(batch)).then_some(&batch.images);
    batch.views.iter().chain(images).chain([&batch.labels, &batch.index])
}

/// Whether the images and the first view are one.
fn is_first_view(batch: &Batch) -> bool {
    batch.views.first().is_some_and(|first| first.data_ptr() == batch.images.data_ptr())
}

/// Copies with the same layout. The images are the first view again where they were.
fn copied(batch: &Batch) -> Result<Batch> {
    let copy = |tensor: &Tensor| -> Result<Tensor> { Ok(duplicate(tensor)?) };
    let views = batch.views.iter().map(copy).collect::<Result<Vec<_>>>()?;
    let images = match views.first() {
        Some(view) if is_first_view(batch) => view.shallow_clone(),
        _ => copy(&batch.images)?,
    };
    Ok(Batch { images, views, labels: copy(&batch.labels)?, index: copy(&batch.index)? })
}

/// Writes a batch over one of the same shapes, in place.
fn overwrite(own: &Batch, new: &Batch) -> Result<()> {
    for (own, new) in tensors(own).zip(tensors(new)) {
        own.shallow_clone().f_copy_(new)?;
    }
    Ok(())
}

/// The work of the device in a step, or where processes share the run in its passes: what is captured. It reads slots, batches
/// and the state where they lie.
fn work(
    world: &RefCell<&mut World>,
    parts: &RefCell<Vec<Part>>,
    outputs: &RefCell<Option<Outputs>>,
) -> Result<()> {
    let world = &mut *world.borrow_mut();
    let low = world.open_step()?;
    let mut parts = parts.borrow_mut();
    let underway =
        parts.iter_mut().map(|part| Underway::new(&part.traced, &part.traced.batch, &mut part.slots));
    let report = execute(world, underway.collect(), false)?;
    drop(low);
    let passed = if world.waits_for_others() {
        Some(world.take_passed()?)
    } else {
        world.close_step()?;
        None
    };
    let outputs = &mut *outputs.borrow_mut();
    match outputs {
        Some(outputs) => outputs.overwrite(&report, passed.as_ref()),
        None => {
            *outputs = Some(Outputs::of(report, passed));
            Ok(())
        }
    }
}

/// Exchanges what the passes of a replayed step handed on, and ends the step: by a graph, which the first one captures. The
/// inner error is that of a capture; the step is ended all the same.
///
/// # Errors
/// A process is gone, or the device refused.
fn end_together(
    recorder: &mut dyn GraphRecorder,
    world: &RefCell<&mut World>,
    passed: &Passed,
    end: &mut Option<End>,
    may_capture: bool,
) -> Result<Result<()>> {
    let united = {
        let world = &mut *world.borrow_mut();
        world.give_passed(passed)?;
        world.unite()?;
        world.take_passed()?
    };
    let close = |passed: &Passed| {
        let world = &mut *world.borrow_mut();
        world.give_passed(passed)?;
        world.close_step()
    };
    let fixed = |passed: &Passed| {
        let mut all = world.borrow().fixed();
        all.extend(passed.named());
        all
    };
    let mut captured = Ok(());
    if end.is_none() && may_capture {
        match recorder.capture(&|| fixed(&united), &mut || close(&united)) {
            Ok(graph) => {
                *end = Some(End { passed: united, graph });
                let End { passed, graph } = end.as_ref().ok_or_else(|| Error::Input("no end".into()))?;
                recorder.replay(*graph, &|| fixed(passed), &mut || close(passed))?;
                return Ok(Ok(()));
            }
            Err(error) => {
                // The host's side of what broke off.
                world.borrow_mut().forget_step()?;
                captured = Err(error);
            }
        }
    }
    match end {
        Some(end) if end.passed.fits(&united) => {
            end.passed.overwrite(&united)?;
            recorder.replay(end.graph, &|| fixed(&end.passed), &mut || close(&end.passed))?;
        }
        // Another process has other gradients than at the capture.
        _ => close(&united)?,
    }
    Ok(captured)
}

/// Every tensor that must stay in its place, by name.
fn fixed(world: &RefCell<&mut World>, parts: &RefCell<Vec<Part>>) -> Vec<(String, Tensor)> {
    let mut all = world.borrow().fixed();
    for (number, part) in parts.borrow().iter().enumerate() {
        let batch = &part.traced.batch;
        let named = |(name, tensor)| (format!("part {number}, {name}"), tensor);
        all.extend(part.slots.tensors().into_iter().map(named));
        let views = batch.views.iter().enumerate().map(|(view, tensor)| (format!("view {view}"), tensor));
        let others = [("images", &batch.images), ("labels", &batch.labels), ("index", &batch.index)];
        let batch = views.chain(others.map(|(name, tensor)| (name.to_string(), tensor)));
        all.extend(batch.map(|(name, tensor)| named((name, tensor.shallow_clone()))));
    }
    all
}

impl Outputs {
    /// What the first run of the work made: on the device the very places that every replay writes.
    fn of(report: StepReport, passed: Option<Passed>) -> Self {
        Self { losses: report.losses, logged: report.logged, health: report.health, passed }
    }

    fn all(&self) -> impl Iterator<Item = &(String, Tensor)> {
        self.losses.iter().chain(&self.logged).chain(&self.health)
    }

    /// What a further run of the work made, put in the same places.
    fn overwrite(&self, report: &StepReport, passed: Option<&Passed>) -> Result<()> {
        let new = || report.losses.iter().chain(&report.logged).chain(&report.health);
        let fits = match (&self.passed, passed) {
            (Some(own), Some(new)) => own.fits(new),
            (own, new) => own.is_none() && new.is_none(),
        };
        if self.all().count() != new().count() || !fits {
            return Err(Error::Input("captured work reported other values than before".into()));
        }
        for ((_, own), (_, new)) in self.all().zip(new()) {
            own.shallow_clone().f_copy_(new)?;
        }
        self.passed.iter().zip(passed).try_for_each(|(own, new)| own.overwrite(new))
    }

    /// A report of its own: the next replay writes over these places.
    fn report(&self) -> Result<StepReport> {
        let copied = |values: &[(String, Tensor)]| -> Result<Vec<(String, Tensor)>> {
            values.iter().map(|(name, value)| Ok((name.clone(), value.f_detach_copy()?))).collect()
        };
        Ok(StepReport {
            losses: copied(&self.losses)?,
            logged: copied(&self.logged)?,
            health: copied(&self.health)?,
            ..StepReport::default()
        })
    }
}
