//! `admix backbones`: the networks that a recipe can name.

use admix_api::did_you_mean;
use anyhow::Result;
use clap::Args;

use crate::failure::bad_input;
use crate::output::{self, Format};

/// Flags of `admix backbones`.
#[derive(Args)]
pub struct BackbonesArgs {
    /// Print this one's settings.
    name: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Lists the backbones, or prints one.
pub fn backbones(args: &BackbonesArgs) -> Result<()> {
    let all = admix_models::catalogue();
    let Some(name) = &args.name else {
        return match args.format {
            Format::Json => output::print_json(&all),
            Format::Text => {
                let rows: Vec<_> = all.iter().map(|b| vec![b.name.into(), b.summary.into()]).collect();
                output::print(&output::table(&rows))
            }
        };
    };
    let found = all.iter().find(|b| b.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|b| b.name).collect();
        let hint = did_you_mean(name, names.iter().copied());
        bad_input(format!("no backbone named `{name}`; known: {}{hint}", names.join(", ")))
    })?;
    if args.format == Format::Json {
        return output::print_json(found);
    }
    let settings: String = found.options.lines().map(|line| format!("  {line}\n")).collect();
    output::print(&format!(
        "{}: {}\n\nsettings (default):\n{settings}\nparameters:\n{}\nin a recipe:\n  model: {}()\n",
        found.name,
        found.summary,
        output::wrap(found.parameters_note, 2, 100),
        found.name
    ))
}
