//! What a sweep shows while it goes on: a bar for each process on a terminal, plain lines elsewhere, JSON lines on request.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;

use admix_lab::{News, Plan, Planned, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::output::{self, Format, percent};

/// Shows the news of a worker.
pub struct View {
    format: Format,
    bars: Option<Bars>,
    /// The head that each variant reports.
    heads: Vec<Option<String>>,
    /// The last figure of each run that goes on, by folder.
    reported: BTreeMap<PathBuf, String>,
    left: usize,
    all: usize,
}

struct Bars {
    all: MultiProgress,
    whole: ProgressBar,
    runs: BTreeMap<PathBuf, ProgressBar>,
}

impl View {
    /// Before the first news.
    pub fn new(plan: &Plan, format: Format) -> Self {
        let open = |run: &&Planned| {
            let evaluation = plan.experiment.runs[run.variant].evaluation.as_ref();
            !matches!(run.progress(evaluation), Progress::Done(_))
        };
        let (all, left) = (plan.runs.len(), plan.runs.iter().filter(open).count());
        let bars = (format == Format::Text && stderr().is_terminal()).then(|| {
            let bars = MultiProgress::new();
            let whole = ProgressBar::new(all as u64).with_position((all - left) as u64);
            let whole = bars.add(whole.with_style(style("{bar:10} {pos}/{len} runs  {elapsed}  {msg}")));
            Bars { all: bars, whole, runs: BTreeMap::new() }
        });
        let heads = plan.resolved.iter().map(|one| one.recipe.reported()).collect();
        let view = Self { format, bars, heads, reported: BTreeMap::new(), left, all };
        if format == Format::Text {
            view.say(&format!("{}: {left} of {all} runs are left", plan.experiment.file));
        }
        view
    }

    /// Shows one piece of news. A closed stdout does not end a sweep.
    pub fn show(&mut self, news: &News<'_>) {
        match self.format {
            Format::Json => as_json(news).map_or((), |value| drop(output::print_json(&value))),
            Format::Text => self.as_text(news),
        }
    }

    /// Takes the bars off the screen.
    pub fn end(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.all.clear();
        }
    }

    fn say(&self, text: &str) {
        let print = || drop(output::print(text));
        match &self.bars {
            Some(bars) => bars.all.suspend(print),
            None => print(),
        }
    }

    fn as_text(&mut self, news: &News<'_>) {
        match news {
            News::Started { run, what, device, taken_from } => {
                if let Some(owner) = taken_from {
                    self.say(&format!("{}: taken over from a worker that is gone ({owner})", run.name));
                }
                match &mut self.bars {
                    Some(bars) => {
                        let bar = ProgressBar::new(0)
                            .with_style(style("  {bar:10} {pos}/{len}  {wide_msg} {eta} left"));
                        bar.set_message(run.name.clone());
                        bars.runs.insert(run.folder.clone(), bars.all.add(bar));
                    }
                    None => self.say(&format!("{}: {what} on {device}, {}", run.name, run.folder.display())),
                }
            }
            News::Event { run, event } => self.event(run, event),
            News::Ended { run, progress } => self.ended(run, progress),
            News::Waiting { runs } => {
                self.say(&format!("waiting for other workers: {runs} of their runs are left"))
            }
        }
    }

    fn event(&mut self, run: &Planned, event: &Value) {
        let number = |name: &str| event.get(name).and_then(Value::as_u64);
        let bar = self.bars.as_ref().and_then(|bars| bars.runs.get(&run.folder));
        match event.get("event").and_then(Value::as_str) {
            Some("started") => {
                if let (Some(bar), Some(steps), Some(step)) = (bar, number("steps"), number("step")) {
                    bar.set_length(steps);
                    bar.set_position(step);
                    bar.reset_eta();
                }
            }
            Some("train") => {
                if let (Some(bar), Some(step)) = (bar, number("step")) {
                    bar.set_position(step);
                }
            }
            Some("warning") => {
                let message = event.get("message").and_then(Value::as_str).unwrap_or_default();
                self.say(&format!("{}: warning: {message}", run.name));
            }
            // Of training the reported head, of a measurement its only one.
            _ => {
                let Some(heads) = event.get("heads").and_then(Value::as_object) else { return };
                let reported = self.heads[run.variant].as_ref().and_then(|name| heads.get_key_value(name));
                let head = reported.or_else(|| heads.iter().next_back());
                if let Some((name, top1)) =
                    head.and_then(|(name, head)| Some((name, head.get("top1")?.as_f64()?)))
                {
                    let told = format!("{name} {}", percent(top1, 2));
                    if let Some(bar) = bar {
                        bar.set_message(format!("{}  {told}", run.name));
                    }
                    self.reported.insert(run.folder.clone(), told);
                }
            }
        }
    }

    fn ended(&mut self, run: &Planned, progress: &Progress) {
        if let Some(bars) = &mut self.bars
            && let Some(bar) = bars.runs.remove(&run.folder)
        {
            bar.finish_and_clear();
        }
        let told = self.reported.remove(&run.folder);
        let seconds = |seconds: f64| output::duration(seconds);
        let line = match progress {
            Progress::Done(facts) => {
                self.left = self.left.saturating_sub(1);
                let figure = told.map_or_else(String::new, |told| format!(", {told}"));
                format!("done{figure}, trained in {}", seconds(facts.wall_s))
            }
            Progress::Failed(why) => {
                self.left = self.left.saturating_sub(1);
                format!("failed: {why} (see {})", run.beside("log").display())
            }
            Progress::Trained => "trained".into(),
            _ => "stopped and saved".into(),
        };
        if let Some(bars) = &self.bars {
            bars.whole.set_position((self.all - self.left) as u64);
        }
        self.say(&format!("{}: {line}", run.name));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn as_json(news: &News<'_>) -> Option<Value> {
    match news {
        News::Started { run, what, device, taken_from } => Some(json!({
            "event": "started", "run": run.name, "what": what, "device": device, "folder": run.folder, "taken_from": taken_from,
        })),
        News::Event { run, event } => Some(json!({ "event": "told", "run": run.name, "told": event })),
        News::Ended { run, progress } => {
            let (state, why) = match progress {
                Progress::Done(_) => ("done", None),
                Progress::Failed(why) => ("failed", Some(why)),
                Progress::Trained => ("trained", None),
                _ => ("stopped", None),
            };
            Some(json!({ "event": "ended", "run": run.name, "state": state, "why": why }))
        }
        News::Waiting { runs } => Some(json!({ "event": "waiting", "runs": runs })),
    }
}
