//! What contrastive methods do to embeddings beside their losses.

use admix_torch::Tensor;

use crate::Result;

/// L2-normalised over axis 1; a norm below 1e-12 counts as 1e-12.
///
/// # Errors
/// A tensor without an axis 1.
pub fn unit(embedding: &Tensor) -> Result<Tensor> {
    let norm = embedding.f_norm_scalaropt_dim(2.0, 1i64, true)?.f_clamp_min(1e-12)?;
    Ok(embedding.f_div(&norm)?)
}

/// Numbers of the law Beta(2, 2), of mean 1/2 and in [0, 1], from numbers uniform in [0, 1): the inverse of its
/// distribution function 3 x^2 - 2 x^3. In float32 or better.
///
/// # Errors
/// libtorch refused.
pub fn beta22(uniform: &Tensor) -> Result<Tensor> {
    let angle = uniform.f_mul_scalar(-2.0)?.f_add_scalar(1.0)?.f_asin()?;
    Ok(angle.f_mul_scalar(1.0 / 3.0)?.f_sin()?.f_neg()?.f_add_scalar(0.5)?.f_clamp(0.0, 1.0)?)
}

/// Feature extension of two embeddings `[N, D]`: `weight own + (1 - weight) other`, L2-normalised. A weight `[N, D]` (one
/// for each element) in [0, 1] stays between the two (interpolation); one in [1, 2] goes beyond the own one
/// (extrapolation).
///
/// Source  the authors' code of AMix, auxiliary loss of the self-supervised methods; Zhu et al., ICCV 2021,
///         arXiv:2108.02982.
///
/// # Errors
/// Shapes that do not fit.
pub fn extend(own: &Tensor, other: &Tensor, weight: &Tensor) -> Result<Tensor> {
    unit(&other.f_lerp_tensor(own, weight)?)
}

#[cfg(test)]
mod tests {
    use admix_torch::{Device, Kind};

    use super::*;

    #[test]
    fn the_law_is_beta_two_two() {
        let n = 100_000;
        // The middle of n equal parts of the distribution function.
        let uniform = (Tensor::arange(n, (Kind::Double, Device::Cpu)) + 0.5) / n as f64;
        let x = beta22(&uniform).expect("numbers");
        let gap = (&x * &x * 3.0 - &x * &x * &x * 2.0 - &uniform).abs().max().double_value(&[]);
        assert!(gap < 1e-12, "{gap}");
        // Var = ab / ((a + b)^2 (a + b + 1)) = 1/20.
        assert!((x.mean(Kind::Double).double_value(&[]) - 0.5).abs() < 1e-6);
        assert!((x.var(false).double_value(&[]) - 0.05).abs() < 1e-6);
        let ends = beta22(&Tensor::from_slice(&[0f32, 1.0 - (-24f32).exp2()])).expect("numbers");
        let ends: Vec<f64> = (0..2).map(|i| ends.double_value(&[i])).collect();
        assert!(ends[0].abs() < 1e-6 && (0.999..=1.0).contains(&ends[1]), "{ends:?}");
    }

    #[test]
    fn extension_stays_on_the_sphere_between_its_ends_or_beyond() {
        let (own, other) = (Tensor::from_slice(&[1f64, 0.0]), Tensor::from_slice(&[0f64, 1.0]));
        let at = |weight: f64| {
            let weight = Tensor::from_slice(&[weight, weight]).reshape([1, 2]);
            let found = extend(&own.reshape([1, 2]), &other.reshape([1, 2]), &weight).expect("embeddings");
            (found.double_value(&[0, 0]), found.double_value(&[0, 1]))
        };
        assert_eq!(at(1.0), (1.0, 0.0));
        assert_eq!(at(0.0), (0.0, 1.0));
        let (x, y) = at(1.5);
        assert!(x > 0.0 && y < 0.0 && (x * x + y * y - 1.0).abs() < 1e-12);
    }
}
