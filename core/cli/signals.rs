//! Signals that ask to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use admix_torch::ForbidExit;
use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::output;

/// Puts the number of the first signal into `stop`; the second ends the program at once, whatever it does.
pub fn watch(stop: &Arc<AtomicI32>, told: &'static str) -> Result<()> {
    const WATCHED: &str = "cannot watch for signals";
    let mut watched = vec![SIGINT, SIGTERM];
    if !hangup_is_ignored() {
        watched.push(SIGHUP);
    }
    let came = Arc::<AtomicBool>::default();
    ForbidExit::except_after(Arc::clone(&came));
    for signal in &watched {
        // In this order, so that the first signal finds `came` still false. Both act in the signal's handler: no thread
        // that waits, no step and no destructor of libtorch holds the second one up.
        flag::register_conditional_shutdown(*signal, 128 + signal, Arc::clone(&came)).context(WATCHED)?;
        flag::register(*signal, Arc::clone(&came)).context(WATCHED)?;
    }
    let mut signals = Signals::new(watched).context(WATCHED)?;
    let stop = Arc::clone(stop);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                stop.store(signal, Ordering::Relaxed);
                output::note(told);
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

/// Whether the program was started to outlive its terminal, as with `nohup`; watching would undo that. Taken to be so
/// where the system does not tell.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}
