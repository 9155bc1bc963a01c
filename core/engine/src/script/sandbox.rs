//! The sandbox of scripts: what the language offers, and when a call that does not end is ended.
//!
//! One call may run so many operations and compute for so long. Operations of callbacks (`for_each`, `sort`) count like
//! any other, which rhai's own limit misses. The time is that of the thread's CPU, without what verbs take: neither a slow
//! machine nor a stopped process ends a script that would come to its end.

use std::cell::Cell;
use std::time::Duration;

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{Dynamic, Engine, Token};
use rustix::time::{ClockId, clock_gettime};

/// Script operations allowed in one call, the same in debug and release builds. A step needs some hundred.
const MAX_OPERATIONS: u64 = 1_000_000;
/// What a call may compute outside of verbs. A million operations take well below a second.
const MAX_TIME: Duration = Duration::from_secs(10);
/// Asking for the time takes longer than an operation.
const OPERATIONS_A_LOOK: u64 = 16;
/// What a call may take of the stack, a part of the smallest one of a thread: the functions that print and compare call
/// themselves for each level of a value.
const MAX_STACK: usize = 1 << 20;
/// How deep functions of a script may call each other.
pub const MAX_DEPTH: usize = 32;
/// The longest script, in bytes. The parser's time grows with the square of a `switch`'s cases.
pub const MAX_BYTES: usize = 1 << 16;

/// The longest text, in characters.
pub const MAX_TEXT: usize = 10_000;
/// The elements of an array, with those of all that it holds.
pub const MAX_ARRAY: usize = 10_000;
/// The entries of a map, with those of all that it holds.
pub const MAX_MAP: usize = 1_000;

/// Words of rhai that are not part of the language: `curry` makes values without bound in one operation each.
pub const REFUSED: [&str; 2] = ["eval", "curry"];

/// What a call ran out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Operations.
    Operations,
    /// Time of its own.
    Time,
    /// Stack.
    Stack,
}

impl Limit {
    /// What people are told: the limit of this function and the remedy.
    pub fn told(self, function: &str) -> String {
        match self {
            Self::Operations => format!(
                "`{function}` ran more than {MAX_OPERATIONS} operations in one call: is there a loop that does not end?"
            ),
            Self::Time => format!(
                "`{function}` computed for more than {} seconds in one call, without the time of its verbs: is there a \
                 loop that does not end, or an array that is copied in a loop?",
                MAX_TIME.as_secs()
            ),
            Self::Stack => format!(
                "`{function}` took more than {} KiB of the stack: is there an array or a map within another, many \
                 levels deep, or a recursion?",
                MAX_STACK >> 10
            ),
        }
    }
}

/// The call that runs on this thread.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    operations: u64,
    /// Of its time, until `since`.
    spent: Duration,
    /// Where the thread's clock stood when the script went on; none in a verb.
    since: Option<Duration>,
    /// Where the stack stood.
    stack: usize,
    broken: Option<Limit>,
}

thread_local! {
    static RUN: Cell<Run> = const { Cell::new(Run {
        operations: 0, spent: Duration::ZERO, since: None, stack: 0, broken: None,
    }) };
}

fn now() -> Duration {
    let at = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or(0))
}

/// Where the stack stands, near enough.
fn stack() -> usize {
    let here = 0u8;
    std::hint::black_box(&raw const here).addr()
}

impl Run {
    fn spent(&self) -> Duration {
        self.spent + self.since.map_or(Duration::ZERO, |since| now().saturating_sub(since))
    }

    /// One operation more. A broken limit stays broken: some functions go on after an error of a callback.
    fn count(&mut self) {
        self.operations += 1;
        let time = || self.operations.is_multiple_of(OPERATIONS_A_LOOK) && self.spent() > MAX_TIME;
        self.broken = self.broken.or(match () {
            () if self.operations > MAX_OPERATIONS => Some(Limit::Operations),
            () if self.stack.abs_diff(stack()) > MAX_STACK => Some(Limit::Stack),
            () if time() => Some(Limit::Time),
            () => None,
        });
    }
}

/// A call of a script's function, while it lives.
#[derive(Debug)]
pub struct Entered {
    /// The call around it: a method's step, which a scripted mixer's call is a verb of.
    around: Run,
    resume: bool,
}

/// Begins the count of a call.
pub fn enter() -> Entered {
    let mut around = RUN.get();
    let resume = around.since.is_some();
    around.spent = around.spent();
    around.since = None;
    RUN.set(Run { since: Some(now()), stack: stack(), ..Run::default() });
    Entered { around, resume }
}

impl Entered {
    /// The limit that this call broke.
    pub fn broken(&self) -> Option<Limit> {
        RUN.get().broken
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let since = self.resume.then(now);
        RUN.set(Run { since, ..self.around });
    }
}

/// A verb, while it lives: its time is not the script's.
#[derive(Debug)]
pub struct Outside(bool);

/// Stops the clock of the script that runs, for a verb.
pub fn outside() -> Outside {
    let mut run = RUN.get();
    let ran = run.since.is_some();
    if ran {
        run.spent = run.spent();
        run.since = None;
        RUN.set(run);
    }
    Outside(ran)
}

impl Drop for Outside {
    fn drop(&mut self) {
        if self.0 {
            RUN.set(Run { since: Some(now()), ..RUN.get() });
        }
    }
}

/// The language that methods, mixers and losses share, without their verbs.
pub fn engine() -> Engine {
    let mut engine = Engine::new_raw();
    // What is not in these packages does not exist: no clock, no sleep, no files, modules or randomness.
    ArithmeticPackage::new().register_into_engine(&mut engine);
    BasicStringPackage::new().register_into_engine(&mut engine);
    BasicIteratorPackage::new().register_into_engine(&mut engine);
    BasicFnPackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    BasicArrayPackage::new().register_into_engine(&mut engine);
    BasicMapPackage::new().register_into_engine(&mut engine);
    MoreStringPackage::new().register_into_engine(&mut engine);
    engine
        .set_strict_variables(true)
        .set_max_operations(0)
        .set_max_call_levels(MAX_DEPTH)
        .set_max_expr_depths(64, 32)
        .set_max_string_size(MAX_TEXT)
        .set_max_array_size(MAX_ARRAY)
        .set_max_map_size(MAX_MAP)
        .set_fail_on_invalid_map_property(true);
    for word in REFUSED {
        engine.disable_symbol(word);
    }
    // `as` names a draw in `t.mix(...)`. Scripts cannot import, so nothing else needs the word.
    #[allow(deprecated, reason = "marked so by rhai to say that it may change, not that it will go")]
    engine.on_parse_token(|token, _, _| match token {
        Token::As => Token::Identifier(Box::new("as".into())),
        other => other,
    });
    engine.on_progress(|_| {
        let mut run = RUN.get();
        run.count();
        RUN.set(run);
        run.broken.map(|_| Dynamic::UNIT)
    });
    engine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_and_a_call_within_it_take_none_of_the_time_of_the_script() {
        let call = enter();
        let busy = || {
            let from = now();
            while now() - from < Duration::from_millis(20) {}
        };
        {
            let _verb = outside();
            busy();
            let inner = enter();
            busy();
            assert!(RUN.get().spent() >= Duration::from_millis(20));
            drop(inner);
            busy();
        }
        let before = RUN.get().spent();
        assert!(before < Duration::from_millis(20), "{before:?}");
        busy();
        assert!(RUN.get().spent() >= before + Duration::from_millis(20));
        drop(call);
        assert!(RUN.get().since.is_none());
    }

    #[test]
    fn a_call_that_computes_for_too_long_is_ended_within_its_operations() {
        let call = enter();
        RUN.set(Run { spent: MAX_TIME, ..RUN.get() });
        let text = "let n = 0; while n < 1000 { n += 1; }";
        assert!(engine().eval::<()>(text).is_err());
        assert_eq!(call.broken(), Some(Limit::Time));
        assert!(RUN.get().operations <= 2 * OPERATIONS_A_LOOK);
    }
}
