//! Diagnostics: `tracing` events on stderr.

use std::io::{self, Write};
use std::str::FromStr;

use anyhow::Result;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::failure::bad_input;
use crate::output::{self, Format};
use crate::profile::Profiler;

/// Starts telling events that pass `filter`, and gives the spans of steps to a profiler, if there is one.
pub fn start(filter: &str, format: Format, profiler: Option<&Profiler>) -> Result<()> {
    output::notes_in(format);
    let refuse = |why: String| {
        bad_input(format!(
            "--log {filter}: {why}; expected error, warn, info, debug, trace or off, or parts such as admix_engine=debug"
        ))
    };
    if let Some(word) = filter.split(',').find(|part| !is_directive(part)) {
        return Err(refuse(format!("`{word}` is no level")));
    }
    let filter = EnvFilter::builder().parse(filter).map_err(|error| refuse(error.to_string()))?;
    let told = tracing_subscriber::fmt::layer().with_writer(Stderr);
    let told = match format {
        Format::Text => told.with_target(false).without_time().with_ansi(false).boxed(),
        Format::Json => told.json().boxed(),
    };
    let layers = tracing_subscriber::registry().with(told.with_filter(filter));
    match profiler {
        Some(profiler) => layers.with(profiler.layer()).init(),
        None => layers.init(),
    }
    Ok(())
}

/// A level, or target=level. The filter's own parser takes any other word for a target, and then says nothing.
fn is_directive(part: &str) -> bool {
    let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
    part.contains('[') || LevelFilter::from_str(level).is_ok_and(|_| !level.is_empty())
}

/// Stderr beside the progress bar: each event is written at once when it is complete.
struct Stderr;

impl MakeWriter<'_> for Stderr {
    type Writer = Event;

    fn make_writer(&self) -> Event {
        Event(Vec::new())
    }
}

struct Event(Vec<u8>);

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // Nobody is left to be told that stderr is closed.
        let text = output::plain(&String::from_utf8_lossy(&self.0));
        let _ = output::beside_the_bar(|| io::stderr().write_all(text.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_levels_and_targets_with_levels_are_filters() {
        for good in ["warn", "DEBUG", "off", "admix_engine=trace", "warn"] {
            assert!(is_directive(good), "{good}");
        }
        for bad in ["", "loud", "admix_engine=", "admix_engine=loud", "admix_engine"] {
            assert!(!is_directive(bad), "{bad}");
        }
    }
}
