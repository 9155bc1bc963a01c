//! Stochastic depth: samples skip the branches of blocks.
//!
//! Source  Huang et al., ECCV 2016, arXiv:1603.09382. The rate rises linearly from 0 at the first block, and a branch that is
//!         kept is scaled by 1 / (1 - rate), as in timm and torchvision.

use admix_api::Result as Checked;
use admix_api::ranges::expect;
use admix_torch::Tensor;

use crate::{Pass, Result};

/// The rate of one branch, and the row of [`Pass::drops`] that decides on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DropPath {
    rate: f64,
    row: i64,
}

impl DropPath {
    /// One for each branch of a network of `blocks` blocks with so many branches each, by block. `rate` is that of the last
    /// block.
    pub(super) fn all(rate: f64, blocks: usize, branches: usize) -> Vec<Vec<Self>> {
        let of_block = |block: usize| {
            let rate = if blocks > 1 { rate * block as f64 / (blocks - 1) as f64 } else { rate };
            (0..branches).map(|branch| Self { rate, row: (block * branches + branch) as i64 }).collect()
        };
        (0..blocks).map(of_block).collect()
    }

    /// The branch `[N, ..]` with zeros for the samples that skip it.
    pub(super) fn apply(&self, branch: Tensor, pass: &Pass) -> Result<Tensor> {
        let Some(drops) = pass.drops.as_ref().filter(|_| pass.train && self.rate > 0.0) else {
            return Ok(branch);
        };
        let mut shape = vec![1; branch.dim()];
        shape[0] = -1;
        let kept = drops.f_select(0, self.row)?.f_ge(self.rate)?.f_to_kind(branch.kind())?;
        Ok(branch.f_mul(&kept.f_div_scalar(1.0 - self.rate)?.f_reshape(shape)?)?)
    }
}

/// Refuses a rate that drops everything.
pub(super) fn check_drop_path(rate: f64) -> Checked<()> {
    expect("drop_path", rate, (0.0..1.0).contains(&rate), "a number in [0, 1)")
}

/// How many draws a pass takes for a sample: none where nothing is dropped.
pub(super) fn draws(rate: f64, branches: usize) -> usize {
    if rate > 0.0 { branches } else { 0 }
}

#[cfg(test)]
mod tests {
    use admix_torch::{Device, Kind};

    use super::*;

    #[test]
    fn rates_rise_and_branches_that_are_kept_are_scaled() -> Result<()> {
        let all = DropPath::all(0.4, 3, 2);
        let rates: Vec<f64> = all.iter().flatten().map(|one| one.rate).collect();
        assert_eq!(rates, [0.0, 0.0, 0.2, 0.2, 0.4, 0.4]);
        let rows: Vec<i64> = all.iter().flatten().map(|one| one.row).collect();
        assert_eq!(rows, [0, 1, 2, 3, 4, 5]);
        let drops = Tensor::from_slice(&[0.3f32, 0.5]).f_expand([6, 2], false)?;
        let branch = || Tensor::f_ones([2, 3, 1], (Kind::Float, Device::Cpu));
        let pass = Pass { train: true, drops: Some(drops.shallow_clone()) };
        let values = Vec::<f32>::try_from(all[2][1].apply(branch()?, &pass)?.f_reshape([-1])?)?;
        assert_eq!(values, [0.0, 0.0, 0.0, 1.0 / 0.6, 1.0 / 0.6, 1.0 / 0.6]);
        let quiet = Pass { train: false, drops: Some(drops) };
        assert_eq!(all[2][1].apply(branch()?, &quiet)?, branch()?);
        assert_eq!(all[0][0].apply(branch()?, &pass)?, branch()?);
        Ok(())
    }
}
