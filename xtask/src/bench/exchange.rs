//! What processes exchange in a step: what a bucket costs here, and what it would cost larger groups, which is an estimate.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::limits::{Limit, Row};
use crate::repo::Repo;

/// Sizes of the groups whose exchange is estimated.
const ESTIMATED: [usize; 3] = [2, 8, 64];

/// Bytes and seconds of a tiny bucket and of the largest one, as `admix-bench exchange` measures them.
///
/// # Errors
/// The program fails, or tells something else.
pub fn sizes(repo: &Repo, bench: &Path, device: &str, processes: usize) -> Result<[(f64, f64); 2]> {
    let command = repo.program(bench).args(["exchange", "--format", "json", "--device", device]);
    let told = command.args(["--processes", &processes.to_string()]).output()?;
    let rows: Vec<Value> = serde_json::from_slice(&told).context("`admix-bench exchange` told no sizes")?;
    let sizes: Option<Vec<_>> =
        rows.iter().map(|row| Some((row["bytes"].as_f64()?, row["ms"].as_f64()? / 1e3))).collect();
    sizes.and_then(|sizes| sizes.try_into().ok()).context("`admix-bench exchange` told other sizes")
}

/// What a bucket costs a group of a size that was measured.
#[derive(Debug)]
pub struct Bucket {
    pub fixed_s: f64,
    s_per_byte: f64,
    processes: usize,
}

impl Bucket {
    /// The line through two sizes.
    pub fn fit([(small, short), (large, long)]: [(f64, f64); 2], processes: usize) -> Self {
        let s_per_byte = (long - short) / (large - small);
        Self { fixed_s: short - small * s_per_byte, s_per_byte, processes }
    }

    /// Bytes that each process sends in a second, packing and unpacking included.
    pub fn bandwidth(&self, processes: usize) -> f64 {
        ring(processes) / self.s_per_byte
    }

    /// The fixed cost in a group of another size: a ring passes every bucket on twice (P - 1) times.
    fn fixed_in(&self, processes: usize) -> f64 {
        self.fixed_s * (processes - 1) as f64 / (self.processes - 1) as f64
    }
}

/// How often a process of a ring sends what it has.
fn ring(processes: usize) -> f64 {
    2.0 * (processes - 1) as f64 / processes as f64
}

/// What is exchanged in a step.
#[derive(Debug)]
pub struct Exchanged {
    pub bytes: f64,
    pub buckets: f64,
}

impl Exchanged {
    /// So many bytes, in buckets of at most the largest size.
    pub fn of(bytes: f64, largest: f64) -> Self {
        Self { bytes, buckets: (bytes / largest).ceil() }
    }

    /// The time that a ring of so many processes takes, of which each sends so many bytes in a second. Nothing but the fixed
    /// cost is measured.
    fn seconds(&self, bucket: &Bucket, processes: usize, bandwidth: f64) -> f64 {
        self.buckets * bucket.fixed_in(processes) + ring(processes) * self.bytes / bandwidth
    }
}

/// The exchange of groups in which each process sends so many GB in a second, in ms and as a share of a step that takes so many
/// seconds without it.
pub fn estimates(exchanged: &Exchanged, bucket: &Bucket, bandwidths: &[f64], step_s: f64) -> Vec<Row> {
    let groups = bandwidths.iter().flat_map(|bandwidth| ESTIMATED.map(|processes| (bandwidth, processes)));
    let rows = groups.flat_map(|(bandwidth, processes)| {
        let seconds = exchanged.seconds(bucket, processes, 1e9 * bandwidth);
        let figures = [("ms", 1e3 * seconds), ("% of a step", 100.0 * seconds / (seconds + step_s))];
        figures.map(|(unit, value)| Row {
            what: format!("ESTIMATE, {processes} processes, {bandwidth} GB/s each: exchange, {unit}"),
            values: vec![value],
            limit: Limit::Told,
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_of_the_measured_fixed_cost_and_of_the_bytes_of_a_ring() {
        // 2 ms and 1 ms for each MB, between two processes.
        let bucket = Bucket::fit([(1e6, 3e-3), (64e6, 66e-3)], 2);
        let near =
            |value: f64, wanted: f64| assert!((value / wanted - 1.0).abs() < 1e-9, "{value}, {wanted}");
        near(bucket.fixed_s, 2e-3);
        near(bucket.bandwidth(2), 1e9);
        let exchanged = Exchanged::of(100e6, 64e6);
        near(exchanged.buckets, 2.0);
        // Each of 2 sends 100 MB at 10 GB/s; each of 5 sends 160 MB, and its buckets go through 4 times the hops.
        near(exchanged.seconds(&bucket, 2, 1e10), 2.0 * 2e-3 + 10e-3);
        near(exchanged.seconds(&bucket, 5, 1e10), 2.0 * 8e-3 + 16e-3);
    }
}
