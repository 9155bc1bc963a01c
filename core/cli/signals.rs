//! Signals that ask to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use admix_torch::ForbidExit;
use anyhow::{Context, Result};
use rustix::process;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::failure::bad_input;
use crate::output;

/// A process that ends with this one's parent.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct ParentArgs {
    /// The process that started this one: when it ends, so does this one, after it saved its state.
    #[arg(long, value_name = "PROCESS", hide = true)]
    ends_with: Option<i32>,
}

impl ParentArgs {
    /// Asks for SIGTERM at the end of the process that started this one.
    ///
    /// # Errors
    /// It has ended.
    pub fn heed(self) -> Result<()> {
        let Some(parent) = self.ends_with else { return Ok(()) };
        #[cfg(target_os = "linux")]
        process::set_parent_process_death_signal(Some(process::Signal::TERM))?;
        if process::getppid().is_none_or(|now| now.as_raw_nonzero().get() != parent) {
            return Err(bad_input("--ends-with: the process that started this one has ended"));
        }
        Ok(())
    }

    /// Whether a second signal ends the program at once. One from the parent and one for its end are no second wish.
    pub fn is_alone(self) -> bool {
        self.ends_with.is_none()
    }
}

/// Puts the number of the first signal into `stop`. If `at_once`, the second ends the program, whatever it does.
pub fn watch(stop: &Arc<AtomicI32>, told: &'static str, at_once: bool) -> Result<()> {
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
        if at_once {
            flag::register_conditional_shutdown(*signal, 128 + signal, Arc::clone(&came)).context(WATCHED)?;
        }
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
