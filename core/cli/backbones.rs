//! `admix backbones [NAME]`: short for `admix plugins backbone [NAME]`.

use anyhow::Result;
use clap::Args;

use crate::output::Format;
use crate::plugins::{PluginsArgs, plugins};

/// Flags of `admix backbones`.
#[derive(Args)]
pub struct BackbonesArgs {
    /// Print this one's settings.
    name: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Lists the backbones, or prints one.
pub fn backbones(args: BackbonesArgs) -> Result<()> {
    plugins(&PluginsArgs { what: Some("backbone".into()), name: args.name, format: args.format })
}
