//! Timing several ways of doing the same, or several things on the same machine.
//!
//! All are called in turn, so that whatever else the machine does falls on each.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// What one call costs. Milliseconds, medians.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// By the clock.
    pub ms: f64,
    /// Of all threads of this process together.
    pub core_ms: f64,
}

/// The cost of a call of each. Each is called once before the rounds that count.
pub fn all_in_turn<'a>(
    rounds: u32,
    mut calls: Vec<Box<dyn FnMut() -> Result<()> + 'a>>,
) -> Result<Vec<Cost>> {
    let mut times = vec![(Vec::new(), Vec::new()); calls.len()];
    for round in 0..=rounds {
        for (call, (wall, cores)) in calls.iter_mut().zip(&mut times) {
            let (begin, busy) = (Instant::now(), processor_time());
            call()?;
            if round > 0 {
                wall.push(begin.elapsed().as_secs_f64() * 1e3);
                cores.push((processor_time() - busy).as_secs_f64() * 1e3);
            }
        }
    }
    Ok(times.into_iter().map(|(wall, cores)| Cost { ms: median(wall), core_ms: median(cores) }).collect())
}

/// Median microseconds of a call of each of two.
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
    Ok((median(of_first), median(of_second)))
}

/// What all threads of this process have used of the processors so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_take_turns_and_their_work_is_seen_on_both_clocks() {
        let order = std::cell::RefCell::new(Vec::new());
        let busy = || {
            let begin = processor_time();
            while processor_time() - begin < Duration::from_millis(4) {}
            order.borrow_mut().push("busy");
            Ok(())
        };
        let idle = || {
            order.borrow_mut().push("idle");
            Ok(())
        };
        let costs = all_in_turn(3, vec![Box::new(busy), Box::new(idle)]).expect("times");
        assert_eq!(*order.borrow(), ["busy", "idle"].repeat(4));
        assert!(costs[0].core_ms >= 4.0 && costs[0].ms >= costs[1].ms, "{costs:?}");
    }
}
