//! PuzzleMix: a mask that keeps the salient parts of both images, and patches moved to where it shows them.
//!
//! Source  Kim et al., ICML 2020, arXiv:2009.06962 (Eq. 3 to 6, Algorithm 1), with the settings of the authors' code.
//!         Its adversarial option is a matter of the method: the mixer shows the images that it is given for it.
//! Input   images `[N, C, H, W]`, float, normalised, and where others are to be shown these, too: the mask is made for the
//!         images, then the others are transported and mixed; saliency `[N, H, W]`, not negative: the norm over channels of the
//!         loss's gradient. The partner's is the saliency of the sample that the plan names, also with another view.
//! Output  images, same shape and kind, without graph; mask `[N, 1, H, W]` of the own image, with values l / (labels - 1).
//!         The label is credited with the mean of each sample's mask. With transport it is credited as shares, not as a
//!         pair: content has moved, so a pixel is no longer the mask's blend of the two pixels of its place.
//! Plan    `lambda` as drawn; `blocks`, the rows 0 .. b of the grid that was drawn, whose *length* tells the mix the grid
//!         without reading the device. Every b is a `structure` of its own.
//! Errors  no saliency, or of another shape; an image whose sides no number of blocks divides. Never changes its input.
//! Notes   without saliency anywhere nothing is moved, and of images without edges the mask is flat, at the label that is
//!         likeliest for lambda.

use admix_api::mixer;
use admix_api::prelude::*;

use super::energy::{self, mask_of};
use super::grid::{fitting, grown, largest_divisor, saliency_shares};
use super::solve::{Icm, MinCut, Profile, Solve};
use super::transport::Patches;
use super::{Smoothness, Terms, transport};
use crate::mixers::or_data;
use admix_api::ranges::{at_least, expect, within};

/// The most patches a side, where the mask has no more blocks: transport keeps a cost for every two patches.
const MOST_PATCHES: i64 = 16;

/// Who finds the mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Solver {
    /// On a CPU `MinCut`, which is the fastest there on every grid. Elsewhere what the device does without the host:
    /// `Profile` up to 4 x 4 blocks, `Icm` on larger grids.
    #[default]
    Auto,
    /// Exact, on the device: dynamic programming. At most 6561 states (labels to the power of blocks).
    Profile,
    /// Nearly exact, on the device: primal-dual steps, then iterated conditional modes.
    Icm,
    /// Exact, on the host: a minimum cut for each sample, in as many threads as libtorch may use. On a GPU the host waits
    /// for the costs.
    MinCut,
}

admix_api::settings! {
    /// Recipe: `PuzzleMix(alpha: 1.0)`. The defaults are the authors' for CIFAR-100; for larger images they use
    /// `t_size: -1`, and for ImageNet in few epochs also `beta: 1.5, neigh: 2`.
    pub struct PuzzleMix {
        /// Blocks a side of the mask's grid, each at least 2: one is drawn for every batch among those that divide the image.
        pub blocks: Vec<i64> = vec![2, 4, 8, 16],
        /// Values of the mask, in 2 .. 4: 3 are 0, 1/2 and 1.
        pub labels: i64 = 3,
        /// Label smoothness, at least 0.
        pub beta: f64 = 1.2,
        /// Data smoothness relative to label smoothness, in [0, 1].
        pub gamma: f64 = 0.5,
        /// Weight of the prior that holds the mask near lambda, at least 0.
        pub eta: f64 = 0.2,
        /// Pixels over which images are averaged before the borders of blocks are compared, at least 1. Where it does not
        /// divide a block, the next smaller divisor.
        pub neigh: i64 = 4,
        /// Whether patches are moved.
        pub transport: bool = true,
        /// The price of moving a patch, at least 0.
        pub t_eps: f64 = 0.8,
        /// Side of a patch in pixels that is aimed at, at least 1, or -1 for whole blocks. Where it does not divide a block, the
        /// next smaller divisor; where that makes more than 16 patches a side, the smallest divisor that does not.
        pub t_size: i64 = 4,
        /// Who finds the mask.
        pub solver: Solver = Solver::Auto,
        /// Primal-dual steps of `Icm`, at least 1.
        pub iterations: usize = Icm::default().iterations,
        /// Standard deviation by which the images were divided, above 0: one, or one for each channel. `None`: the data's.
        pub std: Option<Vec<f64>> = None,
    }
}

impl PuzzleMix {
    /// The patches of an image `(height, width)` cut into b x b blocks: rows and columns of their grid, multiples of b.
    pub fn patches(&self, (height, width): (i64, i64), blocks: i64) -> (i64, i64) {
        let side = |whole: i64| {
            let block = whole / blocks;
            let parts = match self.t_size {
                -1 => 1,
                size => block / largest_divisor(block, size),
            };
            // Whole blocks always do: the mask's own grid is as fine as the settings ask for.
            blocks * parts.min(largest_divisor(block, MOST_PATCHES / blocks))
        };
        (side(height), side(width))
    }

    /// The labels' terms of own and partner images `[N, C, H, W]` with their shares of saliency `[N, b, b]`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn terms(&self, images: (&Tensor, &Tensor), shares: (&Tensor, &Tensor)) -> Result<Terms> {
        let blocks = shares.0.size3()?.1;
        Terms::of((&self.cells(images.0, blocks)?, &self.cells(images.1, blocks)?), shares, self.smoothness())
    }

    fn smoothness(&self) -> Smoothness {
        Smoothness { beta: self.beta, gamma: self.gamma, neigh: self.neigh }
    }

    /// Images `[N, C, H, W]` as [`Terms`] compares them on a grid of b x b blocks.
    fn cells(&self, images: &Tensor, blocks: i64) -> Result<Tensor> {
        let channels = images.size4()?.1;
        // Where nothing is known, images are not normalised.
        let std = self.std.as_deref().unwrap_or(&[1.0]);
        if std.len() != 1 && std.len() as i64 != channels {
            return Err(Error::range(
                "`std` of PuzzleMix",
                format!("{} numbers", std.len()),
                format!("1, or one for each of {channels} channels"),
            ));
        }
        // Filled, not copied: a copy from the host would wait for the device.
        let each: Vec<Tensor> = std
            .iter()
            .map(|std| Tensor::f_full([1], *std, (Kind::Float, images.device())))
            .collect::<std::result::Result<_, _>>()?;
        energy::cells(images, &Tensor::f_cat(&each, 0)?, blocks, self.neigh)
    }

    /// Mixes own and partner images `[N, C, H, W]` by a mask `[N, b, b]`, after transport if it is on. The saliency
    /// of both is `[N, H, W]`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn blend(
        &self,
        (own, partner): (&Tensor, &Tensor),
        (own_saliency, partner_saliency): (&Tensor, &Tensor),
        mask: &Tensor,
    ) -> Result<Tensor> {
        let (_, _, height, width) = own.size4()?;
        let grid = self.patches((height, width), mask.size3()?.1);
        if !self.transport {
            return self.in_place((own, partner), mask);
        }
        let shares = (&saliency_shares(own_saliency, grid)?, &saliency_shares(partner_saliency, grid)?);
        self.moved((&Patches::of(own, grid)?, &Patches::of(partner, grid)?), shares, mask, grid)
    }

    /// Blends images that stay where they are.
    fn in_place(&self, (own, partner): (&Tensor, &Tensor), mask: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = own.size4()?;
        let whole = |mask: &Tensor| -> Result<Tensor> {
            Ok(grown(mask, (height, width))?.f_unsqueeze(1)?.f_to_kind(own.kind())?)
        };
        let rest = mask.f_neg()?.f_add_scalar(1.0)?;
        Ok(own.f_mul(&whole(mask)?)?.f_add(&partner.f_mul(&whole(&rest)?)?)?)
    }

    /// Blends patches that are moved by their shares of saliency, `[N, R, K]` both.
    fn moved(
        &self,
        patches: (&Patches, &Patches),
        (own, partner): (&Tensor, &Tensor),
        mask: &Tensor,
        grid: (i64, i64),
    ) -> Result<Tensor> {
        let mask = grown(mask, grid)?;
        let rest = mask.f_neg()?.f_add_scalar(1.0)?;
        let plan = |mask, shares| transport::plan(mask, shares, self.t_eps);
        transport::blend(patches, (&plan(&mask, own)?, &plan(&rest, partner)?), &mask)
    }

    /// The solver for a grid of this many blocks a side on this device.
    fn solver(&self, blocks: i64, device: Device) -> Box<dyn Solve> {
        let icm = Icm { iterations: self.iterations, ..Icm::default() };
        match self.solver {
            Solver::Auto if device == Device::Cpu => Box::new(MinCut),
            Solver::Auto if blocks <= 4 => Box::new(Profile),
            Solver::Profile => Box::new(Profile),
            Solver::Auto | Solver::Icm => Box::new(icm),
            Solver::MinCut => Box::new(MinCut),
        }
    }

    fn reads(&self) -> Needs {
        // Asked before the device is known. Auto solves on the host only where the host is the device: nothing waits.
        let host = self.solver == Solver::MinCut;
        Needs { saliency: true, shown: true, host_solver: host, capturable: !host, ..Needs::default() }
    }
}

impl Mixer for PuzzleMix {
    fn needs(&self) -> Needs {
        self.reads()
    }

    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let plan = Plan::draw(ask, draws)?;
        let fitting = fitting(&self.blocks, (ask.height, ask.width))?;
        let blocks = fitting[draws.below(fitting.len())];
        Ok(plan.with("blocks", Value::Ints((0..blocks).collect())).structured(blocks as u64))
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let _no_graph = no_grad();
        let (n, _, height, width) = input.nchw()?;
        let saliency = input.saliency.ok_or_else(|| {
            Error::missing("puzzlemix", "saliency", "give the mix the saliency of its images")
        })?;
        if saliency.size() != [n, height, width] {
            return Err(Error::shape(
                "the saliency for puzzlemix",
                saliency.size(),
                format!("[{n}, {height}, {width}]"),
            ));
        }
        let blocks = plan.get("blocks")?.size1()?;
        if blocks < 2 || height % blocks != 0 || width % blocks != 0 {
            return Err(Error::shape(
                format!("the {blocks} blocks of a plan for an image"),
                vec![height, width],
                "sides that they divide, and at least 2 blocks",
            ));
        }
        let partner = plan.partner()?;
        let shares = saliency_shares(saliency, (blocks, blocks))?;
        let cells = self.cells(input.images, blocks)?;
        let of_partners = |own: &Tensor| own.f_index_select(0, &partner);
        let their_cells = match input.partner_images {
            Some(images) => of_partners(&self.cells(images, blocks)?)?,
            None => of_partners(&cells)?,
        };
        let terms = Terms::of((&cells, &their_cells), (&shares, &of_partners(&shares)?), self.smoothness())?;
        let problem = terms.problem(&plan.lambda()?, self.labels, self.eta)?;
        let mask = mask_of(&self.solver(blocks, input.images.device()).solve(&problem)?, self.labels)?;
        let images = match (input.partner_images, input.shown, input.partner_shown) {
            // The partners are of this batch: what is cut and summed once serves both.
            (None, None, None) if self.transport => {
                let grid = self.patches((height, width), blocks);
                let patches = Patches::of(input.images, grid)?;
                let shares = if grid == (blocks, blocks) { shares } else { saliency_shares(saliency, grid)? };
                let both = (&patches, &patches.of_samples(&partner));
                self.moved(both, (&shares, &of_partners(&shares)?), &mask, grid)?
            }
            _ => {
                let (own, theirs) = input.shown(&partner)?;
                self.blend((&own, &theirs), (saliency, &of_partners(saliency)?), &mask)?
            }
        };
        let lambda = mask.f_mean_dim([1i64, 2].as_slice(), false, None)?;
        let mut mixed =
            Mixed::pair(images, partner, lambda).masked(grown(&mask, (height, width))?.f_unsqueeze(1)?);
        if self.transport {
            let (sources, shares) = mixed.credit.shares()?;
            mixed.credit = Credit::Shares { sources, shares };
        }
        Ok(mixed)
    }
}

impl MixerConfig for PuzzleMix {
    fn needs(&self) -> Needs {
        self.reads()
    }

    fn validate(&self) -> Result<()> {
        let blocks = !self.blocks.is_empty() && self.blocks.iter().all(|b| *b >= 2);
        expect("blocks", format!("{:?}", self.blocks), blocks, "numbers of at least 2")?;
        expect("labels", self.labels, (2..=4).contains(&self.labels), "2, 3 or 4")?;
        expect("neigh", self.neigh, self.neigh >= 1, "a whole number of at least 1")?;
        let sized = self.t_size >= 1 || self.t_size == -1;
        expect("t_size", self.t_size, sized, "a whole number of at least 1, or -1")?;
        expect("iterations", self.iterations, self.iterations >= 1, "a whole number of at least 1")?;
        if let Some(std) = &self.std {
            let good = !std.is_empty() && std.iter().all(|std| *std > 0.0 && std.is_finite());
            expect("std", format!("{std:?}"), good, "numbers above 0")?;
        }
        if self.solver == Solver::Profile
            && let Some(b) = self.blocks.iter().find(|b| Profile::states(**b, self.labels).is_none())
        {
            let got = format!("Profile, with {b} blocks and {} labels", self.labels);
            return Err(Error::range(
                "solver",
                got,
                "another solver, or fewer blocks (at most 8 with 3 labels)",
            ));
        }
        at_least("beta", self.beta, 0.0)?;
        within("gamma", self.gamma, 0.0, 1.0)?;
        at_least("eta", self.eta, 0.0)?;
        at_least("t_eps", self.t_eps, 0.0)
    }

    fn build(&self, _path: &Path, context: &MixerContext) -> Result<Box<dyn Mixer>> {
        self.validate()?;
        Ok(Box::new(Self { std: or_data(&self.std, &context.std), ..self.clone() }))
    }
}

mixer! {
    PuzzleMix, "puzzlemix", "keep the salient parts of both images: an optimal mask, then transport",
    source: "Kim et al., ICML 2020, arXiv:2009.06962, Eq. 3 to 6", pairing: Pairing::alpha(1.0)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
