//! The table of an experiment: our figures beside the published ones.

mod csv;
mod json;
mod latex;
mod markdown;
mod text;

pub use text::aligned;

use crate::figures::Figures;
use crate::plan::Plan;
use crate::rule::Rule;

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What our runs came to; none where the experiment has no run for it.
    pub ours: Option<Figures>,
    /// The published figure.
    pub paper: Option<f64>,
    /// What it waits for, where nothing can fill it yet.
    pub waits: Option<String>,
    /// Whether no mean of its column is higher.
    pub best: bool,
}

impl Entry {
    /// Ours less the published figure.
    pub fn difference(&self) -> Option<f64> {
        Some(self.ours.as_ref()?.mean()? - self.paper?)
    }

    /// What is said beside a figure that is not of all seeds, or in place of one.
    pub fn note(&self) -> Option<String> {
        if let Some(waits) = &self.waits {
            return Some(format!("waits for {waits}"));
        }
        let figures = self.ours.as_ref()?;
        let done = figures.values.len() as u64;
        if done == figures.wanted {
            return None;
        }
        let mut parts = Vec::new();
        let mut part = |count: u64, what: &str| {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        };
        part(figures.failed, "failed");
        part(figures.without, "without a figure");
        part(figures.begun, "not finished");
        let missing = figures.wanted.saturating_sub(done + figures.failed + figures.without + figures.begun);
        part(missing, "not run");
        Some(match done {
            0 if missing == figures.wanted => "not run".into(),
            0 => parts.join(", "),
            _ => format!("{done} of {} seeds: {}", figures.wanted, parts.join(", ")),
        })
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its title, with what differs from the published setting.
    pub title: String,
    /// Titles of rows.
    pub rows: Vec<String>,
    /// Titles of columns.
    pub columns: Vec<String>,
    /// By row and column; none where the table has no such cell.
    pub cells: Vec<Vec<Option<Entry>>>,
    /// The gain of one row over the best other one, by column, in the published figures and in ours.
    pub gain: Option<Gain>,
    /// How the figures are read.
    pub notes: Vec<String>,
}

/// The gain of one row over the best other one.
#[derive(Debug, Clone, PartialEq)]
pub struct Gain {
    /// Title of the row.
    pub row: String,
    /// Ours, by column.
    pub ours: Vec<Option<f64>>,
    /// Published, by column.
    pub paper: Vec<Option<f64>>,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For a terminal.
    Text,
    /// For a page.
    Markdown,
    /// For a paper.
    Latex,
    /// For other programs: a line for each cell.
    Csv,
    /// The same with all that is known.
    Json,
}

impl Table {
    /// The table of a plan, as far as its runs are done.
    pub fn of(plan: &Plan) -> Self {
        let experiment = &plan.experiment;
        let at = |titles: &[String], title: &String| titles.iter().position(|other| other == title);
        let mut cells = vec![vec![None; experiment.columns.len()]; experiment.rows.len()];
        let mut put = |cell: &crate::experiment::Cell, entry: Entry| {
            if let (Some(row), Some(column)) =
                (at(&experiment.rows, &cell.row), at(&experiment.columns, &cell.column))
            {
                cells[row][column] = Some(entry);
            }
        };
        for (index, variant) in experiment.runs.iter().enumerate() {
            for cell in &variant.cells {
                let ours = Some(Figures::of(plan, index, cell)).filter(|figures| figures.wanted > 0);
                put(cell, Entry { ours, paper: cell.paper, waits: None, best: false });
            }
        }
        for (cell, what) in &experiment.waiting {
            put(cell, Entry { ours: None, paper: cell.paper, waits: Some(what.clone()), best: false });
        }
        let mut table = Self {
            title: title(plan),
            rows: experiment.rows.clone(),
            columns: experiment.columns.clone(),
            cells,
            gain: None,
            notes: notes(plan),
        };
        table.mark_best();
        table.gain = experiment.gain.as_ref().map(|row| table.gain_of(row));
        table
    }

    /// A table of runs that belong to no experiment. `seeds` is the largest number of runs in a cell.
    pub fn plain(
        title: &str,
        rows: Vec<String>,
        columns: Vec<String>,
        cells: Vec<Vec<Option<Entry>>>,
        rule: Rule,
        seeds: u64,
    ) -> Self {
        let note = format!("Top-1 in percent: {}, {}.", rule.told(), over(seeds));
        let mut table = Self { title: title.into(), rows, columns, cells, gain: None, notes: vec![note] };
        table.mark_best();
        table
    }

    fn mean(&self, row: usize, column: usize) -> Option<f64> {
        self.cells[row][column].as_ref()?.ours.as_ref()?.mean()
    }

    fn mark_best(&mut self) {
        for column in 0..self.columns.len() {
            let means: Vec<Option<f64>> = (0..self.rows.len()).map(|row| self.mean(row, column)).collect();
            // One figure alone is not the best of anything.
            if means.iter().flatten().count() < 2 {
                continue;
            }
            let best = means.iter().flatten().copied().fold(f64::MIN, f64::max);
            for (row, mean) in means.iter().enumerate() {
                if let (Some(entry), Some(mean)) = (&mut self.cells[row][column], mean) {
                    entry.best = *mean == best;
                }
            }
        }
    }

    fn gain_of(&self, title: &str) -> Gain {
        let of = |figure: &dyn Fn(usize, usize) -> Option<f64>, column: usize| {
            let row = self.rows.iter().position(|row| row == title)?;
            let others = (0..self.rows.len()).filter(|other| *other != row);
            let best = others
                .filter_map(|other| figure(other, column))
                .fold(None, |best: Option<f64>, value| Some(best.map_or(value, |best| best.max(value))))?;
            Some(figure(row, column)? - best)
        };
        let columns = 0..self.columns.len();
        let paper = |row: usize, column: usize| self.cells[row][column].as_ref()?.paper;
        Gain {
            row: title.into(),
            ours: columns.clone().map(|column| of(&|row, column| self.mean(row, column), column)).collect(),
            paper: columns.map(|column| of(&paper, column)).collect(),
        }
    }

    /// As text in this form.
    pub fn write(&self, form: Form) -> String {
        match form {
            Form::Text => text::write(self),
            Form::Markdown => markdown::write(self),
            Form::Latex => latex::write(self),
            Form::Csv => csv::write(self),
            Form::Json => json::write(self),
        }
    }
}

/// The experiment's title, with what differs from it.
fn title(plan: &Plan) -> String {
    let mut title = plan.experiment.title.clone();
    let mut lengths: Vec<(u64, u64)> =
        plan.resolved.iter().map(|one| (one.recipe.epochs, one.epochs)).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let differ: Vec<String> = lengths
        .iter()
        .filter(|(ours, own)| ours != own)
        .map(|(ours, own)| format!("{ours} epochs instead of {own}"))
        .collect();
    let end = |title: &str| if title.ends_with('.') { "" } else { "." };
    if !differ.is_empty() {
        title.push_str(&format!("{} At {}.", end(&title), differ.join(", ")));
    }
    let others: Vec<String> = plan
        .set
        .iter()
        .filter(|set| set.path != "epochs")
        .map(|set| format!("{}={}", set.path, set.value))
        .collect();
    if !others.is_empty() {
        title.push_str(&format!("{} With {}.", end(&title), others.join(", ")));
    }
    title
}

/// How the figures of each column are read.
fn notes(plan: &Plan) -> Vec<String> {
    let experiment = &plan.experiment;
    let mut ways: Vec<(String, Vec<&str>)> = Vec::new();
    for (index, variant) in experiment.runs.iter().enumerate() {
        let epochs = plan.resolved[index].recipe.epochs;
        let seeds = plan.of_variant(index).count() as u64;
        for cell in variant.cells.iter().filter(|_| seeds > 0) {
            let rule = match (&variant.evaluation, cell.rule) {
                (Some(evaluation), Some(Rule::Best)) => {
                    format!("best of `admix eval {}`", evaluation.arguments().join(" "))
                }
                (Some(evaluation), _) => format!("`admix eval {}`", evaluation.arguments().join(" ")),
                (None, rule) => rule.unwrap_or(experiment.rule).told().into(),
            };
            let plural = if epochs == 1 { "" } else { "s" };
            let way = format!("{rule}, {}, {epochs} epoch{plural}", over(seeds));
            match ways.iter_mut().find(|(other, _)| *other == way) {
                Some((_, columns)) if columns.contains(&cell.column.as_str()) => {}
                Some((_, columns)) => columns.push(&cell.column),
                None => ways.push((way, vec![&cell.column])),
            }
        }
    }
    match &ways[..] {
        [(way, _)] => vec![format!("Top-1 in percent: {way}.")],
        several => several
            .iter()
            .map(|(way, columns)| format!("Top-1 in percent, {}: {way}.", columns.join(", ")))
            .collect(),
    }
}

fn over(seeds: u64) -> String {
    match seeds {
        1 => "one seed".into(),
        more => format!("mean and standard deviation over {more} seeds"),
    }
}

/// `68.56`.
fn figure(value: f64) -> String {
    format!("{value:.2}")
}

/// `+0.12`.
fn signed(value: f64) -> String {
    format!("{value:+.2}")
}

/// `68.56 ± 0.12`, with this sign between them.
fn with_deviation(figures: &Figures, sign: &str) -> Option<String> {
    let mean = figure(figures.mean()?);
    Some(match figures.deviation() {
        Some(deviation) => format!("{mean}{sign}{}", figure(deviation)),
        None => mean,
    })
}
