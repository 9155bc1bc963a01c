//! Gradients: the backward pass, `.grad`, chosen gradients, their norm, and the search for non-finite values.

use std::ptr;

use tch::Tensor;

use crate::Result;
use crate::shim::{self, check, expect_owned, handle, handles, owned};

/// Adds the gradients of a scalar `loss` to the `.grad` of its leaves and frees the graph.
///
/// Errors: no graph, a graph already freed, or a loss that is no scalar.
pub fn backward(loss: &Tensor) -> Result<()> {
    // SAFETY: the tensor is borrowed for the call.
    check(unsafe { shim::admix_backward(handle(loss), false) })
}

/// As [`backward`], but the graph stays for another pass.
pub fn backward_keep(loss: &Tensor) -> Result<()> {
    // SAFETY: the tensor is borrowed for the call.
    check(unsafe { shim::admix_backward(handle(loss), true) })
}

/// The `.grad` of a tensor, sharing its memory; `None` if it has none.
pub fn grad_of(tensor: &Tensor) -> Option<Tensor> {
    let mut grad = ptr::null_mut();
    // SAFETY: the tensor is borrowed and the out-pointer valid for the call; on an error `grad` stays null.
    check(unsafe { shim::admix_grad_of(handle(tensor), &mut grad) }).ok()?;
    owned(grad)
}

/// Takes the `.grad` of each parameter and leaves none.
pub fn take_grads(params: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
    let grads = params.iter().map(grad_of).collect();
    clear_grads(params)?;
    Ok(grads)
}

/// Makes a tensor the `.grad` of a parameter of its shape, sharing its memory.
pub fn set_grad(param: &Tensor, grad: &Tensor) -> Result<()> {
    // SAFETY: both tensors are borrowed for the call.
    check(unsafe { shim::admix_set_grad(handle(param), handle(grad)) })
}

/// Leaves each parameter without a `.grad` (not with one of zeros).
pub fn clear_grads(params: &[Tensor]) -> Result<()> {
    let params = handles(params);
    // SAFETY: the list has the length passed, borrowed for the call.
    check(unsafe { shim::admix_clear_grads(params.len(), params.as_ptr()) })
}

/// Gradients of the sum of scalar `outputs` for each of `inputs`, `None` for an input that was not used.
///
/// Touches no `.grad`. `keep_graph` leaves the graph for another pass; `create_graph` makes the results
/// differentiable (and keeps the graph too). Errors: no graph, a graph already freed, an output that is no
/// scalar.
pub fn gradients(
    outputs: &[Tensor],
    inputs: &[Tensor],
    keep_graph: bool,
    create_graph: bool,
) -> Result<Vec<Option<Tensor>>> {
    let mut grads = vec![ptr::null_mut(); inputs.len()];
    let (outputs, inputs) = (handles(outputs), handles(inputs));
    // SAFETY: each list has the length passed with it; `grads` has room for one pointer an input.
    let outcome = check(unsafe {
        shim::admix_gradients(
            outputs.len(),
            outputs.as_ptr(),
            inputs.len(),
            inputs.as_ptr(),
            keep_graph,
            create_graph,
            grads.as_mut_ptr(),
        )
    });
    // Taken over first, so that an error part-way leaks nothing.
    let grads = grads.into_iter().map(owned).collect();
    outcome.map(|()| grads)
}

/// The Euclidean norm of all gradients together: 0-dim on their device (float32; float64 if one of them is),
/// not read by the host. No gradients give 0 on the CPU.
pub fn grad_norm(grads: &[Tensor]) -> Result<Tensor> {
    let mut norm = ptr::null_mut();
    let grads = handles(grads);
    // SAFETY: the list has the length passed, borrowed for the call; the out-pointer is valid.
    check(unsafe { shim::admix_grad_norm(grads.len(), grads.as_ptr(), &mut norm) })?;
    expect_owned(norm)
}

/// Multiplies all gradients in place so that their Euclidean norm together is at most `most`: by
/// `min(1, most / (norm + 1e-6))`, as `torch.nn.utils.clip_grad_norm_` does.
///
/// The factor stays on the device. Gradients that are not finite make it useless: look for them before.
pub fn clip_grad_norm(grads: &[Tensor], most: f64) -> Result<()> {
    let norm = grad_norm(grads)?;
    let factor = norm.f_add_scalar(1e-6)?.f_reciprocal()?.f_mul_scalar(most)?.f_clamp_max(1.0)?;
    scale_all(grads, &factor)
}

/// Multiplies all tensors in place and without a graph by one value on their device.
///
/// Errors: integers, another device.
pub fn scale_all(tensors: &[Tensor], factor: &Tensor) -> Result<()> {
    let tensors = handles(tensors);
    // SAFETY: the list has the length passed, borrowed for the call.
    check(unsafe { shim::admix_scale_all(tensors.len(), tensors.as_ptr(), handle(factor)) })
}

/// Sets `found_inf` (one float32 on the gradients' device) to 1 if any value is infinite or NaN; else leaves
/// it alone.
///
/// Calls add up, so one flag serves many lists. The host reads nothing: on CUDA this is the check of
/// libtorch's gradient scaler with scale 1. Errors: mixed devices, integers.
pub fn nonfinite(grads: &[Tensor], found_inf: &Tensor) -> Result<()> {
    let grads = handles(grads);
    // SAFETY: the list has the length passed, borrowed for the call.
    check(unsafe { shim::admix_nonfinite(grads.len(), grads.as_ptr(), handle(found_inf)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{channels_last, scalar};
    use tch::{Device, Kind};

    fn leaf(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        (0..tensor.numel() as i64).map(|i| tensor.double_value(&[i])).collect()
    }

    #[test]
    fn backward_adds_to_grad_and_frees_the_graph() -> Result<()> {
        let x = leaf(&[1.0, 2.0]);
        let loss = (&x * &x).sum(Kind::Float);
        backward_keep(&loss)?;
        backward(&loss)?;
        assert_eq!(grad_of(&x).map(|g| values(&g)), Some(vec![4.0, 8.0]));
        assert!(backward(&loss).is_err());
        Ok(())
    }

    #[test]
    fn there_is_no_grad_before_a_backward_pass() {
        assert!(grad_of(&leaf(&[1.0])).is_none());
        assert!(grad_of(&Tensor::from_slice(&[1f32])).is_none());
    }

    #[test]
    fn taking_gradients_leaves_none() -> Result<()> {
        let (x, unused) = (leaf(&[3.0]), leaf(&[4.0]));
        backward(&(&x * 2.0).sum(Kind::Float))?;
        let params = [x.shallow_clone(), unused];
        let taken = take_grads(&params)?;
        assert_eq!(taken[0].as_ref().map(values), Some(vec![2.0]));
        assert!(taken[1].is_none() && grad_of(&x).is_none());
        Ok(())
    }

    #[test]
    fn chosen_gradients_leave_grad_untouched() -> Result<()> {
        let (x, y, unused) = (leaf(&[3.0]), leaf(&[5.0]), leaf(&[1.0]));
        let outputs = [(&x * &y).sum(Kind::Float), (&y * 2.0).sum(Kind::Float)];
        let inputs = [x.shallow_clone(), y.shallow_clone(), unused];
        let grads = gradients(&outputs, &inputs, false, false)?;
        assert_eq!(grads[0].as_ref().map(values), Some(vec![5.0]));
        assert_eq!(grads[1].as_ref().map(values), Some(vec![5.0]));
        assert!(grads[2].is_none());
        assert!(inputs.iter().all(|t| grad_of(t).is_none()));
        assert!(gradients(&outputs, &inputs, false, false).is_err(), "the graph is freed");
        Ok(())
    }

    #[test]
    fn a_kept_graph_serves_twice() -> Result<()> {
        let x = leaf(&[3.0]);
        let (outputs, inputs) = ([(&x * &x).sum(Kind::Float)], [x.shallow_clone()]);
        drop(gradients(&outputs, &inputs, true, false)?);
        backward(&outputs[0])?;
        assert_eq!(grad_of(&x).map(|g| values(&g)), Some(vec![6.0]));
        Ok(())
    }

    #[test]
    fn gradients_of_gradients_are_right() -> Result<()> {
        let x = leaf(&[2.0]);
        let cube = (&x * &x * &x).sum(Kind::Float);
        let first = gradients(&[cube], &[x.shallow_clone()], false, true)?.remove(0).expect("x is used");
        let second = gradients(&[first.sum(Kind::Float)], &[x], false, false)?.remove(0).expect("x is used");
        assert_eq!((values(&first), values(&second)), (vec![12.0], vec![12.0]));
        Ok(())
    }

    #[test]
    fn an_output_that_is_no_scalar_is_an_error() {
        let x = leaf(&[1.0, 2.0]);
        assert!(gradients(&[&x * 2.0], &[x], false, false).is_err());
    }

    #[test]
    fn the_norm_spans_all_gradients() -> Result<()> {
        let norm = grad_norm(&[Tensor::from_slice(&[3f32]), Tensor::from_slice(&[0f32, 4.0]).view([2, 1])])?;
        assert_eq!((norm.size(), norm.double_value(&[])), (vec![], 5.0));
        assert_eq!(grad_norm(&[])?.double_value(&[]), 0.0);
        Ok(())
    }

    #[test]
    fn only_gradients_beyond_the_limit_are_scaled() -> Result<()> {
        let grads = || [Tensor::from_slice(&[3f32]), Tensor::from_slice(&[0f32, 4.0]).view([2, 1])];
        let within = grads();
        clip_grad_norm(&within, 5.1)?;
        assert_eq!(within, grads());
        let beyond = grads();
        clip_grad_norm(&beyond, 2.0)?;
        assert!((grad_norm(&beyond)?.double_value(&[]) - 2.0).abs() < 1e-5);
        assert!((values(&beyond[0])[0] - 1.2).abs() < 1e-5);
        let zero = [Tensor::from_slice(&[0f32])];
        clip_grad_norm(&zero, 1.0)?;
        assert_eq!(values(&zero[0]), [0.0]);
        clip_grad_norm(&[], 1.0)
    }

    #[test]
    fn half_precision_norms_do_not_overflow() -> Result<()> {
        let grads = [Tensor::from_slice(&[3e4f32, 4e4]).to_kind(Kind::Half)];
        assert!((grad_norm(&grads)?.double_value(&[]) - 5e4).abs() < 50.0);
        Ok(())
    }

    fn found(grads: &[Tensor]) -> f64 {
        let flag = scalar(0.0, Device::Cpu);
        nonfinite(grads, &flag).expect("floats on one device");
        flag.double_value(&[])
    }

    #[test]
    fn a_non_finite_value_is_found_wherever_it_is() {
        let n = 3 * (1 << 14) + 5; // Blocks are 2^14 floats.
        for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
            let grads = [Tensor::ones([7], (kind, Device::Cpu)), Tensor::randn([n], (kind, Device::Cpu))];
            assert_eq!(found(&grads), 0.0, "{kind:?}");
            for place in [0, 1, (1 << 14) - 1, 1 << 14, n / 2, n - 2, n - 1] {
                for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    let mut spot = grads[1].narrow(0, place, 1);
                    let good = spot.copy();
                    drop(spot.fill_(bad));
                    assert_eq!(found(&grads), 1.0, "{bad} at {place} as {kind:?}");
                    spot.copy_(&good);
                }
            }
        }
    }

    #[test]
    fn the_largest_and_smallest_finite_values_are_finite() {
        assert_eq!(found(&[Tensor::from_slice(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, -0.0])]), 0.0);
        assert_eq!(found(&[Tensor::from_slice(&[f64::MAX, f64::MIN, 5e-324])]), 0.0);
    }

    #[test]
    fn every_layout_is_searched_and_gaps_are_not() -> Result<()> {
        let bad = Tensor::ones([2, 3, 4, 4], (Kind::Float, Device::Cpu));
        drop(bad.narrow(0, 1, 1).narrow(1, 2, 1).narrow(2, 3, 1).narrow(3, 3, 1).fill_(f64::NAN));
        assert_eq!(found(&[channels_last(&bad)?]), 1.0);
        assert_eq!(found(&[bad.slice(3, 1, 4, 2)]), 1.0);
        assert_eq!(found(&[bad.slice(3, 0, 4, 2)]), 0.0);
        Ok(())
    }

    #[test]
    fn a_flag_once_set_stays_set() -> Result<()> {
        let flag = scalar(0.0, Device::Cpu);
        nonfinite(&[Tensor::from_slice(&[f32::NAN])], &flag)?;
        nonfinite(&[Tensor::from_slice(&[1f32])], &flag)?;
        nonfinite(&[], &flag)?;
        assert_eq!(flag.double_value(&[]), 1.0);
        Ok(())
    }
}
