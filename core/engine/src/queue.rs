//! Queues of keys: the negatives of contrastive methods.
//!
//! Source  He et al., CVPR 2020, arXiv:1911.05722, section 3.2.

use admix_api::Draws;
use admix_torch::{Device, Kind, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A queue of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// How many keys it holds, a multiple of the batch. Default 65536.
    pub length: i64,
    /// The width of a key. Default: that of the embeddings.
    pub width: Option<i64>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { length: 65_536, width: None }
    }
}

admix_api::plain!(QueueConfig);

/// The newest keys, one in each column, on the device. Nothing here waits for it.
#[derive(Debug)]
pub struct Queue {
    /// `[D, K]`.
    entries: Tensor,
    /// `[1]` int64: the column that the next key takes.
    pointer: Tensor,
    /// Keys that wait for the end of the step.
    waiting: Vec<Tensor>,
}

impl Queue {
    /// Columns of unit length in random directions (normal numbers, scaled); the pointer at 0.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn new(width: i64, length: i64, draws: &mut Draws, device: Device) -> Result<Self> {
        let numbers: Vec<f32> = (0..width * length).map(|_| draws.normal() as f32).collect();
        let rows = admix_api::unit(&Tensor::f_from_slice(&numbers)?.f_reshape([length, width])?)?;
        Ok(Self {
            entries: rows.f_transpose(0, 1)?.f_contiguous()?.f_to_device(device)?,
            pointer: Tensor::f_zeros([1i64], (Kind::Int64, device))?,
            waiting: Vec::new(),
        })
    }

    /// The columns, `[D, K]`: a handle on the queue itself.
    pub fn entries(&self) -> Tensor {
        self.entries.shallow_clone()
    }

    /// What a checkpoint holds.
    pub fn tensors(&self) -> [(&'static str, Tensor); 2] {
        [("entries", self.entries.shallow_clone()), ("pointer", self.pointer.shallow_clone())]
    }

    /// Keeps keys `[N, D]` for [`advance`](Self::advance): until then everyone reads the queue as it was.
    ///
    /// # Errors
    /// Keys of another width, or more than the queue holds.
    pub fn enqueue(&mut self, keys: &Tensor) -> Result<()> {
        let (width, length) = self.entries.size2()?;
        match keys.size()[..] {
            [n, d] if d == width && n <= length => {}
            _ => {
                return Err(Error::Input(format!(
                    "a queue of {length} keys of width {width} takes keys [N, {width}], got the shape {:?}: give it \
                     embeddings as t.pass(\"k\", ...).unit() makes them",
                    keys.size()
                )));
            }
        }
        self.waiting.push(keys.f_detach()?.f_to_kind(Kind::Float)?);
        Ok(())
    }

    /// Lets the waiting keys in, at the pointer and on, from the last column to the first. A key that is not finite leaves
    /// its column as it was. Where `found_inf`, a 0-dim float32, is not 0, everything stays: the step is skipped.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn advance(&mut self, found_inf: &Tensor) -> Result<()> {
        let _guard = admix_torch::no_grad();
        let good = found_inf.f_eq(0)?;
        let length = self.entries.size()[1];
        for keys in std::mem::take(&mut self.waiting) {
            let n = keys.size()[0];
            let columns = Tensor::f_arange(n, (Kind::Int64, keys.device()))?;
            let columns = columns.f_add(&self.pointer)?.f_remainder(length)?;
            let finite = keys.f_isfinite()?.f_all_dim(1, true)?.f_transpose(0, 1)?.f_logical_and(&good)?;
            let old = self.entries.f_index_select(1, &columns)?;
            let new = keys.f_transpose(0, 1)?.f_where_self(&finite, &old)?;
            let _ = self.entries.f_index_copy_(1, &columns, &new)?;
            let next = self.pointer.f_add_scalar(n)?.f_remainder(length)?;
            self.pointer.f_copy_(&next.f_where_self(&good, &self.pointer)?)?;
        }
        Ok(())
    }

    /// Takes out the waiting keys.
    pub(crate) fn take_waiting(&mut self) -> Vec<Tensor> {
        std::mem::take(&mut self.waiting)
    }

    /// Forgets the waiting keys, of a step that failed.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
    }
}
