//! A program with entries of its own: one of each kind, one file each. Recipes name them like the bundled ones, and
//! `plugins` lists them.
//!
//! ```sh
//! cargo run --example own_program -- run examples/own_program/recipe.ron
//! ```

mod augmentation;
mod backbone;
mod clusterer;
mod dataset;
mod logger;
mod loss;
mod mixer;
mod optimizer;
mod probe;

// The linker drops a crate that nothing names, and the bundled mixers and losses with it.
use admix_plugins as _;

admix_api::register! {
    mixer::Columns, loss::Brier, backbone::AllConv, dataset::Stripes, augmentation::Roll, clusterer::Moving,
    optimizer::Signum, probe::NearestMean, logger::Slowest
}

fn main() -> std::process::ExitCode {
    admix::main()
}
