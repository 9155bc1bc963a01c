//! Running other programs, with errors that say which program failed and how.

use std::ffi::OsStr;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// A program to run.
#[derive(Debug)]
pub struct Cmd {
    command: Command,
}

impl Cmd {
    /// A program, by name or path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(program) }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Runs in `dir`.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes an environment variable away.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs it with our input and output, and fails unless it exits with 0.
    pub fn run(mut self) -> Result<()> {
        let status = self.command.status().with_context(|| self.cannot_start())?;
        self.expect_success(status)
    }

    /// Like `run`, for programs that save their state when they are interrupted: waits for that, and passes on a
    /// `SIGTERM` sent to us alone. A terminal sends its `SIGINT` to both.
    pub fn run_interruptible(mut self) -> Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        let terminate = Arc::new(AtomicBool::new(false));
        let hooks = [flag::register(SIGINT, stop)?, flag::register(SIGTERM, Arc::clone(&terminate))?];
        let mut child = self.spawn()?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if terminate.swap(false, Ordering::Relaxed) {
                Self::new("kill").arg(child.id().to_string()).run()?;
            }
            thread::sleep(Duration::from_millis(50));
        };
        for hook in hooks {
            low_level::unregister(hook);
        }
        match status.code() {
            Some(code @ (130 | 143)) => Err(Interrupted(code as u8).into()),
            _ => self.expect_success(status),
        }
    }

    /// Runs it with our input and output; any exit status is an answer.
    pub fn status(mut self) -> Result<ExitStatus> {
        self.command.status().with_context(|| self.cannot_start())
    }

    /// What it prints; fails unless it exits with 0. Its errors go where ours go.
    pub fn output(mut self) -> Result<Vec<u8>> {
        let output = self.command.stderr(Stdio::inherit()).output().with_context(|| self.cannot_start())?;
        self.expect_success(output.status)?;
        Ok(output.stdout)
    }

    /// Its exit status and all that it says, whatever they are.
    pub fn silent_output(mut self) -> Result<Output> {
        self.command.stdin(Stdio::null()).output().with_context(|| self.cannot_start())
    }

    /// What it prints, or `None` if it cannot start or fails. Its errors are not shown.
    pub fn try_output(mut self) -> Option<String> {
        let output = self.command.stderr(Stdio::null()).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    }

    /// Lets it say nothing and hear nothing.
    pub fn quiet(mut self) -> Self {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self
    }

    /// Lets what it says be read after it is started.
    pub fn piped(mut self) -> Self {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self
    }

    /// Starts it with our output.
    pub fn spawn(&mut self) -> Result<Child> {
        self.command.spawn().with_context(|| self.cannot_start())
    }

    /// Starts it with its standard input open for us.
    pub fn spawn_with_input(&mut self) -> Result<Child> {
        self.command.stdin(Stdio::piped());
        self.spawn()
    }

    /// Fails with the command line unless `status` is a success.
    pub fn expect_success(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!("`{}` failed ({status})", self.line());
        }
        Ok(())
    }

    /// Program and arguments as a person would type them, near enough for a message.
    pub fn line(&self) -> String {
        let parts = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        parts.map(|p| p.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    fn cannot_start(&self) -> String {
        format!("cannot start `{}`", self.command.get_program().to_string_lossy())
    }
}

/// A program ended because it was interrupted; `main` exits with the same code.
#[derive(Debug)]
pub struct Interrupted(pub u8);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted; the same command goes on from here")
    }
}

impl std::error::Error for Interrupted {}

/// True if `error` comes from a program that is not installed.
pub fn is_missing(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::NotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_the_program() {
        let error = Cmd::new("false").arg("x").run().unwrap_err();
        assert!(format!("{error:#}").contains("`false x` failed"), "{error:#}");
        assert!(!is_missing(&error));
        let error = Cmd::new("no-such-program").output().unwrap_err();
        assert!(format!("{error:#}").contains("cannot start `no-such-program`"), "{error:#}");
        assert!(is_missing(&error));
    }

    #[test]
    fn an_interrupted_program_is_told_from_a_failed_one() {
        let exit = |code: &str| Cmd::new("sh").args(["-c", code]).run_interruptible();
        exit("exit 0").unwrap();
        assert_eq!(exit("exit 130").unwrap_err().downcast::<Interrupted>().unwrap().0, 130);
        assert!(exit("exit 1").unwrap_err().to_string().contains("failed"));
    }

    #[test]
    fn a_termination_is_passed_on_and_waited_for() {
        // The shell terminates us, its parent; only what we send back ends it.
        let code = "trap 'exit 143' TERM; kill -TERM $PPID; sleep 20 & wait";
        let error = Cmd::new("sh").args(["-c", code]).run_interruptible().unwrap_err();
        assert_eq!(error.downcast::<Interrupted>().unwrap().0, 143);
    }

    #[test]
    fn output_is_what_the_program_prints() {
        assert_eq!(Cmd::new("echo").args(["a", "b"]).output().unwrap(), b"a b\n");
        assert_eq!(Cmd::new("echo").arg("a").try_output().as_deref(), Some("a"));
        assert_eq!(Cmd::new("false").try_output(), None);
    }
}
