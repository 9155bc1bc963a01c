//! Calls into a plugin, watched: what it gave, whether it panicked, and what it left behind.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use admix_torch::{Device, Kind, SyncCounter, Tensor, ThreadState, grad_enabled, rng_fingerprint};

/// What was seen where a promise was broken.
#[derive(Debug)]
pub struct Seen {
    /// In words.
    pub text: String,
    /// Whether it is a panic.
    pub panicked: bool,
    /// Whether it is an error that names a setting and what was expected of it.
    pub names_setting: bool,
}

/// What a test of a promise says.
pub type Check = Result<(), Seen>;

impl Seen {
    /// On one line, without libtorch's stack, and not endless.
    pub(super) fn line(&self) -> String {
        const LONGEST: usize = 300;
        let text = self.text.split("Exception raised from").next().unwrap_or_default().replace("\\n", " ");
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}...", &line[..end]),
            None => line,
        }
    }

    fn panic(payload: &(dyn Any + Send), place: Option<String>) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".into());
        let at = place.map(|place| format!(" at {place}")).unwrap_or_default();
        Self { text: format!("panicked{at}: {message}"), panicked: true, names_setting: false }
    }
}

impl From<String> for Seen {
    fn from(text: String) -> Self {
        Self { text, panicked: false, names_setting: false }
    }
}

impl From<&str> for Seen {
    fn from(text: &str) -> Self {
        text.to_string().into()
    }
}

impl From<crate::Error> for Seen {
    fn from(error: crate::Error) -> Self {
        let names_setting = matches!(error, crate::Error::Range { .. } | crate::Error::Setting { .. });
        Self { names_setting, ..error.to_string().into() }
    }
}

impl From<admix_torch::Error> for Seen {
    fn from(error: admix_torch::Error) -> Self {
        error.to_string().into()
    }
}

impl From<admix_torch::TchError> for Seen {
    fn from(error: admix_torch::TchError) -> Self {
        admix_torch::Error::from(error).into()
    }
}

/// `Ok` if the condition holds, else what `seen` says.
pub fn ensure(holds: bool, seen: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(seen().into()) }
}

thread_local! {
    /// Whether a panic of this thread is expected, and so not printed.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// Where the last guarded panic happened.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of guarded calls are part of the report, so they do not go to stderr as well. Installed once and never
/// taken back, since other threads may panic at any time; every other panic goes to the hook that was there.
fn keep_guarded_panics_quiet() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if GUARDED.get() {
                PLACE.set(panic.location().map(ToString::to_string));
            } else {
                former(panic);
            }
        }));
    });
}

/// Runs something that may fail or panic. The thread's modes are afterwards what they were before.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Seen>) -> Result<T, Seen> {
    keep_guarded_panics_quiet();
    let _modes = ThreadState::save();
    let outer = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    outcome.unwrap_or_else(|payload| Err(Seen::panic(payload.as_ref(), PLACE.take())))
}

/// One watched call.
#[derive(Debug)]
pub struct Watched<T> {
    /// What it gave, or its error, or its panic.
    pub outcome: Result<T, Seen>,
    /// Whether gradient mode and autocast are as before.
    pub modes: Check,
    /// Whether libtorch's generator is as before.
    pub draws: Check,
    /// Whether nothing waited for the device.
    pub waits: Check,
}

/// Runs a call into the plugin. Modes that it changed are brought back.
pub fn watched<T>(work: impl FnOnce() -> crate::Result<T>) -> Watched<T> {
    watched_on(Device::Cpu, work)
}

/// The same where the plugin computes on a device.
pub fn watched_on<T>(device: Device, work: impl FnOnce() -> crate::Result<T>) -> Watched<T> {
    let generators = || [Device::Cpu, device].map(|device| rng_fingerprint(device).ok());
    let before = (generators(), modes(device));
    let counter = SyncCounter::start();
    // Not by `guarded` alone: it brings the modes back before they could be seen.
    let mut after = None;
    let outcome = guarded(|| {
        let outcome = guarded_modes(work);
        after = Some(modes(device));
        outcome
    });
    let waits = counter.names();
    drop(counter);
    let drew = generators() != before.0;
    let left = after.unwrap_or(before.1);
    Watched {
        outcome,
        modes: ensure(left == before.1, || format!("it left {left:?} where there was {:?}", before.1)),
        draws: ensure(!drew, || "libtorch's generator was drawn from; draws belong to the plan".into()),
        waits: ensure(waits.is_empty(), || format!("the host waited for {}", waits.join(", "))),
    }
}

/// As [`guarded`], but the modes stay as the work left them.
fn guarded_modes<T>(work: impl FnOnce() -> crate::Result<T>) -> Result<T, Seen> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(Seen::from),
        Err(payload) => Err(Seen::panic(payload.as_ref(), PLACE.take())),
    }
}

/// The modes of this thread that a plugin could leave changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "read through Debug, in a message")]
struct Modes {
    gradients: bool,
    /// What a matrix product comes out in; lower than float32 under autocast.
    products: Option<Kind>,
}

fn modes(device: Device) -> Modes {
    let one = Tensor::ones([1, 1], (Kind::Float, device));
    Modes { gradients: grad_enabled(), products: one.f_matmul(&one).ok().map(|product| product.kind()) }
}
