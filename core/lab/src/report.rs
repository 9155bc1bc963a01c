//! A report: one page with everything about some runs, which needs no network and no scripts.

mod page;
mod run;
mod spans;

use anyhow::Result;

pub use run::Told;

use crate::experiment::Figure;
use crate::plan::Plan;
use crate::plot::Chart;
use crate::table::{Form, Table};

/// What a report is about.
#[derive(Debug)]
pub struct Report {
    /// The page's title.
    pub title: String,
    /// The tables and figures of experiments.
    pub experiments: Vec<Summary>,
    /// The runs.
    pub runs: Vec<Told>,
}

/// An experiment in a report.
#[derive(Debug)]
pub struct Summary {
    /// Its table.
    pub table: Table,
    /// The same as CSV, to be copied out of the page.
    pub csv: String,
    /// Its figures as SVG, with their kind in words.
    pub figures: Vec<(String, String)>,
}

impl Summary {
    /// Of a plan, as far as its runs are.
    ///
    /// # Errors
    /// A figure cannot be drawn.
    pub fn of(plan: &Plan) -> Result<Self> {
        let table = Table::of(plan);
        let mut figures = Vec::new();
        for figure in [plan.experiment.figure, Figure::Curves] {
            // Nothing to draw yet is no error here: the table says what is missing.
            if figures.iter().any(|(kind, _)| kind == figure.told()) {
                continue;
            }
            if let Ok(chart) = Chart::of(plan, figure) {
                figures.push((figure.told().to_owned(), chart.svg(false)?));
            }
        }
        Ok(Self { csv: table.write(Form::Csv), table, figures })
    }
}

impl Report {
    /// Of plans and runs.
    ///
    /// # Errors
    /// A figure cannot be drawn.
    pub fn of(plans: &[Plan], runs: Vec<Told>) -> Result<Self> {
        let experiments = plans.iter().map(Summary::of).collect::<Result<Vec<_>>>()?;
        let title = match (&experiments[..], &runs[..]) {
            ([one], _) => one.table.title.clone(),
            ([], [one]) => one.name.clone(),
            _ => format!("{} runs", runs.len()),
        };
        Ok(Self { title, experiments, runs })
    }

    /// The page.
    pub fn html(&self) -> String {
        page::write(self)
    }
}
