//! How values move over a run: the formulas that scripts and recipes use.

use std::f64::consts::PI;

/// Cosine from `base` to `end`: `end + (base - end)(1 + cos(pi progress)) / 2`.
///
/// With `progress = epoch / epochs` this is the per-epoch cosine of the paper's recipes.
pub fn cosine(base: f64, end: f64, progress: f64) -> f64 {
    end + (base - end) * (1.0 + (PI * progress).cos()) / 2.0
}

/// Momentum of the momentum network: `base` during the first `warm` of the run, then
/// `end - (end - base)(1 + cos(pi progress)) / 2` with the progress of the **whole** run, so that there is a small
/// jump where the warm part ends. Without a warm part the very first value is 0, as in the authors' hook: the
/// momentum network then starts as a copy of the trained one.
pub fn warm_cosine(base: f64, end: f64, step: u64, steps: u64, warm: f64) -> f64 {
    if warm <= 0.0 && step == 0 {
        return 0.0;
    }
    if step < (warm * steps as f64) as u64 {
        return base;
    }
    cosine(base, end, step as f64 / steps.max(1) as f64)
}

/// The weight of the mask loss as the authors' scheduler computes it: each step multiplies the **current** value
/// by `(1 + cos(pi t / T)) / 2`, so it falls far faster than a cosine.
pub fn compounding_cosine(base: f64, step: u64, steps: u64) -> f64 {
    let mut value = base;
    for t in 0..=step {
        value = cosine(value, 0.0, t as f64 / steps.max(1) as f64);
        if value.abs() < f64::MIN_POSITIVE {
            return 0.0;
        }
    }
    value
}

/// `base` times `factor` for each milestone (epochs) that has passed.
pub fn milestones(base: f64, factor: f64, milestones: &[u64], epoch: u64) -> f64 {
    base * factor.powi(milestones.iter().filter(|m| epoch >= **m).count() as i32)
}

/// Rises linearly from 0 to `base` over the first `warm` of the run, then stays.
pub fn warmup(base: f64, warm: f64, progress: f64) -> f64 {
    if warm > 0.0 && progress < warm { base * progress / warm } else { base }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_starts_at_its_base_and_ends_at_its_end() {
        assert_eq!(cosine(0.1, 0.05, 0.0), 0.1);
        assert!((cosine(0.1, 0.05, 1.0) - 0.05).abs() < 1e-15);
        assert!((cosine(0.1, 0.0, 0.5) - 0.05).abs() < 1e-15);
    }

    #[test]
    fn the_momentum_is_constant_first_and_jumps_when_the_warm_part_ends() {
        assert_eq!(warm_cosine(0.999, 0.999999, 99, 1000, 0.1), 0.999);
        assert!((warm_cosine(0.999, 0.999999, 100, 1000, 0.1) - 0.9990244).abs() < 1e-7);
        assert_eq!(warm_cosine(0.999, 1.0, 0, 1000, 0.0), 0.0);
    }

    #[test]
    fn the_compounding_weight_is_far_below_the_cosine() {
        let (compound, plain) = (compounding_cosine(0.1, 200, 1000), cosine(0.1, 0.0, 0.2));
        assert!((compound - 1.2e-4).abs() < 2e-5 && plain > 0.09, "{compound} {plain}");
    }
}
