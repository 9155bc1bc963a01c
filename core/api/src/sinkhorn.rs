//! Sinkhorn: soft codes of samples that use all prototypes alike.

use admix_torch::{Kind, Tensor};

use crate::{Error, Result};

/// Codes `[N, P]` of samples for prototypes from scores `[N, P]` that are divided by epsilon: exp(scores), of which in every
/// round first each prototype (column) is scaled to the sum 1 / P and then each sample (row) to the sum 1 / N; at the end
/// times N, so that after a round or more every row sums to 1. Caron et al., NeurIPS 2020, arXiv:2006.09882, section 3.1 and
/// the authors' code. In logarithms, so that no score overflows and no prototype that nobody is near divides by 0. In
/// float32, or float64 as the scores are; without a graph.
///
/// # Errors
/// Scores of another rank, or rounds below 0.
pub fn sinkhorn(scores: &Tensor, rounds: i64) -> Result<Tensor> {
    if scores.dim() != 2 || rounds < 0 {
        let wanted = format!("[N, P] and 0 rounds or more, {rounds} asked for");
        return Err(Error::shape("the scores of Sinkhorn's rounds", scores.size(), wanted));
    }
    let kind = if scores.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let scores = scores.f_detach()?.f_to_kind(kind)?;
    let (samples, prototypes) = scores.size2()?;
    let mut log = scores.f_sub(&scores.f_reshape([1, -1])?.f_logsumexp(1, true)?)?;
    for _ in 0..rounds {
        log = log.f_sub(&log.f_logsumexp(0, true)?)?.f_sub_scalar((prototypes as f64).ln())?;
        log = log.f_sub(&log.f_logsumexp(1, true)?)?.f_sub_scalar((samples as f64).ln())?;
    }
    Ok(log.f_add_scalar((samples as f64).ln())?.f_exp()?)
}

#[cfg(test)]
mod tests {
    use admix_torch::Device;

    use super::*;

    #[test]
    fn every_sample_has_one_code_and_every_prototype_its_share() {
        let scores = (Tensor::arange(24, (Kind::Double, Device::Cpu)) * 1.3).sin().reshape([6, 4]) / 0.3;
        let codes = sinkhorn(&scores, 60).expect("codes");
        let near = |sums: Tensor, wanted: f64| (sums - wanted).abs().max().double_value(&[]) < 1e-9;
        assert!(near(codes.sum_dim_intlist(1i64, false, None), 1.0));
        assert!(near(codes.sum_dim_intlist(0i64, false, None), 6.0 / 4.0), "{codes}");
    }

    #[test]
    fn extremes_of_the_temperature_give_finite_codes() {
        // A prototype that nobody is near, and scores whose exponential is no float32.
        let scores = Tensor::from_slice(&[1f32, 0.5, -1.0, 0.9, 0.7, -1.0, -0.2, 1.0, -1.0]).reshape([3, 3]);
        for epsilon in [1e-3, 0.05, 100.0] {
            let codes = sinkhorn(&(&scores / epsilon), 3).expect("codes");
            assert_eq!(codes.isfinite().all().int64_value(&[]), 1, "{epsilon}: {codes}");
            let sums = codes.sum_dim_intlist(1i64, false, None);
            assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-4, "{epsilon}");
        }
        assert!(sinkhorn(&scores.reshape([9]), 3).is_err() && sinkhorn(&scores, -1).is_err());
    }
}
