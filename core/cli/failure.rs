//! How the program ends: one message for people, one exit code for scripts.

use std::io;
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use crate::output;

/// Bad input that this program itself found: a flag, an argument.
#[derive(Debug)]
pub struct BadInput(pub String);

impl std::fmt::Display for BadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// A signal stopped the program, after everything was saved.
#[derive(Debug)]
pub struct Stopped {
    /// Which.
    pub signal: i32,
    /// The command that goes on.
    pub again: String,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "stopped by signal {}; the state of every run is saved: go on with `{}`",
            self.signal, self.again
        )
    }
}

impl std::error::Error for Stopped {}

/// Processes that this one started have told why they ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code that says it.
    pub code: u8,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a process ended with exit code {}", self.code)
    }
}

impl std::error::Error for Ended {}

/// An error of exit code 2.
pub fn bad_input(message: impl Into<String>) -> anyhow::Error {
    BadInput(message.into()).into()
}

/// Prints an error and gives the exit code: 2 for bad input, 128 + signal when interrupted, else 1.
pub fn tell(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    if let Some(Ended { code }) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    match error.downcast_ref() {
        Some(stopped @ admix_engine::Error::Interrupted { .. }) => output::note(&stopped.to_string()),
        _ if error.is::<Stopped>() => output::note(&error.to_string()),
        _ => output::note(&format!("error: {}", whole(error))),
    }
    ExitCode::from(exit_code(error))
}

/// The message, and what caused it unless that is said already.
fn whole(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(&format!(": {cause}"));
        }
    }
    text
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<BadInput>() {
        return 2;
    }
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        return u8::try_from(128 + stopped.signal).unwrap_or(1);
    }
    if let Some(engine) = error.downcast_ref::<admix_engine::Error>() {
        return u8::try_from(engine.exit_code()).unwrap_or(1);
    }
    match error.downcast_ref::<admix_data::Error>() {
        Some(admix_data::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return 2,
        Some(admix_data::Error::Torch(_) | admix_data::Error::Io { .. } | admix_data::Error::Fetch(_)) => {
            return 1;
        }
        Some(_) => return 2,
        None => {}
    }
    if let Some(admix_api::Error::Library { .. } | admix_api::Error::DuplicatePlugin { .. }) =
        error.downcast_ref()
    {
        return 2;
    }
    match error.downcast_ref::<admix_torch::Error>() {
        // `--device cuda` on a machine without one.
        Some(admix_torch::Error::NoCuda { .. }) => 2,
        _ => 1,
    }
}

/// The reader of our output, such as `head`, has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// One line for a defect of the program.
pub fn tell_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message =
        payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    let at = info.location().map(|l| format!(" ({}:{})", l.file(), l.line())).unwrap_or_default();
    output::note(&format!("error: internal: {}{at}", admix_torch::first_words(message.unwrap_or("a panic"))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_bad_input_from_failed_runs() {
        assert_eq!(exit_code(&bad_input("a flag")), 2);
        assert_eq!(exit_code(&admix_engine::Error::Input("a file".into()).into()), 2);
        let checkpoint = admix_engine::Error::Interrupted { signal: 15, checkpoint: "x".into() };
        assert_eq!(exit_code(&checkpoint.into()), 143);
        assert_eq!(exit_code(&anyhow::anyhow!("the disk")), 1);
    }

    #[test]
    fn a_cause_is_told_once() {
        use anyhow::Context;
        let io = || io::Error::other("the disk is on fire");
        let told = anyhow::Error::from(io()).context("cannot write x");
        assert_eq!(whole(&told), "cannot write x: the disk is on fire");
        let said = admix_data::Error::Io { path: "x".into(), action: "read", source: io() };
        assert_eq!(whole(&said.into()), "cannot read x: the disk is on fire");
        assert!(Err::<(), _>(io()).context("a").is_err());
    }
}
