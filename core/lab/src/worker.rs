//! A worker: trains what is missing of a plan, each run as a process of its own.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use admix_engine::RunFolder;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::claim::{self, Claim, HEARTBEAT};
use crate::experiment::Evaluation;
use crate::plan::{Plan, Planned};
use crate::status::Progress;

/// How often a worker looks at its processes.
const LOOK: Duration = Duration::from_millis(100);
/// How often it looks for runs of other workers that have ended.
const LOOK_AROUND: Duration = Duration::from_secs(2);

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
    /// The most runs that this worker takes.
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

/// A process and what it is for.
struct Job {
    run: usize,
    slot: usize,
    child: Child,
    claim: Claim,
    /// Of a measurement: where its outcome goes.
    measures: Option<PathBuf>,
    output: Vec<String>,
    asked_to_stop: bool,
}

/// A line of a process's stdout, or its end.
type Line = (usize, Option<String>);

/// Trains and measures until nothing is left to do.
///
/// # Errors
/// The folder of the runs cannot be written, or no process can be started. What fails in a run ends that run alone.
pub fn work(
    plan: &Plan,
    root: &Path,
    options: &Options<'_>,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<Outcome> {
    fs::create_dir_all(root).with_context(|| format!("cannot make the folder {}", root.display()))?;
    let started = now_on(root)?;
    let (sender, lines) = channel();
    let mut worker =
        Worker { plan, options, started, sender, lines, jobs: Vec::new(), taken: 0, told_waiting: 0 };
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
    told_waiting: usize,
}

impl Worker<'_> {
    fn go(&mut self, tell: &mut dyn FnMut(News<'_>)) -> Result<()> {
        let mut beat = Instant::now();
        let mut look = None::<Instant>;
        loop {
            self.hear(tell);
            let ended = self.reap(tell)?;
            if beat.elapsed() > HEARTBEAT {
                self.jobs.iter().for_each(|job| job.claim.beat());
                beat = Instant::now();
            }
            let stopping = self.options.stop.load(Ordering::Relaxed) != 0
                || self.options.until.is_some_and(|until| Instant::now() >= until);
            if stopping {
                self.ask_to_stop();
                if self.jobs.is_empty() {
                    return Ok(());
                }
            } else if self.jobs.len() < self.options.jobs
                && (ended || look.is_none_or(|look| look.elapsed() > LOOK_AROUND))
            {
                let waiting = self.fill(tell)?;
                look = Some(Instant::now());
                if self.jobs.is_empty() && waiting == 0 {
                    return Ok(());
                }
                if self.jobs.is_empty() && waiting != self.told_waiting {
                    tell(News::Waiting { runs: waiting });
                    self.told_waiting = waiting;
                }
            }
            thread::sleep(LOOK);
        }
    }

    fn evaluation(&self, run: &Planned) -> Option<&Evaluation> {
        self.plan.experiment.runs[run.variant].evaluation.as_ref()
    }

    fn progress(&self, at: usize) -> Progress {
        let run = &self.plan.runs[at];
        run.progress(self.evaluation(run))
    }

    /// Starts what can be started. Returns how many runs are in the hands of others.
    fn fill(&mut self, tell: &mut dyn FnMut(News<'_>)) -> Result<usize> {
        let mut elsewhere = 0;
        for at in 0..self.plan.runs.len() {
            if self.jobs.len() >= self.options.jobs
                || self.options.at_most.is_some_and(|most| self.taken >= most)
            {
                break;
            }
            // Runs of two experiments, and of two variants, may be one.
            let run = &self.plan.runs[at];
            let ours = self.jobs.iter().any(|job| self.plan.runs[job.run].folder == run.folder);
            if ours || !self.is_open(at)? {
                continue;
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
            let Some(claim) = Claim::take(&run.beside("claim")).with_context(|| cannot_claim(run))? else {
                elsewhere += 1;
                continue;
            };
            // It may have ended between the look and the claim.
            match self.progress(at) {
                _ if !self.is_open(at)? => {}
                Progress::Running => elsewhere += 1,
                progress => self.start(at, claim, &progress, tell)?,
            }
        }
        Ok(elsewhere)
    }

    /// Whether there is something to do for a run: one that failed is tried again by a worker that starts after that.
    fn is_open(&self, at: usize) -> Result<bool> {
        let run = &self.plan.runs[at];
        match self.progress(at) {
            Progress::Done(_) => Ok(false),
            Progress::Failed(_) => {
                let told = fs::metadata(run.beside("failed")).and_then(|facts| facts.modified());
                if told.is_ok_and(|at| at >= self.started) {
                    return Ok(false);
                }
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    fn start(
        &mut self,
        at: usize,
        claim: Claim,
        progress: &Progress,
        tell: &mut dyn FnMut(News<'_>),
    ) -> Result<()> {
        let run = &self.plan.runs[at];
        let slot = (0..).find(|slot| self.jobs.iter().all(|job| job.slot != *slot)).unwrap_or(0);
        let device = &self.options.devices[slot % self.options.devices.len()];
        let mut command = Command::new(&self.options.program);
        let trained = RunFolder::existing(&run.folder).state().is_done();
        let measures = self.evaluation(run).filter(|_| trained).map(|evaluation| {
            command.arg("eval").arg(&run.folder).args(evaluation.arguments());
            run.folder.join(evaluation.file())
        });
        if measures.is_none() {
            command.arg("run").args(&run.arguments);
            if RunFolder::existing(&run.folder).is_run() {
                if claim.from.is_some() {
                    RunFolder::existing(&run.folder).forget_owner();
                }
                command.arg("--resume");
            }
            command.arg("--out").arg(&run.folder).args(["--ends-with", &std::process::id().to_string()]);
        }
        command.args(["--device", device, "--format", "json"]).args(&self.options.more);
        let log_path = run.beside("log");
        let log = OpenOptions::new().create(true).append(true).open(&log_path);
        let log = log.with_context(|| format!("cannot write {}", log_path.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        group(&mut command);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", self.options.program.display()))?;
        // What failed before is tried again.
        let _ = fs::remove_file(run.beside("failed"));
        if let Some(stdout) = child.stdout.take() {
            let sender = self.sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send((at, Some(line))).is_err() {
                        return;
                    }
                }
                let _ = sender.send((at, None));
            });
        }
        let what = if measures.is_some() { "measure" } else { "train" };
        if *progress != Progress::Trained {
            self.taken += 1;
        }
        tell(News::Started { run, what, device, taken_from: claim.from.as_deref() });
        self.jobs.push(Job {
            run: at,
            slot,
            child,
            claim,
            measures,
            output: Vec::new(),
            asked_to_stop: false,
        });
        Ok(())
    }

    /// Passes on what the processes have said.
    fn hear(&mut self, tell: &mut dyn FnMut(News<'_>)) {
        while let Ok((at, line)) = self.lines.try_recv() {
            self.heard(at, line, tell);
        }
    }

    fn heard(&mut self, at: usize, line: Option<String>, tell: &mut dyn FnMut(News<'_>)) {
        let Some(line) = line else { return };
        if let Ok(event) = serde_json::from_str(&line) {
            tell(News::Event { run: &self.plan.runs[at], event: &event });
        }
        if let Some(job) = self.jobs.iter_mut().find(|job| job.run == at && job.measures.is_some()) {
            job.output.push(line);
        }
    }

    /// Takes note of the processes that have ended. Whether there were some.
    fn reap(&mut self, tell: &mut dyn FnMut(News<'_>)) -> Result<bool> {
        let mut at = 0;
        let mut any = false;
        while at < self.jobs.len() {
            let Some(status) = self.jobs[at].child.try_wait()? else {
                at += 1;
                continue;
            };
            any = true;
            // Its last words may still be in the pipe.
            let number = self.jobs[at].run;
            while let Ok((run, line)) = self.lines.recv_timeout(Duration::from_secs(5)) {
                let end = run == number && line.is_none();
                self.heard(run, line, tell);
                if end {
                    break;
                }
            }
            let job = self.jobs.remove(at);
            let run = &self.plan.runs[job.run];
            if let (Some(file), true) = (&job.measures, status.success()) {
                let whole = job.output.join("\n");
                let saved = RunFolder::existing(&run.folder)
                    .replace(&file.file_name().unwrap_or_default().to_string_lossy(), whole.as_bytes());
                if let Err(error) = saved {
                    give_up(run, &error.to_string());
                }
            }
            let stopped = job.asked_to_stop && !status.success();
            if !status.success() && !stopped && !was_stopped(status) {
                give_up(run, &last_words(run).unwrap_or_else(|| format!("ended with {status}")));
            }
            let progress = self.progress(job.run);
            drop(job.claim);
            tell(News::Ended { run, progress: &progress });
        }
        Ok(any)
    }

    /// Asks every process once to save and stop.
    fn ask_to_stop(&mut self) {
        for job in self.jobs.iter_mut().filter(|job| !job.asked_to_stop) {
            job.asked_to_stop = true;
            if let Some(process) = i32::try_from(job.child.id()).ok().and_then(Pid::from_raw) {
                // One that has just ended needs no signal.
                let _ = kill_process(process, Signal::TERM);
            }
        }
    }

    /// Waits for what still runs after an error of the worker itself.
    fn end_all(&mut self, tell: &mut dyn FnMut(News<'_>)) {
        self.ask_to_stop();
        while !self.jobs.is_empty() {
            self.hear(tell);
            if self.reap(tell).is_err() {
                return;
            }
            thread::sleep(LOOK);
        }
    }
}

/// A signal to the worker's group, as Ctrl-C sends it, shall reach the worker alone: it asks each process once.
#[cfg(unix)]
fn group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

/// Whether a run says by its exit code that a signal stopped it and its state is saved.
fn was_stopped(status: std::process::ExitStatus) -> bool {
    matches!(status.code(), Some(129 | 130 | 143))
}

fn cannot_claim(run: &Planned) -> String {
    format!("cannot write {}", run.beside("claim").display())
}

/// Notes why a run failed, for every worker and for the table.
fn give_up(run: &Planned, why: &str) {
    // Without the note, another worker tries it once more.
    let _ = fs::write(run.beside("failed"), why);
}

/// The last line that a process wrote to its log.
fn last_words(run: &Planned) -> Option<String> {
    let text = fs::read(run.beside("log")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.strip_prefix("error: ").unwrap_or(line).to_owned())
}

/// How many runs of a plan other workers train now.
pub fn claimed(plan: &Plan) -> usize {
    plan.runs.iter().filter(|run| claim::is_claimed(&run.beside("claim"))).count()
}
