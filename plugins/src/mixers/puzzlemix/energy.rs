//! The energy of a mask: saliency that is lost, edges that do not fit, and the distance to lambda.
//!
//! Source  arXiv:2009.06962, Eq. 4 and 5 (unary saliency, pairwise data and label smoothness, prior of z), in the form
//!         of the authors' code: what is linear in one cell's z is moved from the pairs into the cells' own costs.
//! Shapes  a grid of b x b blocks for each of N samples, L labels; label l stands for z = 1 - l / (L - 1).
//! Notes   tensor operations alone, nothing is read on the host.

use admix_api::prelude::*;

use super::grid::{largest_divisor, over_edges, pooled};

/// Added to a probability in a logarithm, as in the authors' code.
const TINY: f64 = 1e-8;

/// How strongly neighbours are held together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Smoothness {
    /// Label smoothness, at least 0; divided by 16 b in use.
    pub beta: f64,
    /// Data smoothness relative to label smoothness, in [0, 1].
    pub gamma: f64,
    /// Pixels over which the images are averaged before their borders are compared, at least 1.
    pub neigh: i64,
}

impl Smoothness {
    /// beta on a grid of this many blocks a side.
    fn scaled(&self, blocks: i64) -> f64 {
        self.beta / (16 * blocks) as f64
    }
}

/// What the energy is made of, before lambda and labels.
#[derive(Debug)]
pub struct Terms {
    /// The cost of choosing the own image (z = 1) in each block, `[N, b, b]`.
    pub own: Tensor,
    /// The cost of choosing the partner (z = 0), `[N, b, b]`.
    pub partner: Tensor,
    /// The data's part of the weight between blocks one above the other, `[N, b - 1, b]`.
    pub vertical: Tensor,
    /// The same between blocks side by side, `[N, b, b - 1]`.
    pub horizontal: Tensor,
    smoothness: Smoothness,
}

/// Images `[N, C, H, W]`, normalised with these standard deviations (`[C]` or `[1]`, float32), averaged over as many pixels
/// as `neigh` says: `[N, C, b, tall, b, wide]`, the cells of each of b x b blocks. b divides H and W.
///
/// # Errors
/// Shapes that do not fit.
pub fn cells(images: &Tensor, std: &Tensor, b: i64, neigh: i64) -> Result<Tensor> {
    let (n, c, height, width) = images.size4()?;
    let sub = |side: i64| side / b / largest_divisor(side / b, neigh);
    let (tall, wide) = (sub(height), sub(width));
    // Pixels in [0, 1] but for the mean, which differences do not see.
    let pooled = pooled(&images.f_to_kind(Kind::Float)?, (b * tall, b * wide))?;
    Ok(pooled.f_mul(&std.f_reshape([1, -1, 1, 1])?)?.f_reshape([n, c, b, tall, b, wide])?)
}

impl Terms {
    /// The terms of own and partner images as [`cells`] has them, and of their shares of saliency `[N, b, b]`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn of(
        (own, partner): (&Tensor, &Tensor),
        (own_shares, partner_shares): (&Tensor, &Tensor),
        smoothness: Smoothness,
    ) -> Result<Self> {
        let [_, _, b, tall, _, wide] = own.size()[..] else {
            return Err(Error::shape("the cells of images", own.size(), "[N, C, b, tall, b, wide]"));
        };
        // The index of an image is its z: 0 the partner, 1 the own. `[2, N, C, b, tall, b, wide]`.
        let both = Tensor::f_stack(&[partner, own], 0)?;
        let scale = smoothness.scaled(b) * smoothness.gamma;
        // `[2, 2, N, ..]`: the images of the first and the second block of a border, their mean distance along it.
        let distance = |first: Tensor, second: Tensor, along: i64| -> Result<Tensor> {
            let gap = first.f_unsqueeze(1)?.f_sub(&second.f_unsqueeze(0)?)?.f_abs()?;
            Ok(gap.f_mean_dim([3i64, along].as_slice(), false, None)?.f_mul_scalar(scale)?)
        };
        let v = distance(
            both.f_select(4, tall - 1)?.f_narrow(3, 0, b - 1)?,
            both.f_select(4, 0)?.f_narrow(3, 1, b - 1)?,
            6,
        )?;
        let h = distance(
            both.f_select(6, wide - 1)?.f_narrow(5, 0, b - 1)?,
            both.f_select(6, 0)?.f_narrow(5, 1, b - 1)?,
            5,
        )?;
        let mean = |of: &Tensor, over: i64| of.f_mean_dim([over].as_slice(), false, None);
        let linear = over_edges((&mean(&v, 1)?, &mean(&h, 1)?), (&mean(&v, 0)?, &mean(&h, 0)?))?;
        // Who chooses the one image loses the other's saliency.
        let costs = Tensor::f_stack(&[own_shares, partner_shares], 0)?.f_add(&linear)?;
        let residual = |d: &Tensor| -> Result<Tensor> {
            let at = |first, second| d.f_select(0, first)?.f_select(0, second);
            let apart = at(1, 0)?.f_add(&at(0, 1)?)?;
            Ok(apart.f_sub(&at(1, 1)?)?.f_sub(&at(0, 0)?)?.f_mul_scalar(0.5)?)
        };
        Ok(Self {
            own: costs.f_select(0, 1)?,
            partner: costs.f_select(0, 0)?,
            vertical: residual(&v)?,
            horizontal: residual(&h)?,
            smoothness,
        })
    }

    /// The problem for `labels` labels (at least 2) and lambda (0-dim or `[N]`), whose prior Binomial(L - 1, 1 - lambda)
    /// weighs `eta`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn problem(&self, lambda: &Tensor, labels: i64, eta: f64) -> Result<Problem> {
        let b = self.own.size3()?.1;
        let own_share = lambda.f_to_kind(Kind::Float)?.f_reshape([-1, 1, 1])?;
        let partner_share = own_share.f_neg()?.f_add_scalar(1.0)?;
        let last = labels - 1;
        let mut ways = 1.0;
        let mut each = Vec::new();
        for l in 0..labels {
            let t = l as f64 / last as f64;
            let chance = partner_share
                .f_pow_tensor_scalar(l)?
                .f_mul(&own_share.f_pow_tensor_scalar(last - l)?)?
                .f_mul_scalar(ways)?;
            let prior = chance.f_add_scalar(TINY)?.f_log()?.f_mul_scalar(-eta / (b * b) as f64)?;
            let data = self.own.f_mul_scalar(1.0 - t)?.f_add(&self.partner.f_mul_scalar(t)?)?;
            each.push(data.f_add(&prior)?);
            ways *= (last - l) as f64 / (l + 1) as f64;
        }
        let beta = self.smoothness.scaled(b);
        Ok(Problem {
            unary: Tensor::f_stack(&each, -1)?,
            // Not below 0 for gamma <= 1 and pixels in [0, 1]. Others may be, and no solver is exact for these.
            vertical: self.vertical.f_add_scalar(beta)?.f_clamp_min(0.0)?,
            horizontal: self.horizontal.f_add_scalar(beta)?.f_clamp_min(0.0)?,
        })
    }
}

/// N grids of labels to choose: find l that minimises the sum of `unary(l)` over cells and of `w (l - l')^2 / (L - 1)^2`
/// over neighbours.
#[derive(Debug)]
pub struct Problem {
    /// The cost of each label, `[N, b, b, L]`.
    pub unary: Tensor,
    /// Weights between cells one above the other, at least 0, `[N, b - 1, b]`.
    pub vertical: Tensor,
    /// Weights between cells side by side, at least 0, `[N, b, b - 1]`.
    pub horizontal: Tensor,
}

impl Problem {
    /// `(N, b, L)`.
    ///
    /// # Errors
    /// The unary costs are not of rank 4.
    pub fn shape(&self) -> Result<(i64, i64, i64)> {
        let (n, b, _, labels) = self.unary.size4()?;
        Ok((n, b, labels))
    }

    /// The energy of labels `[N, b, b]` int64: `[N]`, of the kind of the costs.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn energy(&self, labels: &Tensor) -> Result<Tensor> {
        let last = (self.shape()?.2 - 1) as f64;
        self.energy_by(labels, |squares| Ok(squares.f_div_scalar(last * last)?))
    }

    /// The energy with another cost of two labels, a function of `(l - l')^2`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn energy_by(&self, labels: &Tensor, pair: impl Fn(Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let (n, b, _) = self.shape()?;
        let own = self.unary.f_gather(3, &labels.f_unsqueeze(-1)?, false)?.f_reshape([n, -1])?;
        let l = labels.f_to_kind(self.unary.kind())?;
        let edges = |dim: i64, weight: &Tensor| -> Result<Tensor> {
            let gap = l.f_narrow(dim, 0, b - 1)?.f_sub(&l.f_narrow(dim, 1, b - 1)?)?;
            Ok(pair(gap.f_square()?)?.f_mul(weight)?.f_reshape([n, -1])?)
        };
        let all = [own, edges(1, &self.vertical)?, edges(2, &self.horizontal)?];
        Ok(Tensor::f_cat(&all, 1)?.f_sum_dim_intlist([1i64].as_slice(), false, None)?)
    }
}

/// The mask of labels `[N, b, b]` out of `count`: z = 1 - l / (L - 1), float32, 1 where the own image is chosen.
///
/// # Errors
/// libtorch refused.
pub fn mask_of(labels: &Tensor, count: i64) -> Result<Tensor> {
    Ok(labels.f_to_kind(Kind::Float)?.f_div_scalar(-(count - 1) as f64)?.f_add_scalar(1.0)?)
}
