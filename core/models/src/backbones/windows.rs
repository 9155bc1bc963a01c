//! Attention within windows of a map, and the halving of a map. Maps are `[N, h, w, C]`.

use admix_api::{Hints, Path};
use admix_torch::{Device, Kind, Tensor};

use super::transformer::{Attention, INIT};
use crate::{LayerNorm, Result};

/// Added to the products of cells that only a shift has brought into one window.
const APART: f64 = -100.0;

/// How a block cuts a map into windows, with the bias of each pair of cells by how they lie to each other.
#[derive(Debug)]
pub(super) struct Windows {
    /// `[(2 side - 1)^2, heads]`.
    table: Tensor,
    /// Rows of the table for all pairs of cells of a window, `[side^4]`.
    index: Tensor,
    heads: i64,
    side: i64,
    shift: i64,
}

impl Windows {
    pub(super) fn new(path: &Path, heads: i64, side: i64, shift: i64) -> Result<Self> {
        let rows = (2 * side - 1) * (2 * side - 1);
        let apart = Hints { weight_decay: false };
        let table = path.parameter("relative_position_bias_table", &[rows, heads], INIT, apart)?;
        let index = Tensor::f_from_slice(&pairs(side))?.f_to_device(path.device())?;
        Ok(Self { table, index, heads, side, shift })
    }

    /// Attention within each window; the shape stays.
    pub(super) fn attend(&self, attention: &Attention, x: &Tensor) -> Result<Tensor> {
        let (n, height, width, channels) = x.size4()?;
        let side = self.side;
        let whole = |cells: i64| (cells + side - 1) / side * side;
        let (h, w) = (whole(height), whole(width));
        let padded = x.f_constant_pad_nd([0, 0, 0, w - width, 0, h - height])?;
        // A map of one window has nothing to shift.
        let shifts = [h, w].map(|cells| if cells > side { self.shift } else { 0 });
        let shifted = match shifts {
            [0, 0] => padded,
            [down, right] => padded.f_roll([-down, -right], [1, 2])?,
        };
        let windows = shifted.f_reshape([n, h / side, side, w / side, side, channels])?;
        let windows = windows.f_permute([0, 1, 3, 2, 4, 5])?.f_reshape([-1, side * side, channels])?;
        let bias = self.bias([h, w], shifts, x.device())?;
        let out = attention.forward(&windows, Some(&bias))?;
        let out = out.f_reshape([n, h / side, w / side, side, side, channels])?;
        let out = out.f_permute([0, 1, 3, 2, 4, 5])?.f_reshape([n, h, w, channels])?;
        let out = match shifts {
            [0, 0] => out,
            [down, right] => out.f_roll([down, right], [1, 2])?,
        };
        Ok(out.f_narrow(1, 0, height)?.f_narrow(2, 0, width)?)
    }

    /// What is added to the products of queries and keys: `[1 or windows, heads, side^2, side^2]`.
    fn bias(&self, size: [i64; 2], shifts: [i64; 2], device: Device) -> Result<Tensor> {
        let cells = self.side * self.side;
        let bias = self.table.f_index_select(0, &self.index)?.f_reshape([cells, cells, self.heads])?;
        let bias = bias.f_permute([2, 0, 1])?.f_unsqueeze(0)?;
        if shifts == [0, 0] {
            return Ok(bias);
        }
        // Cells were neighbours before the shift where they lie in one of nine regions.
        let region = |axis: usize| -> Result<Tensor> {
            let cells = Tensor::f_arange(size[axis], (Kind::Float, device))?;
            let beyond = |from: i64| cells.f_ge(from as f64)?.f_to_kind(Kind::Float);
            match shifts[axis] {
                0 => Ok(cells.f_zeros_like()?),
                shift => Ok(beyond(size[axis] - self.side)?.f_add(&beyond(size[axis] - shift)?)?),
            }
        };
        let regions = region(0)?.f_mul_scalar(3.0)?.f_unsqueeze(1)?.f_add(&region(1)?.f_unsqueeze(0)?)?;
        let [h, w] = size.map(|cells| cells / self.side);
        let regions = regions.f_reshape([h, self.side, w, self.side])?.f_permute([0, 2, 1, 3])?;
        let regions = regions.f_reshape([h * w, cells])?;
        let differ = regions.f_unsqueeze(1)?.f_ne_tensor(&regions.f_unsqueeze(2)?)?;
        let mask = differ.f_to_kind(bias.kind())?.f_mul_scalar(APART)?;
        Ok(bias.f_add(&mask.f_unsqueeze(1)?)?)
    }
}

/// The rows of the table of biases for all pairs of cells of a window.
pub(super) fn pairs(side: i64) -> Vec<i64> {
    let cells = || (0..side).flat_map(move |y| (0..side).map(move |x| (y, x)));
    let row =
        |((y, x), (v, u)): ((i64, i64), (i64, i64))| (y - v + side - 1) * (2 * side - 1) + (x - u + side - 1);
    cells().flat_map(|one| cells().map(move |other| row((one, other)))).collect()
}

/// Halves a map: four cells become one of other channels.
#[derive(Debug)]
pub(super) struct Merging {
    norm: LayerNorm,
    reduction: Tensor,
}

impl Merging {
    pub(super) fn new(path: &Path, inputs: i64, outputs: i64, epsilon: f64) -> Result<Self> {
        let shape = [outputs, 4 * inputs];
        Ok(Self {
            norm: LayerNorm::new(&path.sub("norm"), 4 * inputs, epsilon)?,
            reduction: path.sub("reduction").parameter("weight", &shape, INIT, Hints::default())?,
        })
    }

    /// `[N, h, w, C]` to `[N, h / 2, w / 2, D]`, rounded up, with zeros where a cell has no neighbour.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n, height, width, channels) = x.size4()?;
        let x = x.f_constant_pad_nd([0, 0, 0, width % 2, 0, height % 2])?;
        let (h, w) = ((height + 1) / 2, (width + 1) / 2);
        let cells = x.f_reshape([n, h, 2, w, 2, channels])?.f_permute([0, 1, 3, 4, 2, 5])?;
        let normed = self.norm.forward(&cells.f_reshape([n, h, w, 4 * channels])?)?;
        Ok(normed.f_linear(&self.reduction, None::<&Tensor>)?)
    }
}
