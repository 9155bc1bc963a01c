//! The time that programs may take, and the share of it that each part of a benchmark gets.

use std::time::{Duration, Instant};

/// When programs must have ended, if ever.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    begin: Instant,
    end: Option<Instant>,
}

impl Clock {
    /// One that begins now; without a limit unless there is one.
    pub fn new(seconds: Option<u64>) -> Self {
        let begin = Instant::now();
        Self { begin, end: seconds.map(|seconds| begin + Duration::from_secs(seconds)) }
    }

    /// What is left, shared between a part of weight `own` and those after it, of weight `later` together. What a part does
    /// not need is left to those after it.
    pub fn share(self, own: f64, later: f64) -> Self {
        let begin = Instant::now();
        let end =
            self.end.map(|end| begin + end.saturating_duration_since(begin).mul_f64(own / (own + later)));
        Self { begin, end }
    }

    /// Whether one more round fits, where `done` of them took the time since the beginning.
    pub fn has_a_round(self, done: usize) -> bool {
        let one = self.begin.elapsed() / done.max(1) as u32;
        self.end.is_none_or(|end| Instant::now() + one <= end)
    }

    /// The command, ended when its time is over: by a signal that lets it save its state, and 5 seconds later for good.
    pub fn limited(self, command: Vec<String>) -> Vec<String> {
        let Some(end) = self.end else { return command };
        // 0 would be no limit.
        let left = end.saturating_duration_since(Instant::now()).as_secs_f64().max(0.1);
        let timeout = ["timeout".into(), "--kill-after=5".into(), format!("{left:.1}")];
        timeout.into_iter().chain(command).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Cmd;

    #[test]
    fn parts_share_what_is_left_by_their_weights() {
        let all = Clock::new(Some(100));
        let seconds = |clock: Clock| clock.end.unwrap().duration_since(clock.begin).as_secs_f64();
        assert!((seconds(all.share(1.0, 3.0)) - 25.0).abs() < 0.5);
        assert!((seconds(all.share(3.0, 0.0)) - 100.0).abs() < 0.5);
        assert!(all.has_a_round(1) && !Clock::new(Some(0)).has_a_round(1));
        assert!(Clock::new(None).share(1.0, 1.0).has_a_round(1));
    }

    #[test]
    fn a_command_ends_with_its_time() {
        let run = |clock: Clock| {
            let command = clock.limited(vec!["sleep".into(), "60".into()]);
            Cmd::new(&command[0]).args(&command[1..]).output().is_ok()
        };
        assert!(!run(Clock::new(Some(0))));
        assert_eq!(Clock::new(None).limited(vec!["sleep".into()]), ["sleep"]);
    }
}
