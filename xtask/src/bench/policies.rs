//! `bench methods`, `bench policies` and `bench ssl`: what steps cost in steps of a plainer method, and against PyTorch.
//!
//! All sides take turns; the one that goes first changes every round, and every other round goes backwards, so that no
//! side always follows the same one. The seed changes with the round, so that what a
//! policy draws (the grid of PuzzleMix) is not the same every time. What is compared are medians over the rounds, of the
//! steps' medians and of their means: where steps differ in their work, a run pays the mean.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use clap::Args;

use crate::measure::{self, Libtorch, Options, Side, Times, median, range};
use crate::pytorch::Peer;
use crate::repo::{Profile, Repo};
use crate::setup;
use crate::usage::Usage;

/// Steps that are measured against one of them.
#[derive(Debug)]
pub struct Family {
    /// What `bench` calls it.
    pub name: &'static str,
    /// Images per step unless `--batch` says otherwise.
    batch: usize,
    /// The step that the others are held against, ours and the peer's: its recipe is `configs/bench/<base>.ron`.
    base: &'static str,
    /// The others: the name, the recipe, what changes it, and the most that a step may cost in steps of the base, if
    /// there is a limit.
    steps: &'static [(&'static str, &'static str, Option<&'static str>, Option<f64>)],
    /// Steps of the peer beside its base, by the name of ours that each is told beside.
    peer: &'static [(&'static str, &'static str)],
    /// The most that our step of the base may cost in the peer's.
    over_peer: f64,
}

const VANILLA: &str = "configs/bench/vanilla.ron";

/// Policies, against a step that mixes nothing. The peer has PuzzleMix's two passes without a mask: what no PuzzleMix can
/// be below.
pub const POLICIES: Family = Family {
    name: "policies",
    batch: 100,
    base: "vanilla",
    steps: &[
        ("puzzlemix", "configs/bench/puzzlemix.ron", None, Some(1.75)),
        ("mixup", VANILLA, Some("mixers.mix=MixUp()"), Some(1.03)),
        ("cutmix", VANILLA, Some("mixers.mix=CutMix()"), Some(1.03)),
        ("resizemix", VANILLA, Some("mixers.mix=ResizeMix()"), Some(1.03)),
        ("fmix", VANILLA, Some("mixers.mix=FMix()"), Some(1.03)),
        ("saliencymix", VANILLA, Some("mixers.mix=SaliencyMix()"), Some(1.03)),
    ],
    peer: &[("puzzlemix", "puzzlemix_saliency")],
    over_peer: 1.03,
};

/// Self-supervised methods, against MoCo v2 alone.
pub const SSL: Family = Family {
    name: "ssl",
    batch: 64,
    base: "moco",
    steps: &[("amix_i", "configs/bench/amix_i.ron", None, Some(2.6))],
    peer: &[("amix_i", "amix_i")],
    over_peer: 1.03,
};

/// AMix in the form of the paper and the dearest policy, against a step that mixes nothing, at the batch of `bench peer`.
/// The peer has the authors' form.
pub const METHODS: Family = Family {
    name: "methods",
    batch: 32,
    base: "vanilla",
    steps: &[
        ("amix", "configs/bench/amix_default.ron", None, Some(2.85)),
        ("amix_code", "configs/bench/amix.ron", None, None),
        ("puzzlemix", "configs/bench/puzzlemix.ron", None, Some(1.75)),
    ],
    peer: &[("amix_code", "amix")],
    over_peer: 1.0,
};

/// Flags of `bench policies` and its like.
#[derive(Debug, Args)]
pub struct FamilyArgs {
    /// Which of them, separated by commas; all unless given.
    #[arg(long, value_delimiter = ',')]
    methods: Option<Vec<String>>,
    /// Images per step: 100 for policies, 32 for methods, 64 for ssl, unless given.
    #[arg(long)]
    batch: Option<usize>,
    /// Without PyTorch.
    #[arg(long)]
    alone: bool,
    #[command(flatten)]
    options: Options,
}

/// How far one side may be behind another, by place in the list.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit {
    of: usize,
    over: usize,
    /// Ratio of the medians; none where it is only told.
    most: Option<f64>,
}

/// Measures and prints.
///
/// # Errors
/// A name that is not known, a build or a program that fails, or with `--strict` a limit that is missed.
pub fn run(repo: &Repo, family: &Family, args: &FamilyArgs) -> Result<()> {
    let Family { name: title, base, steps, .. } = family;
    let options = &args.options;
    let wanted = |name: &str| args.methods.as_ref().is_none_or(|all| all.iter().any(|one| one == name));
    let known: Vec<&str> = steps.iter().map(|(name, ..)| *name).collect();
    if let Some(unknown) = args.methods.iter().flatten().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(Usage(format!("bench {title}: there is {known}, not `{unknown}`")).into());
    }
    let peer = if args.alone { None } else { Some(Peer::find(repo)?) };
    setup::ensure_done(repo)?;
    let admix = repo.build_admix(Profile::Release)?;
    let batch = args.batch.unwrap_or(family.batch).to_string();
    let ours = |name: &str, recipe: &str, change: Option<&str>| {
        let mut command = measure::step(&admix, recipe, options);
        for change in [Some(format!("batch={batch}").as_str()), change].into_iter().flatten() {
            command.extend(["--set".to_string(), change.to_string()]);
        }
        Side { name: name.into(), command, libtorch: Libtorch::Linked }
    };
    let mut sides = vec![ours(base, &format!("configs/bench/{base}.ron"), None)];
    let mut limits = Vec::new();
    for (name, recipe, change, most) in steps.iter().filter(|(name, ..)| wanted(name)) {
        limits.push(Limit { of: sides.len(), over: 0, most: *most });
        sides.push(ours(name, recipe, *change));
    }
    if let Some(peer) = &peer {
        let peers_base = sides.len();
        limits.push(Limit { of: 0, over: peers_base, most: Some(family.over_peer) });
        sides.push(peer.side(base, &batch, options));
        for (name, theirs) in family.peer {
            if let Some(ours) = sides.iter().position(|side| side.name == *name) {
                limits.push(Limit { of: ours, over: sides.len(), most: None });
                limits.push(Limit { of: sides.len(), over: peers_base, most: None });
                sides.push(peer.side(theirs, &batch, options));
            }
        }
    }

    println!("\n{title}: batch {batch}, {} threads, {} rounds", options.threads, options.rounds);
    let times = in_turn(options.rounds, sides.len(), |round, side| {
        let side = &sides[side];
        let seed = ["--set".to_string(), format!("seed={round}")];
        let more: &[String] = if side.libtorch == Libtorch::Linked { &seed } else { &[] };
        let took = measure::times(repo, side, more)?;
        eprintln!("round {} of {}: {} {:.1} ms", round + 1, options.rounds, side.name, took.median);
        Ok(took)
    })?;
    let names: Vec<&str> = sides.iter().map(|side| side.name.as_str()).collect();
    let (text, met) = report(&names, &times, &limits);
    print!("{text}");
    ensure!(met || !options.strict, "a limit is missed");
    Ok(())
}

/// The times of every side, by round. Each round begins with another side, and every other round goes backwards.
fn in_turn(
    rounds: usize,
    sides: usize,
    mut time: impl FnMut(usize, usize) -> Result<Times>,
) -> Result<Vec<Vec<Times>>> {
    let mut times = vec![Vec::new(); sides];
    for round in 0..rounds {
        for turn in 0..sides {
            let ahead = if round % 2 == 0 { turn } else { sides - turn };
            let side = (round + ahead) % sides;
            times[side].push(time(round, side)?);
        }
    }
    Ok(times)
}

/// The tables, and whether every limit is met.
fn report(names: &[&str], times: &[Vec<Times>], limits: &[Limit]) -> (String, bool) {
    let medians = |side: usize| times[side].iter().map(|time| time.median).collect::<Vec<_>>();
    let means = |side: usize| times[side].iter().map(|time| time.mean).collect::<Vec<_>>();
    let mut text =
        format!("{:<28}{:>12}{:>12}{:>12}{:>12}\n", "step", "median ms", "min ms", "max ms", "mean ms");
    for (side, name) in names.iter().enumerate() {
        let (low, high) = range(&medians(side));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{name:<28}{:>12.3}{low:>12.3}{high:>12.3}{:>12.3}",
            median(&medians(side)),
            median(&means(side))
        );
    }
    let mut all_met = true;
    for Limit { of, over, most } in limits {
        let by = |list: &dyn Fn(usize) -> Vec<f64>| median(&list(*of)) / median(&list(*over));
        let (typical, paid) = (by(&medians), by(&means));
        let rounds: Vec<f64> = medians(*of).iter().zip(medians(*over)).map(|(a, b)| a / b).collect();
        let (low, high) = range(&rounds);
        let middle = median(&rounds);
        let verdict = most.map_or(String::new(), |most| {
            let met = typical <= most && paid <= most;
            all_met &= met;
            format!("; at most {most}: {}", if met { "met" } else { "MISSED" })
        });
        let _ = writeln!(
            text,
            "{} / {}: {typical:.4} by medians (by round {middle:.4}, from {low:.4} to {high:.4}), {paid:.4} by means{verdict}",
            names[*of], names[*over]
        );
    }
    (text, all_met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_take_turns_and_another_begins_each_round() {
        let mut order = Vec::new();
        let times = in_turn(2, 3, |round, side| {
            order.push((round, side));
            Ok(Times { median: order.len() as f64, mean: 0.5 })
        });
        assert_eq!(order, [(0, 0), (0, 1), (0, 2), (1, 1), (1, 0), (1, 2)]);
        let medians: Vec<Vec<f64>> =
            times.unwrap().iter().map(|side| side.iter().map(|time| time.median).collect()).collect();
        assert_eq!(medians, [[1.0, 5.0], [2.0, 4.0], [3.0, 6.0]]);
    }

    #[test]
    fn a_limit_holds_for_medians_and_means() {
        let of = |pairs: &[(f64, f64)]| -> Vec<Times> {
            pairs.iter().map(|(median, mean)| Times { median: *median, mean: *mean }).collect()
        };
        let base = of(&[(10.0, 10.0), (10.0, 10.0), (20.0, 20.0)]);
        let limit = |most| [Limit { of: 1, over: 0, most }];
        let names = ["vanilla", "puzzlemix"];
        let good = [base.clone(), of(&[(16.0, 17.0), (17.0, 17.0), (17.0, 17.5)])];
        let (text, met) = report(&names, &good, &limit(Some(1.75)));
        assert!(
            met && text
                .contains("puzzlemix / vanilla: 1.7000 by medians (by round 1.6000, from 0.8500 to 1.7000)"),
            "{text}"
        );
        assert!(text.ends_with("1.7000 by means; at most 1.75: met\n"), "{text}");
        let rare = [base.clone(), of(&[(16.0, 19.0), (17.0, 19.0), (17.0, 19.0)])];
        let (text, met) = report(&names, &rare, &limit(Some(1.75)));
        assert!(!met && text.ends_with("1.9000 by means; at most 1.75: MISSED\n"), "{text}");
        assert!(report(&names, &rare, &limit(None)).1);
    }
}
