//! The running values of a step of several parts.

use admix_torch::{Kind, Tensor, duplicate};

use crate::Result;

/// What passes in train mode move, BatchNorms' running means and variances. Every part of a step begins with the values from
/// before the step, and the step ends with the mean of what its parts made: then no part comes first, and it is one whether a
/// process does several parts or several processes do one each.
#[derive(Debug)]
pub(super) struct Running {
    live: Vec<Tensor>,
    before: Vec<Tensor>,
    mean: Vec<Tensor>,
    /// By part: what its passes made so far, where parts wait for each other in the middle of a step.
    waiting: Vec<Vec<Tensor>>,
    /// `1 / (i + 1)` for the part `i` of this process, 0-dim float32: how far the mean moves to what it made.
    shares: Vec<Tensor>,
}

impl Running {
    /// Of these floats of the state, for so many parts in this process.
    pub(super) fn of(live: Vec<Tensor>, parts: usize) -> Result<Self> {
        let Some(device) = live.first().map(Tensor::device) else {
            let (before, mean, waiting, shares) = Default::default();
            return Ok(Self { live, before, mean, waiting, shares });
        };
        // The same memory, but for autograd another tensor: it takes a graph of a part that waits for outdated once the running
        // values move, which no backward pass of train mode reads.
        let live = live.iter().map(Tensor::f_data).collect::<std::result::Result<Vec<_>, _>>()?;
        // A single part leaves the mean where it is.
        let (before, mean) = if parts > 1 { (copies(&live)?, copies(&live)?) } else { Default::default() };
        let share = |part: usize| Tensor::f_full([0i64; 0], 1.0 / (part + 1) as f64, (Kind::Float, device));
        let shares = (0..parts).map(share).collect::<admix_torch::Result<Vec<_>, _>>()?;
        Ok(Self { live, before, mean, waiting: Vec::new(), shares })
    }

    /// For how many parts in this process it is.
    pub(super) fn parts(&self) -> usize {
        self.shares.len()
    }

    /// A step begins.
    pub(super) fn begin(&self) -> Result<()> {
        match self.before.is_empty() {
            true => Ok(()),
            false => Ok(admix_torch::copy_all(&self.before, &self.live)?),
        }
    }

    /// A part of this process, counted from 0, waits for the others. The next one begins with the values from before the step.
    pub(super) fn pause_part(&mut self, part: usize) -> Result<()> {
        if self.before.is_empty() {
            return Ok(());
        }
        while self.waiting.len() < self.parts() {
            self.waiting.push(copies(&self.live)?);
        }
        admix_torch::copy_all(&self.waiting[part], &self.live)?;
        Ok(admix_torch::copy_all(&self.live, &self.before)?)
    }

    /// A part goes on after it waited.
    pub(super) fn resume_part(&self, part: usize) -> Result<()> {
        match self.waiting.get(part) {
            Some(own) => Ok(admix_torch::copy_all(&self.live, own)?),
            None => Ok(()),
        }
    }

    /// The passes of a part of this process are done, from 0.
    pub(super) fn end_part(&self, part: usize) -> Result<()> {
        if self.before.is_empty() {
            return Ok(());
        }
        match part {
            0 => admix_torch::copy_all(&self.mean, &self.live)?,
            _ => admix_torch::ema(&self.mean, &self.live, &self.shares[part], None)?,
        }
        let next = if part + 1 == self.parts() { &self.mean } else { &self.before };
        Ok(admix_torch::copy_all(&self.live, next)?)
    }

    /// The values of this process, at the end of its parts.
    pub(super) fn live(&self) -> &[Tensor] {
        &self.live
    }

    /// The copies: they stay in their places.
    pub(super) fn copies(&self) -> impl Iterator<Item = &Tensor> {
        self.before.iter().chain(&self.mean).chain(self.waiting.iter().flatten()).chain(&self.shares)
    }
}

fn copies(live: &[Tensor]) -> admix_torch::Result<Vec<Tensor>> {
    live.iter().map(duplicate).collect()
}
