//! The kernels of the fused batch normalisation on GPUs: compiled at their first use, and compared with the plain operations
//! on the run's own maps before they take their place.

use std::ffi::{CString, c_int};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};

use crate::batch_norm::{BatchNorm, fused};
use crate::cuda_object::cuda_object;
use crate::shim::{self, check};
use crate::{Error, Result, apart, gradients, with_grad};

/// The text of the kernels.
const SOURCE: &str =
    concat!(include_str!("../cuda/batch_norm_shape.h"), "\n", include_str!("../cuda/batch_norm.cu"));

/// The most that a result may differ from the plain one, by the largest value: sums over many rows round in another order,
/// and maps of 16 bits round to 8 of them.
const NEAR: f64 = 1e-3;
const NEAR_IN_16_BITS: f64 = 1.0 / 128.0;
/// Values of a map that are compared: the first samples have them. More would need memory that a step does not.
const COMPARED: i64 = 1 << 21;
/// The fewest values of a channel, in a group, that tell an error from rounding: two that are normalised have no gradient.
const FEWEST: i64 = 8;

/// What became of the kernels in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NormKernels {
    /// No map on a GPU has asked for them.
    Unused,
    /// They take the place of the plain operations.
    Used,
    /// They do not, for this reason.
    Off(String),
}

/// What became of the kernels of the fused batch normalisation on GPUs so far.
pub fn norm_kernels() -> NormKernels {
    let known = on_gpus();
    match &known.off {
        Some(reason) => NormKernels::Off(reason.clone()),
        None if known.proven.is_empty() => NormKernels::Unused,
        None => NormKernels::Used,
    }
}

/// Whether [`BatchNorm::fused`] may be asked for this map, in as many groups: always on the CPU.
///
/// On a GPU the first use for a kind of map, and the first for a larger map than those before, compares the kernels with the
/// plain operations, forwards and backwards, and waits for the device. Where they differ they are off for good.
pub fn norm_kernels_admit(x: &Tensor, aside: Option<&Tensor>, groups: i64) -> bool {
    let Device::Cuda(index) = x.device() else { return true };
    if !fused() {
        return false;
    }
    let mut known = on_gpus();
    let loaded = known.proven.iter().any(|(sort, _)| sort.device == x.device());
    if known.off.is_none()
        && !loaded
        && let Err(error) = load(index)
    {
        known.turn_off(error.to_string());
    }
    known.admit(x, aside, groups)
}

fn on_gpus() -> MutexGuard<'static, Known> {
    static KNOWN: Mutex<Known> = Mutex::new(Known { proven: Vec::new(), off: None });
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compiles the kernels for a device, and hands them to the shim.
fn load(device: usize) -> Result<()> {
    let object = cuda_object()?;
    let source = CString::new(SOURCE).map_err(|error| Error::torch(&error.to_string()))?;
    let device = c_int::try_from(device).unwrap_or(c_int::MAX);
    // SAFETY: the text is NUL-terminated and lives for the call.
    check(unsafe { (object.kernels_load)(source.as_ptr(), device) })?;
    // SAFETY: the function is never unloaded, and takes the `Launch` of shim/launch.h that the shim hands it.
    unsafe { shim::admix_set_launcher(object.kernel_launch) };
    Ok(())
}

/// Maps that the same kernels take.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sort {
    device: Device,
    kind: Kind,
    /// Whether the channels fill vectors.
    even: bool,
}

/// What is known of the kernels.
#[derive(Debug)]
struct Known {
    /// The most values of a map of a sort on which they did what the plain operations do.
    proven: Vec<(Sort, i64)>,
    /// Why they are not used any more.
    off: Option<String>,
}

impl Known {
    fn turn_off(&mut self, reason: String) {
        tracing::warn!("BatchNorm, residual and ReLU are separate operations on this GPU: {reason}");
        self.off = Some(reason);
    }

    fn admit(&mut self, x: &Tensor, aside: Option<&Tensor>, groups: i64) -> bool {
        let fits = |aside: &Tensor| aside.kind() == x.kind() && aside.size() == x.size();
        let [n, channels, height, width] = x.size()[..] else { return false };
        if self.off.is_some() || !aside.is_none_or(fits) {
            return false;
        }
        let vector = if x.kind() == Kind::BFloat16 { 8 } else { 4 };
        let sort = Sort { device: x.device(), kind: x.kind(), even: channels % vector == 0 };
        let samples = compared_samples(x, groups);
        let compared = samples * channels * height * width;
        let largest = self.proven.iter_mut().find(|(known, _)| *known == sort);
        if largest.as_ref().is_some_and(|(_, values)| *values >= compared) {
            return true;
        }
        if n * height * width < FEWEST * groups {
            return false;
        }
        match difference(x, aside, groups, samples) {
            Ok(Compared::Same) => match largest {
                Some((_, values)) => *values = compared,
                None => self.proven.push((sort, compared)),
            },
            Ok(Compared::Refused) => return false,
            Ok(Compared::Differs(what)) => {
                self.turn_off(format!("the fused kernels differ from them, {what}"))
            }
            Err(error) => self.turn_off(format!("the fused kernels cannot be compared with them: {error}")),
        }
        self.off.is_none()
    }
}

#[derive(Debug, PartialEq)]
enum Compared {
    Same,
    /// In words.
    Differs(String),
    /// The kernels do not take such a map.
    Refused,
}

/// How many samples of a map are compared: a multiple of the groups, as N is.
fn compared_samples(x: &Tensor, groups: i64) -> i64 {
    let (all, groups) = (x.size()[0], groups.max(1));
    let of_group = (x.numel() as i64 / all.max(1) * groups).max(1);
    (COMPARED / of_group).max(1).saturating_mul(groups).min(all)
}

/// Compares kernels and plain operations on the first samples of `x`, `[N, C, H, W]`, and of `aside`, with numbers for channels
/// that leave no error unseen: the first weights of a layer may be zero.
fn difference(x: &Tensor, aside: Option<&Tensor>, groups: i64, samples: i64) -> Result<Compared> {
    let (_apart, _grad) = (apart(), with_grad());
    let first = |t: &Tensor| -> Result<Tensor> { Ok(t.f_detach()?.f_narrow(0, 0, samples)?) };
    let x = first(x)?;
    let aside = match aside {
        Some(aside) => first(aside)?,
        None => x.f_flip([0])?,
    };
    for train in [true, false] {
        for (aside, relu) in [(None, false), (Some(&aside), true), (None, true), (Some(&aside), false)] {
            let case = Case { x: &x, aside, relu, train, groups: if train { groups } else { 1 } };
            match case.difference()? {
                Compared::Same => {}
                other => return Ok(other),
            }
        }
    }
    Ok(Compared::Same)
}

/// One pass forwards and backwards.
struct Case<'a> {
    x: &'a Tensor,
    aside: Option<&'a Tensor>,
    relu: bool,
    train: bool,
    groups: i64,
}

/// What a pass takes and moves.
struct Inputs {
    x: Tensor,
    aside: Option<Tensor>,
    /// Weight, bias, running mean, running variance, all `[C]`.
    numbers: [Tensor; 4],
}

impl Inputs {
    /// A `BatchNorm` of its numbers.
    fn norm(&self, train: bool, groups: i64) -> BatchNorm<'_> {
        let [weight, bias, running_mean, running_var] = &self.numbers;
        // So large an epsilon that a constant channel does not blow up rounding.
        let (momentum, epsilon) = (0.5, 0.1);
        let affine = Some((weight, bias));
        BatchNorm { affine, running_mean, running_var, train, momentum, epsilon, groups }
    }

    /// Gradients of a loss to the map, what is added, weight and bias.
    fn gradients(&self, y: &Tensor, above: &Tensor) -> Result<Vec<Tensor>> {
        let loss = y.f_mul(above)?.f_sum(Kind::Float)?;
        let mut inputs = vec![self.x.shallow_clone()];
        inputs.extend(self.aside.iter().map(Tensor::shallow_clone));
        inputs.extend(self.numbers[..2].iter().map(Tensor::shallow_clone));
        let found = gradients(&[loss], &inputs, false, false)?;
        found.into_iter().map(|g| g.ok_or_else(|| Error::torch("a gradient is missing"))).collect()
    }
}

impl Case<'_> {
    /// Inputs whose maps are of this kind.
    fn inputs(&self, kind: Kind) -> Result<Inputs> {
        let leaf =
            |t: &Tensor| -> Result<Tensor> { Ok(t.f_to_kind(kind)?.f_detach()?.set_requires_grad(true)) };
        let steps = Tensor::f_arange(self.x.size()[1], (Kind::Float, self.x.device()))?;
        let wave = |step: f64, from: f64| -> Result<Tensor> {
            Ok(steps.f_mul_scalar(step)?.f_sin()?.f_mul_scalar(0.5)?.f_add_scalar(from)?)
        };
        let numbers = [
            wave(0.9, 1.0)?.set_requires_grad(true),
            wave(1.7, 0.1)?.set_requires_grad(true),
            wave(2.3, 0.2)?,
            wave(0.4, 1.0)?,
        ];
        Ok(Inputs { x: leaf(self.x)?, aside: self.aside.map(leaf).transpose()?, numbers })
    }

    /// A gradient that no map explains, in the order of the map's values.
    fn above(&self) -> Result<Tensor> {
        let steps = Tensor::f_arange(self.x.numel() as i64, (Kind::Float, self.x.device()))?;
        let wave = steps.f_sin()?.f_reshape(self.x.size())?;
        crate::channels_last(&wave.f_to_kind(self.x.kind())?)
    }

    fn difference(&self) -> Result<Compared> {
        let own = self.inputs(self.x.kind())?;
        let Some(y) = own.norm(self.train, self.groups).fused(&own.x, own.aside.as_ref(), self.relu)? else {
            return Ok(Compared::Refused);
        };
        let above = self.above()?;
        let found = own.gradients(&y, &above)?;
        let y = y.f_detach()?.f_to_kind(Kind::Float)?;

        // In 32 bits: what the plain operations round on their way is no measure.
        let theirs = self.inputs(Kind::Float)?;
        let sum = theirs.norm(self.train, self.groups).plain(&theirs.x, theirs.aside.as_ref())?;
        let mut above = above.f_to_kind(Kind::Float)?;
        if self.relu {
            // By the signs of the kernels: where a value is 0 but for rounding, both are right.
            above = above.f_mul(&y.f_gt(0.0)?)?;
        }
        let wanted = theirs.gradients(&sum, &above)?;
        let sum = sum.f_detach()?;
        let wanted_y = if self.relu { sum.f_relu()? } else { sum };

        let of_maps = if self.x.kind() == Kind::BFloat16 { NEAR_IN_16_BITS } else { NEAR };
        let (maps, of_channels) = found.split_at(found.len() - 2);
        let (wanted_maps, wanted_of_channels) = wanted.split_at(maps.len());
        let list = |tensors: &[Tensor]| tensors.iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
        let mut pairs = vec![
            ("the result", of_maps, vec![y], vec![wanted_y]),
            ("gradients of weight and bias", NEAR, list(of_channels), list(wanted_of_channels)),
            ("running values", NEAR, list(&own.numbers[2..]), list(&theirs.numbers[2..])),
        ];
        pairs.extend(maps.iter().zip(wanted_maps).map(|(found, wanted)| {
            ("the gradient of a map", of_maps, vec![found.shallow_clone()], vec![wanted.shallow_clone()])
        }));
        for (what, near, found, wanted) in pairs {
            let gap = gap(&found, &wanted)?;
            // A gap that is not a number is one, too.
            if gap.is_nan() || gap > near {
                let form = if self.train { "training" } else { "evaluation" };
                let (aside, relu) = (self.aside.is_some(), self.relu);
                return Ok(Compared::Differs(format!(
                    "{what} by {gap:.1e} ({form}, {:?}, residual {aside}, ReLU {relu})",
                    self.x.kind()
                )));
            }
        }
        Ok(Compared::Same)
    }
}

/// The largest difference between tensors of two lists, by the largest value of the second.
fn gap(found: &[Tensor], wanted: &[Tensor]) -> Result<f64> {
    let (mut largest, mut apart) = (f64::MIN_POSITIVE, 0.0);
    for (found, wanted) in found.iter().zip(wanted) {
        let most = |t: &Tensor| -> Result<f64> { Ok(t.f_abs()?.f_max()?.f_double_value(&[])?) };
        let own = most(&found.f_to_kind(Kind::Float)?.f_sub(wanted)?)?;
        // `max` passes over what is not a number.
        apart = if own.is_nan() { own } else { f64::max(apart, own) };
        if own.is_nan() {
            break;
        }
        largest = largest.max(most(wanted)?);
    }
    Ok(apart / largest)
}

#[cfg(test)]
mod nvrtc;
#[cfg(test)]
mod tests;
