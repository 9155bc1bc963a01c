//! `admix datasets`: what a recipe's `data.name` can be.

use std::path::PathBuf;

use admix_api::did_you_mean;
use admix_data::Datasets;
use anyhow::Result;
use clap::Args;

use crate::data;
use crate::failure::bad_input;
use crate::libraries;
use crate::output::{self, Format};

/// Flags of `admix datasets`.
#[derive(Args)]
pub struct DatasetsArgs {
    /// Print this one's facts.
    name: Option<String>,
    /// The folder that holds the datasets.
    #[arg(long, value_name = "DIR", default_value = "data")]
    root: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Lists the datasets, or prints one.
pub fn datasets(args: &DatasetsArgs) -> Result<()> {
    admix_torch::open_cuda(admix_torch::Wanted::Cpu)?;
    let registry = libraries::registry()?;
    let sets = Datasets::new(&args.root, &registry);
    let all = sets.catalogue();
    let Some(name) = &args.name else {
        return match args.format {
            Format::Json => output::print_json(&all),
            Format::Text => {
                let row =
                    |e: &admix_data::Entry| vec![e.name.clone(), e.status.to_string(), e.summary.clone()];
                output::print(&output::table(&all.iter().map(row).collect::<Vec<_>>()))
            }
        };
    };
    let found = all.iter().find(|entry| entry.name == *name).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|entry| entry.name.as_str()).collect();
        let hint = did_you_mean(name, names.iter().copied());
        bad_input(format!(
            "no dataset named `{name}` in {}; known: {}; bring your own with `admix data import PATH --name {name}`{hint}",
            args.root.display(),
            names.join(", ")
        ))
    })?;
    if found.status != admix_data::Status::Ready {
        return match args.format {
            Format::Json => output::print_json(found),
            Format::Text => output::print(&format!(
                "{}: {}\n{} in {}\nto get it: {}",
                found.name,
                found.summary,
                found.status,
                args.root.display(),
                found.how_to_get
            )),
        };
    }
    data::print_info(&sets.info(name)?, args.format)
}
