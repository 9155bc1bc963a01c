//! What the program prints, and the files that it writes at once. The only place that writes to stdout and stderr.

#![allow(clippy::print_stderr, reason = "this is the program's voice")]

use std::fs::Permissions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

pub use admix_lab::aligned as table;
use anyhow::{Context, Result};
use clap::ValueEnum;
use indicatif::ProgressBar;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON value a line.
    Json,
}

/// The bar on the terminal, if there is one: other lines must not be drawn into it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Runs with the bar off the screen.
pub fn beside_the_bar<T>(write: impl FnOnce() -> T) -> T {
    let bar = BAR.lock().ok().and_then(|bar| bar.clone());
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A bar on stderr, or none where stderr is no terminal.
pub fn bar(bar: impl FnOnce() -> ProgressBar) -> Option<ProgressBar> {
    if !io::stderr().is_terminal() {
        return None;
    }
    let bar = bar();
    if let Ok(mut shown) = BAR.lock() {
        *shown = Some(bar.clone());
    }
    Some(bar)
}

/// Takes the bar off the screen for good.
pub fn end_bar() {
    if let Some(bar) = BAR.lock().ok().and_then(|mut bar| bar.take()) {
        bar.finish_and_clear();
    }
}

/// A text without what would steer a terminal: names and reports come from files and plugins of others.
pub fn plain(text: &str) -> String {
    let steers = |c: char| c.is_control() && !"\n\t".contains(c);
    let each = text.chars().map(|c| if steers(c) { c.escape_default().to_string() } else { c.to_string() });
    each.collect()
}

/// Prints lines on stdout.
pub fn print(text: &str) -> Result<()> {
    let text = plain(text);
    beside_the_bar(|| {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()
    })
    .context("cannot write to the standard output")
}

/// Prints a value as one line of JSON on stdout.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    print(&serde_json::to_string(value)?)
}

/// Whether [`note`] speaks JSON, as `--log-format json` asks.
static NOTES_IN_JSON: AtomicBool = AtomicBool::new(false);

/// Chooses the form of all notes from here on.
pub fn notes_in(format: Format) {
    NOTES_IN_JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// Says something on stderr, if somebody still reads it: the terminal of a run may be closed.
pub fn note(text: &str) {
    let text = plain(text);
    let line = if NOTES_IN_JSON.load(Ordering::Relaxed) { as_event(&text) } else { text };
    beside_the_bar(|| drop(writeln!(std::io::stderr(), "{line}")));
}

/// A note in the form in which `--log-format json` writes events.
fn as_event(text: &str) -> String {
    let (level, message) = match text.split_once(": ") {
        Some(("error", message)) => ("ERROR", message),
        Some(("warning", message)) => ("WARN", message),
        Some((of, message)) if of.starts_with("process ") && message.starts_with("error: ") => {
            ("ERROR", text)
        }
        _ => ("INFO", text),
    };
    let mut timestamp = String::new();
    // A clock that cannot be written leaves the time out.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    json!({ "timestamp": timestamp, "level": level, "fields": { "message": message }, "target": "admix" })
        .to_string()
}

/// Writes a file: whole or not at all. Without `force` nothing is replaced.
pub fn save(path: &Path, content: &[u8], force: bool) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut partial =
        tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
    partial.write_all(content)?;
    let saved = if force { partial.persist(path) } else { partial.persist_noclobber(path) };
    saved.map(drop).map_err(|error| error.error)
}

/// Text broken at blanks into lines of at most `width`, each after `indent`.
pub fn wrap(text: &str, indent: usize, width: usize) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width.saturating_sub(indent)
        {
            lines.push_str(&format!("{:indent$}{line}\n", ""));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push_str(&format!("{:indent$}{line}\n", ""));
    }
    lines
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(0).to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An accuracy in percent; that of a network whose values are not finite is none.
pub fn percent(value: f64, digits: usize) -> String {
    if value.is_nan() { "none (not finite)".into() } else { format!("{value:.digits$} %") }
}

/// Seconds in the unit that people read.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Bytes in the unit that people read.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n\tc\u{9b}"), "a\\u{1b}[2Jb\\r\n\tc\\u{9b}");
        assert_eq!(plain("names: ä, 名\n"), "names: ä, 名\n");
    }

    #[test]
    fn notes_in_json_are_events_with_their_level() {
        for (text, level, message) in [
            ("error: x: y", "ERROR", "x: y"),
            ("warning: z", "WARN", "z"),
            ("runs/a: b", "INFO", "runs/a: b"),
            ("process 1: error: x", "ERROR", "process 1: error: x"),
        ] {
            let event: serde_json::Value = serde_json::from_str(&as_event(text)).expect("JSON");
            assert_eq!((&event["level"], &event["fields"]["message"]), (&json!(level), &json!(message)));
            assert!(event["timestamp"].as_str().is_some_and(|at| at.starts_with("20")), "{event}");
        }
    }

    #[test]
    fn text_is_broken_at_blanks() {
        assert_eq!(wrap("one two  three", 2, 9), "  one two\n  three\n");
        assert_eq!(wrap("longerthanthewidth", 2, 9), "  longerthanthewidth\n");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(thousands(0_u64), "0");
        assert_eq!(thousands(999_u64), "999");
        assert_eq!(thousands(1_234_567_i64), "1,234,567");
        assert_eq!(duration(3.21), "3.2 s");
        assert_eq!(duration(65.0), "1 min 05 s");
        assert_eq!(duration(3700.0), "1 h 01 min");
        assert_eq!(bytes(12), "12 bytes");
        assert_eq!(bytes(1_500_000), "1500.0 KB");
    }
}
