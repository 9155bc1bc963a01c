//! What a report tells of one run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use admix_engine::{Event, FolderState, MixerReport, RunFacts, RunFolder};
use anyhow::Result;

use super::spans::{self, Span};
use crate::experiment::Figure;
use crate::plot::{Chart, PERCENT, Series};

/// Pictures of mixed samples in a report: the first, the last, and some between them.
const PICTURES: usize = 4;
/// A picture larger than this is left out: the page must stay small enough to be sent.
const LARGEST_PICTURE: u64 = 4 << 20;

/// One run.
#[derive(Debug)]
pub struct Told {
    /// Its folder.
    pub folder: PathBuf,
    /// What it is called.
    pub name: String,
    /// Its state in a word.
    pub state: &'static str,
    /// What `run.json` says.
    pub facts: Option<RunFacts>,
    /// Every setting with its path.
    pub settings: Vec<(String, String)>,
    /// Figures as SVG, with a title.
    pub figures: Vec<(String, String)>,
    /// Pictures of mixed samples: a title and the PNG.
    pub pictures: Vec<(String, Vec<u8>)>,
    /// Where the time of a step goes, if the run was profiled.
    pub spans: Vec<Span>,
    /// What was odd.
    pub warnings: Vec<String>,
    /// The method.
    pub script: String,
    /// The recipe as it was written.
    pub recipe: String,
}

impl Told {
    /// Of a run folder, under this name. `settings` are those of its recipe.
    ///
    /// # Errors
    /// A figure cannot be drawn.
    pub fn of(name: &str, root: &Path, settings: &[(String, String)]) -> Result<Self> {
        let folder = RunFolder::existing(root);
        let text = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
        let state = folder.state();
        let facts = folder.facts().ok();
        let mut warnings = logged(root);
        if let FolderState::Failed(why) = &state {
            warnings.push(why.clone());
        }
        if let Some(facts) = facts.as_ref().filter(|facts| facts.summary.skipped > 0) {
            warnings.push(format!("{} steps were skipped: a value was not finite", facts.summary.skipped));
        }
        warnings.extend(folder.damage());
        let profile = fs::read_to_string(root.join("profile.json")).ok();
        Ok(Self {
            folder: root.to_path_buf(),
            name: name.into(),
            state: match state {
                FolderState::None => "no run",
                FolderState::Running => "running",
                FolderState::Stopped => "interrupted",
                FolderState::Failed(_) => "failed",
                FolderState::Done(_) => "done",
            },
            facts,
            settings: settings.to_vec(),
            figures: figures(&folder)?,
            pictures: pictures(root),
            spans: profile.map(|profile| spans::of(&profile)).unwrap_or_default(),
            warnings,
            script: text("method.rhai"),
            recipe: text("recipe.ron"),
        })
    }
}

/// Warnings of the log beside the folder, which a sweep writes, and of a file of all events.
fn logged(root: &Path) -> Vec<String> {
    let log = fs::read(root.with_extension("log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log).into_owned();
    let mut all: Vec<String> =
        log.lines().filter_map(|line| Some(line.strip_prefix("warning: ")?.to_owned())).collect();
    let events = fs::read_to_string(root.join("events.jsonl")).unwrap_or_default();
    for line in events.lines() {
        if let Ok(admix_engine::Record { event: Event::Warning { message }, .. }) = serde_json::from_str(line)
        {
            all.push(message);
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|warning| seen.insert(warning.clone()));
    all
}

/// Lines by name.
type Lines = BTreeMap<String, Vec<(f64, f64, f64)>>;

fn figures(folder: &RunFolder) -> Result<Vec<(String, String)>> {
    let [mut accuracy, mut losses, mut masks, mut rates, mut momentum, mut speed] =
        [(); 6].map(|()| Lines::new());
    let put = |lines: &mut Lines, name: &str, x: u64, y: f64| {
        if y.is_finite() {
            lines.entry(name.to_owned()).or_default().push((x as f64, y, 0.0));
        }
    };
    for record in folder.records().unwrap_or_default() {
        match record.event {
            Event::Evaluated { epoch, heads, mixers, .. } => {
                for (name, report) in &mixers {
                    put(&mut masks, name, epoch, MixerReport::mean(report).mask_std);
                }
                heads.iter().for_each(|(name, head)| put(&mut accuracy, name, epoch, head.top1));
            }
            Event::Train { step, losses: terms, lr, momentum: follows, images_per_s, .. } => {
                terms.iter().for_each(|(name, value)| put(&mut losses, name, step, *value));
                lr.iter().for_each(|(name, value)| put(&mut rates, name, step, *value));
                follows.iter().for_each(|value| put(&mut momentum, "momentum", step, *value));
                put(&mut speed, "images per second", step, images_per_s);
            }
            _ => {}
        }
    }
    let all = [
        ("Accuracy", "epoch", PERCENT, accuracy),
        ("Losses", "step", "mean of each term, before weighting", losses),
        ("Masks", "epoch", "standard deviation within a mask", masks),
        ("Learning rate", "step", "learning rate", rates),
        ("Momentum", "step", "momentum of the first pair", momentum),
        ("Throughput", "step", "images per second", speed),
    ];
    let drawn = all.into_iter().filter(|(.., lines)| !lines.is_empty()).map(|(title, x, y, lines)| {
        let series = lines.into_iter().map(|(name, points)| Series { name, points }).collect();
        let chart = Chart {
            title: title.into(),
            x: x.into(),
            y: y.into(),
            figure: Figure::Curves,
            series,
            columns: Vec::new(),
        };
        Ok((title.to_owned(), chart.svg(false)?))
    });
    drawn.collect()
}

/// Some of the pictures that the run drew, in their order.
fn pictures(root: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = root.join("samples").read_dir().into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "png"))
        .filter(|path| fs::metadata(path).is_ok_and(|facts| facts.len() <= LARGEST_PICTURE))
        .collect();
    all.sort();
    let count = all.len().min(PICTURES);
    let chosen = (0..count).map(|at| if count > 1 { at * (all.len() - 1) / (count - 1) } else { 0 });
    chosen
        .filter_map(|at| {
            let path = &all[at];
            let name =
                path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().replace('-', " "));
            Some((name, fs::read(path).ok()?))
        })
        .collect()
}
