//! An experiment: which runs it has, and which cell of its table each of them fills.

use std::collections::BTreeMap;

use admix_engine::Override;

use crate::rule::Rule;

/// Runs with seeds, and the table and figure that they make.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Its name: "table8".
    pub name: String,
    /// Its script, as messages name it.
    pub file: String,
    /// What the table is called.
    pub title: String,
    /// Runs of each variant, unless the variant says otherwise.
    pub seeds: u64,
    /// How a run's figure is read, unless the cell says otherwise.
    pub rule: Rule,
    /// The row whose gain over the best other row is told below the table.
    pub gain: Option<String>,
    /// What the figure shows.
    pub figure: Figure,
    /// The runs, in the order of the script.
    pub runs: Vec<Variant>,
    /// Cells that no run can fill yet, and what each waits for.
    pub waiting: Vec<(Cell, String)>,
    /// Titles of the rows, in the order in which the script names them first.
    pub rows: Vec<String>,
    /// Titles of the columns, likewise.
    pub columns: Vec<String>,
}

/// How an experiment is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Figure {
    /// Accuracy over epochs, a line for each row.
    Curves,
    /// A bar for each cell.
    #[default]
    Bars,
    /// Accuracy over the columns, which are numbers: a line for each row.
    Lines,
    /// A map of colours, rows by columns.
    Heat,
    /// Accuracy against training time, a point for each row.
    Time,
}

impl Figure {
    /// Every figure with its word in a script.
    pub const ALL: [(&'static str, Self); 5] = [
        ("curves", Self::Curves),
        ("bars", Self::Bars),
        ("lines", Self::Lines),
        ("heat", Self::Heat),
        ("time", Self::Time),
    ];

    /// In words.
    pub fn told(self) -> &'static str {
        match self {
            Self::Curves => "Accuracy over epochs",
            Self::Bars => "Accuracy",
            Self::Lines => "Accuracy over the columns",
            Self::Heat => "Map of accuracies",
            Self::Time => "Accuracy against training time",
        }
    }
}

/// A recipe with settings, run once for each seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Its name in the experiment, unique: "sl/0-baseline".
    pub name: String,
    /// A recipe's file, or the name of a bundled one.
    pub recipe: String,
    /// What is changed in it.
    pub set: Vec<Override>,
    /// A method's script instead of the recipe's.
    pub script: Option<String>,
    /// Runs, if another number than the experiment's.
    pub seeds: Option<u64>,
    /// The variant whose networks it starts from, seed by seed.
    pub init: Option<String>,
    /// What is measured after training.
    pub evaluation: Option<Evaluation>,
    /// The cells that it fills: one for each figure that is read from it.
    pub cells: Vec<Cell>,
    /// Line and column of the script that name it.
    pub at: (usize, usize),
}

/// A cell of the experiment's table.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Title of its row.
    pub row: String,
    /// Title of its column.
    pub column: String,
    /// The head or probe whose figure it shows; the one that the recipe reports, or the evaluation's, by default.
    pub report: Option<String>,
    /// How the figure is read, if otherwise than in the rest of the experiment.
    pub rule: Option<Rule>,
    /// The published figure.
    pub paper: Option<f64>,
}

/// `admix eval` after a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// "linear", "knn" or another probe.
    pub protocol: String,
    /// Its flags, without their dashes: "epochs" and "100".
    pub flags: BTreeMap<String, String>,
}

impl Evaluation {
    /// The arguments of `admix eval` behind the run.
    pub fn arguments(&self) -> Vec<String> {
        let mut all = vec!["--protocol".into(), self.protocol.clone()];
        all.extend(self.flags.iter().flat_map(|(flag, value)| [format!("--{flag}"), value.clone()]));
        all
    }

    /// The file of the run folder that holds the outcome.
    pub fn file(&self) -> String {
        let parts: Vec<String> = self.flags.iter().map(|(flag, value)| format!("-{flag}-{value}")).collect();
        let name = format!("eval-{}{}", self.protocol, parts.concat());
        let safe = name.chars().map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' });
        format!("{}.json", safe.collect::<String>())
    }
}

impl Experiment {
    /// Cells of its table that a run fills, and all.
    pub fn counted(&self) -> (usize, usize) {
        let filled = self.runs.iter().map(|run| run.cells.len()).sum::<usize>();
        (filled, filled + self.waiting.len())
    }

    /// Every cell with the variant that fills it.
    pub fn cells(&self) -> impl Iterator<Item = (&Cell, Option<&Variant>)> {
        let filled = self.runs.iter().flat_map(|run| run.cells.iter().map(move |cell| (cell, Some(run))));
        filled.chain(self.waiting.iter().map(|(cell, _)| (cell, None)))
    }
}
