//! What the handles of a script stand for while its step is executed.

use std::collections::BTreeMap;
use std::rc::Rc;

use admix_api::Mixed;
use admix_models::{Map, Pass};
use admix_torch::Tensor;

use crate::Result;

/// A handle that a script holds: the index of the operation that made it.
pub type Id = usize;

/// What a handle stands for.
#[derive(Debug)]
pub enum Cell {
    /// A tensor.
    Tensor(Tensor),
    /// A pass that grows on demand.
    Pass(Growing),
    /// A mix and the lambda it was planned with.
    Mix(Box<Mixed>, Tensor),
    /// A mixed target: `labels [N, S]` int64 and `shares [N, S]` float32.
    Target(Tensor, Tensor),
    /// Nothing to hold.
    Done,
}

/// How far a network pass is.
#[derive(Debug)]
pub struct Growing {
    /// Its mode and draws.
    pub run: Rc<Pass>,
    /// Output of the last stage run; the images before that.
    pub map: Map,
    /// The next stage to run: 0 is the stem.
    pub next: usize,
    /// Outputs of the stages that mixers read.
    pub kept: BTreeMap<usize, Map>,
    /// A mix that is still to come.
    pub hidden: Option<HiddenMix>,
    /// Where BatchNorms work in groups: the order of the samples inside of the pass, `[N]` int64, and the way back.
    pub order: Option<(Tensor, Tensor)>,
    /// The embedding, once asked for.
    pub embedding: Option<Tensor>,
}

/// A mix inside of a pass.
#[derive(Debug)]
pub struct HiddenMix {
    /// At the output of this stage.
    pub stage: usize,
    /// The handle of the mix.
    pub mix: Id,
    /// The images whose maps partners are taken from, if not the pass's own.
    pub partners: Option<Tensor>,
}

impl Growing {
    /// The rows of a batch in the order of the pass.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn ordered(&self, rows: &Tensor) -> Result<Tensor> {
        match &self.order {
            Some((order, _)) => Ok(rows.f_index_select(0, order)?),
            None => Ok(rows.shallow_clone()),
        }
    }

    /// The rows of the pass in the order of the batch.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn ordered_back(&self, rows: &Tensor) -> Result<Tensor> {
        match &self.order {
            Some((_, back)) => Ok(rows.f_index_select(0, back)?),
            None => Ok(rows.shallow_clone()),
        }
    }

    /// A map of the pass in the order of the batch.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn map_back(&self, map: &Map) -> Result<Map> {
        Ok(map.like(self.ordered_back(map.tensor())?))
    }
}
