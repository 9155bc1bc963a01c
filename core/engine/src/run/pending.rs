//! What waits on the device to be read: losses, logged values and verdicts of the steps since the last time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use admix_torch::{Group, Kind, Tensor};

use crate::loggers::Event;
use crate::method::{StepReport, verdict};
use crate::run::Run;
use crate::run::facts::waiting;
use crate::{Error, Result};

/// Steps without learning that are worth a word, where an epoch has not fewer.
const IDLE: u64 = 50;

/// Values that wait on the device to be read together.
#[derive(Debug, Default)]
pub(super) struct Pending {
    reports: Vec<(u64, StepReport)>,
    since: Option<Instant>,
    images: u64,
    /// Time spent waiting for streamed images.
    waited: Duration,
    bad: Bad,
    /// Steps on end that learned nothing.
    idle: u64,
    is_idleness_told: bool,
}

/// What is to blame for a skipped step whose terms were finite.
const NO_TERM: &str = "a gradient or a running value (all terms were finite)";

/// Values that were not finite so far.
#[derive(Debug, Default)]
struct Bad {
    /// Step, epoch and name of the first one in a step that was skipped.
    first: Option<(u64, u64, String)>,
    /// The steps in which each term was not finite; the empty name stands for steps all of whose terms were.
    terms: BTreeMap<String, BTreeSet<u64>>,
    /// Logged values that people have heard of.
    logged: BTreeSet<String>,
    /// Skipped steps that people have heard of.
    told: u64,
}

/// What a value is of.
enum Of {
    Loss(String),
    Logged(String),
    FoundInf,
}

/// What was read.
#[derive(Default)]
struct Read {
    /// Sum and number of the values of each term.
    losses: BTreeMap<String, (f64, u64)>,
    logged: BTreeMap<String, (f64, u64)>,
    skipped: u64,
    warnings: Vec<String>,
}

impl Read {
    /// Makes one of what all processes read. They skip the same steps.
    fn join(&mut self, group: &Group) -> Result<()> {
        for sums in [&mut self.losses, &mut self.logged] {
            // As bits: text has no way to write what is not finite.
            let own: Vec<_> = sums.iter().map(|(name, (sum, count))| (name, sum.to_bits(), count)).collect();
            let all = group.gather_text(&serde_json::to_string(&own).unwrap_or_default())?;
            let all = all
                .iter()
                .map(|text| serde_json::from_str::<Vec<(String, u64, u64)>>(text).unwrap_or_default());
            let mut joined: BTreeMap<String, (f64, u64)> = BTreeMap::new();
            for (name, bits, count) in all.flatten() {
                let sum = joined.entry(name).or_default();
                *sum = (sum.0 + f64::from_bits(bits), sum.1 + count);
            }
            *sums = joined;
        }
        Ok(())
    }
}

impl Pending {
    /// Nothing waits, of a run that skipped so many steps before.
    pub(super) fn new(skipped: u64) -> Self {
        Self { bad: Bad { told: skipped, ..Bad::default() }, ..Self::default() }
    }

    /// A step begins: from the first of them on, time counts.
    pub(super) fn begin(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// A step waited for images.
    pub(super) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// A step of so many images is done.
    pub(super) fn push(&mut self, step: u64, images: u64, report: StepReport) {
        self.images += images;
        self.idle = if report.learned { 0 } else { self.idle + 1 };
        self.reports.push((step, report));
    }

    /// Reads what waits: one copy for everything since the last time.
    ///
    /// # Errors
    /// A plugin's mix was not well, too many steps were skipped, a logger cannot write.
    pub(super) fn flush(&mut self, run: &mut Run, newest: Option<&Path>) -> Result<()> {
        let Some((_, last)) = self.reports.last() else { return Ok(()) };
        let (rates, momentum) = (last.rates.clone(), last.momentum);
        let clock = run.session.clock();
        let mut read = self.read(clock.step, clock.epoch + 1, newest)?;
        if let Some(group) = &run.context.group {
            read.join(group)?;
        }
        run.history.skipped += read.skipped;
        let seconds = self.since.map_or(0.0, |s| s.elapsed().as_secs_f64());
        let means = |sums: BTreeMap<String, (f64, u64)>| {
            sums.into_iter().map(|(name, (sum, count))| (name, sum / count.max(1) as f64)).collect()
        };
        let groups: Vec<String> =
            run.session.world().optimizer.groups().iter().map(|group| group.name.clone()).collect();
        let event = Event::Train {
            step: clock.step,
            epoch: clock.epoch,
            losses: means(read.losses),
            logged: means(read.logged),
            lr: groups.into_iter().zip(rates).collect(),
            momentum,
            images_per_s: if seconds > 0.0 { self.images as f64 / seconds } else { 0.0 },
            data_wait: waiting(run, self.waited.as_secs_f64(), seconds),
            skipped: run.history.skipped,
        };
        run.context.loggers.tell(event)?;
        read.warnings.into_iter().for_each(|warning| run.context.loggers.warn(warning));
        self.reports.clear();
        self.since = None;
        self.images = 0;
        self.waited = Duration::ZERO;
        self.tell_idleness(run);
        self.bad.tell_skipped(run, newest)
    }

    /// The values on the host, by what they are of.
    fn read(&mut self, step: u64, epoch: u64, newest: Option<&Path>) -> Result<Read> {
        let mut scalars = Vec::new();
        let mut watched: Vec<&str> = Vec::new();
        for (label, health) in self.reports.iter().flat_map(|(_, report)| &report.health) {
            watched.push(label);
            scalars.push(health.f_to_kind(Kind::Float)?);
        }
        let mut names: Vec<(u64, Of)> = Vec::new();
        for (step, report) in &self.reports {
            let losses = report.losses.iter().map(|(name, value)| (Of::Loss(name.clone()), value));
            let logged = report.logged.iter().map(|(name, value)| (Of::Logged(name.clone()), value));
            let found = report.found_inf.iter().map(|found| (Of::FoundInf, found));
            for (of, value) in losses.chain(logged).chain(found) {
                names.push((*step, of));
                scalars.push(value.f_to_kind(Kind::Float)?);
            }
        }
        let values: Vec<f32> =
            Vec::try_from(&Tensor::f_stack(&scalars, 0)?.f_to_device(admix_torch::Device::Cpu)?)?;
        let (health, values) = values.split_at(watched.len());
        for (label, health) in watched.into_iter().zip(health) {
            verdict(label, f64::from(*health)).map_err(|error| Error::Step {
                source: Box::new(error),
                step,
                saved: match newest {
                    Some(path) => format!("The last checkpoint before it is {}", path.display()),
                    None => "No checkpoint was written yet".into(),
                },
            })?;
        }
        let mut read = Read::default();
        for ((step, of), value) in names.into_iter().zip(values) {
            self.bad.take(&mut read, (step, epoch), of, *value);
        }
        Ok(read)
    }

    /// Says once that the networks stay as they are.
    fn tell_idleness(&mut self, run: &mut Run) {
        let clock = run.session.clock();
        let many = IDLE.min(clock.steps / clock.epochs.max(1)).max(1);
        if self.idle < many || self.is_idleness_told {
            return;
        }
        self.is_idleness_told = true;
        run.context.loggers.warn(format!(
            "nothing was learned in the last {} steps, up to step {}: `step` of {} called no `learn`, or every term that it \
             learned has the weight 0",
            self.idle,
            clock.step,
            run.session.method().file()
        ));
    }
}

impl Bad {
    /// Takes in the next value of a step.
    fn take(&mut self, read: &mut Read, (step, epoch): (u64, u64), of: Of, value: f32) {
        let sums = match of {
            Of::Loss(_) => &mut read.losses,
            Of::Logged(_) => &mut read.logged,
            Of::FoundInf if value == 0.0 => return,
            Of::FoundInf => {
                read.skipped += 1;
                self.first.get_or_insert((step, epoch, NO_TERM.into()));
                if !self.terms.values().any(|steps| steps.contains(&step)) {
                    self.terms.entry(String::new()).or_default().insert(step);
                }
                return;
            }
        };
        let (Of::Loss(name) | Of::Logged(name)) = &of else { return };
        let sum = sums.entry(name.clone()).or_default();
        *sum = (sum.0 + f64::from(value), sum.1 + 1);
        if value.is_finite() {
            return;
        }
        match of {
            Of::Loss(name) => {
                self.first.get_or_insert((step, epoch, format!("term `{name}` ({value})")));
                self.terms.entry(name).or_default().insert(step);
            }
            Of::Logged(name) => {
                let warning = format!(
                    "the logged value `{name}` was not finite ({value}) at step {step} (epoch {epoch}); this is said once"
                );
                if self.logged.insert(name) {
                    read.warnings.push(warning);
                }
            }
            Of::FoundInf => {}
        }
    }

    /// Makes one of what all processes found.
    fn join(&mut self, group: &Group) -> Result<()> {
        type Found = (Option<(u64, u64, String)>, BTreeMap<String, BTreeSet<u64>>);
        let own = serde_json::to_string(&(&self.first, &self.terms)).unwrap_or_default();
        for text in group.gather_text(&own)? {
            let (first, terms) = serde_json::from_str::<Found>(&text).unwrap_or_default();
            for (name, steps) in terms {
                self.terms.entry(name).or_default().extend(steps);
            }
            // Of one step, a term says more than the gradients that follow from it.
            let rank = |(step, _, what): &(u64, u64, String)| (*step, what == NO_TERM);
            self.first = self.first.take().into_iter().chain(first).min_by_key(rank);
        }
        let blamed: BTreeSet<u64> = self
            .terms
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .flat_map(|(_, steps)| steps)
            .copied()
            .collect();
        if let Some(others) = self.terms.get_mut("") {
            others.retain(|step| !blamed.contains(step));
        }
        Ok(())
    }

    /// Says how many steps were skipped, if there are new ones.
    ///
    /// # Errors
    /// There are too many.
    fn tell_skipped(&mut self, run: &mut Run, newest: Option<&Path>) -> Result<()> {
        let skipped = run.history.skipped;
        if skipped <= self.told {
            return Ok(());
        }
        self.told = skipped;
        if let Some(group) = &run.context.group {
            self.join(group)?;
        }
        let clock = run.session.clock();
        let (step, epoch, what) =
            self.first.clone().unwrap_or((clock.step, clock.epoch + 1, "a value".into()));
        if skipped < run.recipe.max_bad_steps {
            run.context.loggers.warn(format!(
                "{skipped} steps were skipped so far: {what} was not finite at step {step} (epoch {epoch})"
            ));
            return Ok(());
        }
        let each = self.terms.iter().map(|(name, steps)| match name.as_str() {
            "" => format!("gradients or running values alone in {}", steps.len()),
            name => format!("`{name}` in {}", steps.len()),
        });
        let how = format!(
            "{skipped} steps had a value that is not finite and were skipped (limit `max_bad_steps`), the first for {what} at \
             step {step} (epoch {epoch}); {} of them",
            each.collect::<Vec<_>>().join(", ")
        );
        Err(Error::Diverged { how, checkpoint: last_good(newest) })
    }
}

/// Where the last good state is, for a run that diverged.
pub(super) fn last_good(newest: Option<&Path>) -> String {
    match newest {
        Some(path) => format!("the last good checkpoint is {}", path.display()),
        None => "no checkpoint was written yet".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use admix_torch::{Device, Membership};

    use super::*;

    #[test]
    fn the_term_that_was_not_finite_is_named_whichever_process_had_it() {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
        let member = |rank: usize| {
            let place = Membership {
                rank,
                processes: 2,
                host: "127.0.0.1".into(),
                port,
                launcher_store: false,
                attempt: 0,
                timeout: Duration::from_secs(60),
                device: Device::Cpu,
            };
            let group = Group::join(&place).expect("joins");
            let (mut bad, mut read) = (Bad::default(), Read::default());
            if rank == 1 {
                bad.take(&mut read, (7, 1), Of::Loss("mix".into()), f32::NAN);
            }
            bad.take(&mut read, (7, 1), Of::FoundInf, 1.0);
            bad.join(&group).expect("all come");
            group.leave().expect("all leave");
            bad
        };
        let both: Vec<Bad> = std::thread::scope(|scope| {
            let threads = [0, 1].map(|rank| scope.spawn(move || member(rank)));
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        for bad in both {
            assert_eq!(bad.first, Some((7, 1, "term `mix` (NaN)".into())));
            assert!(bad.terms["mix"].contains(&7) && bad.terms[""].is_empty(), "{:?}", bad.terms);
        }
    }
}
