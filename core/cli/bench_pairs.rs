//! Timing two ways of doing the same.

use std::time::Instant;

use anyhow::Result;

/// Median microseconds of a call of each, both timed in turn, so that whatever else the machine does falls on both.
pub fn in_turn<T>(
    calls: u32,
    mut first: impl FnMut() -> Result<T>,
    mut second: impl FnMut() -> Result<T>,
) -> Result<(f64, f64)> {
    let timed = |work: &mut dyn FnMut() -> Result<T>| -> Result<f64> {
        let begin = Instant::now();
        drop(work()?);
        Ok(begin.elapsed().as_secs_f64() * 1e6)
    };
    let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
    for round in 0..calls + calls / 10 {
        let (a, b) = (timed(&mut first)?, timed(&mut second)?);
        if round >= calls / 10 {
            of_first.push(a);
            of_second.push(b);
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok((median(of_first), median(of_second)))
}
