//! Command-line arguments: flags are taken by name, whatever is left over is an error.

use std::fmt;

use anyhow::Result;

/// A mistake in the command line; `main` turns it into exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (`cargo xtask help` lists the commands)", self.0)
    }
}

impl std::error::Error for Usage {}

/// The arguments of one command that nobody has asked for yet.
#[derive(Debug)]
pub struct Args {
    command: String,
    rest: Vec<String>,
}

impl Args {
    /// Arguments `rest` of `command`, whose name the error messages carry.
    pub fn new(command: impl Into<String>, rest: Vec<String>) -> Self {
        Self { command: command.into(), rest }
    }

    /// True if the switch `name` is there; takes it out.
    pub fn switch(&mut self, name: &str) -> bool {
        let before = self.rest.len();
        self.rest.retain(|a| a != name);
        self.rest.len() != before
    }

    /// The value of `--name value` or `--name=value`; takes both out. A second one is an error.
    pub fn value(&mut self, name: &str) -> Result<Option<String>> {
        let mut found = None;
        while let Some(i) = self.rest.iter().position(|a| is_flag(a, name)) {
            let flag = self.rest.remove(i);
            let value = match flag.split_once('=') {
                Some((_, value)) => value.to_string(),
                None if i < self.rest.len() && !self.rest[i].starts_with("--") => self.rest.remove(i),
                None => return Err(Usage(format!("{}: {name} needs a value", self.command)).into()),
            };
            if found.replace(value).is_some() {
                return Err(Usage(format!("{}: {name} is given twice", self.command)).into());
            }
        }
        Ok(found)
    }

    /// The value of `--name`, parsed, or `default`.
    pub fn parsed<T: std::str::FromStr>(&mut self, name: &str, default: T) -> Result<T> {
        match self.value(name)? {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| Usage(format!("{}: {name} {text}: not a valid value", self.command)).into()),
        }
    }

    /// The first argument left, if it is no flag: a sub-command or a name.
    pub fn positional(&mut self) -> Option<String> {
        match self.rest.first() {
            Some(first) if !first.starts_with('-') => Some(self.rest.remove(0)),
            _ => None,
        }
    }

    /// Everything after a lone `--`, for another program; takes it out.
    pub fn after_dashes(&mut self) -> Vec<String> {
        match self.rest.iter().position(|a| a == "--") {
            Some(i) => self.rest.split_off(i).split_off(1),
            None => Vec::new(),
        }
    }

    /// Fails if any argument is left.
    pub fn finish(self) -> Result<()> {
        match self.rest.first() {
            None => Ok(()),
            Some(arg) => Err(Usage(format!("{}: unknown argument `{arg}`", self.command)).into()),
        }
    }
}

/// True if `arg` is `name` or `name=...`.
fn is_flag(arg: &str, name: &str) -> bool {
    arg.strip_prefix(name).is_some_and(|tail| tail.is_empty() || tail.starts_with('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(list: &[&str]) -> Args {
        Args::new("test", list.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn values_come_in_both_forms_and_leave() {
        let mut a = args(&["overhead", "--rounds", "3", "--out=x=y", "--force"]);
        assert_eq!(a.positional().as_deref(), Some("overhead"));
        assert_eq!(a.parsed("--rounds", 7).unwrap(), 3);
        assert_eq!(a.value("--out").unwrap().as_deref(), Some("x=y"));
        assert_eq!(a.parsed("--steps", 20).unwrap(), 20);
        assert!(a.switch("--force"));
        assert!(!a.switch("--force"));
        a.finish().unwrap();
    }

    #[test]
    fn what_follows_two_dashes_is_passed_on() {
        let mut a = args(&["--force", "--", "--nocapture", "golden"]);
        assert_eq!(a.after_dashes(), ["--nocapture", "golden"]);
        assert!(a.after_dashes().is_empty());
        assert!(a.switch("--force"));
        a.finish().unwrap();
    }

    #[test]
    fn mistakes_are_usage_errors_that_name_the_flag() {
        let text = |e: anyhow::Error| {
            assert!(e.is::<Usage>());
            e.to_string()
        };
        assert!(text(args(&["--outer"]).finish().unwrap_err()).contains("test: unknown argument `--outer`"));
        assert!(text(args(&["--out"]).value("--out").unwrap_err()).contains("--out needs a value"));
        assert!(text(args(&["--out", "--x"]).value("--out").unwrap_err()).contains("--out needs a value"));
        assert!(text(args(&["--n=1", "--n=2"]).value("--n").unwrap_err()).contains("twice"));
        assert!(text(args(&["--n", "many"]).parsed("--n", 1).unwrap_err()).contains("--n many"));
        assert_eq!(args(&["--outer=1"]).value("--out").unwrap(), None);
    }
}
