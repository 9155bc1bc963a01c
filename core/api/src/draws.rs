//! Named, counter-based random draws: the only source of randomness.
//!
//! Every draw belongs to a stream keyed by (seed, purpose, name, epoch, step). Adding a draw to one stream
//! shifts no other, and resuming needs no generator state. Values are float64 on the host, so all devices
//! see the same numbers.

use std::rc::Rc;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution, StandardNormal};

use crate::{Error, Result};

/// All streams of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams of the run with this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Streams of their own for a part of the run, such as one network's initial values.
    #[must_use]
    pub fn fork(&self, name: &str) -> Self {
        let mut key = blake3::Hasher::new();
        key.update(&self.seed.to_le_bytes());
        key.update(name.as_bytes());
        let mut seed = [0; 8];
        seed.copy_from_slice(&key.finalize().as_bytes()[..8]);
        Self { seed: u64::from_le_bytes(seed) }
    }

    /// The draws of `purpose` (say "mix", "order", "init") and `name` (the draw's own) at one step.
    pub fn draws(&self, purpose: &str, name: &str, epoch: u64, step: u64) -> Draws {
        let mut key = blake3::Hasher::new();
        key.update(&self.seed.to_le_bytes());
        for text in [purpose, name] {
            key.update(&(text.len() as u64).to_le_bytes());
            key.update(text.as_bytes());
        }
        key.update(&epoch.to_le_bytes());
        key.update(&step.to_le_bytes());
        Draws { source: Source::Stream(ChaCha8Rng::from_seed(*key.finalize().as_bytes())) }
    }
}

/// One stream of draws, at one step.
#[derive(Debug, Clone)]
pub struct Draws {
    source: Source,
}

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one for each mix, on the stack: a box would only add work")]
enum Source {
    Stream(ChaCha8Rng),
    /// In a library, the stream is the host's.
    Host(Rc<dyn HostDraws>),
}

/// The draws of a host, seen from a library: each method is the one of [`Draws`] with this name.
pub(crate) trait HostDraws: std::fmt::Debug {
    fn uniform(&self) -> f64;
    fn below(&self, end: usize) -> usize;
    fn normal(&self) -> f64;
    /// Not a number where `a` or `b` is out of range.
    fn beta(&self, a: f64, b: f64) -> f64;
    fn permutation(&self, n: usize) -> Vec<i64>;
    fn derangement(&self, n: usize) -> Vec<i64>;
    fn field_key(&self) -> i64;
}

impl Draws {
    /// Draws that a host serves.
    pub(crate) fn hosted(host: Rc<dyn HostDraws>) -> Self {
        Self { source: Source::Host(host) }
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        match &mut self.source {
            Source::Stream(rng) => rng.random::<f64>(),
            Source::Host(host) => host.uniform(),
        }
    }

    /// A whole number, uniform in `0..end`; 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        match &mut self.source {
            _ if end == 0 => 0,
            Source::Stream(rng) => rng.random_range(0..end),
            Source::Host(host) => host.below(end),
        }
    }

    /// True with probability `p`.
    pub fn coin(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Which of the weighted options is picked; each with its share of the sum. None where no weight is above 0.
    pub fn pick(&mut self, options: &[(usize, f64)]) -> Option<usize> {
        let mut left = self.uniform() * options.iter().map(|(_, weight)| weight).sum::<f64>();
        let possible = || options.iter().filter(|(_, weight)| *weight > 0.0);
        for (index, weight) in possible() {
            if left < *weight {
                return Some(*index);
            }
            left -= weight;
        }
        // Rounding ate the last of the sum.
        possible().next_back().map(|(index, _)| *index)
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        match &mut self.source {
            Source::Stream(rng) => StandardNormal.sample(rng),
            Source::Host(host) => host.normal(),
        }
    }

    /// Beta(a, b), in [0, 1].
    ///
    /// # Errors
    /// `a` or `b` not positive and finite.
    pub fn beta(&mut self, a: f64, b: f64) -> Result<f64> {
        let value = match &mut self.source {
            Source::Stream(rng) => Beta::new(a, b).ok().map(|beta| beta.sample(rng)),
            Source::Host(host) => Some(host.beta(a, b)).filter(|value| !value.is_nan()),
        };
        value.ok_or_else(|| {
            Error::range("alpha of a Beta draw", format!("({a}, {b})"), "two positive, finite numbers")
        })
    }

    /// Dirichlet(alpha, .., alpha) over `n` outcomes: `n` numbers in [0, 1] that sum to 1.
    ///
    /// Each takes its part, a Beta, of what those before it left.
    ///
    /// # Errors
    /// `alpha` not positive and finite.
    pub fn dirichlet(&mut self, alpha: f64, n: usize) -> Result<Vec<f64>> {
        let mut left = 1.0;
        let mut parts = Vec::with_capacity(n);
        for after in (1..n).rev() {
            let part = left * self.beta(alpha, alpha * after as f64)?;
            parts.push(part);
            left -= part;
        }
        parts.extend((n > 0).then_some(left));
        Ok(parts)
    }

    /// A uniform permutation of `0..n`; fixed points allowed.
    pub fn permutation(&mut self, n: usize) -> Vec<i64> {
        match &mut self.source {
            Source::Stream(rng) => {
                let mut order: Vec<i64> = (0..n as i64).collect();
                order.shuffle(rng);
                order
            }
            Source::Host(host) => host.permutation(n),
        }
    }

    /// A permutation of `0..n` without fixed points (a uniform random cyclic order). `n` = 1 has none: `[0]`.
    pub fn derangement(&mut self, n: usize) -> Vec<i64> {
        if let Source::Host(host) = &self.source {
            return host.derangement(n);
        }
        let order = self.permutation(n);
        let mut partner = vec![0; n];
        for (i, &own) in order.iter().enumerate() {
            partner[own as usize] = order[(i + 1) % n];
        }
        partner
    }

    /// 32 random bits, as the key of a random field made on the device.
    pub fn field_key(&mut self) -> i64 {
        match &mut self.source {
            Source::Stream(rng) => i64::from(rng.random::<u32>()),
            Source::Host(host) => host.field_key(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_gives_the_same_draws_and_any_other_key_gives_others() {
        let streams = Streams::new(7);
        let first: Vec<f64> = (0..4).map(|_| streams.draws("mix", "a", 1, 2).uniform()).collect();
        assert!(first.iter().all(|v| *v == first[0]));
        for other in [
            streams.draws("mix", "b", 1, 2),
            streams.draws("mixa", "", 1, 2),
            streams.draws("mix", "a", 2, 2),
            streams.draws("mix", "a", 1, 3),
            Streams::new(8).draws("mix", "a", 1, 2),
        ] {
            assert_ne!(other.clone().uniform(), first[0]);
        }
    }

    #[test]
    fn options_are_picked_by_their_share_of_the_sum_and_never_at_weight_zero() {
        let options = [(4, 1.0), (7, 0.0), (9, 3.0), (2, 0.0)];
        let mut counts = std::collections::BTreeMap::new();
        for step in 0..4000 {
            let picked = Streams::new(1).draws("choice", "t", 0, step).pick(&options);
            *counts.entry(picked.expect("one")).or_insert(0) += 1;
        }
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [4, 9]);
        // 1000 expected; five standard errors are 137.
        assert!((counts[&4] - 1000i32).abs() < 137, "{counts:?}");
        assert_eq!(Streams::new(1).draws("choice", "t", 0, 0).pick(&[(1, 0.0)]), None);
    }

    #[test]
    fn derangements_have_no_fixed_point_and_are_permutations() {
        for n in 2..40 {
            let partner = Streams::new(1).draws("t", "d", 0, n as u64).derangement(n);
            assert!(partner.iter().enumerate().all(|(i, &p)| i as i64 != p));
            let mut sorted = partner.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..n as i64).collect::<Vec<_>>());
        }
        assert_eq!(Streams::new(1).draws("t", "d", 0, 0).derangement(1), [0]);
    }

    #[test]
    fn beta_has_the_right_mean_and_spread_and_refuses_zero() {
        let mut draws = Streams::new(3).draws("t", "beta", 0, 0);
        let n = 20_000;
        let values: Vec<f64> = (0..n).map(|_| draws.beta(2.0, 2.0).expect("valid")).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.01 && (variance - 0.05).abs() < 0.002, "{mean} {variance}");
        assert!(draws.beta(0.0, 1.0).is_err());
    }

    #[test]
    fn dirichlet_sums_to_1_and_every_outcome_has_the_right_mean_and_spread() {
        let mut draws = Streams::new(3).draws("t", "dirichlet", 0, 0);
        let (n, times, alpha) = (5, 20_000, 2.0);
        let (mut sums, mut squares) = ([0.0; 5], [0.0; 5]);
        for _ in 0..times {
            let parts = draws.dirichlet(alpha, n).expect("valid");
            assert!(parts.len() == n && (parts.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(parts.iter().all(|part| (0.0..=1.0).contains(part)));
            for (at, part) in parts.into_iter().enumerate() {
                sums[at] += part;
                squares[at] += part * part;
            }
        }
        // Mean 1 / n, variance (n - 1) / (n^2 (n alpha + 1)).
        for (sum, square) in sums.into_iter().zip(squares) {
            let mean = sum / f64::from(times);
            let variance = square / f64::from(times) - mean * mean;
            assert!((mean - 0.2).abs() < 0.005, "{mean}");
            assert!((variance - 4.0 / (25.0 * 11.0)).abs() < 5e-4, "{variance}");
        }
        assert_eq!(draws.dirichlet(alpha, 1).expect("valid"), [1.0]);
        assert!(draws.dirichlet(0.0, 2).is_err());
    }
}
