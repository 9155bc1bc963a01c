//! Masked transport: salient patches move to where the mask shows them.
//!
//! Source  arXiv:2009.06962, Eq. 6 and Algorithm 1, in the form of the authors' code.
//! Shapes  a grid of R x K patches for each of N samples, P = R K patches in rows; a plan is `[N, P]` int64, the source of
//!         every destination, P where it has none. A destination without a source shows zeros; the mask hides it.
//! Notes   a patch without any saliency stays where the mask shows it, if no other comes: in the authors' code it leaves a
//!         hole to be seen. Tensor operations alone. A plan is applied as a gather of patches: no product with a P x P matrix.

use admix_api::prelude::*;

/// The least saliency of a patch, below any that decides between two.
const LEAST: f64 = 1e-20;

/// The squared distance of every two patches, `[P, P]` float32: rows and columns each from 0 to 1.
fn distances((rows, columns): (i64, i64), device: Device) -> Result<Tensor> {
    let squares = |side: i64| -> Result<Tensor> {
        let place = Tensor::f_arange(side, (Kind::Float, device))?;
        let gap = place.f_reshape([-1, 1])?.f_sub(&place)?;
        let far = (side - 1).max(1) as f64;
        Ok(gap.f_square()?.f_div_scalar(far * far)?)
    };
    let (down, across) = (squares(rows)?, squares(columns)?);
    let all = down.f_reshape([rows, 1, rows, 1])?.f_add(&across.f_reshape([1, columns, 1, columns])?)?;
    Ok(all.f_reshape([rows * columns, rows * columns])?)
}

/// The plan that brings saliency under a mask. `shares` `[N, R, K]` is the saliency of each patch, `mask` `[N, R, K]` that
/// of the image itself; `epsilon` is the price of distance.
///
/// As many rounds as the grid has rows: every source asks for its cheapest destination, each destination takes the
/// source of the lowest cost below 0 (the first of equals), and to the others this destination becomes dearer by 1.
///
/// # Errors
/// Shapes that do not fit.
pub fn plan(mask: &Tensor, shares: &Tensor, epsilon: f64) -> Result<Tensor> {
    let (n, rows, columns) = shares.size3()?;
    let p = rows * columns;
    let device = shares.device();
    let shown = mask.f_gt(0.0)?.f_to_kind(Kind::Float)?.f_reshape([n, 1, p])?;
    // To show a patch where it is gains something, however little.
    let gain = shares.f_to_kind(Kind::Float)?.f_clamp_min(LEAST)?.f_reshape([n, p, 1])?.f_mul(&shown)?;
    let mut cost = distances((rows, columns), device)?.f_mul_scalar(epsilon)?.f_unsqueeze(0)?.f_sub(&gain)?;
    let nobody = Tensor::f_full([n, p], p, (Kind::Int64, device))?;
    let mut sources = nobody.shallow_clone();
    let index = Tensor::f_arange(p, (Kind::Int64, device))?.f_unsqueeze(0)?.f_expand([n, p], false)?;
    for _ in 0..rows.max(columns) {
        let (offer, wish) = cost.f_min_dim(2, false)?;
        sources = winners(&offer, &wish, &nobody)?;
        let lost = sources.f_gather(1, &wish, false)?.f_ne_tensor(&index)?.f_to_kind(Kind::Float)?;
        // In place: the costs are by far the largest tensor here.
        let _ = cost.f_scatter_add_(2, &wish.f_unsqueeze(2)?, &lost.f_unsqueeze(2)?)?;
    }
    Ok(sources)
}

/// The source that each destination takes, `[N, P]`: of those that wish for it the one with the lowest offer below 0,
/// the first of equals; P if there is none.
fn winners(offer: &Tensor, wish: &Tensor, nobody: &Tensor) -> Result<Tensor> {
    let (n, p) = offer.size2()?;
    // Sorted by destination, within it by offer, within it by source: the first of each destination wins. Sorting is
    // the same on every run and device, where scattering a minimum would leave the choice among equals open.
    let by_offer = offer.f_argsort_stable(true, 1, false)?;
    let by_wish = wish.f_gather(1, &by_offer, false)?.f_argsort_stable(true, 1, false)?;
    let order = by_offer.f_gather(1, &by_wish, false)?;
    let place = wish.f_gather(1, &order, false)?;
    let changes = place.f_narrow(1, 1, p - 1)?.f_ne_tensor(&place.f_narrow(1, 0, p - 1)?)?;
    let opening = Tensor::f_ones([n, 1], (Kind::Bool, offer.device()))?;
    let first = Tensor::f_cat(&[opening, changes], 1)?;
    let wins = offer.f_gather(1, &order, false)?.f_lt(0.0)?.f_logical_and(&first)?;
    // Who does not win writes "nobody" into a column of its own, which is cut off.
    let slots = Tensor::f_cat(&[nobody.shallow_clone(), nobody.f_narrow(1, 0, 1)?], 1)?;
    let taken =
        slots.f_scatter(1, &place.f_where_self(&wins, nobody)?, &order.f_where_self(&wins, nobody)?)?;
    Ok(taken.f_narrow(1, 0, p)?)
}

/// Images `[N, C, H, W]` cut into patches; rows and columns of their grid divide H and W.
#[derive(Debug)]
pub struct Patches {
    /// `[N P, C h w]`, patch after patch.
    rows: Tensor,
    /// Whose patches are meant, `[N]` int64; each image's own where there is none.
    whose: Option<Tensor>,
    size: [i64; 4],
    grid: (i64, i64),
}

impl Patches {
    /// Cuts images.
    ///
    /// # Errors
    /// Sides that the grid does not divide.
    pub fn of(images: &Tensor, grid: (i64, i64)) -> Result<Self> {
        let (n, c, height, width) = images.size4()?;
        let (tall, wide) = (height / grid.0, width / grid.1);
        let rows = images
            .f_reshape([n, c, grid.0, tall, grid.1, wide])?
            .f_permute([0i64, 2, 4, 1, 3, 5].as_slice())?
            .f_reshape([n * grid.0 * grid.1, c * tall * wide])?;
        Ok(Self { rows, whose: None, size: [n, c, height, width], grid })
    }

    /// The same of the images of these numbers, `[N]` int64.
    #[must_use]
    pub fn of_samples(&self, whose: &Tensor) -> Self {
        let Self { rows, size, grid, .. } = self;
        Self { rows: rows.shallow_clone(), whose: Some(whose.shallow_clone()), size: *size, grid: *grid }
    }

    /// The patches from where a plan says, times a weight for each destination, `[N, P]`: 0 where it has no source.
    fn moved(&self, plan: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let (n, p) = plan.size2()?;
        let first = match &self.whose {
            Some(whose) => whose.shallow_clone(),
            None => Tensor::f_arange(n, (Kind::Int64, plan.device()))?,
        };
        let first = first.f_mul_scalar(p)?.f_unsqueeze(1)?;
        let source = plan.f_clamp_max(p - 1)?.f_add(&first)?.f_reshape([-1])?;
        let weights = weights.f_masked_fill(&plan.f_eq(p)?, 0.0)?.f_reshape([-1, 1])?;
        let mut moved = self.rows.f_index_select(0, &source)?;
        Ok(moved.f_mul_(&weights.f_to_kind(moved.kind())?)?)
    }
}

/// Own and partner images `[N, C, H, W]`, each moved by its plan `[N, P]`, in the shares of a mask `[N, R, K]` and its rest.
///
/// # Errors
/// Shapes that do not fit.
pub fn blend(
    (own, partner): (&Patches, &Patches),
    plans: (&Tensor, &Tensor),
    mask: &Tensor,
) -> Result<Tensor> {
    let ([n, c, height, width], (rows, columns)) = (own.size, own.grid);
    let mask = mask.f_reshape([n, rows * columns])?;
    let mut mixed = own.moved(plans.0, &mask)?;
    let mixed = mixed.f_add_(&partner.moved(plans.1, &mask.f_neg()?.f_add_scalar(1.0)?)?)?;
    Ok(mixed
        .f_reshape([n, rows, columns, c, height / rows, width / columns])?
        .f_permute([0i64, 3, 1, 4, 2, 5].as_slice())?
        .f_reshape([n, c, height, width])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixers::puzzlemix::grid::saliency_shares;
    use admix_api::contract::wild;

    /// The rounds in words of the sheet, one sample, one source and one destination after the other.
    fn in_loops(mask: &[f32], shares: &[f32], (rows, columns): (usize, usize), epsilon: f32) -> Vec<i64> {
        let p = rows * columns;
        let gap = |a: usize, b: usize, side: usize| {
            let far = a.abs_diff(b) as f32 / (side - 1) as f32;
            far * far
        };
        let price = |i: usize, j: usize| {
            let far = gap(i / columns, j / columns, rows) + gap(i % columns, j % columns, columns);
            epsilon * far - if mask[j] > 0.0 { shares[i] } else { 0.0 }
        };
        let mut cost: Vec<Vec<f32>> = (0..p).map(|i| (0..p).map(|j| price(i, j)).collect()).collect();
        let mut sources = vec![p as i64; p];
        for _ in 0..rows.max(columns) {
            let wish: Vec<usize> = cost
                .iter()
                .map(|row| (0..p).fold(0, |best, j| if row[j] < row[best] { j } else { best }))
                .collect();
            for (j, source) in sources.iter_mut().enumerate() {
                let mut best = 0.0;
                *source = p as i64;
                for i in (0..p).filter(|i| wish[*i] == j) {
                    if cost[i][j] < best {
                        (best, *source) = (cost[i][j], i as i64);
                    }
                }
            }
            for i in 0..p {
                if sources[wish[i]] != i as i64 {
                    cost[i][wish[i]] += 1.0;
                }
            }
        }
        sources
    }

    #[test]
    fn plans_are_those_of_the_rounds_in_loops() {
        let mut moves = 0;
        for (grid, epsilon) in [((2, 2), 0.3), ((4, 4), 0.05), ((8, 8), 0.02), ((8, 8), 0.8), ((2, 4), 0.05)]
        {
            let (n, p) = (6, grid.0 * grid.1);
            let mask = (wild(&[n, grid.0, grid.1], 0.3, Kind::Float) * 1.5).round().clamp(0.0, 1.0);
            let saliency = wild(&[n, grid.0, grid.1], 0.6, Kind::Float).abs().pow_tensor_scalar(4);
            let shares = saliency_shares(&saliency, grid).unwrap();
            let found = plan(&mask, &shares, epsilon).unwrap();
            for i in 0..n {
                let list = |of: &Tensor| Vec::<f32>::try_from(of.get(i).reshape([-1])).unwrap();
                let sides = (grid.0 as usize, grid.1 as usize);
                let wanted = in_loops(&list(&mask), &list(&shares), sides, epsilon as f32);
                let found = Vec::<i64>::try_from(found.get(i)).unwrap();
                assert_eq!(found, wanted, "{grid:?}, epsilon {epsilon}, sample {i}");
                moves += (0..p).filter(|j| ![*j, p].contains(&found[*j as usize])).count();
            }
        }
        assert!(moves > 100, "{moves}: almost nothing moves");
    }

    #[test]
    fn a_destination_takes_the_lowest_offer_and_the_loser_looks_elsewhere() {
        // Two salient patches on the left, one place to show them on the right of each row; far is as dear as near.
        let mask = Tensor::from_slice(&[0f32, 1.0, 0.0, 1.0]).reshape([1, 2, 2]);
        let shares = Tensor::from_slice(&[0.6f32, 0.0, 0.4, 0.0]).reshape([1, 2, 2]);
        let found = plan(&mask, &shares, 0.1).unwrap();
        assert_eq!(Vec::<i64>::try_from(found.get(0)).unwrap(), [4, 0, 4, 2]);
    }

    #[test]
    fn patches_are_gathered_with_channels_and_holes() {
        let images = wild(&[2, 3, 4, 6], 0.4, Kind::Float);
        // A grid of 2 x 3 patches of 2 x 2 pixels.
        let plan = Tensor::from_slice(&[5i64, 6, 0, 0, 4, 1, 0, 1, 2, 3, 4, 5]).reshape([2, 6]);
        let (patches, mask) = (Patches::of(&images, (2, 3)).unwrap(), images.ones_like().narrow(1, 0, 1));
        let mask = mask.narrow(2, 0, 2).narrow(3, 0, 3).squeeze_dim(1);
        let found = blend((&patches, &patches), (&plan, &plan), &mask).unwrap();
        let patch = |of: &Tensor, sample: i64, at: i64| {
            of.get(sample).narrow(1, at / 3 * 2, 2).narrow(2, at % 3 * 2, 2)
        };
        for (at, source) in [5, 6, 0, 0, 4, 1].into_iter().enumerate() {
            let found = patch(&found, 0, at as i64);
            match source {
                6 => assert_eq!(found.abs().max().double_value(&[]), 0.0),
                _ => assert!(found.equal(&patch(&images, 0, source)), "patch {at}"),
            }
        }
        assert!(found.get(1).equal(&images.get(1)));
        // Those of another sample, in the place of the own: sample 0 has all patches of sample 1 in order.
        let order = Tensor::arange(6, (Kind::Int64, Device::Cpu)).expand([2, 6], false);
        let others = patches.of_samples(&Tensor::from_slice(&[1i64, 0]));
        let swapped = blend((&others, &patches), (&order, &order), &mask).unwrap();
        assert!(swapped.equal(&images.flip([0])));
    }
}
