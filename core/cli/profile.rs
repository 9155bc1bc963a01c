//! `admix run --profile`: where the time of a training step goes, by the engine's spans.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admix_api::spans;
use admix_engine::{Clock, RunFolder};
use admix_torch::Device;
use anyhow::Result;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::profile_table::{Closed, Named, Profile};

/// Steps that go by before the first is measured: in them memory is taken and kernels are chosen.
const WARM_UP: u64 = 3;
/// The file in the run folder.
const FILE: &str = "profile.json";

/// Measures so many steps.
#[derive(Debug, Clone)]
pub struct Profiler {
    steps: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Waited for at both ends of each part, so that its time is that of its own work.
    device: Device,
    /// Steps that still go by.
    skip: u64,
    /// By the number of the span.
    named: HashMap<u64, Named>,
    /// The step and the parts that time is spent in now, the innermost last. Empty outside of a measured step.
    open: Vec<Open>,
    closed: Vec<Closed>,
    begin: Instant,
}

#[derive(Debug)]
struct Open {
    span: u64,
    begin: Instant,
    /// Time of the parts within.
    inside: Duration,
}

impl Profiler {
    /// One that measures so many steps.
    pub fn new(steps: u64) -> Self {
        let state = State {
            device: Device::Cpu,
            skip: 0,
            named: HashMap::new(),
            open: Vec::new(),
            closed: Vec::new(),
            begin: Instant::now(),
        };
        Self { steps, state: Arc::new(Mutex::new(state)) }
    }

    /// Its ears.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let wanted = Targets::new().with_target(spans::TARGET, LevelFilter::TRACE);
        Listener(Arc::clone(&self.state)).with_filter(wanted)
    }

    /// Begins, for a run that stands here. Returns how many steps it must take.
    pub fn start(&self, clock: Clock, device: Device) -> u64 {
        let left = clock.steps.saturating_sub(clock.step);
        let mut state = lock(&self.state);
        state.skip = WARM_UP.min(left.saturating_sub(self.steps));
        state.device = device;
        state.begin = Instant::now();
        state.skip + self.steps
    }

    /// Writes the spans into the run folder and sums them up.
    pub fn finish(&self, folder: &RunFolder) -> Result<Profile> {
        let state = lock(&self.state);
        if state.closed.is_empty() {
            return Ok(Profile::of(&state.closed, state.device, folder.root.join(FILE)));
        }
        folder.replace(FILE, serde_json::to_string(&state.trace())?.as_bytes())?;
        Ok(Profile::of(&state.closed, state.device, folder.root.join(FILE)))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn enter(&mut self, span: u64) {
        let Some(named) = self.named.get(&span) else { return };
        if self.open.is_empty() {
            if named.row.is_some() {
                return;
            }
            if self.skip > 0 {
                self.skip -= 1;
                return;
            }
        }
        self.wait();
        self.open.push(Open { span, begin: Instant::now(), inside: Duration::ZERO });
    }

    fn exit(&mut self, span: u64) {
        if self.open.last().is_none_or(|open| open.span != span) {
            return;
        }
        self.wait();
        let now = Instant::now();
        let Some(Open { begin, inside, .. }) = self.open.pop() else { return };
        let whole = now.duration_since(begin);
        if let Some(around) = self.open.last_mut() {
            around.inside += whole;
        }
        self.closed.push(Closed {
            named: self.named.get(&span).cloned().unwrap_or_default(),
            begin: begin.saturating_duration_since(self.begin),
            whole,
            own: whole.saturating_sub(inside),
        });
    }

    fn wait(&self) {
        // What is wrong with the device is the next operation's to say.
        let _ = admix_torch::synchronize(self.device);
    }

    /// The spans in the trace event format, as Perfetto and chrome://tracing read it; times in microseconds.
    fn trace(&self) -> serde_json::Value {
        let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
        let events: Vec<_> = self
            .closed
            .iter()
            .map(|Closed { named, begin, whole, .. }| {
                json!({
                    "name": named.title().unwrap_or_else(|| spans::STEP.into()),
                    "cat": if named.row.is_some() { spans::PART } else { spans::STEP },
                    "ph": "X",
                    "ts": micros(*begin),
                    "dur": micros(*whole),
                    "pid": 1,
                    "tid": 1,
                })
            })
            .collect();
        json!({ "traceEvents": events, "displayTimeUnit": "ms" })
    }
}

struct Listener(Arc<Mutex<State>>);

impl<S: Subscriber> Layer<S> for Listener {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut named = Named::default();
        attributes.record(&mut named);
        if is_part(attributes.metadata()) {
            // A part whose row is no text does not come from this program; it is still no step.
            named.row.get_or_insert_default();
        }
        lock(&self.0).named.insert(id.into_u64(), named);
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        lock(&self.0).enter(id.into_u64());
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        lock(&self.0).exit(id.into_u64());
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        lock(&self.0).named.remove(&id.into_u64());
    }
}

fn is_part(metadata: &Metadata<'_>) -> bool {
    metadata.name() == spans::PART
}

impl Visit for Named {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "row" {
            self.row = Some(value.to_string());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "line" {
            self.line = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::profile_table::REST;

    fn clock(step: u64, steps: u64) -> Clock {
        Clock { step, steps, epoch: 0, epochs: 1 }
    }

    /// The rows of so many steps of the same three parts, one inside of another.
    fn profiled(profiler: &Profiler, steps: u64) -> Profile {
        let subscriber = tracing_subscriber::registry().with(profiler.layer());
        tracing::subscriber::with_default(subscriber, || {
            for number in 1..=steps {
                drop(spans::part(|| "between steps".into(), 0));
                let _step = spans::step(number);
                let nap = || std::thread::sleep(Duration::from_millis(1));
                let _data = spans::part(|| "data".into(), 0);
                nap();
                let _waiting = spans::part(|| "data: waiting".into(), 0);
                nap();
                for _ in 0..2 {
                    let _pass = spans::part(|| "pass q".into(), 7);
                    nap();
                }
            }
        });
        let state = lock(&profiler.state);
        Profile::of(&state.closed, state.device, "profile.json".into())
    }

    #[test]
    fn rows_are_own_times_that_sum_to_the_step() {
        let profiler = Profiler::new(3);
        assert_eq!(profiler.start(clock(2, 100), Device::Cpu), 6);
        let profile = profiled(&profiler, 6);
        assert_eq!(profile.steps, 3);
        let sum: f64 = profile.rows.iter().map(|row| row.ms_per_step).sum();
        assert!((sum - profile.ms_per_step).abs() < 1e-9, "{sum} {profile:?}");
        let walls = lock(&profiler.state);
        let walls = walls.closed.iter().filter(|part| part.named.row.is_none()).map(|part| part.whole);
        let wall = walls.sum::<Duration>().as_secs_f64() * 1e3 / 3.0;
        assert!((wall - sum).abs() < 1e-6, "{wall} {sum}");
        let row = |name: &str| profile.rows.iter().find(|row| row.name == name).expect(name);
        assert_eq!((row("pass q").line, row("pass q").per_step), (Some(7), 2.0));
        assert!(row("pass q").ms_per_step >= 2.0 && row("data").ms_per_step >= 1.0);
        assert_eq!(profile.rows.last().map(|row| row.name.as_str()), Some(REST));
        assert!(profile.rows.iter().all(|row| row.name != "between steps"));
        assert!((profile.rows.iter().map(|row| row.share).sum::<f64>() - 1.0).abs() < 1e-9);
        let told = profile.told();
        assert!(told.starts_with("profile of 3 steps, ") && told.contains("pass q (line 7)  "), "{told}");
    }

    #[test]
    fn a_run_near_its_end_is_profiled_without_warming_up_and_one_at_its_end_not_at_all() {
        assert_eq!(Profiler::new(3).start(clock(6, 10), Device::Cpu), 4);
        let profiler = Profiler::new(3);
        assert_eq!(profiler.start(clock(10, 10), Device::Cpu), 3);
        assert!(profiled(&profiler, 0).told().contains("no step"));
    }

    #[test]
    fn the_trace_has_every_span_where_it_was() {
        let profiler = Profiler::new(1);
        profiler.start(clock(0, 1), Device::Cpu);
        let _ = profiled(&profiler, 1);
        let trace = lock(&profiler.state).trace();
        let events = trace["traceEvents"].as_array().expect("events");
        let names: Vec<_> = events.iter().filter_map(|event| event["name"].as_str()).collect();
        assert_eq!(names, ["pass q (line 7)", "pass q (line 7)", "data: waiting", "data", "step"]);
        let time = |event: &serde_json::Value, key: &str| event[key].as_f64().expect("a number");
        let step = events.last().expect("a step");
        for event in events {
            assert!(time(event, "ts") >= time(step, "ts"));
            assert!(time(event, "ts") + time(event, "dur") <= time(step, "ts") + time(step, "dur") + 1e-3);
        }
    }
}
