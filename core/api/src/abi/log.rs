//! What a library says by `tracing`, handed to the host's log: a library has a `tracing` of its own, which nobody reads.

use std::fmt::{Debug, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::raw;

/// The host's log.
struct Host(raw::Log);

// SAFETY: the log is valid for the life of the process and may be called from any thread, as `admix.h` says; its host
// pointer is only handed back.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// Sends this library's events to the host from now on. Only the first call counts.
pub(super) fn forward(log: raw::Log) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It fails where the library installed a subscriber of its own, which then stays.
        let _ = tracing::subscriber::set_global_default(Host(log));
    });
}

/// An event's message, and its fields after it.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a text cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Host {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        // Spans are not told; each still needs a name of its own.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Id::from_u64(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = match *event.metadata().level() {
            Level::ERROR => 1,
            Level::WARN => 2,
            Level::INFO => 3,
            _ => 4,
        };
        if let Some(say) = self.0.say {
            // SAFETY: the host's function with its own pointer; the text lives for the call.
            unsafe { say(self.0.host, level, raw::Text::of(&line.0)) };
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
