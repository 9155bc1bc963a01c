//! The loop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use admix_api::spans;
use admix_data::{Batch, Loader, Pass, Split};
use admix_torch::trail::{self, Fact};
use admix_torch::{Kind, Tensor};

use crate::loggers::Event;
use crate::method::{StepReport, verdict};
use crate::precision::Precision;
use crate::run::Run;
use crate::run::checkpoint::Header;
use crate::run::evaluate::evaluate;
use crate::run::facts::{RunFacts, Status};
use crate::run::metrics::Summary;
use crate::run::probe::probes;
use crate::session::{Execution, StepOptions};
use crate::{Error, Result};

/// Values that wait on the device to be read together.
#[derive(Default)]
struct Pending {
    reports: Vec<(u64, StepReport)>,
    since: Option<Instant>,
    images: u64,
    /// Time spent waiting for streamed images.
    waited: Duration,
    /// Step, epoch and term of the first value that was not finite.
    first_bad: Option<(u64, u64, String)>,
    /// The steps in which each term was not finite; the empty name stands for steps all of whose terms were.
    bad_terms: BTreeMap<String, BTreeSet<u64>>,
    skipped_before: u64,
}

/// Trains, and writes `run.json` however it ends.
pub(super) fn train(run: &mut Run) -> Result<Summary> {
    let (begin, before) = (Instant::now(), run.history.seconds);
    let outcome = steps(run);
    // Also of a run that ends by an error.
    run.history.seconds = before + begin.elapsed().as_secs_f64();
    let status = match &outcome {
        Ok(finished) if *finished => Status::Done,
        Ok(_) | Err(Error::Interrupted { .. }) => Status::Stopped,
        Err(_) => Status::Failed,
    };
    let facts = facts(run, status, outcome.as_ref().err().map(ToString::to_string));
    let written = facts.and_then(|facts| {
        let text = serde_json::to_string_pretty(&facts).unwrap_or_default();
        run.folder.replace("run.json", text.as_bytes())?;
        Ok(facts.summary)
    });
    // What ended the run is the error that counts, not that a full disk holds no facts about it.
    outcome.and(written)
}

/// Trains; tells whether all epochs are done.
fn steps(run: &mut Run) -> Result<bool> {
    let begin = Instant::now();
    let before = run.history.seconds;
    let mut pending = Pending { skipped_before: run.history.skipped, ..Pending::default() };
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
    let execution = if run.session.is_capturing() { Execution::Captured } else { Execution::Direct };
    let options = StepOptions { execution, ..StepOptions::default() };
    let per_epoch = clock.steps / clock.epochs.max(1);
    let mut newest: Option<PathBuf> = run.resumed_from.clone();
    if let Some(path) = &newest {
        trail::tell(Fact::Checkpoint, format_args!("{}", path.display()));
    }
    if run.max_steps.is_some_and(|max| clock.step >= max) {
        return Ok(clock.epoch >= run.recipe.epochs);
    }
    while run.session.clock().epoch < run.recipe.epochs {
        let epoch = run.session.clock().epoch;
        let mut loader = loader(run, epoch, per_epoch)?;
        while run.batch_in_epoch < per_epoch {
            pending.since.get_or_insert_with(Instant::now);
            let timed_step = spans::step(run.session.clock().step + 1);
            trail::tell(
                Fact::Step,
                format_args!("step {} (epoch {})", run.session.clock().step + 1, epoch + 1),
            );
            let waited = loader.waited();
            let timed = spans::part(|| "data".into(), 0);
            let batches = batches(run, &mut loader);
            drop(timed);
            let batches = match batches {
                Ok(batches) => batches,
                Err(error) => {
                    run.history.seconds = before + begin.elapsed().as_secs_f64();
                    return Err(unread(run, error, &mut pending, newest));
                }
            };
            let waited = loader.waited() - waited;
            pending.waited += waited;
            run.history.waited += waited.as_secs_f64();
            let images: u64 = batches.iter().map(|b| b.images.size()[0] as u64).sum();
            let report = match run.session.step_with(batches, &options) {
                Ok(report) => report,
                Err(error) => {
                    run.history.seconds = before + begin.elapsed().as_secs_f64();
                    return Err(failed(run, error, &mut pending, newest));
                }
            };
            run.batch_in_epoch += 1;
            run.history.images += images;
            pending.images += images;
            let step = run.session.clock().step;
            pending.reports.push((step, report));
            run.context.loggers.tell(Event::Progress { step, epoch })?;

            let save = run.recipe.checkpoint.every_steps.is_some_and(|every| step.is_multiple_of(every));
            let signal = run.context.signal();
            let enough = run.max_steps.is_some_and(|max| step >= max);
            let last = run.batch_in_epoch == per_epoch;
            if save || signal != 0 || enough || last || step.is_multiple_of(run.recipe.log_every) {
                let _timed = spans::part(|| "metrics".into(), 0);
                flush(run, &mut pending, newest.as_ref())?;
            }
            drop(timed_step);
            if !last && (save || signal != 0 || enough) {
                run.history.seconds = before + begin.elapsed().as_secs_f64();
                newest = Some(checkpoint(run, false, newest.as_ref())?);
            }
            if !last && signal != 0 {
                return Err(Error::Interrupted { signal, checkpoint: newest.unwrap_or_default() });
            }
            if enough && !last {
                return Ok(false);
            }
        }
        let mut clock = run.session.clock();
        clock.epoch += 1;
        run.session.set_clock(clock);
        run.batch_in_epoch = 0;
        let due = clock.epoch.is_multiple_of(run.recipe.evaluate.every) || clock.epoch == run.recipe.epochs;
        let best = if due { evaluation(run)? } else { false };
        run.history.seconds = before + begin.elapsed().as_secs_f64();
        let path = checkpoint(run, best, newest.as_ref())?;
        newest = Some(path.clone());
        let signal = run.context.signal();
        if signal != 0 && clock.epoch < run.recipe.epochs {
            return Err(Error::Interrupted { signal, checkpoint: path });
        }
        if run.max_steps.is_some_and(|max| clock.step >= max) {
            break;
        }
    }
    Ok(run.session.clock().epoch >= run.recipe.epochs)
}

/// The batches of an epoch from where the run stands.
fn loader(run: &Run, epoch: u64, per_epoch: u64) -> Result<Loader> {
    let parts = run.recipe.accumulate;
    let streams = run.session.world().streams;
    Ok(run.dataset.loader(Pass {
        split: Split::Train,
        order: streams.draws("order", "", epoch, 0).permutation(run.dataset.len(Split::Train)),
        batch: run.recipe.batch,
        batches: run.batch_in_epoch as usize * parts..per_epoch as usize * parts,
        streams,
        purpose: "augment".into(),
        views: run.dataset.view_names(),
        epoch,
        first_step: 0,
    })?)
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

/// A batch could not be had: saves the state, so that a run of days is not lost to one broken file.
fn unread(run: &mut Run, error: Error, pending: &mut Pending, newest: Option<PathBuf>) -> Error {
    let step = run.session.clock().step;
    if step == 0 || !matches!(error, Error::Data(_)) {
        return error;
    }
    // What waits belongs to steps that went well; what it says of them is not this error's business.
    let _ = flush(run, pending, newest.as_ref());
    let saved = match checkpoint(run, false, newest.as_ref()) {
        Ok(path) => format!(
            "The state before it is saved in {}: go on with --resume once the file is whole again; a file less makes \
             another dataset of it",
            path.display()
        ),
        Err(error) => format!("The state before it could not be saved ({error})"),
    };
    Error::Input(format!("{error}; this ended the run at step {}. {saved}", step + 1))
}

/// Reads what waits on the device: one copy for everything since the last time.
fn flush(run: &mut Run, pending: &mut Pending, newest: Option<&PathBuf>) -> Result<()> {
    let Some((_, last)) = pending.reports.last() else { return Ok(()) };
    let (rates, momentum) = (last.rates.clone(), last.momentum);
    let mut names: Vec<(u64, Option<(String, bool)>)> = Vec::new();
    let mut scalars = Vec::new();
    let mut watched: Vec<String> = Vec::new();
    for (label, health) in pending.reports.iter().flat_map(|(_, report)| &report.health) {
        watched.push(label.clone());
        scalars.push(health.f_to_kind(Kind::Float)?);
    }
    for (step, report) in &pending.reports {
        for (name, value) in &report.losses {
            names.push((*step, Some((name.clone(), true))));
            scalars.push(value.f_to_kind(Kind::Float)?);
        }
        for (name, value) in &report.logged {
            names.push((*step, Some((name.clone(), false))));
            scalars.push(value.f_to_kind(Kind::Float)?);
        }
        if let Some(found) = &report.found_inf {
            names.push((*step, None));
            scalars.push(found.f_to_kind(Kind::Float)?);
        }
    }
    let mut values: Vec<f32> =
        Vec::try_from(&Tensor::f_stack(&scalars, 0)?.f_to_device(admix_torch::Device::Cpu)?)?;
    let clock = run.session.clock();
    for (label, health) in watched.iter().zip(&values) {
        if let Err(error) = verdict(label, f64::from(*health)) {
            let saved = match newest {
                Some(path) => format!("The last checkpoint before it is {}", path.display()),
                None => "No checkpoint was written yet".into(),
            };
            return Err(Error::Step { source: Box::new(error), step: clock.step, saved });
        }
    }
    let values = values.split_off(watched.len());
    let mut sums: BTreeMap<(bool, String), (f64, u64)> = BTreeMap::new();
    let mut skipped = 0;
    let mut last_bad = 0;
    for ((step, name), value) in names.into_iter().zip(values) {
        match name {
            Some((name, is_loss)) => {
                if is_loss && !value.is_finite() {
                    let what = format!("term `{name}` ({value})");
                    pending.first_bad.get_or_insert((step, clock.epoch + 1, what));
                    pending.bad_terms.entry(name.clone()).or_default().insert(step);
                    last_bad = step;
                }
                let sum = sums.entry((is_loss, name)).or_default();
                *sum = (sum.0 + f64::from(value), sum.1 + 1);
            }
            None if value != 0.0 => {
                skipped += 1;
                let what = "a gradient or a running value (all terms were finite)";
                pending.first_bad.get_or_insert((step, clock.epoch + 1, what.into()));
                if last_bad != step {
                    pending.bad_terms.entry(String::new()).or_default().insert(step);
                }
            }
            None => {}
        }
    }
    run.history.skipped += skipped;
    let seconds = pending.since.map_or(0.0, |s| s.elapsed().as_secs_f64());
    let pick = |wanted: bool| {
        sums.iter()
            .filter(|((is_loss, _), _)| *is_loss == wanted)
            .map(|((_, name), (sum, count))| (name.clone(), sum / (*count).max(1) as f64))
            .collect()
    };
    let groups: Vec<String> =
        run.session.world().optimizer.groups().iter().map(|group| group.name.clone()).collect();
    let event = Event::Train {
        step: clock.step,
        epoch: clock.epoch,
        losses: pick(true),
        logged: pick(false),
        lr: groups.into_iter().zip(rates).collect(),
        momentum,
        images_per_s: if seconds > 0.0 { pending.images as f64 / seconds } else { 0.0 },
        data_wait: share(run, pending.waited.as_secs_f64(), seconds),
        skipped: run.history.skipped,
    };
    run.context.loggers.tell(event)?;
    pending.reports.clear();
    pending.since = None;
    pending.images = 0;
    pending.waited = Duration::ZERO;
    if run.history.skipped > pending.skipped_before {
        pending.skipped_before = run.history.skipped;
        let (step, epoch, what) =
            pending.first_bad.clone().unwrap_or((clock.step, clock.epoch + 1, "a value".into()));
        if run.history.skipped >= run.recipe.max_bad_steps {
            let each = pending.bad_terms.iter().map(|(name, steps)| match name.as_str() {
                "" => format!("gradients or running values alone in {}", steps.len()),
                name => format!("`{name}` in {}", steps.len()),
            });
            let how = format!(
                "{} steps had a value that is not finite and were skipped (limit `max_bad_steps`), the first for {what} at \
                 step {step} (epoch {epoch}); {} of them",
                run.history.skipped,
                each.collect::<Vec<_>>().join(", ")
            );
            return Err(Error::Diverged { how, checkpoint: last_good(newest) });
        }
        run.context.loggers.warn(format!(
            "{} steps were skipped so far: {what} was not finite at step {step} (epoch {epoch})",
            run.history.skipped
        ));
    }
    Ok(())
}

/// Where the last good state is, for a run that diverged.
fn last_good(newest: Option<&PathBuf>) -> String {
    match newest {
        Some(path) => format!("the last good checkpoint is {}", path.display()),
        None => "no checkpoint was written yet".into(),
    }
}

/// The share of some time that training waited for images; `None` where they are resident.
fn share(run: &Run, waited: f64, seconds: f64) -> Option<f64> {
    run.dataset.worked().map(|_| if seconds > 0.0 { waited / seconds } else { 0.0 })
}

/// A step failed: saves the state before it, where the step left it alone, and says where it is.
fn failed(run: &mut Run, error: Error, pending: &mut Pending, newest: Option<PathBuf>) -> Error {
    let step = run.session.clock().step + 1;
    let older = match &newest {
        Some(path) => format!("The newest checkpoint is {}", path.display()),
        None => "No checkpoint was written yet".into(),
    };
    // A state that the start makes again is not worth a file.
    let saved = if run.session.undid_failed_step() && step > 1 {
        // What waits belongs to steps that went well; what it says of them is not this error's business.
        let _ = flush(run, pending, newest.as_ref());
        match checkpoint(run, false, newest.as_ref()) {
            Ok(path) => {
                format!(
                    "The state before it is saved in {}: go on with --resume once it is mended",
                    path.display()
                )
            }
            Err(error) => format!("The state before it could not be saved ({error}). {older}"),
        }
    } else {
        older
    };
    Error::Step { source: Box::new(error), step, saved }
}

fn evaluation(run: &mut Run) -> Result<bool> {
    let _here = trail::enter(format_args!("the evaluation after it"));
    let mut heads = evaluate(&mut run.session, &run.dataset, &run.recipe)?;
    heads.extend(probes(&run.session, &run.dataset, &run.recipe)?);
    let clock = run.session.clock();
    let event = Event::Evaluated { step: clock.step, epoch: clock.epoch, heads: heads.clone() };
    run.context.loggers.tell(event)?;
    let reported = run.recipe.reported();
    run.history.evaluations.push((clock.epoch, heads));
    if let Some(look) = &mut run.after_evaluation {
        look(&mut run.session, &run.dataset, &run.folder)?;
    }
    let best = reported.and_then(|name| run.history.heads().get(&name).map(|head| head.last >= head.best));
    Ok(best.unwrap_or(false))
}

fn checkpoint(run: &mut Run, best: bool, newest: Option<&PathBuf>) -> Result<PathBuf> {
    let clock = run.session.clock();
    let header = Header::of(&run.recipe, run.session.method(), clock, run.batch_in_epoch, &run.history);
    let saved = run.folder.save(&run.session, header, run.recipe.checkpoint.keep, best);
    let path = saved.map_err(|error| match error {
        Error::NotFinite { .. } => {
            Error::Diverged { how: format!("at step {} {error}", clock.step), checkpoint: last_good(newest) }
        }
        other => other,
    })?;
    trail::tell(Fact::Checkpoint, format_args!("{}", path.display()));
    run.context.loggers.tell(Event::Saved { path: path.clone(), step: clock.step })?;
    Ok(path)
}

fn facts(run: &Run, status: Status, error: Option<String>) -> Result<RunFacts> {
    let clock = run.session.clock();
    let heads = run.history.heads();
    let summary = Summary {
        report: run.recipe.reported().filter(|name| heads.contains_key(name)),
        heads,
        step: clock.step,
        epoch: clock.epoch,
        finished: status == Status::Done,
        seconds: run.history.seconds,
        skipped: run.history.skipped,
        folder: run.folder.root.clone(),
    };
    let weights = run.session.weights()?;
    let world = run.session.world();
    Ok(RunFacts {
        status,
        error,
        wall_s: summary.seconds,
        data_wait: share(run, run.history.waited, run.history.seconds),
        clustering_s: run.session.clustering_time().as_secs_f64(),
        capture: run.session.captures(),
        summary,
        version: env!("CARGO_PKG_VERSION").into(),
        libtorch: admix_torch::handles::libtorch_version().to_string(),
        device: describe_device(world.device),
        precision: world.precision,
        tf32: world.device.is_cuda() && admix_torch::tf32()?,
        channels_last: world.channels_last,
        threads: admix_torch::threads(),
        seed: run.recipe.seed,
        recipe: run.recipe.file.clone(),
        script: run.session.method().file().into(),
        params: run.session.params(),
        weights,
        plugins_from_elsewhere: world.mixers.iter().filter_map(|m| m.watched.clone()).collect(),
        data: run.dataset.info().name.clone(),
        train_images: run.dataset.len(Split::Train),
        test_images: run.dataset.len(Split::Test),
    })
}

/// The device, and the precision where it is not float32.
fn describe(run: &Run) -> String {
    let world = run.session.world();
    let device = describe_device(world.device);
    match world.precision {
        Precision::Fp32 => device,
        lower => format!("{device}, {}", lower.name()),
    }
}

fn describe_device(device: admix_torch::Device) -> String {
    match device {
        admix_torch::Device::Cpu => format!("cpu ({} threads)", admix_torch::threads()),
        other => format!("{other:?}"),
    }
}
