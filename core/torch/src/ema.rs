//! Exponential moving averages and copies of lists of tensors: how a momentum net follows its source.

use std::ptr;

use tch::Tensor;

use crate::Result;
use crate::batch_norm::fused;
use crate::optim::same_length;
use crate::shim::{self, check, handle, handles};

/// `targets += weight * (sources - targets)`, in place and without a graph; `weight` = 1 - momentum.
///
/// Shapes pair up; `weight` is one float32 on the tensors' device and is not read by the host there. Weight 0
/// changes nothing. Weight 1 copies exactly on a CPU, within rounding on CUDA: where it is known beforehand,
/// use [`copy_all`]. A `found_inf` (one float32 on that device) other than 0 leaves every bit of the targets as it is.
/// Errors: lists that do not fit, mixed devices, targets of mixed dtypes or of integers.
pub fn ema(
    targets: &[Tensor],
    sources: &[Tensor],
    weight: &Tensor,
    found_inf: Option<&Tensor>,
) -> Result<()> {
    let n = same_length("sources", targets, sources)?;
    let (targets, sources) = (handles(targets), handles(sources));
    // SAFETY: both lists have `n` entries, borrowed for the call.
    check(unsafe {
        shim::admix_ema(
            n,
            targets.as_ptr(),
            sources.as_ptr(),
            handle(weight),
            found_inf.map_or(ptr::null_mut(), handle),
            fused(),
        )
    })
}

/// Copies each source into its target, in place and without a graph. Any dtypes, integers included.
///
/// Errors: lists that do not fit.
pub fn copy_all(targets: &[Tensor], sources: &[Tensor]) -> Result<()> {
    let n = same_length("sources", targets, sources)?;
    let (targets, sources) = (handles(targets), handles(sources));
    // SAFETY: both lists have `n` entries, borrowed for the call.
    check(unsafe { shim::admix_copy_all(n, targets.as_ptr(), sources.as_ptr()) })
}

/// Copies each source into its target, bit for bit, where `flag` (one float32 on their device) is not 0; else every bit of
/// the targets stays. The host does not read the flag of another device. What the sources hold afterwards is no longer of
/// use.
///
/// Errors: lists that do not fit, mixed devices, a source of another dtype than its target.
pub fn copy_where(targets: &[Tensor], sources: &[Tensor], flag: &Tensor) -> Result<()> {
    let n = same_length("sources", targets, sources)?;
    let (targets, sources) = (handles(targets), handles(sources));
    // SAFETY: both lists have `n` entries, borrowed for the call.
    check(unsafe { shim::admix_copy_where(n, targets.as_ptr(), sources.as_ptr(), handle(flag)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{channels_last, scalar};
    use tch::{Device, Kind};

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    fn pair() -> (Vec<Tensor>, Vec<Tensor>) {
        let list = || vec![random(&[5]), random(&[4, 3, 3, 3]), random(&[33, 7])];
        (list(), list())
    }

    fn after(weight: f64) -> Result<(Vec<Tensor>, Vec<Tensor>, Vec<Tensor>)> {
        let (targets, sources) = pair();
        let before: Vec<_> = targets.iter().map(Tensor::copy).collect();
        ema(&targets, &sources, &scalar(weight, Device::Cpu), None)?;
        Ok((before, sources, targets))
    }

    #[test]
    fn weight_zero_leaves_every_bit() -> Result<()> {
        let (before, _, targets) = after(0.0)?;
        assert!(targets.iter().zip(&before).all(|(a, b)| a.equal(b)));
        Ok(())
    }

    #[test]
    fn weight_one_copies() -> Result<()> {
        let (_, sources, targets) = after(1.0)?;
        assert!(targets.iter().zip(&sources).all(|(a, b)| a.equal(b)));
        Ok(())
    }

    #[test]
    fn a_flag_that_is_set_leaves_every_bit_whatever_the_weight() -> Result<()> {
        for weight in [0.1, 1.0] {
            let (targets, sources) = pair();
            let before: Vec<_> = targets.iter().map(Tensor::copy).collect();
            let weight = scalar(weight, Device::Cpu);
            ema(&targets, &sources, &weight, Some(&scalar(1.0, Device::Cpu)))?;
            assert!(targets.iter().zip(&before).all(|(a, b)| a.equal(b)));
            ema(&targets, &sources, &weight, Some(&scalar(0.0, Device::Cpu)))?;
            assert!(targets.iter().zip(&before).all(|(a, b)| !a.equal(b)));
        }
        Ok(())
    }

    /// Values of every kind that a state has, some of which are not finite.
    fn state() -> Vec<Tensor> {
        let wild = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MAX, 1e-42];
        vec![
            Tensor::from_slice(&wild),
            random(&[4, 3, 3, 3]).to_kind(Kind::BFloat16),
            channels_last(&random(&[4, 3, 3, 3])).expect("four axes"),
            Tensor::from_slice(&[i64::MIN, 5, i64::MAX]),
            Tensor::from_slice(&[true, false]),
            random(&[0]),
            Tensor::from(7i64),
        ]
    }

    fn bits(tensors: &[Tensor]) -> Vec<Vec<u8>> {
        let bytes = |tensor: &Tensor| {
            let flat = tensor.contiguous().reshape([-1]).view_dtype(Kind::Uint8);
            Vec::<u8>::try_from(flat).expect("bytes")
        };
        tensors.iter().map(bytes).collect()
    }

    #[test]
    fn copy_where_copies_all_bits_or_none_also_of_values_that_are_not_finite() -> Result<()> {
        for flag in [0.0, 1.0, 2.0] {
            let (targets, sources) = (state(), state());
            let plain = |tensor: &Tensor| tensor.zeros_like();
            let finite: Vec<Tensor> = sources.iter().map(plain).collect();
            for (to, from) in [(&targets, &finite), (&finite, &sources)] {
                let wanted = if flag == 0.0 { bits(to) } else { bits(from) };
                copy_where(to, from, &scalar(flag, Device::Cpu))?;
                assert_eq!(bits(to), wanted, "flag {flag}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_weight_between_moves_that_share_of_the_way() -> Result<()> {
        for weight in [0.1, 0.9, 1e-6] {
            let (before, sources, targets) = after(weight)?;
            for ((t, b), s) in targets.iter().zip(&before).zip(&sources) {
                assert!(t.allclose(&(b + (s - b) * weight), 1e-6, 1e-6, false));
            }
        }
        Ok(())
    }

    #[test]
    fn a_target_that_has_arrived_stays() -> Result<()> {
        let (targets, _) = pair();
        let sources: Vec<_> = targets.iter().map(Tensor::copy).collect();
        for _ in 0..100 {
            ema(&targets, &sources, &scalar(0.001, Device::Cpu), None)?;
        }
        assert!(targets.iter().zip(&sources).all(|(a, b)| a.equal(b)));
        Ok(())
    }

    #[test]
    fn layouts_may_differ_and_sources_keep_their_graph() -> Result<()> {
        let target = channels_last(&random(&[4, 3, 3, 3]))?;
        let source = random(&[4, 3, 3, 3]).set_requires_grad(true);
        let wanted = (&target + (source.detach() - &target) * 0.25).copy();
        ema(&[target.shallow_clone()], &[source.shallow_clone()], &scalar(0.25, Device::Cpu), None)?;
        assert!(target.allclose(&wanted, 1e-6, 1e-6, false));
        assert!(!target.requires_grad() && source.requires_grad());
        Ok(())
    }

    #[test]
    fn half_precision_targets_move_too() -> Result<()> {
        let target = Tensor::zeros([100], (Kind::BFloat16, Device::Cpu));
        ema(&[target.shallow_clone()], &[target.ones_like()], &scalar(0.5, Device::Cpu), None)?;
        assert!(target.equal(&target.full_like(0.5)));
        Ok(())
    }

    #[test]
    fn a_weight_of_another_dtype_is_an_error() {
        let weight = Tensor::from_slice(&[0.5f64]);
        let outcome = ema(&[random(&[2])], &[random(&[2])], &weight, None);
        assert_eq!(outcome.expect_err("float64").to_string(), "the weight must be one float32 value");
    }

    #[test]
    fn copy_all_takes_integers_too() -> Result<()> {
        let targets = [random(&[2]), Tensor::from_slice(&[0i64])];
        copy_all(&targets, &[Tensor::from_slice(&[1f32, 2.0]), Tensor::from_slice(&[7i64])])?;
        assert_eq!((targets[0].double_value(&[1]), targets[1].int64_value(&[0])), (2.0, 7));
        Ok(())
    }
}
