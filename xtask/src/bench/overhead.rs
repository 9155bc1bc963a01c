//! `bench overhead`: what engine and script cost beside the same training step written by hand.

use anyhow::Result;
use clap::Args;

use super::contest::{self, Contest, Limit};
use crate::measure::{Libtorch, Options, Side, step, words};
use crate::repo::{Profile, Repo};
use crate::setup;

/// The recipes of `bench overhead`, their names for `train_by_hand --case`, the batch if not the recipe's, and what may
/// be lost on each. What engine and script cost does not depend on the batch: with two images there is least beside
/// it that could hide it.
const OVERHEAD: &[(&str, &str, Option<&str>, Limit)] = &[
    ("configs/quickstart.ron", "quickstart", Some("2"), Limit::Milliseconds(0.3)),
    ("configs/quickstart.ron", "quickstart", None, Limit::Milliseconds(0.3)),
    ("configs/bench/amix_default.ron", "resnet18", None, Limit::Ratio(1.01)),
];
/// Flags of `bench overhead`.
#[derive(Debug, Args)]
pub struct OverheadArgs {
    /// Which of small, quickstart, resnet18, separated by commas; all unless given.
    #[arg(long, value_delimiter = ',', value_parser = ["small", "quickstart", "resnet18"])]
    cases: Vec<String>,
    #[command(flatten)]
    options: Options,
}

/// Times the bundled recipes against the same steps written by hand.
///
/// # Errors
/// A build or a program fails, or with `--strict` a limit is missed.
pub fn run(repo: &Repo, args: &OverheadArgs) -> Result<()> {
    let options = &args.options;
    setup::ensure_done(repo)?;
    let admix = repo.build_admix(Profile::Release)?;
    repo.build(&["--example", "train_by_hand"], Profile::Release)?;
    let by_hand = repo.target()?.join("release/examples/train_by_hand");
    let wanted = |case: &str| args.cases.is_empty() || args.cases.iter().any(|one| one == case);
    let contest = |(recipe, case, batch, limit): &(&str, &str, Option<&str>, Limit)| {
        let mut ours = step(&admix, recipe, options);
        let mut theirs = words(&by_hand, &["--case", case]);
        theirs.extend(options.flags());
        let mut title = format!("overhead: {recipe}");
        if let Some(batch) = batch {
            ours.extend(["--set".into(), format!("batch={batch}")]);
            theirs.extend(["--batch".into(), (*batch).into()]);
            title.push_str(&format!(", batch {batch}"));
        }
        Contest {
            title,
            ours: Side { name: "admix".into(), command: ours, libtorch: Libtorch::Linked },
            rivals: vec![(
                Side { name: "by hand".into(), command: theirs, libtorch: Libtorch::Linked },
                *limit,
            )],
        }
    };
    let contests = OVERHEAD
        .iter()
        .filter(|(_, case, batch, _)| wanted(if batch.is_some() { "small" } else { case }))
        .map(contest)
        .collect();
    contest::run(repo, contests, options)
}
