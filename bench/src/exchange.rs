//! `admix-bench exchange`: what it costs processes to make one of a bucket of gradients, by its size.
//!
//! The members of the group are threads of this program, each on a device of its own where there are GPUs. They are
//! connected as processes are.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use admix::device::DeviceArgs;
use admix::output::{self, Format};
use admix_torch::{Group, Kind, LARGEST_BUCKET, Membership, Tensor, synchronize};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde::Serialize;

/// Too few bytes for their number to count.
const SMALLEST: usize = 1 << 10;
/// So many tensors are packed into a bucket and unpacked again.
const TENSORS: usize = 16;
/// For a member that is late.
const PATIENCE: Duration = Duration::from_secs(120);

/// Flags of `admix-bench exchange`.
#[derive(Args)]
pub struct ExchangeArgs {
    /// Members of the group.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(2..))]
    processes: u16,
    /// How often every size is timed.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    device: DeviceArgs,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What the exchange of one bucket costs: the least of its rounds, as whatever else the machine does comes on top.
#[derive(Debug, Clone, Serialize)]
struct Row {
    bytes: usize,
    ms: f64,
}

/// Times the exchange of a tiny bucket and of the largest one, alternately.
pub fn exchange(args: &ExchangeArgs) -> Result<()> {
    let processes = usize::from(args.processes);
    let devices =
        (0..processes).map(|rank| args.device.open_at(rank, processes)).collect::<Result<Vec<_>>>()?;
    let port = TcpListener::bind("127.0.0.1:0").context("no port is free")?.local_addr()?.port();
    let members: Vec<Result<Vec<Row>>> = thread::scope(|scope| {
        let start = |(rank, device)| {
            let place = Membership {
                rank,
                processes,
                host: "127.0.0.1".into(),
                port,
                launcher_store: false,
                attempt: 0,
                timeout: PATIENCE,
                device,
            };
            scope.spawn(move || timed(&place, args.rounds))
        };
        let members: Vec<_> = devices.into_iter().enumerate().map(start).collect();
        let ended = members.into_iter().map(|member| member.join());
        ended.map(|member| member.unwrap_or_else(|_| Err(anyhow!("a thread panicked")))).collect()
    });
    let members = members.into_iter().collect::<Result<Vec<_>>>()?;
    let rows = members.into_iter().next().unwrap_or_default();
    match args.format {
        Format::Json => output::print_json(&rows),
        Format::Text => output::print(&told(&rows)),
    }
}

/// What one member sees.
fn timed(place: &Membership, rounds: u32) -> Result<Vec<Row>> {
    let group = Group::join(place)?;
    let sizes = [SMALLEST, LARGEST_BUCKET];
    let bucket = |bytes: &usize| -> Result<Vec<Tensor>> {
        let each = (bytes / TENSORS / Kind::Float.elt_size_in_bytes()) as i64;
        let tensors = (0..TENSORS).map(|_| Tensor::f_zeros([each], (Kind::Float, place.device)));
        Ok(tensors.collect::<Result<_, _>>()?)
    };
    let buckets = sizes.iter().map(bucket).collect::<Result<Vec<_>>>()?;
    let mut least = [f64::INFINITY; 2];
    // The first round connects the members and is not counted.
    for round in 0..=rounds {
        for (bucket, least) in buckets.iter().zip(&mut least) {
            group.barrier()?;
            let begin = Instant::now();
            group.all_reduce(bucket)?;
            synchronize(place.device)?;
            if round > 0 {
                *least = least.min(begin.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    group.leave()?;
    Ok(sizes.into_iter().zip(least).map(|(bytes, ms)| Row { bytes, ms }).collect())
}

fn told(rows: &[Row]) -> String {
    let mut table = vec![["bytes", "ms"].map(String::from).to_vec()];
    table.extend(rows.iter().map(|row| vec![row.bytes.to_string(), format!("{:.3}", row.ms)]));
    output::table(&table)
}
