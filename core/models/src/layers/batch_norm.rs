//! Batch normalisation over `[N, C, H, W]`, per channel.
//!
//! Source  Ioffe and Szegedy, ICML 2015; buffers move as in PyTorch.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use admix_api::{Hints, Init, Path};
use admix_torch::{BatchNorm, Group, Kind, Tensor};

use crate::{Error, Result};

const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// Batch normalisation: parameters `weight` and `bias`, buffers `running_mean` and `running_var`, all `[C]`.
#[derive(Debug)]
pub struct BatchNorm2d {
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    running_mean: Tensor,
    running_var: Tensor,
    channels: i64,
    momentum: Cell<f64>,
    groups: Cell<i64>,
    /// Whose batches are normalised as one.
    shared: RefCell<Option<Rc<Group>>>,
}

impl BatchNorm2d {
    /// Weight 1, bias 0, running mean 0, running variance 1.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(path: &Path, channels: i64) -> Result<Self> {
        Self::with_weight(path, channels, 1.0)
    }

    /// As [`BatchNorm2d::new`], with another initial weight: 0 at the end of a residual branch.
    ///
    /// # Errors
    /// A name is taken.
    pub fn with_weight(path: &Path, channels: i64, weight: f64) -> Result<Self> {
        let constant = |name: &str, value: f64| {
            path.parameter(name, &[channels], Init::Constant(value), Hints::default())
        };
        Self::of(path, channels, Some((constant("weight", weight)?, constant("bias", 0.0)?)))
    }

    /// As [`BatchNorm2d::new`], without weight and bias.
    ///
    /// # Errors
    /// A name is taken.
    pub fn plain(path: &Path, channels: i64) -> Result<Self> {
        Self::of(path, channels, None)
    }

    fn of(path: &Path, channels: i64, affine: Option<(Tensor, Tensor)>) -> Result<Self> {
        let shape = [channels];
        let (weight, bias) = affine.unzip();
        Ok(Self {
            weight,
            bias,
            running_mean: path.buffer("running_mean", &shape, 0.0)?,
            running_var: path.buffer("running_var", &shape, 1.0)?,
            channels,
            momentum: Cell::new(MOMENTUM),
            groups: Cell::new(1),
            shared: RefCell::new(None),
        })
    }

    /// Normalises `[N, C, H, W]`; the shape stays.
    ///
    /// With `train`, by the batch's own mean and biased variance, and the buffers move by the momentum towards
    /// that mean and the *unbiased* variance. Otherwise by the buffers, which stay.
    ///
    /// With [groups](Self::set_groups), each group of samples is a batch of its own; the buffers move towards the mean of
    /// what the groups measure.
    ///
    /// # Errors
    /// Other channels; with `train`, a single value per channel, which has no variance, or samples that do not make
    /// whole groups.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.forward_then(x, None, false, train)
    }

    /// `relu(norm(x))`, as [`forward`](Self::forward) and a ReLU.
    ///
    /// # Errors
    /// As there.
    pub fn forward_relu(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.forward_then(x, None, true, train)
    }

    /// `relu(norm(x) + aside)`, `aside` `[N, C, H, W]` too: the end of a residual block.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); another shape beside.
    pub fn forward_residual(&self, x: &Tensor, aside: &Tensor, train: bool) -> Result<Tensor> {
        self.forward_then(x, Some(aside), true, train)
    }

    /// As one operation where there is one ([`BatchNorm::fused`]); the plain ones change the norm's output in place, which its
    /// own backward pass does not need.
    fn forward_then(&self, x: &Tensor, aside: Option<&Tensor>, relu: bool, train: bool) -> Result<Tensor> {
        let groups = self.checked(x, train)?;
        if let Some(y) = self.fused(x, aside, relu, train, groups)? {
            return Ok(y);
        }
        let mut y = self.unfused(x, train, groups)?;
        if let Some(aside) = aside {
            y = y.f_add_(aside)?;
        }
        Ok(if relu { y.f_relu_()? } else { y })
    }

    /// The groups of this pass.
    fn checked(&self, x: &Tensor, train: bool) -> Result<i64> {
        let size = x.size();
        let groups = if train { self.groups.get() } else { 1 };
        let fits = matches!(size[..], [n, c, h, w] if c == self.channels && (!train || n * h * w > groups) && n % groups == 0);
        if !fits {
            let values = match groups {
                1 if train => ", at least two values per channel".to_string(),
                1 => String::new(),
                many => {
                    format!(", N a multiple of the {many} groups, at least two values per channel in each")
                }
            };
            return Err(Error::Shape {
                what: "the input of a BatchNorm".into(),
                got: size,
                wanted: format!("[N, {}, H, W]{values}", self.channels),
            });
        }
        Ok(groups)
    }

    fn fused(
        &self,
        x: &Tensor,
        aside: Option<&Tensor>,
        relu: bool,
        train: bool,
        groups: i64,
    ) -> Result<Option<Tensor>> {
        if (train && self.shared.borrow().is_some()) || !admix_torch::norm_kernels_admit(x, aside, groups) {
            return Ok(None);
        }
        let norm = BatchNorm {
            affine: self.weight.as_ref().zip(self.bias.as_ref()),
            running_mean: &self.running_mean,
            running_var: &self.running_var,
            train,
            momentum: self.momentum.get(),
            epsilon: EPSILON,
            groups,
        };
        Ok(norm.fused(x, aside, relu)?)
    }

    fn unfused(&self, x: &Tensor, train: bool, groups: i64) -> Result<Tensor> {
        if let Some(group) = self.shared.borrow().as_deref().filter(|_| train) {
            return self.synchronised(x, group);
        }
        if groups > 1 {
            return self.grouped(x, groups);
        }
        Ok(x.f_batch_norm(
            self.weight.as_ref(),
            self.bias.as_ref(),
            Some(&self.running_mean),
            Some(&self.running_var),
            train,
            self.momentum.get(),
            EPSILON,
            true,
        )?)
    }

    /// Groups follow each other in memory, so no sample moves before it is normalised, however the channels lie.
    fn grouped(&self, x: &Tensor, groups: i64) -> Result<Tensor> {
        let repeated = |buffer: &Tensor| -> Result<Tensor> { Ok(buffer.f_detach()?.f_repeat([groups, 1])?) };
        let [means, variances] = self.buffers().each_ref().map(repeated);
        let (means, variances) = (means?, variances?);
        let each = x.f_split(x.size()[0] / groups, 0)?;
        let normalised = (0..).zip(&each).map(|(group, part)| -> Result<Tensor> {
            Ok(part.f_batch_norm(
                self.weight.as_ref(),
                self.bias.as_ref(),
                Some(&means.f_select(0, group)?),
                Some(&variances.f_select(0, group)?),
                true,
                self.momentum.get(),
                EPSILON,
                true,
            )?)
        });
        let y = Tensor::f_cat(&normalised.collect::<Result<Vec<_>>>()?, 0)?;
        // The mean of equal values may round.
        if self.momentum.get() != 0.0 {
            let _guard = admix_torch::no_grad();
            for (mut buffer, moved) in self.buffers().into_iter().zip([means, variances]) {
                buffer.f_copy_(&moved.f_mean_dim(0i64, false, None)?)?;
            }
        }
        Ok(y)
    }

    /// By the mean and variance of the batches of all processes, which are of one size. Half precision is left for the sums.
    fn synchronised(&self, x: &Tensor, group: &Group) -> Result<Tensor> {
        let kind = match x.kind() {
            Kind::Double => Kind::Double,
            _ => Kind::Float,
        };
        let size = x.size();
        let count = (size[0] * size[2] * size[3] * group.processes() as i64) as f64;
        let mean_of = |x: &Tensor| -> Result<Tensor> {
            let own = x.f_sum_dim_intlist([0i64, 2, 3].as_slice(), false, kind)?;
            Ok(group.sum(&own)?.f_div_scalar(count)?)
        };
        let over = |values: &Tensor| values.f_reshape([1, -1, 1, 1]);
        let (given, x) = (x.kind(), x.f_to_kind(kind)?);
        let mean = mean_of(&x)?;
        let centred = x.f_sub(&over(&mean)?)?;
        let variance = mean_of(&centred.f_square()?)?;
        let mut y = centred.f_mul(&over(&variance.f_add_scalar(EPSILON)?.f_rsqrt()?)?)?;
        if let (Some(weight), Some(bias)) = (&self.weight, &self.bias) {
            y = y.f_mul(&over(weight)?)?.f_add(&over(bias)?)?;
        }
        let unbiased = variance.f_mul_scalar(count / (count - 1.0))?;
        let _guard = admix_torch::no_grad();
        for (mut buffer, now) in self.buffers().into_iter().zip([mean, unbiased]) {
            let _ = buffer.f_lerp_(&now.f_to_kind(buffer.kind())?, self.momentum.get())?;
        }
        Ok(y.f_to_kind(given)?)
    }

    /// Normalises train-mode batches with those of the other processes of a group as one. Groups within the batch
    /// ([`set_groups`](Self::set_groups)) are none then.
    pub fn share(&self, group: &Rc<Group>) {
        *self.shared.borrow_mut() = Some(group.clone());
    }

    /// Splits train-mode batches into so many groups with statistics of their own; 1, the default, does not. The first N / G
    /// samples are the first group, as where each of G devices has its part of a batch.
    pub fn set_groups(&self, groups: i64) {
        self.groups.set(groups.max(1));
    }

    /// Share of the new batch in the buffers at each train-mode pass; 0.1 unless changed.
    pub fn momentum(&self) -> f64 {
        self.momentum.get()
    }

    /// Changes the momentum: 0 leaves the buffers, 1 replaces the buffers, 1 / (i + 1) at pass i averages over all passes.
    pub fn set_momentum(&self, momentum: f64) {
        self.momentum.set(momentum);
    }

    /// The running mean and variance, each `[C]`: handles on the buffers themselves.
    pub fn buffers(&self) -> [Tensor; 2] {
        [self.running_mean.shallow_clone(), self.running_var.shallow_clone()]
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::Device;

    use super::*;

    // Two channels, four values each: [1, 2, 3, 6] (mean 3, biased 3.5, unbiased 14/3), [0, 0, 4, 4] (2, 4, 16/3).
    fn example() -> Result<Tensor> {
        let values = [1.0, 2.0, 0.0, 0.0, 3.0, 6.0, 4.0, 4.0];
        Ok(Tensor::f_from_slice(&values)?.f_reshape([2, 2, 1, 2])?)
    }

    fn layer() -> Result<(Store, BatchNorm2d)> {
        let store = Store::with_kind(Device::Cpu, Kind::Double, Streams::new(1));
        let norm = BatchNorm2d::new(&store.root().sub("bn"), 2)?;
        Ok((store, norm))
    }

    fn assert_near(tensor: &Tensor, wanted: &[f64]) -> Result<()> {
        let got = Vec::<f64>::try_from(tensor.f_detach()?.f_reshape([-1])?)?;
        assert_eq!(got.len(), wanted.len());
        assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} {wanted:?}");
        Ok(())
    }

    #[test]
    fn train_mode_normalises_by_the_biased_and_stores_the_unbiased_variance() -> Result<()> {
        let (_store, norm) = layer()?;
        let y = norm.forward(&example()?, true)?;
        let wanted: Vec<f64> = [
            (1.0, 3.0, 3.5),
            (2.0, 3.0, 3.5),
            (0.0, 2.0, 4.0),
            (0.0, 2.0, 4.0),
            (3.0, 3.0, 3.5),
            (6.0, 3.0, 3.5),
            (4.0, 2.0, 4.0),
            (4.0, 2.0, 4.0),
        ]
        .iter()
        .map(|(x, mean, variance): &(f64, f64, f64)| (x - mean) / (variance + 1e-5).sqrt())
        .collect();
        assert_near(&y, &wanted)?;
        let [mean, variance] = norm.buffers();
        assert_near(&mean, &[0.3, 0.2])?;
        assert_near(&variance, &[0.9 + 0.1 * 14.0 / 3.0, 0.9 + 0.1 * 16.0 / 3.0])?;
        let _ = norm.forward(&example()?, true)?;
        assert_near(&mean, &[0.57, 0.38])
    }

    #[test]
    fn eval_mode_reads_the_buffers_and_leaves_them() -> Result<()> {
        let (store, norm) = layer()?;
        let _ = norm.forward(&example()?, true)?;
        let before: Vec<Tensor> =
            store.buffers().iter().map(|(_, t)| t.f_detach_copy()).collect::<std::result::Result<_, _>>()?;
        let y = norm.forward(&example()?, false)?;
        let scale = (0.9 + 0.1 * 14.0 / 3.0 + 1e-5_f64).sqrt();
        assert!((y.f_double_value(&[0, 0, 0, 0])? - (1.0 - 0.3) / scale).abs() < 1e-12);
        assert!(store.buffers().iter().zip(&before).all(|((_, now), was)| now == was));
        Ok(())
    }

    #[test]
    fn one_value_per_channel_and_wrong_channels_are_refused() -> Result<()> {
        let (store, norm) = layer()?;
        let one = Tensor::f_ones([1, 2, 1, 1], (Kind::Double, Device::Cpu))?;
        let error = norm.forward(&one, true).expect_err("no variance").to_string();
        assert!(error.contains("[1, 2, 1, 1]") && error.contains("two values"), "{error}");
        let _ = norm.forward(&one, false)?;
        assert!(norm.forward(&Tensor::f_ones([2, 3, 4, 4], (Kind::Double, Device::Cpu))?, false).is_err());
        assert_near(&store.buffers()[0].1, &[0.0, 0.0])
    }

    #[test]
    fn groups_are_batches_of_their_own_and_no_sample_moves() -> Result<()> {
        let x = admix_api::contract::wild(&[6, 2, 3, 2], 0.3, Kind::Double);
        let inner = admix_torch::channels_last(&x)?;
        let (_store, grouped) = layer()?;
        grouped.set_groups(2);
        let leaf = x.f_detach_copy()?.set_requires_grad(true);
        let y = grouped.forward(&leaf, true)?;
        y.f_square()?.f_mul(&x)?.f_sum(Kind::Double)?.backward();
        let (mut mean, mut variance) = (Tensor::from(0.0), Tensor::from(0.0));
        for group in 0..2i64 {
            let members = Tensor::from_slice(&[3 * group, 3 * group + 1, 3 * group + 2]);
            let (_store, alone) = layer()?;
            let part = x.f_index_select(0, &members)?.set_requires_grad(true);
            let wanted = alone.forward(&part, true)?;
            assert!(y.f_index_select(0, &members)?.f_allclose(&wanted, 1e-12, 1e-12, false)?);
            wanted.f_square()?.f_mul(&part.f_detach()?)?.f_sum(Kind::Double)?.backward();
            assert!(leaf.grad().f_index_select(0, &members)?.f_allclose(&part.grad(), 1e-9, 1e-12, false)?);
            let [m, v] = alone.buffers();
            (mean, variance) = (mean + m / 2.0, variance + v / 2.0);
        }
        let (_store, again) = layer()?;
        again.set_groups(2);
        let z = again.forward(&inner, true)?;
        assert!(admix_torch::is_channels_last(&z) && z.f_allclose(&y, 1e-12, 1e-12, false)?);
        let [m, v] = grouped.buffers();
        assert!(m.f_allclose(&mean, 1e-12, 1e-12, false)? && v.f_allclose(&variance, 1e-12, 1e-12, false)?);
        let message = grouped.forward(&x.f_narrow(0, 0, 5)?, true).expect_err("5 samples").to_string();
        assert!(message.contains("multiple of the 2 groups"), "{message}");
        assert!(grouped.forward(&x.f_narrow(0, 0, 5)?, false).is_ok(), "evaluation knows no groups");
        Ok(())
    }
}
