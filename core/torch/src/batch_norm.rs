//! Batch normalisation, residual and ReLU as one operation.

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::Tensor;

use crate::shim::{self, check, handle, owned};
use crate::{Result, no_grad};

static FUSED: AtomicBool = AtomicBool::new(true);

/// Whether fused operations take the place of plain ones, in the whole process, where they can: batch normalisation, and the
/// updates of [`fused_sgd`](crate::fused_sgd) and [`ema`](crate::ema). They do unless told.
pub fn set_fused(allowed: bool) {
    FUSED.store(allowed, Ordering::Relaxed);
}

/// What [`set_fused`] said.
pub fn fused() -> bool {
    FUSED.load(Ordering::Relaxed)
}

/// A batch normalisation of `[N, C, H, W]` over all but the channels.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm<'a> {
    /// Weight and bias, both `[C]`.
    pub affine: Option<(&'a Tensor, &'a Tensor)>,
    /// Running mean, `[C]`.
    pub running_mean: &'a Tensor,
    /// Running variance, `[C]`.
    pub running_var: &'a Tensor,
    /// By the batch's own mean and biased variance, which move the buffers (the variance unbiased); else by the buffers.
    pub train: bool,
    /// Share of the batch in the buffers then, in [0, 1]; with 0 they keep their bits.
    pub momentum: f64,
    /// What is added to a variance.
    pub epsilon: f64,
    /// Groups of samples, one after the other, with statistics of their own in train mode; divides N. The buffers move
    /// towards the mean of what the groups measure.
    pub groups: i64,
}

impl BatchNorm<'_> {
    /// `relu(norm(x) + aside)`, without what is not asked for, in one operation; `None` where only plain operations can do
    /// it: channels not innermost, no 32- or 64-bit floats on the CPU, no 32-bit floats or bf16 on a GPU, or
    /// [`set_fused`] forbids it. [`norm_kernels_admit`](crate::norm_kernels_admit) comes first, which knows a GPU's kernels.
    ///
    /// `aside` has the shape of `x`, `[N, C, H, W]`. The backward pass keeps `x`, and with `relu` the result, which must not
    /// change in place then; on the CPU a large result without `aside` is computed anew instead. Mean and variance of parts of
    /// the batch are measured in two passes and joined in double precision (Chan et al. 1979), in an order that the number of
    /// threads does not change. There is no second derivative.
    ///
    /// # Errors
    /// No room for the result.
    pub fn fused(&self, x: &Tensor, aside: Option<&Tensor>, relu: bool) -> Result<Option<Tensor>> {
        if !fused() {
            return Ok(None);
        }
        let groups = if self.train { self.groups } else { 1 };
        let pointer = |tensor: Option<&Tensor>| tensor.map_or(ptr::null_mut(), handle);
        let (weight, bias) = self.affine.unzip();
        let mut result = ptr::null_mut();
        // SAFETY: all tensors are borrowed for the call, null stands for those that are not there, and the out-pointer is
        // valid. The shim checks shapes and dtypes before it reads memory.
        check(unsafe {
            shim::admix_fused_batch_norm(
                handle(x),
                pointer(aside),
                pointer(weight),
                pointer(bias),
                handle(self.running_mean),
                handle(self.running_var),
                self.train,
                self.momentum,
                self.epsilon,
                groups,
                relu,
                &mut result,
            )
        })?;
        Ok(owned(result))
    }

    /// norm(x) + aside by libtorch's operations: what the fused one is held against. Moves the running values as that does.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn plain(&self, x: &Tensor, aside: Option<&Tensor>) -> Result<Tensor> {
        let groups = if self.train { self.groups } else { 1 };
        let (weight, bias) = self.affine.unzip();
        let (mut parts, mut moved) = (Vec::new(), Vec::new());
        for part in x.f_split(x.size()[0] / groups, 0)? {
            let (mean, var) = (self.running_mean.f_detach_copy()?, self.running_var.f_detach_copy()?);
            let buffers = (Some(&mean), Some(&var));
            parts.push(part.f_batch_norm(
                weight,
                bias,
                buffers.0,
                buffers.1,
                self.train,
                self.momentum,
                self.epsilon,
                true,
            )?);
            moved.push(Tensor::f_stack(&[mean, var], 0)?);
        }
        {
            let _guard = no_grad();
            let moved = Tensor::f_stack(&moved, 0)?.f_mean_dim(0i64, false, None)?;
            self.running_mean.shallow_clone().f_copy_(&moved.f_get(0)?)?;
            self.running_var.shallow_clone().f_copy_(&moved.f_get(1)?)?;
        }
        let y = Tensor::f_cat(&parts, 0)?;
        Ok(match aside {
            Some(aside) => y.f_add(aside)?,
            None => y,
        })
    }
}

/// Lets a convolution of `input`, whose result this is, keep its input no more where it is that of [`BatchNorm::fused`], which
/// computes it anew, bit for bit, when the backward pass comes there. Whether the caller alone has the input then.
///
/// # Errors
/// libtorch refused.
pub fn forget_input(result: &Tensor, input: &Tensor) -> Result<bool> {
    let mut forgotten = false;
    // SAFETY: both tensors are borrowed and the out-pointer valid for the call.
    check(unsafe { shim::admix_forget_input(handle(result), handle(input), &mut forgotten) })?;
    Ok(forgotten)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{channels_last, gradients, is_channels_last};
    use tch::{Device, Kind};

    /// 32-bit values of a wave that does not repeat with the shape, `[N, C, H, W]` channels innermost, or `[C]`.
    pub(crate) fn wave(size: &[i64], step: f64, kind: Kind) -> Result<Tensor> {
        let count = size.iter().product::<i64>();
        let steps = Tensor::f_arange(count, (Kind::Double, Device::Cpu))?.f_add_scalar(1.0)?;
        let values = steps.f_mul_scalar(step)?.f_sin()?.f_add_scalar(0.4)?.f_to_kind(Kind::Float)?;
        let values = values.f_to_kind(kind)?.f_reshape(size)?;
        if size.len() == 4 { channels_last(&values) } else { Ok(values) }
    }

    /// A mean and a variance of zeros, `[channels]`, in 32 bits.
    fn zeros(channels: i64) -> Result<[Tensor; 2]> {
        let zeros = || Tensor::f_zeros([channels], (Kind::Float, Device::Cpu));
        Ok([zeros()?, zeros()?])
    }

    /// A norm in train mode of one group, without weight and bias, whose buffers are these.
    fn bare([running_mean, running_var]: &[Tensor; 2], momentum: f64) -> BatchNorm<'_> {
        BatchNorm { affine: None, running_mean, running_var, train: true, momentum, epsilon: 1e-5, groups: 1 }
    }

    /// What a pass is made of; the buffers are copied for it.
    struct Case<'a> {
        size: &'a [i64],
        kind: Kind,
        aside: bool,
        relu: bool,
        affine: bool,
        train: bool,
        groups: i64,
    }

    impl Case<'_> {
        /// The result, the buffers and all gradients of the fused or of the plain operations.
        fn run(&self, fused: bool) -> Result<Vec<Tensor>> {
            let Case { size, kind, relu, train, groups, .. } = *self;
            let channels = [size[1]];
            let leaf = |t: Tensor| t.set_requires_grad(true);
            let x = leaf(wave(size, 0.37, kind)?);
            let aside = if self.aside { Some(leaf(wave(size, 0.73, kind)?)) } else { None };
            let (weight, bias) = (leaf(wave(&channels, 1.3, kind)?), leaf(wave(&channels, 2.1, kind)?));
            let (running_mean, running_var) =
                (wave(&channels, 0.2, kind)?, wave(&channels, 0.5, kind)?.square());
            let affine = self.affine.then_some((&weight, &bias));
            let (running_mean, running_var) = (&running_mean, &running_var);
            let norm =
                BatchNorm { affine, running_mean, running_var, train, momentum: 0.3, epsilon: 1e-5, groups };
            let y = if fused {
                norm.fused(&x, aside.as_ref(), relu)?.expect("channels innermost on the CPU")
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
            let upstream = wave(size, 0.91, kind)?.f_contiguous()?;
            let total = y.f_mul(&upstream)?.f_sum(None::<Kind>)?;
            let found = gradients(&[total], &inputs, false, false)?;
            let mut all = vec![y.f_detach()?, norm.running_mean.copy(), norm.running_var.copy()];
            all.extend(found.into_iter().map(|gradient| gradient.expect("is used")));
            Ok(all)
        }
    }

    /// Gradients of map, weight, bias and kernel of a convolution behind a norm and a ReLU, twice over the same graph, and
    /// whether the convolution forgot its input.
    fn convolved(size: &[i64], forgets: bool) -> Result<(Vec<Tensor>, bool)> {
        let leaf = |t: Tensor| t.set_requires_grad(true);
        let x = leaf(wave(size, 0.37, Kind::Float)?);
        let (weight, bias) = (wave(&[size[1]], 1.3, Kind::Float)?, wave(&[size[1]], 2.1, Kind::Float)?);
        let (weight, bias) = (leaf(weight), leaf(bias));
        let kernel = leaf(wave(&[2, size[1], 1, 1], 0.7, Kind::Float)?);
        let buffers = zeros(size[1])?;
        let norm = BatchNorm { affine: Some((&weight, &bias)), ..bare(&buffers, 0.1) };
        let y = norm.fused(&x, None, true)?.expect("channels innermost on the CPU");
        let convolution = y.f_conv2d(&kernel, None::<&Tensor>, [1, 1], [0, 0], [1, 1], 1)?;
        let forgotten = forgets && forget_input(&convolution, &y)?;
        if forgotten {
            // Whoever still read it would be wrong, or an error.
            let _guard = no_grad();
            let _ = y.shallow_clone().f_zero_()?;
        }
        drop(y);
        let total = convolution.f_square()?.f_sum(None::<Kind>)?;
        let inputs = [x, weight, bias, kernel];
        let mut found = gradients(&[total.shallow_clone()], &inputs, true, false)?;
        found.extend(gradients(&[total], &inputs, false, false)?);
        Ok((found.into_iter().map(|gradient| gradient.expect("is used")).collect(), forgotten))
    }

    #[test]
    fn large_results_are_computed_anew_with_the_same_bits() -> Result<()> {
        // 4 * 17 * 250 * 250 * 4 bytes are 17 MB.
        for (size, large) in [([4, 17, 250, 250], true), ([4, 17, 25, 25], false)] {
            let (kept, _) = convolved(&size, false)?;
            let (anew, forgotten) = convolved(&size, true)?;
            assert_eq!(forgotten, large);
            assert!(kept.iter().zip(&anew).all(|(kept, anew)| kept.equal(anew)), "{size:?}");
            assert!(anew[..4].iter().zip(&anew[4..]).all(|(first, second)| first.equal(second)));
        }
        Ok(())
    }

    #[test]
    fn what_no_norm_made_and_frozen_kernels_stay_as_they_are() -> Result<()> {
        let x = wave(&[4, 17, 250, 250], 0.37, Kind::Float)?.set_requires_grad(true);
        let kernel = wave(&[2, 17, 1, 1], 0.7, Kind::Float)?;
        let convolved =
            |x: &Tensor, kernel: &Tensor| x.f_conv2d(kernel, None::<&Tensor>, [1, 1], [0, 0], [1, 1], 1);
        let buffers = zeros(17)?;
        let y = bare(&buffers, 0.1).fused(&x, None, true)?.expect("channels innermost on the CPU");
        assert!(!forget_input(&convolved(&y, &kernel)?, &y)?);
        let trained = kernel.shallow_clone().set_requires_grad(true);
        assert!(!forget_input(&convolved(&x, &trained)?, &x)?);
        assert!(!forget_input(&y, &y)?);
        let sum = bare(&buffers, 0.1).fused(&x, Some(&x), true)?.expect("channels innermost on the CPU");
        assert!(!forget_input(&convolved(&sum, &trained)?, &sum)?);
        // What changed in place before the convolution is not what would be computed anew.
        let changed = bare(&buffers, 0.1).fused(&x, None, true)?.expect("channels innermost on the CPU");
        {
            let _guard = no_grad();
            let _ = changed.shallow_clone().f_mul_scalar_(2.0)?;
        }
        assert!(!forget_input(&convolved(&changed, &trained)?, &changed)?);
        Ok(())
    }

    /// The largest difference in the largest value.
    fn apart(a: &Tensor, b: &Tensor) -> Result<f64> {
        let largest = |t: &Tensor| -> Result<f64> { Ok(t.f_abs()?.f_max()?.f_double_value(&[])?) };
        Ok(largest(&a.f_sub(b)?)? / largest(b)?.max(1e-9))
    }

    /// Few channels and many, multiples of a vector and not; one cell, one sample, several parts with a short last one.
    const SIZES: [[i64; 4]; 9] = [
        [2, 8, 3, 5],
        [1, 7, 9, 4],
        [6, 64, 5, 5],
        [4, 65, 3, 3],
        [6, 24, 11, 3],
        [8, 3, 40, 41],
        [4, 1, 5, 5],
        [2, 130, 12, 7],
        [16, 40, 1, 1],
    ];

    #[test]
    fn values_buffers_and_gradients_are_those_of_the_plain_operations() -> Result<()> {
        let both = [false, true];
        for size in &SIZES {
            for (aside, relu, affine) in
                both.iter().flat_map(|a| both.iter().flat_map(move |r| both.map(|f| (*a, *r, f))))
            {
                for (train, groups) in [(true, 1), (true, 2), (false, 1), (false, 2)] {
                    if size[0] % groups != 0 {
                        continue;
                    }
                    let case = Case { size, kind: Kind::Double, aside, relu, affine, train, groups };
                    for (i, (got, wanted)) in case.run(true)?.iter().zip(&case.run(false)?).enumerate() {
                        let gap = apart(got, wanted)?;
                        let what = format!("{size:?} {aside} {relu} {affine} {train} {groups}: {i}");
                        assert!(gap < 1e-10, "{what} is off by {gap}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn values_of_32_bits_are_as_near_to_double_precision_as_the_plain_ones() -> Result<()> {
        for size in &SIZES {
            let case =
                |kind| Case { size, kind, aside: true, relu: false, affine: true, train: true, groups: 1 };
            let exact = case(Kind::Double).run(true)?;
            let (fused, plain) = (case(Kind::Float).run(true)?, case(Kind::Float).run(false)?);
            for (i, ((got, plain), wanted)) in fused.iter().zip(&plain).zip(&exact).enumerate() {
                let gap = |t: &Tensor| apart(&t.f_to_kind(Kind::Double)?, wanted);
                let (gap, theirs) = (gap(got)?, gap(plain)?);
                assert!(gap < 1e-6 || gap < 2.0 * theirs, "{size:?}: {i} is off by {gap}, plain by {theirs}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_mean_far_from_zero_costs_no_digits_of_the_variance() -> Result<()> {
        let x = wave(&[8, 16, 9, 9], 0.37, Kind::Double)?;
        let far = x.f_add_scalar(1000.0)?.f_to_kind(Kind::Float)?;
        let buffers = zeros(16)?;
        let _ = bare(&buffers, 1.0).fused(&far, None, false)?.expect("fused");
        let wanted = far.f_to_kind(Kind::Double)?.f_var_dim([0i64, 2, 3].as_slice(), true, false)?;
        let gap = apart(&buffers[1].f_to_kind(Kind::Double)?, &wanted)?;
        assert!(gap < 1e-6, "{gap}");
        Ok(())
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() -> Result<()> {
        let case = Case {
            size: &[32, 24, 17, 16],
            kind: Kind::Float,
            aside: true,
            relu: true,
            affine: true,
            train: true,
            groups: 2,
        };
        let before = crate::threads();
        let runs = [1, 2, 5].map(|threads| {
            crate::set_threads(threads);
            case.run(true)
        });
        crate::set_threads(before);
        let [one, two, five] = runs;
        let one = one?;
        assert!(one.iter().zip(two?).all(|(a, b)| a.equal(&b)), "two threads");
        assert!(one.iter().zip(five?).all(|(a, b)| a.equal(&b)), "five threads");
        Ok(())
    }

    #[test]
    fn where_channels_are_not_innermost_plain_operations_must_do_it() -> Result<()> {
        let x = wave(&[2, 3, 4, 5], 0.3, Kind::Float)?;
        let buffers = zeros(3)?;
        let norm = bare(&buffers, 0.0);
        let y = norm.fused(&x, None, true)?.expect("innermost");
        assert!(is_channels_last(&y) && buffers == zeros(3)?, "momentum 0 moves nothing");
        assert!(norm.fused(&x.f_contiguous()?, None, true)?.is_none());
        assert!(norm.fused(&x.f_to_kind(Kind::BFloat16)?, None, true)?.is_none());
        assert!(norm.fused(&x, Some(&x.f_narrow(2, 0, 3)?), true)?.is_none(), "another shape beside");
        Ok(())
    }

    #[test]
    fn a_second_derivative_is_refused() -> Result<()> {
        let x = wave(&[2, 3, 4, 5], 0.3, Kind::Float)?.set_requires_grad(true);
        let buffers = zeros(3)?;
        let y = bare(&buffers, 0.1).fused(&x, None, true)?.expect("fused").f_square()?.f_sum(Kind::Float)?;
        let message = gradients(&[y], &[x], false, true).expect_err("no second derivative").to_string();
        assert!(message.contains("--fused off"), "{message}");
        Ok(())
    }
}
