//! Scripts other than methods: mixers and losses, and the language that all of them share.

mod language;
mod live;
mod loss;
mod mixer;
mod plugin;
pub(crate) mod sandbox;
mod text;
pub(crate) mod values;

pub use language::{Dialect, Script};
pub use loss::ScriptedLoss;
pub use mixer::ScriptedMixer;
pub(crate) use plugin::Reading;
pub use plugin::{registry, script_entry, script_plugins};
pub use text::ScriptText;

use crate::text::without_mark;

/// What a script is for, by the function that only this kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptKind {
    /// `step`: a method.
    Method,
    /// `mix`: a mixer.
    Mixer,
    /// `loss`: a loss.
    Loss,
}

impl ScriptKind {
    /// The kind of a script; a method where nothing else is told.
    pub fn of(text: &str) -> Self {
        let text = without_mark(text);
        let defines = |name: &str| {
            let code = text.lines().filter_map(|line| line.split("//").next());
            let is_it = |(before, rest): (&str, &str)| {
                let rest = rest.trim_start().strip_prefix(name).map(str::trim_start);
                let is_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
                !is_word && rest.is_some_and(|rest| rest.starts_with('('))
            };
            code.flat_map(|line| line.match_indices("fn ").map(move |(at, _)| (&line[..at], &line[at + 3..])))
                .any(is_it)
        };
        match () {
            () if defines("step") => Self::Method,
            () if defines("mix") => Self::Mixer,
            () if defines("loss") => Self::Loss,
            () => Self::Method,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_before_a_script_hides_nothing() {
        assert_eq!(ScriptKind::of("\u{feff}fn mix(m) { m.images }"), ScriptKind::Mixer);
        assert_eq!(ScriptKind::of("\u{feff}fn loss(l) { l }"), ScriptKind::Loss);
        assert_eq!(ScriptKind::of("fn a() { 1 } fn mix(m) { m.images }"), ScriptKind::Mixer);
        assert_eq!(ScriptKind::of("// not fn mix(m)\nfn step(t) { }"), ScriptKind::Method);
        assert_eq!(ScriptKind::of("myfn mix(m) { }"), ScriptKind::Method);
    }
}
