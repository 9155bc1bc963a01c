//! The kernels' own text, run on the CPU: against plain operations in double precision, and with faults.

use std::ffi::{CString, c_char};

use super::*;
use crate::batch_norm::tests::wave;

unsafe extern "C" {
    /// `shim/emulation.cpp`.
    fn admix_emulate_kernels(how: c_int, name: *const c_char);
}

/// How a CPU runs the kernels.
#[derive(Debug, Clone, Copy)]
enum How {
    /// Threads and blocks in order, and in the opposite order.
    Forwards,
    Backwards,
    /// What the kernels of this name write first is a tenth too large.
    Faulty(&'static str),
    Refusing,
}

/// Runs kernels on tensors of the CPU meanwhile, on this thread.
fn emulated<T>(how: How, work: impl FnOnce() -> T) -> T {
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            set(0, "");
        }
    }
    fn set(how: c_int, name: &str) {
        let name = CString::new(name).expect("a name");
        // SAFETY: the text lives for the call, which copies it.
        unsafe { admix_emulate_kernels(how, name.as_ptr()) };
    }
    let _end = End;
    match how {
        How::Forwards => set(1, ""),
        How::Backwards => set(2, ""),
        How::Faulty(name) => set(3, name),
        How::Refusing => set(4, ""),
    }
    work()
}

/// The same values, one value behind where a vector would begin.
fn unaligned(x: &Tensor) -> Result<Tensor> {
    let (size, flat) = (x.size(), x.f_permute([0, 2, 3, 1])?.f_reshape([-1])?);
    let moved = Tensor::f_cat(&[&flat.f_narrow(0, 0, 1)?, &flat], 0)?.f_narrow(0, 1, flat.size()[0])?;
    Ok(moved.f_view([size[0], size[2], size[3], size[1]])?.f_permute([0, 3, 1, 2])?)
}

#[derive(Debug, Clone, Copy)]
struct Pass {
    size: [i64; 4],
    kind: Kind,
    aside: bool,
    relu: bool,
    affine: bool,
    train: bool,
    groups: i64,
    aligned: bool,
}

impl Pass {
    /// The result, the buffers and all gradients: of the kernels, or of plain operations on the same values in double precision.
    fn run(&self, kernels: bool) -> Result<Vec<Tensor>> {
        let Pass { size, kind, relu, train, .. } = *self;
        let groups = if train { self.groups } else { 1 };
        let channels = [size[1]];
        let widened = |t: Tensor| if kernels { Ok(t) } else { t.f_to_kind(Kind::Double) };
        let map = |step| -> Result<Tensor> {
            let map = wave(&size, step, kind)?;
            let map = if self.aligned { map } else { unaligned(&map)? };
            Ok(widened(map)?.f_detach()?.set_requires_grad(true))
        };
        let numbers = |step| -> Result<Tensor> { Ok(widened(wave(&channels, step, Kind::Float)?)?) };
        let leaf = |t: Tensor| t.set_requires_grad(true);
        let x = map(0.37)?;
        let aside = if self.aside { Some(map(0.73)?) } else { None };
        let (weight, bias) = (leaf(numbers(1.3)?), leaf(numbers(2.1)?));
        let (running_mean, running_var) = (numbers(0.2)?, numbers(0.5)?.f_square()?);
        let norm = BatchNorm {
            affine: self.affine.then_some((&weight, &bias)),
            running_mean: &running_mean,
            running_var: &running_var,
            train,
            momentum: 0.3,
            epsilon: 1e-5,
            groups,
        };
        let y = if kernels {
            norm.fused(&x, aside.as_ref(), relu)?.expect("channels innermost")
        } else {
            let sum = norm.plain(&x, aside.as_ref())?;
            if relu { sum.f_relu()? } else { sum }
        };
        let mut inputs = vec![x.shallow_clone()];
        inputs.extend(aside.iter().map(Tensor::shallow_clone));
        if self.affine {
            inputs.extend([weight.shallow_clone(), bias.shallow_clone()]);
        }
        // Channels outermost, as a gradient may come.
        let above = widened(wave(&size, 0.91, kind)?)?.f_contiguous()?;
        let loss = y.f_mul(&above)?.f_sum(None::<Kind>)?;
        let found = gradients(&[loss], &inputs, false, false)?;
        let mut all = vec![y.f_detach()?, running_mean.copy(), running_var.copy()];
        all.extend(found.into_iter().map(|gradient| gradient.expect("is used")));
        Ok(all)
    }
}

/// How many values are further away than rounding: a part in the value itself, for 16 bits, one in the largest value, and one for
/// each of the terms of a sum, which are near 1 where the sum may be near 0.
fn far(found: &Tensor, wanted: &Tensor, terms: i64) -> Result<i64> {
    let own = if found.kind() == Kind::BFloat16 { 1.0 / 256.0 } else { 1e-6 };
    let near = wanted.f_abs()?;
    let near = near
        .f_mul_scalar(own)?
        .f_add(&near.f_max()?.f_mul_scalar(2e-6)?)?
        .f_add_scalar(terms as f64 * 1e-7)?;
    let gap = found.f_to_kind(Kind::Double)?.f_sub(wanted)?.f_abs()?;
    // What is not a number is far.
    Ok(gap.f_le_tensor(&near)?.f_logical_not()?.f_sum(Kind::Int64)?.f_int64_value(&[])?)
}

#[track_caller]
fn check_pass(pass: Pass) {
    let found = emulated(How::Forwards, || pass.run(true)).expect("kernels");
    let wanted = pass.run(false).expect("plain");
    assert_eq!(found.len(), wanted.len());
    let first_sum = 4 + usize::from(pass.aside);
    for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        let [n, _, h, w] = pass.size;
        let terms = if i < first_sum { 0 } else { n * h * w };
        assert_eq!(far(found, wanted, terms).expect("compared"), 0, "{pass:?}: result {i}");
    }
}

/// Few channels and many, multiples of a vector and not, more than a tile; one cell, one sample, parts with a short last one.
const SIZES: [[i64; 4]; 13] = [
    [2, 8, 3, 5],
    [1, 7, 9, 4],
    [6, 64, 5, 5],
    [4, 65, 3, 3],
    [6, 24, 11, 3],
    [8, 3, 40, 41],
    [4, 1, 5, 5],
    [2, 130, 12, 7],
    [16, 40, 1, 1],
    [2, 300, 3, 5],
    [2, 600, 4, 3],
    [1, 16, 47, 53],
    [1, 2, 1, 5],
];

#[test]
fn values_buffers_and_gradients_are_those_of_double_precision_in_every_combination() {
    let both = [false, true];
    for size in SIZES {
        for kind in [Kind::Float, Kind::BFloat16] {
            for (aside, relu, affine) in
                both.iter().flat_map(|a| both.iter().flat_map(move |r| both.map(|f| (*a, *r, f))))
            {
                for (train, groups) in [(true, 1), (true, 2), (false, 1)] {
                    if size[0] % groups == 0 {
                        check_pass(Pass { size, kind, aside, relu, affine, train, groups, aligned: true });
                    }
                }
            }
        }
    }
}

const WHOLE: Pass = Pass {
    size: [4, 16, 9, 7],
    kind: Kind::Float,
    aside: true,
    relu: true,
    affine: true,
    train: true,
    groups: 2,
    aligned: true,
};

#[test]
fn maps_that_begin_between_two_vectors_are_read_value_by_value() {
    for kind in [Kind::Float, Kind::BFloat16] {
        check_pass(Pass { kind, aligned: false, ..WHOLE });
    }
}

#[test]
fn so_many_groups_that_blocks_take_long_parts_change_nothing() {
    check_pass(Pass { size: [128, 132, 13, 13], groups: 128, ..WHOLE });
    check_pass(Pass { size: [96, 8, 37, 41], kind: Kind::BFloat16, groups: 96, ..WHOLE });
}

#[test]
fn the_order_of_threads_and_blocks_changes_no_bit() -> Result<()> {
    for size in SIZES {
        for kind in [Kind::Float, Kind::BFloat16] {
            for train in [true, false] {
                let pass = Pass { size, kind, train, groups: 1, ..WHOLE };
                let [one, other] =
                    [How::Forwards, How::Backwards].map(|how| emulated(how, || pass.run(true)));
                assert!(one?.iter().zip(other?).all(|(a, b)| a.equal(&b)), "{pass:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_mean_far_from_zero_costs_no_digits() -> Result<()> {
    let far_off = wave(&[8, 16, 9, 9], 0.37, Kind::Double)?.f_add_scalar(1000.0)?.f_to_kind(Kind::Float)?;
    let zeros = Tensor::f_zeros([16], (Kind::Float, Device::Cpu))?;
    let (mean, var) = (zeros.copy(), zeros.copy());
    let norm = BatchNorm {
        affine: None,
        running_mean: &mean,
        running_var: &var,
        train: true,
        momentum: 1.0,
        epsilon: 1e-5,
        groups: 1,
    };
    let _ = emulated(How::Forwards, || norm.fused(&far_off, None, false))?.expect("kernels");
    let wanted = far_off.f_to_kind(Kind::Double)?.f_var_dim([0i64, 2, 3].as_slice(), true, false)?;
    assert_eq!(far(&var, &wanted, 0)?, 0);
    Ok(())
}

#[test]
fn momentum_0_moves_no_buffer_and_what_is_not_a_number_stays_so() -> Result<()> {
    let x = wave(&[2, 8, 4, 5], 0.3, Kind::Float)?;
    let _ = x.f_narrow(1, 3, 1)?.f_narrow(0, 0, 1)?.f_fill_(f64::NAN)?;
    let nan = Tensor::f_full([8], f64::NAN, (Kind::Float, Device::Cpu))?;
    let kept = [nan.copy(), nan.copy()];
    let norm = BatchNorm {
        affine: None,
        running_mean: &kept[0],
        running_var: &kept[1],
        train: true,
        momentum: 0.0,
        epsilon: 1e-5,
        groups: 1,
    };
    for kind in [Kind::Float, Kind::BFloat16] {
        let x = x.f_to_kind(kind)?;
        let y = emulated(How::Forwards, || norm.fused(&x, None, true))?.expect("kernels");
        let lost = y.f_isnan()?.f_sum_dim_intlist([0i64, 2, 3].as_slice(), false, Kind::Int64)?;
        assert_eq!(Vec::<i64>::try_from(&lost)?, [0, 0, 0, 40, 0, 0, 0, 0]);
    }
    assert!(kept.iter().all(|buffer| buffer.isnan().all().int64_value(&[]) == 1));
    Ok(())
}

#[test]
fn what_kernels_cannot_read_is_left_to_the_plain_operations() -> Result<()> {
    let x = wave(&[2, 3, 4, 5], 0.3, Kind::Float)?;
    let zeros = Tensor::f_zeros([3], (Kind::Float, Device::Cpu))?;
    let norm = BatchNorm {
        affine: None,
        running_mean: &zeros,
        running_var: &zeros,
        train: true,
        momentum: 0.0,
        epsilon: 1e-5,
        groups: 1,
    };
    emulated(How::Forwards, || {
        assert!(norm.fused(&x, None, true)?.is_some());
        assert!(norm.fused(&x.f_contiguous()?, None, true)?.is_none(), "channels outermost");
        for kind in [Kind::Double, Kind::Half] {
            assert!(norm.fused(&x.f_to_kind(kind)?, None, true)?.is_none(), "{kind:?}");
        }
        let aside = x.f_to_kind(Kind::BFloat16)?;
        assert!(norm.fused(&x, Some(&aside), true)?.is_none(), "another type beside");
        assert!(norm.fused(&x, Some(&x.f_narrow(2, 0, 3)?), true)?.is_none(), "another shape beside");
        Ok(())
    })
}

fn nothing_known() -> Known {
    Known { proven: Vec::new(), off: None }
}

#[test]
fn kernels_are_compared_once_for_a_sort_of_maps_and_again_for_larger_ones() -> Result<()> {
    for kind in [Kind::Float, Kind::BFloat16] {
        let map = |size: [i64; 4]| wave(&size, 0.3, kind);
        let (small, large, odd) = (map([2, 8, 3, 3])?, map([4, 8, 5, 5])?, map([2, 7, 3, 3])?);
        let mut known = nothing_known();
        emulated(How::Forwards, || {
            assert!(known.admit(&small, None, 1), "{:?}", known.off);
            assert!(known.admit(&large, Some(&large), 2), "{:?}", known.off);
            assert!(known.admit(&odd, None, 1), "{:?}", known.off);
        });
        let values: Vec<i64> = known.proven.iter().map(|(_, values)| *values).collect();
        assert_eq!(values, [large.numel() as i64, odd.numel() as i64]);
        emulated(How::Faulty("normalise"), || {
            assert!(known.admit(&small, None, 1), "what is known is not asked again");
            assert!(!known.admit(&map([8, 8, 5, 5])?, None, 1));
            Ok::<_, Error>(())
        })?;
        assert!(!emulated(How::Forwards, || known.admit(&small, None, 1)), "off for good");
    }
    Ok(())
}

#[test]
fn of_large_maps_whole_groups_of_the_first_samples_are_compared() -> Result<()> {
    let samples = |size: [i64; 4], groups| {
        let x = Tensor::f_empty(size, (Kind::BFloat16, Device::Cpu))?;
        Ok::<_, Error>(compared_samples(&x, groups))
    };
    assert_eq!(samples([6, 8, 3, 3], 2)?, 6);
    assert_eq!(samples([32, 64, 128, 128], 1)?, 2);
    assert_eq!(samples([32, 64, 128, 128], 8)?, 8);
    assert_eq!(samples([1, 64, 256, 256], 1)?, 1);
    Ok(())
}

#[test]
fn the_first_use_finds_a_wrong_kernel_whichever_it_is() -> Result<()> {
    let kernels = ["moments", "join_moments", "from_buffers", "normalise", "sums", "join_sums", "gradients"];
    for kind in [Kind::Float, Kind::BFloat16] {
        let x = wave(&[4, 24, 5, 5], 0.3, kind)?;
        for name in kernels {
            let mut known = nothing_known();
            assert!(!emulated(How::Faulty(name), || known.admit(&x, None, 2)), "{name}");
            let reason = known.off.expect("a reason");
            assert!(reason.contains("differ") && !reason.contains('\n'), "{name}: {reason}");
        }
    }
    Ok(())
}

#[test]
fn kernels_that_do_not_start_are_off_with_the_reason() -> Result<()> {
    let x = wave(&[4, 24, 5, 5], 0.3, Kind::Float)?;
    let mut known = nothing_known();
    assert!(!emulated(How::Refusing, || known.admit(&x, None, 1)));
    assert!(known.off.expect("a reason").contains("refused"));
    Ok(())
}

#[test]
fn a_map_that_no_kernel_takes_says_nothing_of_them() -> Result<()> {
    let x = wave(&[2, 3, 4, 5], 0.3, Kind::Float)?;
    let mut known = nothing_known();
    emulated(How::Forwards, || {
        assert!(!known.admit(&x.f_contiguous()?, None, 1));
        assert!(!known.admit(&x, Some(&x.f_to_kind(Kind::BFloat16)?), 1));
        let few = wave(&[4, 8, 1, 1], 0.3, Kind::Float)?;
        assert!(!known.admit(&few, None, 2), "two values of a channel tell nothing");
        Ok::<_, Error>(())
    })?;
    assert!(known.off.is_none() && known.proven.is_empty());
    Ok(())
}
