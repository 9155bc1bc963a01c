//! Primal-dual steps on the relaxed problem, then iterated conditional modes: close to the optimum on any grid.
//!
//! Source  the level sets z_k = [l >= k], k = 1 .. L - 1, make the problem one of total variation: for a = (L - 1)^2,
//!         `a E = sum_p (a U_p(l) - deg_p l (L - 1 - l)) + sum_pq w sum_kk' |z_kp - z_k'q|`, whose relaxation to
//!         z in [0, 1] is tight. It is solved as in Chambolle and Pock, JMIV 2011, DOI 10.1007/s10851-010-0251-1
//!         (Algorithm 1), over-relaxed as in Condat, JOTA 2013, DOI 10.1007/s10957-012-0245-9 (Algorithm 3.1); ICM is
//!         Besag, JRSS B 1986.
//! Shapes  P = b x b cells in rows, K = L - 1 levels, T cuts.
//! Notes   at the relaxed optimum the cells above any share of z are an optimum too. Near it they differ, so that the best
//!         of several cuts is taken, which saves most of the steps. Tensor operations of fixed shapes alone, nothing is
//!         read on the host, so that they can be captured. On a GPU they cost what it costs to launch them: ten for a
//!         step, some hundred at the end.

use admix_api::prelude::*;

use super::super::Problem;
use super::super::grid::padded;
use super::Solve;

/// The dual step, in mean degrees of a cell. As measured to suit every grid.
const DUAL_STEP: f64 = 0.1;
/// How far beyond each step goes, below 2.
const RELAXED: f64 = 1.8;
/// Where the levels are cut.
const CUTS: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];
/// Neighbours of a cell: above, left, right, below.
const NEAR: i64 = 4;

/// The solver for any grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Icm {
    /// Primal-dual steps, from the best label of each cell by itself.
    pub iterations: usize,
    /// Sweeps of ICM after them, each over the cells of either colour of a chessboard.
    pub sweeps: usize,
}

impl Default for Icm {
    fn default() -> Self {
        Self { iterations: 50, sweeps: 2 }
    }
}

/// A grid of cells in rows, with edges to neighbours. At the border, edges of weight 0 lead to any cell.
struct Grid {
    /// The neighbours of all cells, first those above: `[4 P]` int64.
    near: Tensor,
    /// The weights of their edges, `[N, 4, P]`.
    weight: Tensor,
    /// Their sum at each cell, `[N, P]`.
    degree: Tensor,
}

impl Grid {
    fn of(problem: &Problem) -> Result<Self> {
        let (n, b, _) = problem.shape()?;
        let (v, h) = (&problem.vertical, &problem.horizontal);
        let sides = [
            padded(v, [0, 0, 1, 0])?,
            padded(h, [1, 0, 0, 0])?,
            padded(h, [0, 1, 0, 0])?,
            padded(v, [0, 0, 0, 1])?,
        ];
        let weight = Tensor::f_stack(&sides, 1)?.f_reshape([n, NEAR, b * b])?;
        let cell = Tensor::f_arange(b * b, (Kind::Int64, v.device()))?;
        let near = [-b, -1, 1, b].map(|step| cell.f_add_scalar(step));
        let near = near.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(Self {
            near: Tensor::f_cat(&near, 0)?.f_clamp(0, b * b - 1)?,
            degree: weight.f_sum_dim_intlist([1i64].as_slice(), false, None)?,
            weight,
        })
    }

    /// The values of each cell's neighbours, `[.., P]` to `[.., 4, P]`.
    fn near(&self, values: &Tensor) -> Result<Tensor> {
        let mut shape = values.size();
        shape.insert(shape.len() - 1, NEAR);
        Ok(values.f_index_select(-1, &self.near)?.f_reshape(shape)?)
    }
}

/// The nearest slopes `[N, K, P]` that do not fall with k (isotonic regression).
///
/// Where the cost of a cell is not convex, no label between two others is worth taking: with equal slopes none is
/// preferred, and z_k never rises with k.
fn convex(slopes: &Tensor) -> Result<Tensor> {
    let count = slopes.size3()?.1;
    let each: Vec<Tensor> =
        (0..count).map(|k| slopes.f_select(1, k)).collect::<std::result::Result<_, _>>()?;
    // The k-th is the most over i <= k of the least over j >= k of the mean of i ..= j.
    let mut found: Vec<Option<Tensor>> = (0..count).map(|_| None).collect();
    for i in 0..each.len() {
        let mut means = Vec::new();
        let mut sum = each[i].shallow_clone();
        for (j, next) in each.iter().enumerate().skip(i) {
            if j > i {
                sum = sum.f_add(next)?;
            }
            means.push(sum.f_div_scalar((j - i + 1) as f64)?);
        }
        let mut least: Option<Tensor> = None;
        for k in (i..each.len()).rev() {
            let mean = &means[k - i];
            let low = match least {
                Some(other) => other.f_minimum(mean)?,
                None => mean.shallow_clone(),
            };
            found[k] = Some(match found[k].take() {
                Some(most) => most.f_maximum(&low)?,
                None => low.shallow_clone(),
            });
            least = Some(low);
        }
    }
    let found: Vec<Tensor> = found.into_iter().flatten().collect();
    Ok(Tensor::f_stack(&found, 1)?)
}

/// A problem of which the steps and the sweeps know what they need.
struct Costs {
    grid: Grid,
    /// `[N, P, L]`.
    unary: Tensor,
    /// 0 .. L - 1, of the kind of the costs.
    line: Tensor,
    labels: i64,
}

impl Costs {
    fn of(problem: &Problem) -> Result<Self> {
        let (n, b, labels) = problem.shape()?;
        Ok(Self {
            grid: Grid::of(problem)?,
            unary: problem.unary.f_reshape([n, b * b, labels])?,
            line: Tensor::f_arange(labels, (problem.unary.kind(), problem.unary.device()))?,
            labels,
        })
    }

    /// What it costs to raise each level from 0 to 1, `[N, K, P]`, edges apart.
    fn slopes(&self) -> Result<Tensor> {
        let last = self.labels - 1;
        let bend = self.line.f_mul(&self.line.f_neg()?.f_add_scalar(last as f64)?)?;
        let whole = self.unary.f_mul_scalar((last * last) as f64)?;
        let whole = whole.f_sub(&self.grid.degree.f_unsqueeze(-1)?.f_mul(&bend)?)?;
        let rise = whole.f_narrow(2, 1, last)?.f_sub(&whole.f_narrow(2, 0, last)?)?;
        convex(&rise.f_transpose(1, 2)?.f_contiguous()?)
    }

    /// Levels `[N, K, P]` in [0, 1] near the optimum of the relaxed problem.
    fn relaxed(&self, iterations: usize) -> Result<Tensor> {
        let slopes = self.slopes()?;
        let (n, levels, cells) = slopes.size3()?;
        let edges = levels * NEAR;
        // The weights bound the duals, so the steps are of their size, whatever a single cell costs.
        let step = self.grid.degree.f_mean_dim([1i64].as_slice(), false, None)?;
        let step = step.f_clamp_min(f64::from(f32::MIN_POSITIVE))?.f_mul_scalar(DUAL_STEP)?;
        let dual_step = step.f_reshape([n, 1, 1, 1])?;
        let back_step = dual_step.f_neg()?;
        // Steps whose product is at most 1 / (8 K) converge: a level has up to 4 K edges.
        let primal_step = step.f_reciprocal()?.f_div_scalar(-8.0 * levels as f64)?.f_reshape([n, 1, 1])?;
        let most = self.grid.weight.f_unsqueeze(1)?.f_expand([n, levels, NEAR, cells], false)?;
        let most = most.f_reshape([n, 1, edges, cells])?;
        let least = most.f_neg()?;

        let mut z = slopes.f_lt(0.0)?.f_to_kind(slopes.kind())?;
        let (mut found, mut ahead) = (z.shallow_clone(), z.shallow_clone());
        // The dual of the edge from each cell's level to each level of a neighbour; of the two directions of an edge one
        // is the negative of the other. Behind them, as one more term of the same sum, the slope.
        let pull = Tensor::f_zeros([n, levels, edges + 1, cells], (slopes.kind(), slopes.device()))?;
        pull.f_select(2, edges)?.f_copy_(&slopes)?;
        let mut dual = pull.f_narrow(2, 0, edges)?;
        for _ in 0..iterations {
            let near = self.grid.near(&ahead)?.f_reshape([n, 1, edges, cells])?;
            let mut moved = dual.f_addcmul(&ahead.f_unsqueeze(2)?, &dual_step)?;
            let _ = moved.f_addcmul_(&near, &back_step)?;
            let _ = moved.f_clamp_tensor_(Some(&least), Some(&most))?;
            let _ = dual.f_lerp_(&moved, RELAXED)?;
            let slope = pull.f_sum_dim_intlist([2i64].as_slice(), false, None)?;
            found = z.f_addcmul(&slope, &primal_step)?.f_clamp_(0.0, 1.0)?;
            ahead = z.f_lerp(&found, 2.0)?;
            let _ = z.f_lerp_(&found, RELAXED)?;
        }
        Ok(found)
    }

    /// The best of the labels at which levels `[N, K, P]` can be cut, each after some sweeps of ICM: `[N, P]` int64.
    ///
    /// In a sweep first the cells of one colour take their best labels, then the others. The energy never rises.
    fn rounded(&self, levels: &Tensor, sweeps: usize, colours: &[Tensor; 2]) -> Result<Tensor> {
        let cuts =
            CUTS.map(|cut| levels.f_gt(cut)?.f_sum_dim_intlist([1i64].as_slice(), false, levels.kind()));
        let cuts = cuts.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
        let mut labels = Tensor::f_stack(&cuts, 0)?;
        // a E(l) = sum_p (a U_p + deg_p l_p^2 - l_p sum_q w l_q); of the labels of one cell, its edges count twice.
        let last = (self.labels - 1) as f64;
        let own = self.grid.degree.f_unsqueeze(-1)?.f_mul(&self.line.f_square()?)?;
        let own = self.unary.f_mul_scalar(last * last)?.f_add(&own)?;
        let slant = self.line.f_mul_scalar(-2.0)?;
        let pulled = |labels: &Tensor| -> Result<Tensor> {
            let near = self.grid.near(labels)?.f_mul(&self.grid.weight)?;
            Ok(near.f_sum_dim_intlist([2i64].as_slice(), false, None)?)
        };
        for colour in (0..sweeps).flat_map(|_| colours) {
            let cost = own.f_addcmul(&pulled(&labels)?.f_unsqueeze(-1)?, &slant)?;
            let best = cost.f_argmin(-1, false)?.f_to_kind(labels.kind())?;
            labels = best.f_where_self(colour, &labels)?;
        }
        let (count, n, cells) = labels.size3()?;
        let whole = labels.f_to_kind(Kind::Int64)?;
        let own = own.f_unsqueeze(0)?.f_expand([count, n, cells, self.labels], false)?;
        let own = own.f_gather(3, &whole.f_unsqueeze(-1)?, false)?.f_squeeze_dim(-1)?;
        let energy = own.f_sub(&labels.f_mul(&pulled(&labels)?)?)?;
        let best = energy.f_sum_dim_intlist([2i64].as_slice(), false, None)?.f_argmin(0, false)?;
        let best = best.f_reshape([1, n, 1])?.f_expand([1, n, cells], false)?;
        Ok(whole.f_gather(0, &best, false)?.f_squeeze_dim(0)?)
    }
}

impl Solve for Icm {
    fn solve(&self, problem: &Problem) -> Result<Tensor> {
        let (n, b, _) = problem.shape()?;
        let costs = Costs::of(problem)?;
        let levels = costs.relaxed(self.iterations)?;
        let place = Tensor::f_arange(b, (Kind::Int64, problem.unary.device()))?;
        let odd = place
            .f_reshape([-1, 1])?
            .f_add(&place)?
            .f_remainder(2)?
            .f_to_kind(Kind::Bool)?
            .f_reshape([-1])?;
        let labels = costs.rounded(&levels, self.sweeps, &[odd.f_logical_not()?, odd])?;
        Ok(labels.f_reshape([n, b, b])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_made_convex() {
        let of = |slopes: &[f32]| {
            let count = slopes.len() as i64;
            Vec::<f32>::try_from(
                convex(&Tensor::from_slice(slopes).reshape([1, count, 1])).unwrap().reshape([-1]),
            )
            .unwrap()
        };
        assert_eq!(of(&[1.5]), [1.5]);
        assert_eq!(of(&[0.25, 0.75]), [0.25, 0.75]);
        assert_eq!(of(&[0.75, 0.25]), [0.5, 0.5]);
        assert_eq!(of(&[0.75, 0.25, 0.625]), [0.5, 0.5, 0.625]);
        assert_eq!(of(&[0.5, 0.25, 0.0]), [0.25, 0.25, 0.25]);
        assert_eq!(of(&[0.25, 0.75, 0.5]), [0.25, 0.625, 0.625]);
    }
}
