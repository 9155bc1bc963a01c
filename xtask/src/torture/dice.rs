//! Numbers that a case is made of.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The numbers of one case: the same seed and case, the same numbers.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, case: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed, case).hash(&mut hasher);
        Self(hasher.finish())
    }

    /// A number below `end`, which is above 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// One of these.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// True in one of `n` cases.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_its_own_numbers_and_has_them_again() {
        let numbers = |seed, case| {
            let mut dice = Dice::new(seed, case);
            [0; 20].map(|_| dice.below(1000))
        };
        assert_eq!(numbers(1, 7), numbers(1, 7));
        assert!(numbers(1, 7) != numbers(1, 8) && numbers(1, 7) != numbers(2, 7));
        assert!(numbers(1, 7).iter().all(|number| *number < 1000));
    }
}
