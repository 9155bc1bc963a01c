//! The loop.

use std::path::PathBuf;
use std::time::Instant;

use admix_api::spans;
use admix_data::{Batch, Loader, Pass, Split};
use admix_torch::trail::{self, Fact};

use crate::loggers::Event;
use crate::method::Clock;
use crate::run::Run;
use crate::run::evaluate::evaluate;
use crate::run::facts::{RunFacts, describe};
use crate::run::header::Header;
use crate::run::images::Images;
use crate::run::measure_mixers::{dead, trained_mixers};
use crate::run::metrics::Summary;
use crate::run::pending::{Pending, last_good};
use crate::run::probe::probes;
use crate::run::status::Status;
use crate::run::together;
use crate::session::{Execution, StepOptions};
use crate::{Error, Result};

/// Trains, and writes `run.json` however it ends.
pub(super) fn train(run: &mut Run) -> Result<Summary> {
    let (begin, before) = (Instant::now(), run.history.seconds);
    let outcome = steps(run);
    if let (Some(group), Err(error)) = (&run.context.group, &outcome)
        && !matches!(error, Error::Interrupted { .. })
    {
        // The others wait for this process; they tell why it is gone.
        group.stop(&error.to_string());
    }
    // Also of a run that ends by an error.
    run.history.seconds = before + begin.elapsed().as_secs_f64();
    let status = match &outcome {
        Ok(finished) if *finished => Status::Done,
        Ok(_) | Err(Error::Interrupted { .. }) => Status::Stopped,
        Err(_) => Status::Failed,
    };
    let facts = RunFacts::of(run, status, outcome.as_ref().err().map(ToString::to_string));
    let written = facts.and_then(|facts| {
        let text = serde_json::to_string_pretty(&facts).unwrap_or_default();
        run.folder.replace("run.json", text.as_bytes())?;
        Ok(facts.summary)
    });
    let told = run.context.loggers.tell(Event::Ended { step: run.session.clock().step, status });
    // What ended the run is the error that counts, not that a full disk holds no facts about it.
    outcome.and(told).and(written)
}

/// Trains; tells whether all epochs are done.
fn steps(run: &mut Run) -> Result<bool> {
    let clock = run.session.clock();
    let started = Event::Started {
        folder: run.folder.root.clone(),
        steps: clock.steps,
        epochs: clock.epochs,
        step: clock.step,
        parameters: run.session.world().optimizer.parameters().map(|(_, t)| t.numel() as i64).sum(),
        device: describe(run),
    };
    run.context.loggers.tell(started)?;
    if let Some(origin) = &run.started_from {
        run.context.loggers.tell(Event::StartedFrom(origin.clone()))?;
    }
    let newest = run.resumed_from.clone();
    if let Some(path) = &newest {
        trail::tell(Fact::Checkpoint, format_args!("{}", path.display()));
    }
    if run.max_steps.is_some_and(|max| clock.step >= max) {
        return Ok(clock.epoch >= run.recipe.epochs);
    }
    let execution = if run.session.is_capturing() { Execution::Captured } else { Execution::Direct };
    let mut training = Training {
        begin: Instant::now(),
        before: run.history.seconds,
        pending: Pending::new(run.history.skipped),
        options: StepOptions { execution, ..StepOptions::default() },
        per_epoch: clock.steps / clock.epochs.max(1),
        newest,
        run,
    };
    while !training.is_done() {
        if !training.epoch()? {
            break;
        }
    }
    Ok(training.is_done())
}

/// A run while it trains.
struct Training<'a> {
    run: &'a mut Run,
    begin: Instant,
    /// Seconds of the parts of the run before this one.
    before: f64,
    pending: Pending,
    options: StepOptions,
    /// Steps of an epoch.
    per_epoch: u64,
    /// The checkpoint that was written or read last.
    newest: Option<PathBuf>,
}

impl Training<'_> {
    fn is_done(&self) -> bool {
        self.run.session.clock().epoch >= self.run.recipe.epochs
    }

    /// Whether the run has as many steps as it was told to make.
    fn is_enough(&self) -> bool {
        self.run.max_steps.is_some_and(|max| self.run.session.clock().step >= max)
    }

    /// Trains to the end of an epoch, and evaluates. False if the run shall stop before its end.
    fn epoch(&mut self) -> Result<bool> {
        let mut loader = self.loader()?;
        while self.run.batch_in_epoch < self.per_epoch {
            let timed_step = spans::step(self.run.session.clock().step + 1);
            self.step(&mut loader)?;
            let step = self.run.session.clock().step;
            let every = self.run.recipe.checkpoint.every_steps;
            let save = every.is_some_and(|every| step.is_multiple_of(every));
            let (signal, enough) = (self.run.context.signal()?, self.is_enough());
            let last = self.run.batch_in_epoch == self.per_epoch;
            if save || signal != 0 || enough || last || step.is_multiple_of(self.run.recipe.log_every) {
                let _timed = spans::part(|| "metrics".into(), 0);
                self.pending.flush(self.run, self.newest.as_deref())?;
            }
            drop(timed_step);
            if last {
                break;
            }
            if save || signal != 0 || enough {
                self.save(false)?;
            }
            if signal != 0 {
                return Err(self.interrupted(signal));
            }
            if enough {
                return Ok(false);
            }
        }
        self.end_epoch()
    }

    /// One step.
    fn step(&mut self, loader: &mut Loader) -> Result<()> {
        self.pending.begin();
        let clock = self.run.session.clock();
        let fact = format_args!("step {} (epoch {})", clock.step + 1, clock.epoch + 1);
        trail::tell(Fact::Step, fact);
        let waited = loader.waited();
        let timed = spans::part(|| "data".into(), 0);
        let batches = batches(self.run, loader);
        drop(timed);
        let batches = batches.map_err(|error| self.unread(error))?;
        let waited = loader.waited() - waited;
        self.pending.waited(waited);
        self.run.history.waited += waited.as_secs_f64();
        let images: u64 = batches.iter().map(|b| b.images.size()[0] as u64).sum();
        let images = images * self.run.context.processes() as u64;
        let report = self.run.session.step_with(batches, &self.options);
        let report = report.map_err(|error| self.failed(error))?;
        self.run.batch_in_epoch += 1;
        self.run.history.images += images;
        let step = self.run.session.clock().step;
        self.pending.push(step, images, report);
        self.run.context.loggers.tell(Event::Progress { step, epoch: clock.epoch })
    }

    /// Evaluates, where it is due, and saves. False if the run shall stop before its end.
    fn end_epoch(&mut self) -> Result<bool> {
        let clock = self.run.session.clock();
        let epoch = clock.epoch + 1;
        self.run.session.set_clock(Clock { epoch, ..clock });
        self.run.batch_in_epoch = 0;
        let due = epoch.is_multiple_of(self.run.recipe.evaluate.every) || epoch == self.run.recipe.epochs;
        let best = if due { evaluation(self.run).map_err(|error| self.unevaluated(error))? } else { false };
        self.save(best)?;
        let signal = self.run.context.signal()?;
        if signal != 0 && !self.is_done() {
            return Err(self.interrupted(signal));
        }
        Ok(!self.is_enough())
    }

    /// The batches of an epoch from where the run stands.
    fn loader(&self) -> Result<Loader> {
        let run = &*self.run;
        let epoch = run.session.clock().epoch;
        let (rank, processes) = (run.context.rank(), run.context.processes());
        // A part of a step is a batch; the processes take them in turns.
        let parts = run.batch_in_epoch as usize * run.recipe.accumulate
            ..self.per_epoch as usize * run.recipe.accumulate;
        let streams = run.session.world().streams;
        Ok(run.dataset.loader(Pass {
            split: Split::Train,
            order: streams.draws("order", "", epoch, 0).permutation(run.dataset.len(Split::Train)),
            batch: run.recipe.batch,
            batches: parts.map(|part| part * processes + rank).collect(),
            streams,
            purpose: "augment".into(),
            views: run.dataset.view_names(),
            epoch,
            first_step: 0,
        })?)
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// It cannot be written, or it is and all processes together found more broken files than `data.broken` allows.
    fn save(&mut self, best: bool) -> Result<PathBuf> {
        let run = &mut *self.run;
        run.history.seconds = self.before + self.begin.elapsed().as_secs_f64();
        let broken = match &run.context.group {
            Some(group) => {
                together::same_state(group, &run.session.tensors())?;
                Some(together::all_broken(group, &run.dataset)?)
            }
            None => None,
        };
        run.history.broken = run.dataset.broken();
        let clock = run.session.clock();
        let header = Header {
            images: Some(Images::of(&run.dataset)),
            started_from: run.started_from.clone(),
            ..Header::of(&run.recipe, run.session.method(), clock, run.batch_in_epoch, &run.history)
        };
        let saved = run.folder.save(&run.session, header, run.recipe.checkpoint.keep, best);
        let path = saved.map_err(|error| match error {
            Error::NotFinite { .. } => Error::Diverged {
                how: format!("at step {} {error}", clock.step),
                checkpoint: last_good(self.newest.as_deref()),
            },
            other => other,
        })?;
        trail::tell(Fact::Checkpoint, format_args!("{}", path.display()));
        run.context.loggers.tell(Event::Saved { path: path.clone(), step: clock.step })?;
        self.newest = Some(path.clone());
        if let Some(Err(error)) = broken.map(|broken| run.dataset.allow(&broken)) {
            let remedy = "go on with --resume once the files are whole again";
            return Err(Error::Input(format!("{error}; the state is saved in {}: {remedy}", path.display())));
        }
        Ok(path)
    }

    fn interrupted(&self, signal: i32) -> Error {
        Error::Interrupted { signal, checkpoint: self.newest.clone().unwrap_or_default() }
    }

    /// Saves the state that an error left whole, and says where it is.
    fn saved(&mut self, remedy: &str) -> String {
        if self.run.context.group.is_some() {
            // The other processes are in the middle of a step.
            return self.older();
        }
        // What waits belongs to steps that went well; what it says of them is not this error's business.
        let _ = self.pending.flush(self.run, self.newest.as_deref());
        match self.save(false) {
            Ok(path) => format!("The state before it is saved in {}: {remedy}", path.display()),
            Err(error) => format!("The state before it could not be saved ({error}). {}", self.older()),
        }
    }

    /// Where an older state is.
    fn older(&self) -> String {
        match &self.newest {
            Some(path) => format!("The newest checkpoint is {}", path.display()),
            None => "No checkpoint was written yet".into(),
        }
    }

    /// A batch could not be had: saves the state, so that a run of days is not lost to one broken file.
    fn unread(&mut self, error: Error) -> Error {
        let step = self.run.session.clock().step;
        if step == 0 || !matches!(error, Error::Data(_)) {
            return error;
        }
        let saved = self.saved(
            "go on with --resume once the file is whole again; a file less makes another dataset of it",
        );
        Error::Input(format!("{error}; this ended the run at step {}. {saved}", step + 1))
    }

    /// A step failed: saves the state before it, where the step left it alone.
    fn failed(&mut self, error: Error) -> Error {
        let step = self.run.session.clock().step + 1;
        // A state that the start makes again is not worth a file.
        let saved = if self.run.session.undid_failed_step() && step > 1 {
            self.saved("go on with --resume once it is mended")
        } else {
            self.older()
        };
        Error::Step { source: Box::new(error), step, saved }
    }

    /// The evaluation after an epoch failed: saves the state before it, from which a resumed run evaluates again.
    fn unevaluated(&mut self, error: Error) -> Error {
        let clock = self.run.session.clock();
        self.run.history.evaluations.retain(|(epoch, _)| *epoch != clock.epoch);
        self.run.session.set_clock(Clock { epoch: clock.epoch - 1, ..clock });
        self.run.batch_in_epoch = self.per_epoch;
        let saved = self.saved("go on with --resume once it is mended");
        Error::Evaluation { source: Box::new(error), epoch: clock.epoch, saved }
    }
}

/// The batches of one step.
fn batches(run: &Run, loader: &mut Loader) -> Result<Vec<Batch>> {
    (0..run.recipe.accumulate)
        .map(|_| {
            let batch = loader.next_batch(&run.dataset)?;
            batch.ok_or_else(|| Error::Input("the epoch ended within a step".into()))
        })
        .collect()
}

/// Evaluates; tells whether no evaluation before was better.
fn evaluation(run: &mut Run) -> Result<bool> {
    let _here = trail::enter(format_args!("the evaluation after it"));
    let mut heads = evaluate(&mut run.session, &run.dataset, &run.recipe, run.context.group.as_deref())?;
    heads.extend(probes(&run.session, &run.dataset, &run.recipe)?);
    // Process 0 has the output, and what it measures here moves nothing.
    let mixers = match run.context.writes() {
        true => trained_mixers(&mut run.session, &run.dataset, &run.recipe)?,
        false => Default::default(),
    };
    let clock = run.session.clock();
    let before = run.history.evaluations.last().map_or(0, |(epoch, _)| *epoch);
    for (name, report) in &mixers {
        if let Some(message) = dead(name, report, before, clock) {
            run.context.loggers.warn(message);
        }
    }
    let event = Event::Evaluated { step: clock.step, epoch: clock.epoch, heads: heads.clone(), mixers };
    run.context.loggers.tell(event)?;
    let reported = run.recipe.reported();
    run.history.evaluations.push((clock.epoch, heads));
    if run.context.writes()
        && let Some(look) = &mut run.after_evaluation
        && let Some(path) = look(&mut run.session, &run.dataset, &run.folder)?
    {
        run.context.loggers.tell(Event::Pictured { step: clock.step, epoch: clock.epoch, path })?;
    }
    let best = reported.and_then(|name| run.history.heads().get(&name).map(|head| head.last >= head.best));
    Ok(best.unwrap_or(false))
}
