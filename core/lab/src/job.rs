//! A process that trains or measures one run.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use admix_engine::RunFolder;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::claim::Claim;
use crate::experiment::Evaluation;
use crate::plan::Planned;

/// A line of a process's stdout, or its end.
pub(crate) type Line = (usize, Option<String>);

/// A process and what it is for.
pub(crate) struct Job {
    /// The number of its run in the plan.
    pub(crate) run: usize,
    /// Its place among the processes that go on at a time.
    pub(crate) slot: usize,
    /// What it measures; it trains otherwise.
    pub(crate) measures: Option<Evaluation>,
    claim: Claim,
    child: Child,
    /// What a measurement has said.
    output: Vec<String>,
    asked_to_stop: bool,
    /// How long the log was when it began.
    log_from: u64,
}

/// What a process is started with.
pub(crate) struct Start<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// Where it computes.
    pub(crate) device: &'a str,
    /// Further arguments.
    pub(crate) more: &'a [String],
    /// Hears its stdout.
    pub(crate) lines: Sender<Line>,
}

impl Job {
    /// Starts the process of a claimed run.
    ///
    /// # Errors
    /// The log cannot be written, or the process not be started.
    pub(crate) fn start(
        (number, run, slot): (usize, &Planned, usize),
        measures: Option<&Evaluation>,
        claim: Claim,
        start: Start<'_>,
    ) -> Result<Self> {
        let mut command = Command::new(start.program);
        match measures {
            Some(evaluation) => drop(command.arg("eval").arg(&run.folder).args(evaluation.arguments())),
            None => {
                command.arg("run").args(&run.arguments).arg("--out").arg(&run.folder);
                let folder = RunFolder::existing(&run.folder);
                if folder.is_run() {
                    // The run is claimed and nobody trains it: whoever did has ended, perhaps on a host that is gone.
                    folder.forget_owner();
                    command.arg("--resume");
                }
            }
        }
        command.args(["--ends-with", &std::process::id().to_string()]);
        // A launcher that started several workers tells each its number. The run is no process of theirs.
        for name in [
            "RANK",
            "WORLD_SIZE",
            "LOCAL_RANK",
            "LOCAL_WORLD_SIZE",
            "SLURM_PROCID",
            "SLURM_STEP_ID",
            "SLURM_STEP_NUM_TASKS",
        ] {
            command.env_remove(name);
        }
        command.args(["--device", start.device, "--format", "json"]).args(start.more);
        let path = run.beside("log");
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        let log_from = log.metadata()?.len();
        // In a group of its own: Ctrl-C shall reach the worker alone, which asks each process once.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", start.program.display()))?;
        // What failed before is tried again.
        let _ = fs::remove_file(run.note(measures));
        if let Some(stdout) = child.stdout.take() {
            let lines = start.lines;
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if lines.send((number, Some(line))).is_err() {
                        return;
                    }
                }
                let _ = lines.send((number, None));
            });
        }
        let (measures, output) = (measures.cloned(), Vec::new());
        Ok(Self { run: number, slot, measures, claim, child, output, asked_to_stop: false, log_from })
    }

    /// The dead worker whose run this was.
    pub(crate) fn taken_from(&self) -> Option<&str> {
        self.claim.from.as_deref()
    }

    /// Keeps a line of a measurement, and a warning in the log: a report looks there.
    pub(crate) fn heard(&mut self, line: String, warning: Option<&str>, run: &Planned) {
        if let Some(warning) = warning {
            let log = OpenOptions::new().append(true).open(run.beside("log"));
            // A warning that is lost changes no result.
            let _ = log.and_then(|mut log| writeln!(log, "warning: {warning}"));
        }
        if self.measures.is_some() {
            self.output.push(line);
        }
    }

    /// How the process ended, if it did.
    ///
    /// # Errors
    /// The system does not tell.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks once to save and stop.
    pub(crate) fn ask_to_stop(&mut self) {
        if self.asked_to_stop {
            return;
        }
        self.asked_to_stop = true;
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that has just ended needs no signal.
            let _ = kill_process(process, Signal::TERM);
        }
    }

    /// Writes down what a process that has ended came to, and gives the run back. Why it failed, if it did.
    pub(crate) fn end(self, status: ExitStatus, run: &Planned) -> Option<String> {
        let why = match &self.measures {
            Some(evaluation) if status.success() => {
                let whole = self.output.join("\n");
                RunFolder::existing(&run.folder)
                    .replace(&evaluation.file(), whole.as_bytes())
                    .err()
                    .map(|e| e.to_string())
            }
            _ if status.success() || self.asked_to_stop || was_stopped(status) => None,
            _ => Some(self.reason(status, run)),
        };
        if let Some(why) = &why {
            // Without the note this worker alone knows.
            let _ = fs::write(run.note(self.measures.as_ref()), why);
        }
        why
    }

    /// The last line of this process's own part of the log, or the signal that ended it.
    fn reason(&self, status: ExitStatus, run: &Planned) -> String {
        let words = || {
            let mut log = fs::File::open(run.beside("log")).ok()?;
            log.seek(SeekFrom::Start(self.log_from)).ok()?;
            let lines: Vec<String> = BufReader::new(log).lines().map_while(Result::ok).collect();
            let line = lines
                .into_iter()
                .rev()
                .find(|line| !line.trim().is_empty() && !line.starts_with("warning: "))?;
            Some(line.strip_prefix("error: ").unwrap_or(&line).trim().to_owned())
        };
        match status.signal() {
            Some(signal) => format!("the process was ended by signal {signal}"),
            None => words().unwrap_or_else(|| format!("the process ended with {status}")),
        }
    }
}

/// Whether a run says by its exit code that a signal stopped it and its state is saved.
fn was_stopped(status: ExitStatus) -> bool {
    matches!(status.code(), Some(129 | 130 | 143))
}
