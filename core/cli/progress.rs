//! What a run shows while it goes on: a bar on a terminal, plain lines elsewhere, JSON lines on request.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use admix_engine::{Accuracy, Event, Logger, LoggerConfig, MixerReport, Opening, Record, Summary};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::output::{self, Format};

/// Settings of what the terminal shows. `admix run` shows a run once, in JSON if this or `--format` says so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Terminal {
    /// Lines for people, or lines of JSON. Default Text.
    pub format: Format,
}

admix_api::describe! {
    dyn Logger, dyn LoggerConfig: Terminal, "Terminal", "terminal",
    "Events on stdout; `admix run` shows them so without being told.",
    source: "no publication", served: ()
}

impl LoggerConfig for Terminal {
    fn validate(&self) -> admix_api::Result<()> {
        Ok(())
    }

    fn open(&self, opening: &Opening<'_>) -> admix_engine::Result<Box<dyn Logger>> {
        Ok(Box::new(Progress::new(self.format, opening.report.unwrap_or_default().to_string())))
    }

    fn resolved(&self) -> Value {
        json!(self)
    }
}

impl Logger for Progress {
    fn take(&mut self, record: &Record) -> admix_engine::Result<()> {
        self.show(&record.event);
        Ok(())
    }
}

/// Shows the events of one run.
#[derive(Debug)]
pub struct Progress {
    format: Format,
    bar: Option<ProgressBar>,
    steps: u64,
    epochs: u64,
    epoch: u64,
    /// The head or probe whose accuracy the bar shows.
    report: String,
    /// The last losses and accuracy, for the bar.
    losses: String,
    accuracy: String,
    speed: f64,
}

impl Progress {
    /// Before the first event. `report` is the head or probe whose accuracy the bar shows: "mix_k".
    pub fn new(format: Format, report: String) -> Self {
        let (bar, losses, accuracy) = Default::default();
        Self { format, bar, steps: 0, epochs: 0, epoch: 0, report, losses, accuracy, speed: 0.0 }
    }

    /// Shows an event. A closed stdout does not end a run: what it would have said is in the run folder.
    pub fn show(&mut self, event: &Event) {
        let _ = match self.format {
            Format::Json => as_json(event).map_or(Ok(()), |value| output::print_json(&value)),
            Format::Text => self.as_text(event),
        };
    }

    fn as_text(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Started { folder, steps, epochs, step, parameters, device } => {
                (self.steps, self.epochs) = (*steps, *epochs);
                output::print(&format!(
                    "{}: {} steps in {epochs} epochs, {} trained values, {device}",
                    folder.display(),
                    output::thousands(*steps),
                    output::thousands(*parameters)
                ))?;
                self.bar = output::bar(|| {
                    let bar = ProgressBar::new(*steps).with_position(*step);
                    // A resumed run must not count the steps of the former as done in no time.
                    bar.reset_eta();
                    bar.with_style(style())
                });
            }
            Event::StartedFrom(origin) => output::print(&origin.to_string())?,
            Event::Resumed { path, step } => {
                output::print(&format!(
                    "resumed from {} at step {}",
                    path.display(),
                    output::thousands(*step)
                ))?;
            }
            Event::Progress { step, epoch } => {
                self.epoch = *epoch;
                if let Some(bar) = &self.bar {
                    bar.set_position(*step);
                    bar.set_message(self.message());
                }
            }
            Event::Train { step, epoch, losses, logged, lr, images_per_s, data_wait, .. } => {
                (self.losses, self.speed, self.epoch) = (values(losses, 2), *images_per_s, *epoch);
                if self.bar.is_none() {
                    let rate = lr.get("net").copied().unwrap_or(f64::NAN);
                    let logged =
                        if logged.is_empty() { String::new() } else { format!("  {}", values(logged, 3)) };
                    // Below a percent nobody waits.
                    let wait = match data_wait {
                        Some(share) if *share >= 0.01 => format!("  {:.0} % waiting for data", 100.0 * share),
                        _ => String::new(),
                    };
                    output::print(&format!(
                        "epoch {}/{}  step {step}/{}  {}{logged}  lr {rate:.4}  {images_per_s:.0} images/s{wait}",
                        epoch + 1,
                        self.epochs,
                        self.steps,
                        values(losses, 3)
                    ))?;
                }
            }
            Event::Evaluated { epoch, heads, mixers, .. } => {
                if let Some(head) = heads.get(&self.report) {
                    self.accuracy = format!("{} {}", self.report, output::percent(head.top1, 1));
                }
                if !heads.is_empty() {
                    output::print(&format!("epoch {epoch}/{}  test: {}", self.epochs, accuracies(heads)))?;
                }
                for (name, by_lambda) in mixers {
                    let MixerReport { mask_std, mean_gap, .. } = MixerReport::mean(by_lambda);
                    output::print(&format!(
                        "epoch {epoch}/{}  masks of {name}: std {mask_std:.3}, |mean - lambda| {mean_gap:.3}",
                        self.epochs
                    ))?;
                }
            }
            Event::Pictured { .. } | Event::Ended { .. } => {}
            Event::Saved { path, .. } => tracing::info!(path = %path.display(), "checkpoint written"),
            Event::Warning { message } => output::note(&format!("warning: {message}")),
        }
        Ok(())
    }

    fn message(&self) -> String {
        let mut message = format!("epoch {}/{}", self.epoch + 1, self.epochs);
        for part in [&self.accuracy, &self.losses] {
            if !part.is_empty() {
                let _ = write!(message, "  {part}");
            }
        }
        if self.speed > 0.0 {
            let _ = write!(message, "  {:.0} images/s", self.speed);
        }
        message
    }
}

/// An event as its line of JSON; steps that only went by are not worth one, and what the end tells is told there.
fn as_json(event: &Event) -> Option<Value> {
    match event {
        Event::Progress { .. } | Event::Pictured { .. } | Event::Ended { .. } => None,
        other => serde_json::to_value(other).ok(),
    }
}

fn style() -> ProgressStyle {
    let template = "{bar:10} {pos}/{len}  {wide_msg} {eta} left";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn values(values: &BTreeMap<String, f64>, digits: usize) -> String {
    values.iter().map(|(name, value)| format!("{name} {value:.digits$}")).collect::<Vec<_>>().join("  ")
}

fn accuracies(heads: &BTreeMap<String, Accuracy>) -> String {
    heads
        .iter()
        .map(|(name, head)| format!("{name} {}", output::percent(head.top1, 2)))
        .collect::<Vec<_>>()
        .join("  ")
}

/// The end of a run: every head in a table, with the reported one first. `stopped_by` is the flag that ended it early, if
/// it did not get to its end.
pub fn results(summary: &Summary, stopped_by: &str) -> String {
    let mut names: Vec<&String> = summary.heads.keys().collect();
    names.sort_by_key(|name| Some(*name) != summary.report.as_ref());
    let mut rows = vec![["head", "best", "last", "median of last 10", "top-5"].map(String::from).to_vec()];
    for name in names {
        let head = &summary.heads[name];
        let figures =
            [head.best, head.last, head.median_last_10, head.top5].map(|value| output::percent(value, 2));
        rows.push([vec![name.clone()], figures.to_vec()].concat());
    }
    let mut text = String::new();
    if summary.heads.is_empty() {
        text.push_str("no evaluation yet\n");
    } else {
        text.push_str("accuracy on the test set, <head>_<network>:\n");
        text.push_str(&output::table(&rows));
    }
    if summary.skipped > 0 {
        let _ = writeln!(text, "{} steps were skipped: a value was not finite", summary.skipped);
    }
    let _ = writeln!(
        text,
        "{} {} epochs, {} steps, {}",
        if summary.finished { "done:".into() } else { format!("stopped by {stopped_by} after") },
        summary.epoch,
        output::thousands(summary.step),
        output::duration(summary.seconds)
    );
    text
}

#[cfg(test)]
mod tests {
    use admix_engine::HeadAccuracy;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_reported_head_comes_first() {
        let head = |last| HeadAccuracy { best: 90.0, last, median_last_10: 89.0, top5: 99.0 };
        let summary = Summary {
            heads: BTreeMap::from([("mix_k".into(), head(88.0)), ("one_q".into(), head(70.0))]),
            report: Some("one_q".into()),
            step: 1200,
            epoch: 8,
            finished: true,
            seconds: 61.0,
            skipped: 0,
            folder: "runs/x".into(),
        };
        let text = results(&summary, "--max-steps");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].starts_with("one_q  90.00 %  70.00 %"), "{text}");
        assert!(lines[3].starts_with("mix_k"), "{text}");
        assert_eq!(lines[4], "done: 8 epochs, 1,200 steps, 1 min 01 s");
    }

    #[test]
    fn the_bar_of_a_run_without_heads_shows_the_accuracy_of_its_probe() {
        let registry = admix_engine::registry().expect("plugins");
        let text = r#"(epochs: 1, method: "moco", heads: [], queues: {"keys": (length: 200)},
            pairs: [(when: BeforeStep)], evaluate: (probes: [Knn]))"#;
        let recipe = admix_engine::Recipe::parse(text, "x.ron", &[], &registry).expect("a recipe");
        let mut progress = Progress::new(Format::Text, recipe.reported().expect("a name"));
        let accuracy = Accuracy { top1: 41.5, top5: 80.0, loss: 1.0, images: 10 };
        let heads = BTreeMap::from([("knn_q".to_string(), accuracy)]);
        progress.show(&Event::Evaluated { step: 1, epoch: 1, heads, mixers: BTreeMap::new() });
        assert!(progress.message().contains("knn_q 41.5"), "{}", progress.message());
    }

    #[test]
    fn events_are_tagged_in_json_and_warnings_keep_their_text() {
        let warning = as_json(&Event::Warning { message: "odd".into() });
        assert_eq!(warning, Some(json!({ "event": "warning", "message": "odd" })));
        let saved = as_json(&Event::Saved { path: "x".into(), step: 3 });
        assert_eq!(saved, Some(json!({ "event": "saved", "path": "x", "step": 3 })));
        assert_eq!(as_json(&Event::Progress { step: 1, epoch: 0 }), None);
    }
}
