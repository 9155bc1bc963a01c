//! Optimiser steps over lists of tensors in one call, with the learning rate and the skip flag on the device.
//!
//! All tensors of a call live on one device; parameters share a floating-point dtype. Layouts may be
//! anything: a gradient or a buffer that is laid out like its parameter is used in place, another is copied.
//! Nothing records a graph.

use std::ptr;

use tch::Tensor;

use crate::batch_norm::fused;
use crate::shim::{self, check, expect_owned, handle, handles};
use crate::{Error, Result};

/// Settings of [`fused_sgd`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdOptions {
    /// Share of the old buffer kept, in [0, 1); 0 needs no buffers.
    pub momentum: f64,
    /// L2 penalty added to the gradient, >= 0.
    pub weight_decay: f64,
    /// Look ahead by one buffer step.
    pub nesterov: bool,
}

/// Settings of [`fused_adamw`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWOptions {
    /// Decay of the first and of the second moment, each in [0, 1).
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay: parameters shrink by `lr * weight_decay` a step.
    pub weight_decay: f64,
}

/// Settings of [`trust_scaled`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrustOptions {
    /// Share of a parameter's norm that a step of rate 1 moves.
    pub trust: f64,
    /// L2 penalty added to the gradient, >= 0.
    pub weight_decay: f64,
    /// Added to the denominator, > 0.
    pub eps: f64,
}

/// New gradients `(g + wd p) * trust |p| / (|g| + wd |p| + eps)`, one for each parameter, with norms of whole tensors: the
/// adaptation of LARS.
///
/// The gradient of a parameter of zeros stays as it is, and a gradient of zeros stays zero. The norms stay on the device.
/// Errors: lists that do not fit, mixed devices or dtypes.
pub fn trust_scaled(params: &[Tensor], grads: &[Tensor], options: &TrustOptions) -> Result<Vec<Tensor>> {
    let n = same_length("gradients", params, grads)?;
    let (params, grads) = (handles(params), handles(grads));
    let mut adapted = vec![ptr::null_mut(); n];
    // SAFETY: each list has the length passed with it; `adapted` has room for one pointer a parameter.
    check(unsafe {
        shim::admix_trust_scaled(
            n,
            params.as_ptr(),
            grads.as_ptr(),
            options.trust,
            options.weight_decay,
            options.eps,
            adapted.as_mut_ptr(),
        )
    })?;
    adapted.into_iter().map(expect_owned).collect()
}

/// One SGD step, in place: `g += wd p; b = momentum b + g; p -= lr (nesterov ? g + momentum b : b)`.
///
/// `grads` and `buffers` have the shapes of `params`; buffers start as zeros, and the list is empty if
/// momentum is 0. `lr` is one float32 on the device. A `found_inf` (one float32) other than 0 leaves
/// everything as it is. Errors: lists that do not fit, mixed devices or dtypes.
///
/// On a CPU, all 32- and 64-bit tensors are one parallel section unless [`set_fused`](crate::set_fused) forbids it.
pub fn fused_sgd(
    params: &[Tensor],
    grads: &[Tensor],
    buffers: &[Tensor],
    options: &SgdOptions,
    lr: &Tensor,
    found_inf: Option<&Tensor>,
) -> Result<()> {
    sgd(params, grads, buffers, options, lr, found_inf, fused())
}

fn sgd(
    params: &[Tensor],
    grads: &[Tensor],
    buffers: &[Tensor],
    options: &SgdOptions,
    lr: &Tensor,
    found_inf: Option<&Tensor>,
    one_pass: bool,
) -> Result<()> {
    let n = same_length("gradients", params, grads)?;
    let (params, grads, buffers) = (handles(params), handles(grads), handles(buffers));
    // SAFETY: each list has the length passed with it, and its tensors are borrowed for the call.
    check(unsafe {
        shim::admix_fused_sgd(
            n,
            params.as_ptr(),
            grads.as_ptr(),
            buffers.len(),
            buffers.as_ptr(),
            options.momentum,
            options.weight_decay,
            options.nesterov,
            handle(lr),
            found_inf.map_or(ptr::null_mut(), handle),
            one_pass,
        )
    })
}

/// One AdamW step with bias correction, in place.
///
/// `exp_avgs` and `exp_avg_sqs` (zeros at first) have the shapes of `params`; `steps` holds one float32 a
/// parameter, the number of steps taken (0 at first), which this call advances. `lr` is one float32 on the
/// device. A `found_inf` (one float32) other than 0 leaves everything as it is, the step counts included.
/// Errors: lists that do not fit, mixed devices or dtypes.
#[allow(clippy::too_many_arguments)] // One list a role; a struct would only repeat the names.
pub fn fused_adamw(
    params: &[Tensor],
    grads: &[Tensor],
    exp_avgs: &[Tensor],
    exp_avg_sqs: &[Tensor],
    steps: &[Tensor],
    options: &AdamWOptions,
    lr: &Tensor,
    found_inf: Option<&Tensor>,
) -> Result<()> {
    let n = same_length("gradients", params, grads)?;
    same_length("first moments", params, exp_avgs)?;
    same_length("second moments", params, exp_avg_sqs)?;
    same_length("step counts", params, steps)?;
    let (params, grads, steps) = (handles(params), handles(grads), handles(steps));
    let (exp_avgs, exp_avg_sqs) = (handles(exp_avgs), handles(exp_avg_sqs));
    // SAFETY: all lists have `n` entries (checked above), and their tensors are borrowed for the call.
    check(unsafe {
        shim::admix_fused_adamw(
            n,
            params.as_ptr(),
            grads.as_ptr(),
            exp_avgs.as_ptr(),
            exp_avg_sqs.as_ptr(),
            steps.as_ptr(),
            options.betas.0,
            options.betas.1,
            options.eps,
            options.weight_decay,
            handle(lr),
            found_inf.map_or(ptr::null_mut(), handle),
        )
    })
}

/// The common length of two lists, or an error naming the second.
pub(crate) fn same_length(what: &str, params: &[Tensor], others: &[Tensor]) -> Result<usize> {
    if params.len() == others.len() {
        Ok(params.len())
    } else {
        Err(Error::torch(&format!("expected {} {what}, got {}", params.len(), others.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{channels_last, scalar};
    use tch::{Device, Kind};

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    fn like(tensors: &[Tensor]) -> Vec<Tensor> {
        tensors.iter().map(Tensor::zeros_like).collect()
    }

    fn copies(tensors: &[Tensor]) -> Vec<Tensor> {
        tensors.iter().map(|t| t.detach().copy()).collect()
    }

    /// A list of odd shapes: vector tails, an axis of one, a matrix, a convolution, nothing.
    fn parameters() -> Vec<Tensor> {
        [&[3][..], &[1], &[17, 5], &[6, 4, 3, 3], &[0]].map(random).into_iter().collect()
    }

    fn assert_close(got: &[Tensor], wanted: &[Tensor], tolerance: f64) {
        for (a, b) in got.iter().zip(wanted) {
            assert!(a.allclose(b, tolerance, tolerance, false), "{a} is not {b}");
        }
    }

    fn sgd_by_hand(p: &Tensor, g: &Tensor, b: &Tensor, o: &SgdOptions, lr: f64) -> (Tensor, Tensor) {
        let g = g + p * o.weight_decay;
        let b = b * o.momentum + &g;
        let step = if o.nesterov { &g + &b * o.momentum } else { b.shallow_clone() };
        (p - step * lr, b)
    }

    fn check_sgd(options: SgdOptions) -> Result<()> {
        for (one_pass, kind) in [(true, Kind::Float), (true, Kind::Double), (false, Kind::Float)] {
            check_sgd_of(options, one_pass, kind)?;
        }
        Ok(())
    }

    fn check_sgd_of(options: SgdOptions, one_pass: bool, kind: Kind) -> Result<()> {
        let params: Vec<_> = parameters().iter().map(|p| p.to_kind(kind)).collect();
        let buffers = if options.momentum == 0.0 { vec![] } else { like(&params) };
        let mut by_hand: Vec<_> = copies(&params).into_iter().map(|p| (p.zeros_like(), p)).collect();
        for step in 1..=3 {
            let lr = 0.1 / f64::from(step);
            let grads: Vec<_> = params.iter().map(|p| random(&p.size()).to_kind(kind)).collect();
            sgd(&params, &grads, &buffers, &options, &scalar(lr, Device::Cpu), None, one_pass)?;
            for ((b, p), g) in by_hand.iter_mut().zip(&grads) {
                (*p, *b) = sgd_by_hand(p, g, b, &options, lr);
            }
        }
        let (b, p): (Vec<_>, Vec<_>) = by_hand.into_iter().unzip();
        assert_close(&params, &p, 1e-5);
        assert_close(&buffers, &b, 1e-5);
        Ok(())
    }

    #[test]
    fn sgd_follows_its_formula() -> Result<()> {
        check_sgd(SgdOptions { momentum: 0.0, weight_decay: 0.0, nesterov: false })?;
        check_sgd(SgdOptions { momentum: 0.0, weight_decay: 0.01, nesterov: false })?;
        check_sgd(SgdOptions { momentum: 0.9, weight_decay: 0.01, nesterov: false })?;
        check_sgd(SgdOptions { momentum: 0.9, weight_decay: 0.01, nesterov: true })
    }

    const MOMENTUM: SgdOptions = SgdOptions { momentum: 0.9, weight_decay: 0.01, nesterov: true };

    #[test]
    fn sgd_changes_nothing_when_found_inf_is_set() -> Result<()> {
        for flag in [1.0, 2.0] {
            let params = parameters();
            let (grads, buffers) = (parameters(), parameters());
            let (before, buffers_before) = (copies(&params), copies(&buffers));
            let flag = scalar(flag, Device::Cpu);
            fused_sgd(&params, &grads, &buffers, &MOMENTUM, &scalar(0.1, Device::Cpu), Some(&flag))?;
            assert!(params.iter().zip(&before).all(|(a, b)| a.equal(b)));
            assert!(buffers.iter().zip(&buffers_before).all(|(a, b)| a.equal(b)));
        }
        Ok(())
    }

    #[test]
    fn sgd_steps_when_found_inf_is_clear() -> Result<()> {
        let (params, grads) = (parameters(), parameters());
        let before = copies(&params);
        let clear = Tensor::zeros([1], (Kind::Float, Device::Cpu));
        fused_sgd(&params, &grads, &like(&params), &MOMENTUM, &scalar(0.1, Device::Cpu), Some(&clear))?;
        assert!(params[..4].iter().zip(&before).all(|(a, b)| !a.equal(b)));
        Ok(())
    }

    #[test]
    fn sgd_takes_every_mix_of_layouts() -> Result<()> {
        let value = random(&[6, 4, 3, 3]);
        let transposed = || random(&[3, 3, 4, 6]).permute([3, 2, 0, 1]);
        let gappy = || random(&[6, 4, 3, 6]).slice(3, 0, 6, 2);
        let layouts: [(&str, &dyn Fn() -> Tensor); 4] = [
            ("contiguous", &|| random(&[6, 4, 3, 3])),
            ("channels_last", &|| channels_last(&random(&[6, 4, 3, 3])).expect("rank 4")),
            ("transposed", &transposed),
            ("gappy", &gappy),
        ];
        let laid_out = |make: &dyn Fn() -> Tensor, value: &Tensor| {
            let mut tensor = make();
            tensor.copy_(value);
            tensor
        };
        let (grad, buffer) = (random(&[6, 4, 3, 3]), random(&[6, 4, 3, 3]));
        let (p, b) = sgd_by_hand(&value, &grad, &buffer, &MOMENTUM, 0.1);
        for (p_name, p_layout) in layouts {
            for (g_name, g_layout) in layouts {
                for (b_name, b_layout) in layouts {
                    let param = [laid_out(p_layout, &value)];
                    let buffers = [laid_out(b_layout, &buffer)];
                    let grads = [laid_out(g_layout, &grad)];
                    fused_sgd(&param, &grads, &buffers, &MOMENTUM, &scalar(0.1, Device::Cpu), None)?;
                    let same = param[0].allclose(&p, 1e-5, 1e-5, false);
                    assert!(same, "parameter: {p_name} {g_name} {b_name}");
                    let same = buffers[0].allclose(&b, 1e-5, 1e-5, false);
                    assert!(same, "buffer: {p_name} {g_name} {b_name}");
                    assert!(grads[0].equal(&grad), "gradient: {p_name} {g_name} {b_name}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn sgd_steps_leaves_that_require_gradients_and_records_nothing() -> Result<()> {
        let param = random(&[4]).set_requires_grad(true);
        let params = [param.shallow_clone()];
        fused_sgd(
            &params,
            &[random(&[4])],
            &[param.zeros_like()],
            &MOMENTUM,
            &scalar(0.1, Device::Cpu),
            None,
        )?;
        assert!(param.requires_grad() && param.is_leaf());
        Ok(())
    }

    #[test]
    fn sgd_stores_every_kind_of_parameter() -> Result<()> {
        for kind in [Kind::Double, Kind::Half, Kind::BFloat16] {
            let params = [Tensor::ones([100], (kind, Device::Cpu))];
            let buffers = like(&params);
            fused_sgd(&params, &copies(&params), &buffers, &MOMENTUM, &scalar(0.5, Device::Cpu), None)?;
            // g = 1.01, b = 1.01, p = 1 - 0.5 (1.01 + 0.9 * 1.01)
            let wanted = params[0].full_like(0.04045);
            assert!(params[0].allclose(&wanted, 0.0, 4e-3, false), "{kind:?}: {}", params[0]);
            assert!(
                buffers[0].allclose(&wanted.full_like(1.01), 0.0, 4e-3, false),
                "{kind:?}: {}",
                buffers[0]
            );
        }
        Ok(())
    }

    #[test]
    fn sgd_in_one_pass_has_the_same_bits_for_every_number_of_threads() -> Result<()> {
        // Odd sizes, so that the tasks of threads begin within tensors and within vectors.
        let made = || [&[70_001][..], &[], &[0], &[33, 1001], &[5, 7, 3, 3], &[40_003]];
        let start: Vec<_> = made().map(random).into_iter().collect();
        let (grads, momenta): (Vec<_>, Vec<_>) =
            made().map(|size| (random(size), random(size))).into_iter().unzip();
        let before = crate::threads();
        let runs = [1, 2, 3].map(|threads| -> Result<Vec<Tensor>> {
            crate::set_threads(threads);
            let (params, buffers) = (copies(&start), copies(&momenta));
            sgd(&params, &grads, &buffers, &MOMENTUM, &scalar(0.1, Device::Cpu), None, true)?;
            Ok(params.into_iter().chain(buffers).collect())
        });
        crate::set_threads(before);
        let [one, two, three] = runs;
        let (one, two, three) = (one?, two?, three?);
        for ((i, one), (two, three)) in one.iter().enumerate().zip(two.iter().zip(&three)) {
            assert!(one.equal(two) && one.equal(three), "tensor {i}");
        }
        let plain = (copies(&start), copies(&momenta));
        sgd(&plain.0, &grads, &plain.1, &MOMENTUM, &scalar(0.1, Device::Cpu), None, false)?;
        for (one, plain) in one.iter().zip(plain.0.iter().chain(&plain.1)) {
            assert!(one.allclose(plain, 1e-6, 1e-6, false), "libtorch's kernel");
        }
        Ok(())
    }

    /// A graph that has kept a parameter must not go on with another value.
    #[test]
    fn a_step_of_what_a_graph_keeps_is_noticed() -> Result<()> {
        let param = random(&[4]).set_requires_grad(true);
        let loss = param.square().sum(Kind::Float);
        let params = [param.detach()];
        fused_sgd(&params, &copies(&params), &like(&params), &MOMENTUM, &scalar(0.1, Device::Cpu), None)?;
        assert!(crate::backward(&loss).is_err());
        Ok(())
    }

    #[test]
    fn sgd_names_the_gradient_of_the_wrong_shape() {
        let options = SgdOptions { momentum: 0.0, ..MOMENTUM };
        let outcome =
            fused_sgd(&[random(&[4])], &[random(&[5])], &[], &options, &scalar(0.1, Device::Cpu), None);
        let text = outcome.expect_err("shapes differ").to_string();
        assert_eq!(text, "gradients 0 has shape [5], its parameter has [4]");
    }

    #[test]
    fn sgd_of_nothing_is_nothing() -> Result<()> {
        fused_sgd(&[], &[], &[], &MOMENTUM, &scalar(0.1, Device::Cpu), None)
    }

    const ADAM: AdamWOptions = AdamWOptions { betas: (0.9, 0.99), eps: 1e-8, weight_decay: 0.05 };

    #[test]
    fn adamw_follows_its_formula() -> Result<()> {
        let params = parameters();
        let (m, v) = (like(&params), like(&params));
        let steps: Vec<_> = params.iter().map(|_| scalar(0.0, Device::Cpu)).collect();
        let mut by_hand: Vec<_> =
            copies(&params).into_iter().map(|p| (p.zeros_like(), p.zeros_like(), p)).collect();
        let lr = 0.01;
        for step in 1..=3 {
            let grads: Vec<_> = params.iter().map(|p| random(&p.size())).collect();
            fused_adamw(&params, &grads, &m, &v, &steps, &ADAM, &scalar(lr, Device::Cpu), None)?;
            let (b1, b2) = ADAM.betas;
            for ((m, v, p), g) in by_hand.iter_mut().zip(&grads) {
                *m = &*m * b1 + g * (1.0 - b1);
                *v = &*v * b2 + g * g * (1.0 - b2);
                let root = (&*v / (1.0 - b2.powi(step))).sqrt() + ADAM.eps;
                *p = &*p * (1.0 - lr * ADAM.weight_decay) - &*m / (1.0 - b1.powi(step)) / root * lr;
            }
        }
        let wanted: Vec<_> = by_hand.into_iter().map(|(_, _, p)| p).collect();
        assert_close(&params, &wanted, 1e-5);
        assert!(steps.iter().all(|s| s.double_value(&[]) == 3.0));
        Ok(())
    }

    #[test]
    fn adamw_changes_nothing_when_found_inf_is_set() -> Result<()> {
        let params = parameters();
        let (m, v) = (like(&params), like(&params));
        let before = copies(&params);
        let steps: Vec<_> = params.iter().map(|_| scalar(0.0, Device::Cpu)).collect();
        let (lr, flag) = (scalar(0.1, Device::Cpu), scalar(1.0, Device::Cpu));
        fused_adamw(&params, &parameters(), &m, &v, &steps, &ADAM, &lr, Some(&flag))?;
        assert!(params.iter().zip(&before).all(|(a, b)| a.equal(b)));
        assert!(m.iter().zip(like(&m)).all(|(a, b)| a.equal(&b)));
        assert!(steps.iter().all(|s| s.double_value(&[]) == 0.0));
        Ok(())
    }
}
