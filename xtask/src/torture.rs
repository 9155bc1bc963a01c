//! `torture`: does to the program what users, machines and bad luck do, and fails at the first thing that it takes badly.
//!
//! Each attack is one file: it makes a case from drawn numbers, and says what it found. A case is named by its number:
//! with the same `--seed`, the same number is the same case.

mod clock;
mod cpus;
mod damage;
mod dice;
mod extremes;
mod kills;
mod ring;
mod starve;
mod tally;
mod tamper;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::repo::{Profile, Repo};
use crate::scratch::Scratch;
use crate::setup;
use crate::usage::Usage;
use dice::Dice;
use ring::{Finding, Ring};
use tally::Tally;

/// An attack: its name, what it does for a reader of the list, and one case of it.
struct Attack {
    name: &'static str,
    does: &'static str,
    strike: fn(&Ring<'_>, &mut Dice) -> Result<Option<Finding>>,
}

const ATTACKS: [Attack; 7] = [
    kills::ATTACK,
    damage::ATTACK,
    starve::ATTACK,
    tamper::ATTACK,
    extremes::ATTACK,
    clock::ATTACK,
    cpus::ATTACK,
];

/// Flags of `torture`.
#[derive(Debug, Args)]
pub struct TortureArgs {
    /// For how long. A case that has begun is ended.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Which cases: the same number, the same cases.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these attacks, separated by commas.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Only the case of this number, as a finding names it.
    #[arg(long)]
    case: Option<u64>,
    /// Go on after a finding.
    #[arg(long)]
    all: bool,
    /// A built program, so that none is built.
    #[arg(long, value_name = "PATH")]
    admix: Option<PathBuf>,
}

/// Attacks the program until the time is over.
///
/// # Errors
/// The build fails, or the program took something badly: what is kept below `target/torture`.
pub fn run(repo: &Repo, args: &TortureArgs) -> Result<()> {
    let known = || ATTACKS.iter().map(|attack| format!("  {:<10} {}", attack.name, attack.does));
    let is_known = |name: &String| ATTACKS.iter().any(|attack| attack.name == name);
    if let Some(unknown) = args.only.iter().find(|name| !is_known(name)) {
        let list: Vec<_> = known().collect();
        return Err(Usage(format!("no attack named `{unknown}`; there is\n{}\n", list.join("\n"))).into());
    }
    setup::ensure_done(repo)?;
    let binary = repo.given_or_built(args.admix.as_deref(), Profile::Dev)?;
    let attacks: Vec<&Attack> = ATTACKS
        .iter()
        .filter(|attack| args.only.is_empty() || args.only.iter().any(|o| o == attack.name))
        .collect();
    let end = Instant::now() + Duration::from_secs(60 * args.minutes);
    let cases = args.case.map_or(0..u64::MAX, |case| case..case + 1);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let tally = Tally::default();
    let mut findings = Vec::new();
    for case in cases.take_while(|_| Instant::now() < end) {
        let attack = attacks[(case % attacks.len() as u64) as usize];
        let scratch = Scratch::new(&std::env::temp_dir(), "torture")?;
        let ring = Ring::new(repo, &binary, scratch.path(), &tally)?;
        let mut dice = Dice::new(args.seed, case);
        let found = (attack.strike)(&ring, &mut dice).with_context(|| format!("{} {case}", attack.name))?;
        *counts.entry(attack.name).or_default() += 1;
        let Some(finding) = found else { continue };
        let home = repo.root().join(format!("target/torture/{}-{}-{case}", attack.name, args.seed));
        std::fs::create_dir_all(home.parent().unwrap_or(&home)).context("target/torture")?;
        std::fs::write(scratch.path().join("finding.txt"), format!("{finding}\n")).context("finding.txt")?;
        scratch.replace(&home)?;
        println!("{} {case}: {finding}\n  kept in {}", attack.name, home.display());
        findings.push(case);
        if !args.all {
            break;
        }
    }
    for (name, count) in &counts {
        println!("{name}: {count} cases");
    }
    print!("{tally}");
    ensure!(!counts.is_empty(), "no case was tried");
    if !findings.is_empty() {
        bail!("{} findings: see target/torture", findings.len());
    }
    println!("no finding");
    Ok(())
}
