//! Primal-dual steps on the relaxed problem, then iterated conditional modes: close to the optimum on any grid.
//!
//! Source  the level sets z_k = [l >= k], k = 1 .. L - 1, make the problem one of total variation: for a = (L - 1)^2,
//!         `a E = sum_p (a U_p(l) - deg_p l (L - 1 - l)) + sum_pq w sum_kk' |z_kp - z_k'q|`, whose relaxation to
//!         z in [0, 1] is tight. It is solved as in Chambolle and Pock, JMIV 2011, DOI 10.1007/s10851-010-0251-1
//!         (Algorithm 1); ICM is Besag, JRSS B 1986.
//! Notes   tensor operations of fixed shapes alone, nothing is read on the host, so the steps can be captured.

use admix_api::prelude::*;

use super::super::Problem;
use super::super::grid::over_edges;
use super::Solve;

/// The ratio of the dual to the primal step, as measured to work on every grid.
const RATIO: f64 = 0.1;

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
        Self { iterations: 200, sweeps: 3 }
    }
}

/// The nearest levels `[N, K, b, b]` that do not rise with k and lie in [0, 1].
fn projected(levels: &Tensor) -> Result<Tensor> {
    let count = levels.size4()?.1;
    if count == 1 {
        return Ok(levels.f_clamp(0.0, 1.0)?);
    }
    let each: Vec<Tensor> =
        (0..count).map(|k| levels.f_select(1, k)).collect::<std::result::Result<_, _>>()?;
    // Isotonic regression: the k-th is the least over i <= k of the largest over j >= k of the mean of i ..= j.
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
        let mut largest: Option<Tensor> = None;
        for k in (i..each.len()).rev() {
            let mean = &means[k - i];
            let top = match largest {
                Some(above) => above.f_maximum(mean)?,
                None => mean.shallow_clone(),
            };
            found[k] = Some(match found[k].take() {
                Some(least) => least.f_minimum(&top)?,
                None => top.shallow_clone(),
            });
            largest = Some(top);
        }
    }
    let found: Vec<Tensor> = found.into_iter().flatten().collect();
    Ok(Tensor::f_stack(&found, 1)?.f_clamp(0.0, 1.0)?)
}

/// A problem with what both parts need.
struct Scaled {
    /// `[N, b, b, L]`, `[N, b - 1, b]`, `[N, b, b - 1]`: costs whose largest of a sample is 1.
    unary: Tensor,
    vertical: Tensor,
    horizontal: Tensor,
    /// The sum of the weights at each cell, `[N, b, b]`.
    degree: Tensor,
    /// 0 .. L - 1, of the kind of the costs.
    line: Tensor,
    blocks: i64,
    labels: i64,
}

impl Scaled {
    fn of(problem: &Problem) -> Result<Self> {
        let (n, blocks, labels) = problem.shape()?;
        let largest = problem.unary.f_abs()?.f_reshape([n, -1])?.f_amax([1i64].as_slice(), false)?;
        let largest = largest.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
        let over = largest.f_reshape([n, 1, 1])?;
        let (vertical, horizontal) = (problem.vertical.f_div(&over)?, problem.horizontal.f_div(&over)?);
        Ok(Self {
            unary: problem.unary.f_div(&largest.f_reshape([n, 1, 1, 1])?)?,
            degree: over_edges((&vertical, &horizontal), (&vertical, &horizontal))?,
            line: Tensor::f_arange(labels, (problem.unary.kind(), problem.unary.device()))?,
            vertical,
            horizontal,
            blocks,
            labels,
        })
    }

    /// Labels `[N, b, b]` as numbers, from the relaxed problem.
    fn relaxed(&self, iterations: usize) -> Result<Tensor> {
        let (b, last) = (self.blocks, self.labels - 1);
        let bend = self.line.f_mul(&self.line.f_neg()?.f_add_scalar(last as f64)?)?;
        let whole = self.unary.f_mul_scalar((last * last) as f64)?;
        let whole = whole.f_sub(&self.degree.f_unsqueeze(-1)?.f_mul(&bend)?)?;
        let rise = whole.f_narrow(3, 1, last)?.f_sub(&whole.f_narrow(3, 0, last)?)?;
        let rise = rise.f_permute([0i64, 3, 1, 2].as_slice())?.f_contiguous()?;

        let (sigma, tau) = (RATIO / 2.0, 1.0 / (8.0 * RATIO));
        let bound = |weight: &Tensor| -> Result<(Tensor, Tensor)> {
            let high = weight.f_unsqueeze(1)?.f_unsqueeze(1)?;
            Ok((high.f_neg()?, high))
        };
        let (low_v, high_v) = bound(&self.vertical)?;
        let (low_h, high_h) = bound(&self.horizontal)?;
        let mut z = rise.f_lt(0.0)?.f_to_kind(rise.kind())?;
        let mut ahead = z.shallow_clone();
        // One dual for each edge and pair of levels: `[N, K, K, b - 1, b]` and `[N, K, K, b, b - 1]`.
        let dual = |high: &Tensor| -> Result<Tensor> {
            let mut shape = high.size();
            (shape[1], shape[2]) = (last, last);
            Ok(Tensor::f_zeros(shape, (high.kind(), high.device()))?)
        };
        let (mut dual_v, mut dual_h) = (dual(&high_v)?, dual(&high_h)?);
        let sum = |dual: &Tensor, over: i64| dual.f_sum_dim_intlist([over].as_slice(), false, None);
        for _ in 0..iterations {
            let ascend = |dual: &Tensor, dim: i64, low: &Tensor, high: &Tensor| -> Result<Tensor> {
                let first = ahead.f_narrow(dim, 0, b - 1)?.f_unsqueeze(2)?;
                let second = ahead.f_narrow(dim, 1, b - 1)?.f_unsqueeze(1)?;
                let moved = dual.f_add(&first.f_sub(&second)?.f_mul_scalar(sigma)?)?;
                Ok(moved.f_clamp_tensor(Some(low), Some(high))?)
            };
            dual_v = ascend(&dual_v, 2, &low_v, &high_v)?;
            dual_h = ascend(&dual_h, 3, &low_h, &high_h)?;
            let out = (&sum(&dual_v, 2)?, &sum(&dual_h, 2)?);
            let into = (&sum(&dual_v, 1)?.f_neg()?, &sum(&dual_h, 1)?.f_neg()?);
            let slope = rise.f_add(&over_edges(out, into)?)?;
            let next = projected(&z.f_sub(&slope.f_mul_scalar(tau)?)?)?;
            ahead = next.f_mul_scalar(2.0)?.f_sub(&z)?;
            z = next;
        }
        Ok(sum(&z.f_gt(0.5)?.f_to_kind(z.kind())?, 1)?)
    }

    /// One sweep: first the cells of one colour take their best labels, then the others. The energy never rises.
    fn swept(&self, labels: &Tensor, colours: &[Tensor; 2]) -> Result<Tensor> {
        let (b, last) = (self.blocks, (self.labels - 1) as f64);
        let mut labels = labels.shallow_clone();
        for colour in colours {
            let weighed = |weight: &Tensor, dim: i64, from: i64| -> Result<Tensor> {
                Ok(weight.f_mul(&labels.f_narrow(dim, from, b - 1)?)?)
            };
            let first = (&weighed(&self.vertical, 1, 1)?, &weighed(&self.horizontal, 2, 1)?);
            let second = (&weighed(&self.vertical, 1, 0)?, &weighed(&self.horizontal, 2, 0)?);
            let near = over_edges(first, second)?.f_unsqueeze(-1)?;
            // sum w (l - l')^2 but for what does not depend on l.
            let bent = self.degree.f_unsqueeze(-1)?.f_mul(&self.line)?.f_sub(&near.f_mul_scalar(2.0)?)?;
            let pairs = bent.f_mul(&self.line)?.f_div_scalar(last * last)?;
            let best = self.unary.f_add(&pairs)?.f_argmin(-1, false)?.f_to_kind(labels.kind())?;
            labels = best.f_where_self(colour, &labels)?;
        }
        Ok(labels)
    }
}

impl Solve for Icm {
    fn solve(&self, problem: &Problem) -> Result<Tensor> {
        let scaled = Scaled::of(problem)?;
        let mut labels = scaled.relaxed(self.iterations)?;
        let place = Tensor::f_arange(scaled.blocks, (Kind::Int64, problem.unary.device()))?;
        let odd = place.f_reshape([-1, 1])?.f_add(&place)?.f_remainder(2)?.f_to_kind(Kind::Bool)?;
        let colours = [odd.f_logical_not()?, odd];
        for _ in 0..self.sweeps {
            labels = scaled.swept(&labels, &colours)?;
        }
        Ok(labels.f_to_kind(Kind::Int64)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_projected_on_those_that_do_not_rise() {
        let project = |levels: &[f32]| {
            let count = levels.len() as i64;
            Vec::<f32>::try_from(
                projected(&Tensor::from_slice(levels).reshape([1, count, 1, 1])).unwrap().reshape([-1]),
            )
            .unwrap()
        };
        assert_eq!(project(&[1.5]), [1.0]);
        assert_eq!(project(&[0.75, 0.25]), [0.75, 0.25]);
        assert_eq!(project(&[0.25, 0.75]), [0.5, 0.5]);
        assert_eq!(project(&[-1.0, 0.5]), [0.0, 0.0], "first in order, then in range");
        assert_eq!(project(&[0.25, 0.75, 0.125]), [0.5, 0.5, 0.125]);
        assert_eq!(project(&[0.0, 0.25, 0.5]), [0.25, 0.25, 0.25]);
        assert_eq!(project(&[0.75, 0.0, 0.5]), [0.75, 0.25, 0.25]);
    }
}
