//! `bench peer`: our training steps against those of PyTorch.

use anyhow::Result;
use clap::Args;

use super::contest::{self, Contest, Limit};
use crate::measure::{Libtorch, Options, Side, step};
use crate::pytorch::Peer;
use crate::repo::{Profile, Repo};
use crate::setup;

/// The methods of `bench peer`: `configs/bench/<method>.ron` against the peer's `--method <method>`.
const PEER_METHODS: &str = "vanilla,mixup,cutmix,automix,amix,moco,amix_i";
/// The networks of `bench peer`: the width in that of a ResNet-18, the batch, and the most that our step may cost in
/// the peer's. In the small one it is dispatch that counts.
const PEER_SIZES: &[(f64, usize, f64)] = &[(1.0, 32, 1.0), (0.125, 16, 0.92)];
/// Channels of the first stage of a ResNet-18.
const FIRST_WIDTH: f64 = 64.0;

/// Flags of `bench peer`.
#[derive(Debug, Args)]
pub struct PeerArgs {
    /// The methods, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = PEER_METHODS)]
    methods: Vec<String>,
    /// The network's width in that of a ResNet-18; 1 and 0.125 unless given.
    #[arg(long)]
    width: Option<f64>,
    /// Images per step.
    #[arg(long)]
    batch: Option<usize>,
    #[command(flatten)]
    options: Options,
}

/// Which networks and batches `bench peer` compares: all of [`PEER_SIZES`], or those of this width, or of this batch
/// (with the limit of the first).
fn sizes(width: Option<f64>, batch: Option<usize>) -> Vec<(f64, usize, f64)> {
    let mut sizes = PEER_SIZES.to_vec();
    if let Some(width) = width {
        sizes.retain(|(own, ..)| *own == width);
        if sizes.is_empty() {
            sizes.push((width, PEER_SIZES[0].1, PEER_SIZES[0].2));
        }
    }
    if let Some(batch) = batch {
        sizes.truncate(1);
        sizes[0].1 = batch;
    }
    sizes
}

/// Times the bench recipes against PyTorch, with the Python of `ADMIX_PEER_PYTHON`.
///
/// # Errors
/// There is no PyTorch, a build or a program fails, or with `--strict` a limit is missed.
pub fn run(repo: &Repo, args: &PeerArgs) -> Result<()> {
    let options = &args.options;
    let peer = Peer::find(repo)?;
    setup::ensure_done(repo)?;
    let admix = repo.build_admix(Profile::Release)?;
    let contest = |method: &str, (width, batch, most): &(f64, usize, f64)| {
        let recipe = format!("configs/bench/{method}.ron");
        let mut ours = step(&admix, &recipe, options);
        for change in [format!("batch={batch}"), format!("model.width={width}")] {
            ours.extend(["--set".into(), change]);
        }
        let mut theirs = peer.side(method, &batch.to_string(), options);
        theirs.command.extend(["--base".into(), (width * FIRST_WIDTH).round().to_string()]);
        Contest {
            title: format!("peer: {method}, width {width}, batch {batch}, {} threads", options.threads),
            sides: [
                Side { name: "admix".into(), command: ours, libtorch: Libtorch::Linked },
                Side { name: "pytorch".into(), ..theirs },
            ],
            limit: Limit::Ratio(*most),
        }
    };
    let sizes = sizes(args.width, args.batch);
    let all = sizes.iter().flat_map(|size| args.methods.iter().map(move |method| (method, size)));
    contest::run(repo, all.map(|(method, size)| contest(method, size)).collect(), options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_of_the_peer_can_be_chosen() {
        assert_eq!(sizes(None, None), PEER_SIZES);
        assert_eq!(sizes(Some(0.125), None), [(0.125, 16, 0.92)]);
        assert_eq!(sizes(Some(0.5), Some(8)), [(0.5, 8, 1.0)]);
        assert_eq!(sizes(None, Some(100)), [(1.0, 100, 1.0)]);
    }
}
