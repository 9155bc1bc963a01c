//! Diagnostics: `tracing` events on stderr.

use std::io::{self, Write};

use anyhow::Result;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::failure::bad_input;
use crate::output::{self, Format};

/// Starts telling events that pass `filter`.
pub fn start(filter: &str, format: Format) -> Result<()> {
    let filter = EnvFilter::builder().parse(filter).map_err(|error| {
        bad_input(format!(
            "--log {filter}: {error}; expected error, warn, info, debug, trace or off, or parts such as admix_engine=debug"
        ))
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr);
    match format {
        Format::Text => builder.with_target(false).without_time().with_ansi(false).init(),
        Format::Json => builder.json().init(),
    }
    Ok(())
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
        let _ = output::beside_the_bar(|| io::stderr().write_all(&self.0));
    }
}
