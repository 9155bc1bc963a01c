//! The rows of a profile: the own time of each part, and the table for people.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use admix_torch::Device;
use serde::Serialize;

use crate::output;

/// What of a step is in no part of it: the script, and what the engine does around it.
pub const REST: &str = "script and engine";

/// What a span stands for.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// None: a whole step.
    pub row: Option<String>,
    /// Line of the method's script, or 0.
    pub line: u64,
}

/// A part, or a whole step, that is over.
#[derive(Debug)]
pub struct Closed {
    /// Which.
    pub named: Named,
    /// Since the first measured step.
    pub begin: Duration,
    /// With the parts within.
    pub whole: Duration,
    /// Without the parts within.
    pub own: Duration,
}

impl Named {
    /// The part and its line; none for a whole step.
    pub fn title(&self) -> Option<String> {
        let row = self.row.as_ref()?;
        Some(if self.line == 0 { row.clone() } else { format!("{row} (line {})", self.line) })
    }
}

/// Where the time of a step went.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename = "profile")]
pub struct Profile {
    /// Steps that were measured.
    pub steps: u64,
    /// Mean wall time of one: the sum over `rows`.
    pub ms_per_step: f64,
    /// Whether the device was waited for at both ends of each part.
    synchronised: bool,
    /// The most expensive first, and last what is left.
    pub rows: Vec<Row>,
    /// The spans.
    trace: PathBuf,
}

/// A part of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The verb as the script says it, or what the engine does.
    pub name: String,
    /// Line of the method's script; none for what the engine does by itself.
    pub line: Option<u64>,
    /// Mean over steps.
    pub ms_per_step: f64,
    /// Of the step's time, 0 to 1.
    pub share: f64,
    /// How often, mean over steps.
    pub per_step: f64,
}

impl Profile {
    /// Of the parts of all measured steps.
    pub fn of(closed: &[Closed], device: Device, trace: PathBuf) -> Self {
        let mut sums: Vec<(&Named, Duration, u64)> = Vec::new();
        let mut at: HashMap<(Option<&str>, u64), usize> = HashMap::new();
        for Closed { named, own, .. } in closed {
            let index = *at.entry((named.row.as_deref(), named.line)).or_insert(sums.len());
            if index == sums.len() {
                sums.push((named, Duration::ZERO, 0));
            }
            sums[index].1 += *own;
            sums[index].2 += 1;
        }
        let steps = sums.iter().find(|(named, ..)| named.row.is_none()).map_or(0, |(_, _, count)| *count);
        let over = steps.max(1) as f64;
        let total: Duration = sums.iter().map(|(_, own, _)| *own).sum();
        let ms = |time: Duration| time.as_nanos() as f64 / 1e6 / over;
        sums.sort_by_key(|(named, own, _)| (named.row.is_none(), std::cmp::Reverse(*own)));
        let rows = sums.into_iter().map(|(named, own, count)| Row {
            name: named.row.clone().unwrap_or_else(|| REST.into()),
            line: Some(named.line).filter(|line| *line > 0),
            ms_per_step: ms(own),
            share: if total.is_zero() { 0.0 } else { own.as_secs_f64() / total.as_secs_f64() },
            per_step: count as f64 / over,
        });
        Self { steps, ms_per_step: ms(total), synchronised: device.is_cuda(), rows: rows.collect(), trace }
    }

    /// The table for people.
    pub fn told(&self) -> String {
        if self.steps == 0 {
            return "profile: no step was taken, the run is at its end\n".into();
        }
        let waiting = if self.synchronised {
            ", the GPU waited for after each part: longer than a step of a run takes"
        } else {
            ""
        };
        let mut rows = vec![["part", "ms per step", "share", "per step"].map(String::from).to_vec()];
        for row in &self.rows {
            let named = Named { row: Some(row.name.clone()), line: row.line.unwrap_or(0) };
            let whole = row.per_step.fract() == 0.0;
            rows.push(vec![
                named.title().unwrap_or_default(),
                format!("{:.3}", row.ms_per_step),
                format!("{:.1} %", 100.0 * row.share),
                format!("{:.*}", if whole { 0 } else { 2 }, row.per_step),
            ]);
        }
        format!(
            "profile of {} steps, {:.3} ms each{waiting}\n{}spans for Perfetto: {}\n",
            self.steps,
            self.ms_per_step,
            output::table(&rows),
            self.trace.display()
        )
    }
}
