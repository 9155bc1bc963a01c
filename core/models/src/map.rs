//! What flows from stage to stage: cells on a grid, as a plain tensor or as tokens.

use admix_torch::Tensor;

use crate::{Error, Result};

/// How the tokens of a map lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Tokens in front of the cells, such as one class token.
    pub beside: i64,
    /// Rows of cells.
    pub height: i64,
    /// Cells of a row. The tokens behind those beside are the cells, row by row.
    pub width: i64,
}

/// The output of a stage: cells `[N, C, h, w]`, or tokens `[N, beside + h w, C]` with their grid.
///
/// ```
/// use admix_models::{Grid, Map};
/// use admix_torch::{Device, Kind, Tensor};
///
/// let tokens = Tensor::f_zeros([2, 1 + 3 * 4, 16], (Kind::Float, Device::Cpu))?;
/// let map = Map::tokens(tokens, Grid { beside: 1, height: 3, width: 4 })?;
/// assert_eq!(map.cells()?.size(), [2, 16, 3, 4]);
/// # Ok::<(), admix_models::Error>(())
/// ```
#[derive(Debug)]
pub struct Map {
    tensor: Tensor,
    grid: Option<Grid>,
}

impl From<Tensor> for Map {
    /// Cells `[N, C, h, w]`.
    fn from(tensor: Tensor) -> Self {
        Self { tensor, grid: None }
    }
}

impl Map {
    /// Tokens `[N, beside + h w, C]`.
    ///
    /// # Errors
    /// Another number of tokens than the grid's.
    pub fn tokens(tensor: Tensor, grid: Grid) -> Result<Self> {
        let Grid { beside, height, width } = grid;
        let count = beside + height * width;
        if !matches!(tensor.size()[..], [_, tokens, _] if tokens == count) {
            return Err(Error::Shape {
                what: "a map of tokens".into(),
                got: tensor.size(),
                wanted: format!("[N, {count}, C]: {beside} beside {height}x{width} cells"),
            });
        }
        Ok(Self { tensor, grid: Some(grid) })
    }

    /// The tensor as the stage gave it.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The tensor as the stage gave it.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// How tokens lie; `None` for plain cells.
    pub fn grid(&self) -> Option<Grid> {
        self.grid
    }

    /// Another tensor of the same form: the same samples in another order, or without a graph.
    #[must_use]
    pub fn like(&self, tensor: Tensor) -> Self {
        Self { tensor, grid: self.grid }
    }

    /// The cells `[N, C, h, w]`. Of tokens a view, with channels innermost where they are contiguous.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn cells(&self) -> Result<Tensor> {
        let Some(Grid { beside, height, width }) = self.grid else { return Ok(self.tensor.shallow_clone()) };
        let cells = self.tensor.f_narrow(1, beside, height * width)?;
        Ok(cells.f_transpose(1, 2)?.f_unflatten(2, [height, width])?)
    }

    /// What heads average over cells: the class token as `[N, C, 1, 1]` where tokens lie beside the cells, else the cells.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn summary(&self) -> Result<Tensor> {
        match self.grid {
            Some(Grid { beside: 1.., .. }) => Ok(self.beside(0)?),
            _ => self.cells(),
        }
    }

    /// One map of two of the same form, by `blend` of their cells `[N, C, h, w]`, and of each token beside them as
    /// `[N, C, 1, 1]`.
    ///
    /// # Errors
    /// As `blend`.
    pub fn blended<E: From<Error>>(
        &self,
        other: &Self,
        blend: impl Fn(&Tensor, &Tensor) -> Result<Tensor, E>,
    ) -> Result<Self, E> {
        let cells = blend(&self.cells()?, &other.cells()?)?;
        let Some(grid) = self.grid else { return Ok(cells.into()) };
        let mut tokens = Vec::new();
        for index in 0..grid.beside {
            tokens.push(blend(&self.beside(index)?, &other.beside(index)?)?);
        }
        tokens.push(cells);
        let joined = || -> Result<Tensor> {
            let rows = tokens.iter().map(|part| Ok(part.f_flatten(2, 3)?.f_transpose(1, 2)?));
            Ok(Tensor::f_cat(&rows.collect::<Result<Vec<_>>>()?, 1)?)
        };
        Ok(self.like(joined()?))
    }

    /// A token beside the cells, `[N, C, 1, 1]`.
    fn beside(&self, index: i64) -> Result<Tensor> {
        Ok(self.tensor.f_select(1, index)?.f_unsqueeze(2)?.f_unsqueeze(3)?)
    }
}

#[cfg(test)]
mod tests {
    use admix_torch::{Device, Kind};

    use super::*;

    fn numbers(shape: &[i64]) -> Tensor {
        Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu)).reshape(shape)
    }

    #[test]
    fn tokens_are_cells_in_rows_with_the_class_token_in_front() -> Result<()> {
        let grid = Grid { beside: 1, height: 2, width: 3 };
        let map = Map::tokens(numbers(&[2, 7, 4]), grid)?;
        let cells = map.cells()?;
        assert_eq!(cells.size(), [2, 4, 2, 3]);
        for (n, c, row, column) in [(0, 0, 0, 0), (1, 3, 1, 2), (0, 2, 1, 0)] {
            let token = 1 + 3 * row + column;
            assert_eq!(cells.double_value(&[n, c, row, column]), map.tensor().double_value(&[n, token, c]));
        }
        assert_eq!(map.summary()?.reshape([2, 4]), map.tensor().select(1, 0));
        let alone = Map::tokens(numbers(&[2, 6, 4]), Grid { beside: 0, ..grid })?;
        assert_eq!(alone.summary()?, alone.cells()?);
        assert!(admix_torch::is_channels_last(&alone.cells()?), "a view, without a copy");
        Ok(())
    }

    #[test]
    fn a_blend_is_of_cells_and_class_tokens_alike() -> Result<()> {
        let grid = Grid { beside: 1, height: 2, width: 3 };
        let map = Map::tokens(numbers(&[2, 7, 4]), grid)?;
        let other = map.like(map.tensor() * 3.0);
        let mean = |a: &Tensor, b: &Tensor| Ok::<_, Error>((a + b) / 2.0);
        assert_eq!(map.blended(&other, mean)?.tensor(), &(map.tensor() * 2.0));
        let cells = Map::from(numbers(&[2, 4, 2, 3]));
        assert_eq!(cells.blended(&cells, mean)?.tensor(), cells.tensor());
        Ok(())
    }

    #[test]
    fn tokens_that_do_not_fill_their_grid_are_refused() {
        let message = Map::tokens(numbers(&[2, 6, 4]), Grid { beside: 1, height: 2, width: 3 });
        assert!(message.expect_err("6 tokens").to_string().contains("[N, 7, C]: 1 beside 2x3 cells"));
    }
}
