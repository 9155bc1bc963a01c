//! Names in messages.

use admix_api::did_you_mean;

use crate::{Error, Result};

/// Names in backquotes.
pub(crate) fn list<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<String> = names.into_iter().map(|n| format!("`{}`", n.as_ref())).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Where `name` is among `names`. `what` and `owner` are for the message: "no loss named `c`; `owner` has `a`, `b`".
///
/// # Errors
/// There is none of this name. The message lists those that there are and suggests the nearest.
pub(crate) fn find<'a, I: Iterator<Item = &'a str>>(
    what: &str,
    name: &str,
    owner: &str,
    names: impl Fn() -> I,
) -> Result<usize> {
    names().position(|own| own == name).ok_or_else(|| {
        let hint = did_you_mean(name, names());
        Error::Input(format!("no {what} named `{name}`; {owner} {}{hint}", list(names())))
    })
}

/// A file's text without the mark that some editors put before it.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
