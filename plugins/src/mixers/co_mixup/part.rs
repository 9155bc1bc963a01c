//! The objective of one part of a batch, and the search for outputs that lower it.
//!
//! Source  arXiv:2102.03065, Sec. 3 (saliency, smoothness, prior and the supermodular penalty with its threshold) and
//!         Sec. 4 (iterated modularisation), with pair labels and the parting of equal outputs as in the authors' code.
//! Names   m inputs and as many outputs; a grid of b x b cells; `n[o, i]`, how many cells of output o show input i, half
//!         and half counting half each.

use super::problem::{PairCosts, PairForm, Problem, edges};
use super::solve::Solve;

/// How the penalty of an input that is used too often sets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Penalty {
    /// In full once its use is above the threshold: `[A n > t] A n`.
    Hard,
    /// By what its use is above the threshold: `max(A n - t, 0)`.
    Soft,
    /// `A ([A n > t] n)`: what the authors' code makes of `Hard`, by the order of its operations. With the usual omega
    /// of 0.001 nearly the same.
    HardColumns,
}

/// The weights of the objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Of smoothness; divided by the number of cells in use.
    pub beta: f64,
    /// Of the penalty; divided by the number of cells in use.
    pub gamma: f64,
    /// The threshold of the penalty, in whole grids.
    pub tau: f64,
    /// How the penalty sets in.
    pub penalty: Penalty,
    /// What pair labels cost beside others.
    pub pairs: PairForm,
}

/// Which inputs every cell of every output shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    inputs: usize,
    cells: Vec<[usize; 2]>,
}

impl Assignment {
    /// Of cells in rows, output after output: the two inputs that each shows half and half, or one input twice.
    pub fn new(inputs: usize, cells: Vec<[usize; 2]>) -> Self {
        Self { inputs, cells }
    }

    /// One input for each cell.
    pub fn of_inputs(inputs: usize, cells: &[usize]) -> Self {
        Self::new(inputs, cells.iter().map(|input| [*input; 2]).collect())
    }

    /// All cells, output after output.
    pub fn cells(&self) -> &[[usize; 2]] {
        &self.cells
    }

    fn cells_of(&self, output: usize) -> std::ops::Range<usize> {
        let each = self.cells.len() / self.inputs;
        output * each..(output + 1) * each
    }

    /// How many cells of an output show each input, `n[o, .]`.
    pub fn counts(&self, output: usize) -> Vec<f64> {
        let mut counts = vec![0.0; self.inputs];
        for input in self.cells[self.cells_of(output)].iter().flatten() {
            counts[*input] += 0.5;
        }
        counts
    }
}

/// One part of a batch: its unary costs and which inputs go together.
#[derive(Debug, Clone)]
pub struct Part {
    /// m.
    pub inputs: usize,
    /// b.
    pub blocks: usize,
    /// The cost of each input in each cell, without the penalty: cells in rows, inputs within.
    pub unary: Vec<f64>,
    /// A: how alike the uses of two inputs are, `[m, m]` in rows.
    pub compatibility: Vec<f64>,
    /// The weights of the objective.
    pub weights: Weights,
}

/// How outputs are searched for.
#[derive(Debug)]
pub struct Search<'a> {
    /// Passes over all outputs.
    pub sweeps: usize,
    /// Whether outputs of the same inputs are parted in the last sweep.
    pub resolve: bool,
    /// Labels one output.
    pub solver: &'a dyn Solve,
}

/// The search ends early when a sweep changes the objective by less than this, relative to it.
const STILL: f64 = 1e-6;
/// What is taken off the cost of a pair label, so that it wins against its members at equal cost.
const FAVOUR: f64 = 5e-4;
/// Added to a probability in a logarithm.
const TINY: f64 = 1e-8;

/// The cost of each input in each cell, `[cells, m]`: the saliency that showing it gains, and its prior. `saliency` is
/// `[m, cells]`, the share of each cell; `prior` sums to 1 over the inputs.
pub fn unary(saliency: &[f64], prior: &[f64], eta: f64) -> Vec<f64> {
    let inputs = prior.len();
    let cells = saliency.len() / inputs.max(1);
    let of = |cell: usize, input: usize| {
        -saliency[input * cells + cell] - eta / cells as f64 * (prior[input] + TINY).ln()
    };
    (0..cells).flat_map(|cell| (0..inputs).map(move |input| of(cell, input))).collect()
}

/// A = (1 - omega) I + omega D, where D are the distances `[m, m]` scaled to the sum m. Where all distances are 0, D is.
pub fn compatibility(distances: &[f64], inputs: usize, omega: f64) -> Vec<f64> {
    let sum: f64 = distances.iter().sum();
    let scale = if sum > 0.0 { omega * inputs as f64 / sum } else { 0.0 };
    let same = |at: usize| if at / inputs == at % inputs { 1.0 - omega } else { 0.0 };
    distances.iter().enumerate().map(|(at, distance)| same(at) + scale * distance).collect()
}

impl Part {
    fn cells(&self) -> usize {
        self.blocks * self.blocks
    }

    /// What one more cell of each input adds to an output, where `others` counts the cells of all other outputs that show
    /// it.
    pub fn penalty(&self, others: &[f64]) -> Vec<f64> {
        let threshold = self.weights.tau * self.cells() as f64;
        let times = |counts: &[f64]| -> Vec<f64> {
            let row = |row: &[f64]| row.iter().zip(counts).map(|(a, n)| a * n).sum();
            self.compatibility.chunks_exact(self.inputs).map(row).collect()
        };
        let used = times(others);
        let above = |value: f64, used: f64| if used > threshold { value } else { 0.0 };
        let amount: Vec<f64> = match self.weights.penalty {
            Penalty::Hard => used.iter().map(|used| above(*used, *used)).collect(),
            Penalty::Soft => used.iter().map(|used| above(used - threshold, *used)).collect(),
            Penalty::HardColumns => {
                times(&others.iter().zip(&used).map(|(n, used)| above(*n, *used)).collect::<Vec<_>>())
            }
        };
        // Twice: every two outputs meet twice in the objective.
        amount.into_iter().map(|amount| 2.0 * self.weights.gamma / self.cells() as f64 * amount).collect()
    }

    /// The labelling of one output: `added` is what each input costs more, `pairs` are the pair labels that it may use.
    pub fn problem(&self, added: &[f64], pairs: &[[usize; 2]]) -> Problem {
        let mut unary = Vec::with_capacity(self.cells() * (self.inputs + pairs.len()));
        for row in self.unary.chunks_exact(self.inputs) {
            let start = unary.len();
            unary.extend(row.iter().zip(added).map(|(own, more)| own + more));
            for [one, other] in pairs {
                unary.push((unary[start + one] + unary[start + other]) / 2.0 - FAVOUR);
            }
        }
        Problem {
            blocks: self.blocks,
            unary,
            weight: self.weights.beta / self.cells() as f64,
            costs: PairCosts::with_pairs(self.inputs, pairs, self.weights.pairs),
        }
    }

    /// Searches for outputs, from a start.
    pub fn search(&self, start: Assignment, search: &Search<'_>) -> Assignment {
        let (inputs, cells) = (self.inputs, self.cells());
        let mut found = start;
        if inputs < 2 {
            return found;
        }
        let mut counts: Vec<Vec<f64>> = (0..inputs).map(|output| found.counts(output)).collect();
        let mut all: Vec<f64> = (0..inputs).map(|input| counts.iter().map(|of| of[input]).sum()).collect();
        let mut parted = vec![vec![0.0; inputs]; inputs];
        let mut before = self.objective(&found);
        for sweep in 0..search.sweeps {
            for output in 0..inputs {
                let others: Vec<f64> = all.iter().zip(&counts[output]).map(|(all, own)| all - own).collect();
                let mut added = self.penalty(&others);
                for (added, parted) in added.iter_mut().zip(&parted[output]) {
                    *added += self.weights.gamma / cells as f64 * parted;
                }
                let pairs = if sweep == 0 { Vec::new() } else { pairs_of(&counts[output]) };
                let labels = search.solver.solve(&self.problem(&added, &pairs));
                for (cell, label) in found.cells_of(output).zip(labels) {
                    found.cells[cell] = label.checked_sub(inputs).map_or([label; 2], |pair| pairs[pair]);
                }
                counts[output] = found.counts(output);
                for ((all, others), own) in all.iter_mut().zip(others).zip(&counts[output]) {
                    *all = others + own;
                }
            }
            if search.resolve && sweep + 2 == search.sweeps {
                parted = parting(&counts);
            }
            let now = self.objective(&found);
            if (before - now).abs() < STILL * now.abs() {
                break;
            }
            before = now;
        }
        found
    }

    /// The objective without threshold and with A = I, by which the search tells whether it still moves.
    pub fn objective(&self, assignment: &Assignment) -> f64 {
        self.valued(assignment, |others| others)
    }

    /// The objective with the hard threshold, A = I.
    pub fn thresholded(&self, assignment: &Assignment) -> f64 {
        let threshold = self.weights.tau * self.cells() as f64;
        self.valued(assignment, |others| if others > threshold { others } else { 0.0 })
    }

    fn valued(&self, assignment: &Assignment, penalty: impl Fn(f64) -> f64) -> f64 {
        let (inputs, cells) = (self.inputs, self.cells());
        let counts: Vec<Vec<f64>> = (0..inputs).map(|output| assignment.counts(output)).collect();
        let mut sum = 0.0;
        for (output, own) in counts.iter().enumerate() {
            let shown = &assignment.cells[assignment.cells_of(output)];
            let gained = shown.iter().enumerate().map(|(cell, [one, other])| {
                (self.unary[cell * inputs + one] + self.unary[cell * inputs + other]) / 2.0
            });
            sum += gained.sum::<f64>();
            let apart: f64 = edges(self.blocks).map(|(one, other)| distance(shown[one], shown[other])).sum();
            sum += self.weights.beta / cells as f64 * apart;
            for input in 0..inputs {
                let others = counts.iter().map(|of| of[input]).sum::<f64>() - own[input];
                sum += self.weights.gamma / cells as f64 * own[input] * penalty(others);
            }
        }
        sum
    }
}

/// Half of the squared distance of the shares of two cells.
fn distance(one: [usize; 2], other: [usize; 2]) -> f64 {
    let share =
        |cell: [usize; 2], input: usize| cell.iter().filter(|shown| **shown == input).count() as f64 / 2.0;
    let mut seen: Vec<usize> = one.into_iter().chain(other).collect();
    seen.sort_unstable();
    seen.dedup();
    seen.into_iter().map(|input| (share(one, input) - share(other, input)).powi(2)).sum::<f64>() / 2.0
}

/// The pair labels that an output may use: of its two inputs, or of the three that it uses most (the first of equals).
fn pairs_of(counts: &[f64]) -> Vec<[usize; 2]> {
    let mut used: Vec<usize> = (0..counts.len()).filter(|input| counts[*input] > 0.0).collect();
    used.sort_by(|one, other| counts[*other].total_cmp(&counts[*one]));
    used.truncate(3);
    used.sort_unstable();
    match used[..] {
        [a, b] => vec![[a, b]],
        [a, b, c] => vec![[a, b], [a, c], [b, c]],
        _ => Vec::new(),
    }
}

/// Of two outputs that use the same inputs, at least two, the first shall use the first of them less and the other the
/// second: 1 where an input costs more.
fn parting(counts: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let sets: Vec<Vec<usize>> =
        counts.iter().map(|of| (0..of.len()).filter(|input| of[*input] > 0.0).collect()).collect();
    let mut parted = vec![vec![0.0; counts.len()]; counts.len()];
    for (one, set) in sets.iter().enumerate() {
        for (other, _) in sets.iter().enumerate().skip(one + 1).filter(|(_, of)| *of == set) {
            if let [first, second, ..] = set[..] {
                parted[one][first] = 1.0;
                parted[other][second] = 1.0;
            }
        }
    }
    parted
}

#[cfg(test)]
mod tests;
