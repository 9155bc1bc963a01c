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
/// A network of `bench peer`, and the most that our step may cost in the peer's, eager and compiled.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Size {
    /// In the width of a ResNet-18.
    width: f64,
    batch: usize,
    eager: f64,
    compiled: f64,
}

/// The networks of `bench peer`. In the small one it is dispatch that counts.
const PEER_SIZES: &[Size] = &[
    Size { width: 1.0, batch: 32, eager: 1.0, compiled: 0.95 },
    Size { width: 0.125, batch: 16, eager: 0.92, compiled: 1.0 },
];
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
    /// Compiled PyTorch (`torch.compile`, channels innermost) in turn with the others.
    #[arg(long)]
    compiled: bool,
    /// Our own steps without fused operations (`--fused off`) in turn with the others.
    #[arg(long)]
    unfused: bool,
    #[command(flatten)]
    options: Options,
}

/// Which networks and batches `bench peer` compares: all of [`PEER_SIZES`], or those of this width, or of this batch
/// (with the limit of the first).
fn sizes(width: Option<f64>, batch: Option<usize>) -> Vec<Size> {
    let mut sizes = PEER_SIZES.to_vec();
    if let Some(width) = width {
        sizes.retain(|own| own.width == width);
        if sizes.is_empty() {
            sizes.push(Size { width, ..PEER_SIZES[0] });
        }
    }
    if let Some(batch) = batch {
        sizes.truncate(1);
        sizes[0].batch = batch;
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
    let contest = |method: &str, size: &Size| {
        let Size { width, batch, .. } = *size;
        let recipe = format!("configs/bench/{method}.ron");
        let ours = |name: &str, flags: &[&str]| {
            let mut command = step(&admix, &recipe, options);
            for change in [format!("batch={batch}"), format!("model.width={width}")] {
                command.extend(["--set".into(), change]);
            }
            command.extend(flags.iter().map(ToString::to_string));
            Side { name: name.into(), command, libtorch: Libtorch::Linked }
        };
        let theirs = |name: &str, flags: &[&str]| {
            let mut side = peer.side(method, &batch.to_string(), options);
            side.command.extend(["--base".into(), (width * FIRST_WIDTH).round().to_string()]);
            side.command.extend(flags.iter().map(ToString::to_string));
            Side { name: name.into(), ..side }
        };
        let mut rivals = vec![(theirs("pytorch", &[]), Limit::Ratio(size.eager))];
        if args.compiled {
            let compiled = theirs("compiled", &["--channels-last", "--compile"]);
            rivals.push((compiled, Limit::Ratio(size.compiled)));
        }
        if args.unfused {
            rivals.push((ours("unfused", &["--fused", "off"]), Limit::Ratio(1.0)));
        }
        Contest {
            title: format!("peer: {method}, width {width}, batch {batch}, {} threads", options.threads),
            ours: ours("admix", &[]),
            rivals,
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
        assert_eq!(sizes(Some(0.125), None), PEER_SIZES[1..]);
        assert_eq!(sizes(Some(0.5), Some(8)), [Size { width: 0.5, batch: 8, ..PEER_SIZES[0] }]);
        assert_eq!(sizes(None, Some(100)), [Size { batch: 100, ..PEER_SIZES[0] }]);
    }
}
