//! Experiments: grids of runs as scripts, what is missing of them trained by workers, and what they came to as tables.
//!
//! | file | what it holds |
//! |---|---|
//! | `experiment.rs` | an experiment: runs, cells, seeds |
//! | `script.rs` | reading its script |
//! | `rule.rs` | how the figure of a run is read |
//! | `plan.rs` | every run with its settings resolved and its folder |
//! | `status.rs` | how far a run is |
//! | `claim.rs` | one run, one worker |
//! | `job.rs`, `worker.rs` | a process, and what starts what is missing |
//! | `figures.rs` | the figures of a cell |
//! | `table.rs`, `table/` | the table, and its forms |
//! | `plot.rs`, `plot/` | the figure, and its kinds |
//! | `report.rs`, `report/` | the page |

mod claim;
mod experiment;
mod figures;
mod job;
mod plan;
mod plot;
mod report;
mod rule;
mod script;
mod status;
mod table;
mod worker;

pub use experiment::{Cell, Evaluation, Experiment, Figure, Variant};
pub use figures::{Figures, of_head};
pub use plan::{Ask, Plan, Planned};
pub use plot::Chart;
pub use report::{Report, Told};
pub use rule::Rule;
pub use status::Progress;
pub use table::{Entry, Form, Gain, Table, aligned};
pub use worker::{News, Options, Outcome, work};
