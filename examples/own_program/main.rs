//! A program with entries of its own: a backbone, a dataset, an augmentation and a logger, one file each. Recipes name them
//! like the bundled ones, and `plugins` lists them.
//!
//! ```sh
//! cargo run --example own_program -- run examples/own_program/recipe.ron
//! ```

mod augmentation;
mod backbone;
mod dataset;
mod logger;

// The linker drops a crate that nothing names, and the bundled mixers and losses with it.
use admix_plugins as _;

admix_api::register! { augmentation::Roll, backbone::AllConv, dataset::Stripes, logger::Slowest }

fn main() -> std::process::ExitCode {
    admix::main()
}
