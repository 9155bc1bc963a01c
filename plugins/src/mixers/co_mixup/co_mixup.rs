//! Co-Mixup: outputs made of the salient cells of all inputs of a part of the batch, and different from each other.
//!
//! Source  Kim et al., ICLR 2021, arXiv:2102.03065, Sec. 3 and 4, with the settings of the authors' code.
//! Input   images `[N, C, H, W]`, float; saliency `[N, H, W]`, not negative: the norm over channels of the loss's gradient.
//!         What is not finite in it counts as 0. An image without saliency is used as its prior has it.
//! Output  images, same shape and kind, without graph; no mask, as an output has no own image and no partner. The label is
//!         shared among all inputs of the part, by the cells that each has. Extra `assignment` `[N, S, b, b]` in 0, 1/2, 1:
//!         what each cell shows, where S is the size of a part. From two views, cells that show the output's own index
//!         come from `images`, all others from `partner_images`.
//! Plan    `prior` `[N]`, Dirichlet(alpha) within each part; `start` `[N b b]`, the input within the part that each cell
//!         starts with, from whose *length* the mix tells the grid. Every b is a `structure` of its own. There are no
//!         lambda and no partner.
//! Parts   `part` samples after each other, in the order of the batch; the last may be smaller. A part of one gives the
//!         image itself.
//! Errors  no saliency, or of another shape; an image whose sides no number of blocks divides. Never changes its input.
//! Notes   the search runs on the host, parts on threads; pooled saliency goes there in one copy, the assignment comes
//!         back in one. The same plan gives the same bits whatever the number of threads.

use admix_api::mixer;
use admix_api::prelude::*;

use super::part::{Assignment, Part, Penalty, Search, Weights};
use super::problem::PairForm;
use super::solve::{BeliefPropagation, Both, Solve, Swap};
use super::{part, places};
use crate::mixers::puzzlemix::grid::{fitting, saliency_shares};
use admix_api::ranges::{at_least, expect, within};

/// Who labels an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Solver {
    /// The lower of what `Bp`, improved by swap moves, and `Swap` find.
    #[default]
    Both,
    /// Min-sum belief propagation with 10 rounds, then 2 sweeps of iterated conditional modes. The fastest.
    Bp,
    /// Swap moves by minimum cuts, as the authors' code.
    Swap,
}

/// How the penalty of an input that is used too often sets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Threshold {
    /// In full once its use is above the threshold.
    #[default]
    Hard,
    /// By what its use is above the threshold.
    Soft,
}

/// Where the paper's objective and the authors' code part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Form {
    /// As the objective has it: a half-half cell costs 3/4 beside a third input and 1/4 beside another half-half cell
    /// with a common input; the penalty of an input counts the use of all inputs.
    #[default]
    Objective,
    /// As the authors' code: both cost 1, and a hard penalty counts only inputs above the threshold.
    Code,
}

admix_api::settings! {
    /// Recipe: `CoMixup(alpha: 2.0)`, where alpha is that of the Dirichlet prior. The defaults are the authors' for CIFAR-100,
    /// Tiny-ImageNet and ImageNet in few epochs; for ImageNet with `stride: 8`.
    pub struct CoMixup {
        /// Blocks a side of the grid, each at least 2: one is drawn for every batch among those that divide the image.
        pub blocks: Vec<i64> = vec![4],
        /// Inputs that are mixed with each other, at least 2.
        pub part: i64 = 20,
        /// Smoothness: the weight of neighbours that show different inputs, at least 0.
        pub beta: f64 = 0.32,
        /// Diversity: the weight of the penalty of inputs that are used too often, at least 0.
        pub gamma: f64 = 1.0,
        /// Weight of the prior on how much each input is used, drawn from Dirichlet(alpha) for every part, at least 0.
        pub eta: f64 = 0.05,
        /// How many whole outputs' worth of an input all other outputs may use before the penalty sets in, at least 0.
        pub tau: f64 = 0.83,
        /// How the penalty sets in.
        pub threshold: Threshold = Threshold::Hard,
        /// How much the distance of the most salient windows of two inputs counts in the penalty, in [0, 1].
        pub omega: f64 = 0.001,
        /// Side of these windows in pixels, at least 1.
        pub window: i64 = 8,
        /// Pixels between two windows, at least 1.
        pub stride: i64 = 1,
        /// Passes over all outputs, at least 1.
        pub sweeps: usize = 4,
        /// Whether outputs that use the same inputs are parted in the last pass.
        pub resolve: bool = true,
        /// Where the paper's objective and the authors' code part.
        pub form: Form = Form::Objective,
        /// Who labels an output.
        pub solver: Solver = Solver::Both,
    }
}

/// What the search reads of a part, in rows.
#[derive(Debug)]
struct Given {
    saliency: Vec<f64>,
    places: Vec<f64>,
    prior: Vec<f64>,
    start: Vec<usize>,
}

impl CoMixup {
    /// The weights of the objective.
    pub fn weights(&self) -> Weights {
        let penalty = match (self.threshold, self.form) {
            (Threshold::Soft, _) => Penalty::Soft,
            (Threshold::Hard, Form::Objective) => Penalty::Hard,
            (Threshold::Hard, Form::Code) => Penalty::HardColumns,
        };
        let pairs = match self.form {
            Form::Objective => PairForm::Distance,
            Form::Code => PairForm::Members,
        };
        Weights { beta: self.beta, gamma: self.gamma, tau: self.tau, penalty, pairs }
    }

    /// The solver of one output's labels.
    pub fn solver(&self) -> Box<dyn Solve> {
        match self.solver {
            Solver::Both => Box::new(Both),
            Solver::Bp => Box::new(BeliefPropagation::default()),
            Solver::Swap => Box::new(Swap),
        }
    }

    /// The problem of one part of m inputs: `saliency` `[m, b b]`, the share of each cell, `distances` `[m, m]` of their
    /// most salient windows, `prior` `[m]`, all in rows.
    pub fn posed(&self, saliency: &[f64], distances: &[f64], prior: &[f64]) -> Part {
        let inputs = prior.len();
        Part {
            inputs,
            blocks: (saliency.len() / inputs.max(1)).isqrt(),
            unary: part::unary(saliency, prior, self.eta),
            compatibility: part::compatibility(distances, inputs, self.omega),
            weights: self.weights(),
        }
    }

    /// Searches for the outputs of every part on so many threads.
    fn searched(&self, parts: &[Given], threads: usize) -> Vec<Assignment> {
        let solver = self.solver();
        let search = Search { sweeps: self.sweeps, resolve: self.resolve, solver: solver.as_ref() };
        let one = |given: &Given| {
            let part = self.posed(&given.saliency, &places::distances(&given.places), &given.prior);
            part.search(Assignment::of_inputs(part.inputs, &given.start), &search)
        };
        let threads = threads.clamp(1, parts.len().max(1));
        if threads == 1 {
            return parts.iter().map(one).collect();
        }
        let mut found: Vec<Option<Assignment>> = parts.iter().map(|_| None).collect();
        std::thread::scope(|scope| {
            // One after the other in turn, as the last part may be smaller.
            let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
            for (at, (slot, given)) in found.iter_mut().zip(parts).enumerate() {
                shares[at % threads].push((slot, given));
            }
            for share in shares {
                scope.spawn(|| share.into_iter().for_each(|(slot, given)| *slot = Some(one(given))));
            }
        });
        found.into_iter().flatten().collect()
    }

    /// The labels `[N, 2, b, b]` int64 on the CPU, inputs counted within their part, for rows `[N, 2 b b + 3]` of saliency,
    /// place of the most salient window, prior, and start.
    ///
    /// # Errors
    /// A start that is no input of its part.
    fn labels(&self, rows: &Tensor, (n, blocks): (i64, i64)) -> Result<Tensor> {
        let cells = (blocks * blocks) as usize;
        let width = 2 * cells + 3;
        let host = rows.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_contiguous()?;
        let host: Vec<f64> = Vec::try_from(host.f_reshape([-1])?)?;
        let given = |rows: &[f64]| -> Result<Given> {
            let inputs = rows.len() / width;
            let columns = |from: usize, to: usize| -> Vec<f64> {
                rows.chunks_exact(width).flat_map(|row| &row[from..to]).copied().collect()
            };
            let start = columns(cells + 3, width);
            if let Some(wrong) = start.iter().find(|input| !(0.0..inputs as f64).contains(*input)) {
                return Err(Error::range(
                    "`start` of a plan for co_mixup",
                    wrong,
                    format!("one of {inputs} inputs, from 0"),
                ));
            }
            Ok(Given {
                saliency: columns(0, cells),
                places: columns(cells, cells + 2),
                prior: columns(cells + 2, cells + 3),
                start: start.into_iter().map(|input| input as usize).collect(),
            })
        };
        let parts: Vec<Given> = host.chunks(self.part as usize * width).map(given).collect::<Result<_>>()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let found = self.searched(&parts, threads);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for [first, second] in found.iter().flat_map(Assignment::cells) {
            one.push(*first as i64);
            other.push(*second as i64);
        }
        let list = |labels: &[i64]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(labels)?.f_reshape([n, blocks, blocks])?)
        };
        Ok(Tensor::f_stack(&[list(&one)?, list(&other)?], 1)?)
    }

    fn reads() -> Needs {
        Needs { saliency: true, host_solver: true, capturable: false, ..Needs::default() }
    }
}

/// Mixes images `[N, C, H, W]` as `labels` `[N, 2, b, b]` int64 have it: the two samples of the batch that each cell shows
/// half and half, or the same twice. Cells that show the output's own index come from `images`, all others from `others`.
///
/// # Errors
/// Shapes that do not fit.
pub fn composed(images: &Tensor, others: Option<&Tensor>, labels: &Tensor) -> Result<Tensor> {
    let (n, c, height, width) = images.size4()?;
    let (_, _, b, _) = labels.size4()?;
    let (tall, wide) = (height / b, width / b);
    // Rows of one block each, `[N b b, C tall wide]`.
    let blocks = |images: &Tensor| -> Result<Tensor> {
        let apart =
            images.f_reshape([n, c, b, tall, b, wide])?.f_permute([0i64, 2, 4, 1, 3, 5].as_slice())?;
        Ok(apart.f_reshape([n * b * b, c * tall * wide])?)
    };
    let place = Tensor::f_arange(b * b, (Kind::Int64, images.device()))?.f_reshape([1, 1, b, b])?;
    let rows = labels
        .f_mul_scalar(b * b)?
        .f_add(&place)?
        .f_permute([1i64, 0, 2, 3].as_slice())?
        .f_reshape([2, -1])?;
    let seen = blocks(others.unwrap_or(images))?;
    let mut shown =
        [seen.f_index_select(0, &rows.f_select(0, 0)?)?, seen.f_index_select(0, &rows.f_select(0, 1)?)?];
    if others.is_some() {
        let own = blocks(images)?;
        let index = Tensor::f_arange(n * b * b, (Kind::Int64, images.device()))?;
        for (at, shown) in shown.iter_mut().enumerate() {
            let is_own = rows.f_select(0, at as i64)?.f_eq_tensor(&index)?.f_unsqueeze(1)?;
            *shown = own.f_where_self(&is_own, shown)?;
        }
    }
    let [one, other] = shown;
    Ok(one
        .f_add(&other)?
        .f_mul_scalar(0.5)?
        .f_reshape([n, b, b, c, tall, wide])?
        .f_permute([0i64, 3, 1, 4, 2, 5].as_slice())?
        .f_reshape([n, c, height, width])?)
}

impl Mixer for CoMixup {
    fn needs(&self) -> Needs {
        Self::reads()
    }

    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let fitting = fitting(&self.blocks, (ask.height, ask.width))?;
        let blocks = fitting[draws.below(fitting.len())];
        let (mut prior, mut start) = (Vec::new(), Vec::new());
        let mut left = ask.batch;
        while left > 0 {
            let inputs = left.min(self.part as usize);
            prior.extend(draws.dirichlet(ask.pairing.alpha, inputs)?);
            start.extend((0..inputs * (blocks * blocks) as usize).map(|_| draws.below(inputs) as i64));
            left -= inputs;
        }
        let plan = Plan::default().with("prior", Value::Floats(prior)).with("start", Value::Ints(start));
        Ok(plan.structured(blocks as u64))
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let _no_graph = no_grad();
        let (n, _, height, width) = input.nchw()?;
        let saliency = input.saliency.ok_or_else(|| {
            Error::missing("co_mixup", "saliency", "give the mix the saliency of its images")
        })?;
        if saliency.size() != [n, height, width] {
            return Err(Error::shape(
                "the saliency for co_mixup",
                saliency.size(),
                format!("[{n}, {height}, {width}]"),
            ));
        }
        let (prior, start) = (plan.get("prior")?, plan.get("start")?);
        let blocks = (start.size1()? / n.max(1)).max(0).isqrt();
        if blocks < 1 || start.size1()? != n * blocks * blocks || prior.size1()? != n {
            return Err(Error::shape(
                format!("the prior and the start of a plan for {n} images"),
                [prior.size(), start.size()].concat(),
                format!("[{n}] and [{n} b b]"),
            ));
        }
        if height % blocks != 0 || width % blocks != 0 {
            return Err(Error::shape(
                format!("the {blocks} blocks of a plan for an image"),
                vec![height, width],
                "sides that they divide",
            ));
        }
        let seen = saliency.f_to_kind(Kind::Float)?.f_nan_to_num(0.0, 0.0, 0.0)?;
        let each = [
            saliency_shares(&seen, (blocks, blocks))?.f_flatten(1, -1)?,
            places::places(&seen, self.window, self.stride)?,
            prior.f_to_kind(Kind::Float)?.f_unsqueeze(1)?,
            start.f_to_kind(Kind::Float)?.f_reshape([n, -1])?,
        ];
        let device = input.images.device();
        let labels = self.labels(&Tensor::f_cat(&each, 1)?, (n, blocks))?.f_to_device(device)?;
        // The first sample of the part that each sample is in.
        let first = Tensor::f_arange(n, (Kind::Int64, device))?
            .f_div_scalar_mode(self.part, "floor")?
            .f_mul_scalar(self.part)?;
        let images =
            composed(input.images, input.partner_images, &labels.f_add(&first.f_reshape([-1, 1, 1, 1])?)?)?;
        let size = self.part.min(n);
        let halves = Tensor::f_full(labels.size(), 0.5, (Kind::Float, device))?;
        let assignment = Tensor::f_zeros([n, size, blocks, blocks], (Kind::Float, device))?
            .f_scatter_add(1, &labels, &halves)?;
        let shares = assignment.f_mean_dim([2i64, 3].as_slice(), false, None)?;
        // A smaller last part has no more inputs: these have no share.
        let among = Tensor::f_arange(size, (Kind::Int64, device))?.f_unsqueeze(0)?;
        let sources = first.f_unsqueeze(1)?.f_add(&among)?.f_clamp_max(n - 1)?;
        Ok(Mixed::shared(images, sources, shares).with("assignment", assignment))
    }
}

impl MixerConfig for CoMixup {
    fn needs(&self) -> Needs {
        Self::reads()
    }

    fn validate(&self) -> Result<()> {
        let blocks = !self.blocks.is_empty() && self.blocks.iter().all(|b| *b >= 2);
        expect("blocks", format!("{:?}", self.blocks), blocks, "numbers of at least 2")?;
        expect("part", self.part, self.part >= 2, "a whole number of at least 2")?;
        expect("window", self.window, self.window >= 1, "a whole number of at least 1")?;
        expect("stride", self.stride, self.stride >= 1, "a whole number of at least 1")?;
        expect("sweeps", self.sweeps, self.sweeps >= 1, "a whole number of at least 1")?;
        at_least("beta", self.beta, 0.0)?;
        at_least("gamma", self.gamma, 0.0)?;
        at_least("eta", self.eta, 0.0)?;
        at_least("tau", self.tau, 0.0)?;
        within("omega", self.omega, 0.0, 1.0)
    }

    fn ignores(&self) -> &'static [&'static str] {
        &["per", "fold", "partner"]
    }

    fn build(&self, _path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        self.validate()?;
        Ok(Box::new(self.clone()))
    }
}

mixer! {
    CoMixup, "co_mixup", "outputs of the salient cells of many inputs, and different from each other",
    source: "Kim et al., ICLR 2021, arXiv:2102.03065, Sec. 3 and 4", pairing: Pairing::alpha(2.0)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
