//! A worker: trains what is missing of a plan, each run as a process of its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use admix_engine::RunFolder;
use anyhow::{Context, Result};
use serde_json::Value;

use crate::claim::Claim;
use crate::experiment::Evaluation;
use crate::job::{Job, Line, Start};
use crate::plan::{Plan, Planned};
use crate::status::Progress;

/// How often a worker looks at its processes.
const LOOK: Duration = Duration::from_millis(100);
/// How often it looks for runs of other workers that have ended.
const LOOK_AROUND: Duration = Duration::from_secs(2);
/// How long the last words of a process that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How a worker runs.
#[derive(Debug)]
pub struct Options<'a> {
    /// The program.
    pub program: PathBuf,
    /// Devices, one run on each at a time, in turn.
    pub devices: Vec<String>,
    /// Runs at a time.
    pub jobs: usize,
    /// Further arguments of `admix run` and `admix eval`, such as `--threads 1`.
    pub more: Vec<String>,
    /// No run starts after this time, and those that go on are stopped and saved.
    pub until: Option<Instant>,
    /// The most runs that this worker trains. It then waits for no other worker.
    pub at_most: Option<usize>,
    /// A signal that asks to stop; 0 for none.
    pub stop: &'a AtomicI32,
}

/// What happens.
#[derive(Debug)]
pub enum News<'a> {
    /// A run begins or goes on, or is measured, on a device.
    Started {
        /// Which.
        run: &'a Planned,
        /// "train" or "measure".
        what: &'static str,
        /// Where.
        device: &'a str,
        /// The dead worker whose run it was.
        taken_from: Option<&'a str>,
    },
    /// An event of its training.
    Event {
        /// Which.
        run: &'a Planned,
        /// A line of `admix run --format json`.
        event: &'a Value,
    },
    /// A process has ended.
    Ended {
        /// Which.
        run: &'a Planned,
        /// How far the run is now.
        progress: &'a Progress,
    },
    /// All that is left is claimed by other workers.
    Waiting {
        /// How many runs.
        runs: usize,
    },
}

/// What a worker leaves behind: how far every run of the plan is.
#[derive(Debug)]
pub struct Outcome {
    /// As in [`Plan::runs`].
    pub progress: Vec<Progress>,
    /// The signal that stopped it; 0 for none.
    pub signal: i32,
}

/// Trains and measures until nothing is left to do.
///
/// # Errors
/// The folder of the runs cannot be written. What fails in a run ends that run alone.
pub fn work(
    plan: &Plan,
    root: &Path,
    options: &Options<'_>,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<Outcome> {
    fs::create_dir_all(root).with_context(|| format!("cannot make the folder {}", root.display()))?;
    let started = now_on(root)?;
    let (sender, lines) = channel();
    let (jobs, given_up, done) = (Vec::new(), BTreeMap::new(), RefCell::default());
    let mut worker = Worker { plan, options, started, sender, lines, jobs, taken: 0, given_up, done };
    let outcome = worker.go(tell);
    worker.end_all(tell);
    outcome?;
    let progress = (0..plan.runs.len()).map(|at| worker.progress(at)).collect();
    Ok(Outcome { progress, signal: options.stop.load(Ordering::Relaxed) })
}

/// The time by the clock of a folder's file system.
fn now_on(folder: &Path) -> Result<SystemTime> {
    let file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write into the folder {}", folder.display()))?;
    Ok(file.as_file().metadata()?.modified()?)
}

struct Worker<'a> {
    plan: &'a Plan,
    options: &'a Options<'a>,
    started: SystemTime,
    sender: Sender<Line>,
    lines: Receiver<Line>,
    jobs: Vec<Job>,
    taken: usize,
    /// Why runs failed, also where it could not be written down.
    given_up: BTreeMap<usize, String>,
    /// Runs that are done stay so: their files are read once.
    done: RefCell<BTreeMap<usize, Progress>>,
}

impl Worker<'_> {
    fn go(&mut self, tell: &mut dyn FnMut(News<'_>)) -> Result<()> {
        let (mut look, mut told) = (None::<Instant>, 0);
        loop {
            self.hear(tell);
            let ended = self.reap(tell)?;
            if self.is_stopping() {
                self.jobs.iter_mut().for_each(Job::ask_to_stop);
                if self.jobs.is_empty() {
                    return Ok(());
                }
            } else if self.jobs.len() < self.options.jobs
                && (ended || look.is_none_or(|look| look.elapsed() > LOOK_AROUND))
            {
                let waiting = self.fill(tell);
                look = Some(Instant::now());
                if self.jobs.is_empty() && (waiting == 0 || self.options.at_most.is_some()) {
                    return Ok(());
                }
                if self.jobs.is_empty() && waiting != told {
                    tell(News::Waiting { runs: waiting });
                    told = waiting;
                }
            }
            thread::sleep(LOOK);
        }
    }

    fn is_stopping(&self) -> bool {
        let late = self.options.until.is_some_and(|until| Instant::now() >= until);
        late || self.options.stop.load(Ordering::Relaxed) != 0
    }

    fn evaluation(&self, run: &Planned) -> Option<&Evaluation> {
        self.plan.experiment.runs[run.variant].evaluation.as_ref()
    }

    fn progress(&self, at: usize) -> Progress {
        if let Some(progress) = self.done.borrow().get(&at) {
            return progress.clone();
        }
        if let Some(why) = self.given_up.get(&at) {
            return Progress::Failed(why.clone());
        }
        let run = &self.plan.runs[at];
        let progress = run.progress(self.evaluation(run));
        if matches!(progress, Progress::Done(_)) {
            self.done.borrow_mut().insert(at, progress.clone());
        }
        progress
    }

    /// Starts what can be started: runs that have failed before come last. Returns how many are in the hands of others.
    fn fill(&mut self, tell: &mut dyn FnMut(News<'_>)) -> usize {
        let mut elsewhere = 0;
        let (failed, fresh): (Vec<usize>, Vec<usize>) =
            (0..self.plan.runs.len()).partition(|at| matches!(self.progress(*at), Progress::Failed(_)));
        for at in fresh.into_iter().chain(failed) {
            if self.jobs.len() >= self.options.jobs {
                break;
            }
            // Runs of two experiments, and of two variants, may be one.
            let run = &self.plan.runs[at];
            if self.jobs.iter().any(|job| self.plan.runs[job.run].folder == run.folder) {
                continue;
            }
            match self.progress(at) {
                Progress::Done(_) => continue,
                Progress::Running => {
                    elsewhere += 1;
                    continue;
                }
                Progress::Failed(_) if self.is_given_up(at) => continue,
                Progress::Trained => {}
                _ if self.options.at_most.is_some_and(|most| self.taken >= most) => continue,
                _ => {}
            }
            if let Some(after) = run.after {
                match self.progress(after) {
                    Progress::Done(_) | Progress::Trained => {}
                    Progress::Failed(_) => continue,
                    _ => {
                        elsewhere += usize::from(!self.jobs.iter().any(|job| job.run == after));
                        continue;
                    }
                }
            }
            let claim = match Claim::take(&run.beside("claim")) {
                Ok(Some(claim)) => claim,
                Ok(None) => {
                    elsewhere += 1;
                    continue;
                }
                Err(error) => {
                    let why = format!("cannot write {}: {error}", run.beside("claim").display());
                    self.give_up(at, why, tell);
                    continue;
                }
            };
            // It may have ended between the look and the claim.
            match self.progress(at) {
                Progress::Done(_) => {}
                Progress::Running => elsewhere += 1,
                _ => self.start(at, claim, tell),
            }
        }
        elsewhere
    }

    /// Whether a run failed since this worker began: it is tried again by one that begins later.
    fn is_given_up(&self, at: usize) -> bool {
        let run = &self.plan.runs[at];
        let trained = RunFolder::existing(&run.folder).state().is_done();
        let note = run.note(self.evaluation(run).filter(|_| trained));
        let told = fs::metadata(note).and_then(|facts| facts.modified());
        self.given_up.contains_key(&at) || told.is_ok_and(|at| at >= self.started)
    }

    fn give_up(&mut self, at: usize, why: String, tell: &mut dyn FnMut(News<'_>)) {
        let progress = Progress::Failed(why.clone());
        self.given_up.insert(at, why);
        tell(News::Ended { run: &self.plan.runs[at], progress: &progress });
    }

    fn start(&mut self, at: usize, claim: Claim, tell: &mut dyn FnMut(News<'_>)) {
        let run = &self.plan.runs[at];
        let slot = (0..).find(|slot| self.jobs.iter().all(|job| job.slot != *slot)).unwrap_or(0);
        let device = &self.options.devices[slot % self.options.devices.len()];
        let trained = RunFolder::existing(&run.folder).state().is_done();
        let measures = self.evaluation(run).filter(|_| trained);
        let start = Start {
            program: &self.options.program,
            device,
            more: &self.options.more,
            lines: self.sender.clone(),
        };
        match Job::start((at, run, slot), measures, claim, start) {
            Ok(job) => {
                let what = if job.measures.is_some() { "measure" } else { "train" };
                self.taken += usize::from(job.measures.is_none());
                tell(News::Started { run, what, device, taken_from: job.taken_from() });
                self.jobs.push(job);
            }
            Err(error) => self.give_up(at, format!("{error:#}"), tell),
        }
    }

    /// Passes on what the processes have said.
    fn hear(&mut self, tell: &mut dyn FnMut(News<'_>)) {
        while let Ok((at, line)) = self.lines.try_recv() {
            self.heard(at, line, tell);
        }
    }

    fn heard(&mut self, at: usize, line: Option<String>, tell: &mut dyn FnMut(News<'_>)) {
        let Some(line) = line else { return };
        let run = &self.plan.runs[at];
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        let warning = event["message"].as_str().filter(|_| event["event"] == "warning");
        if let Some(job) = self.jobs.iter_mut().find(|job| job.run == at) {
            job.heard(line, warning, run);
        }
        tell(News::Event { run, event: &event });
    }

    /// Takes note of the processes that have ended. Whether there were some.
    fn reap(&mut self, tell: &mut dyn FnMut(News<'_>)) -> Result<bool> {
        let mut at = 0;
        let mut any = false;
        while at < self.jobs.len() {
            let Some(status) = self.jobs[at].ended()? else {
                at += 1;
                continue;
            };
            any = true;
            // Its last words may still be in the pipe.
            let number = self.jobs[at].run;
            let until = Instant::now() + LAST_WORDS;
            while let Ok((run, line)) =
                self.lines.recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                let end = run == number && line.is_none();
                self.heard(run, line, tell);
                if end {
                    break;
                }
            }
            let job = self.jobs.remove(at);
            let run = &self.plan.runs[number];
            if let Some(why) = job.end(status, run) {
                self.given_up.insert(number, why);
            }
            let progress = self.progress(number);
            tell(News::Ended { run, progress: &progress });
        }
        Ok(any)
    }

    /// Waits for what still runs after an error of the worker itself.
    fn end_all(&mut self, tell: &mut dyn FnMut(News<'_>)) {
        self.jobs.iter_mut().for_each(Job::ask_to_stop);
        while !self.jobs.is_empty() {
            self.hear(tell);
            if self.reap(tell).is_err() {
                return;
            }
            thread::sleep(LOOK);
        }
    }
}
