//! Swap moves: for two labels at a time, the best way to share the cells that carry them, by a minimum cut.
//!
//! Source  Boykov, Veksler, Zabih, TPAMI 2001 (alpha-beta swap), from the same start and in the same order of moves as the
//!         solver of the authors' code.

use super::super::problem::{Problem, neighbours};
use super::Solve;
use crate::mixers::flow::Network;

/// Swap moves from the first label everywhere, until no move of any two labels lowers the energy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Swap;

/// Moves stop in any case after so many passes over all pairs of labels; the energy falls with each, so that a few do.
const MOST_PASSES: usize = 100;

impl Swap {
    /// Improves labels until no swap of two of them does.
    pub(super) fn improve(problem: &Problem, labels: &mut [usize]) {
        let mut moves = Moves::new(problem, labels);
        let count = problem.costs.labels();
        for _ in 0..MOST_PASSES {
            let mut changed = false;
            for one in 0..count {
                for other in (one + 1..count).rev() {
                    changed |= moves.swap(labels, one, other);
                }
            }
            if !changed {
                break;
            }
        }
    }
}

impl Solve for Swap {
    fn solve(&self, problem: &Problem) -> Vec<usize> {
        let mut labels = vec![0; problem.blocks * problem.blocks];
        Self::improve(problem, &mut labels);
        labels
    }
}

/// The moves of one problem, and the memory that they share.
struct Moves<'a> {
    problem: &'a Problem,
    network: Network,
    /// How many cells carry each label.
    carried: Vec<usize>,
    /// Cells that take part in a move.
    cells: Vec<usize>,
    /// By how much the first label costs more than the second in each of them, beside the cells that take no part.
    dearer: Vec<f64>,
    /// The node of each cell, none if it takes no part.
    node: Vec<Option<usize>>,
    /// Turns costs into whole numbers, so that no flow is lost to rounding.
    unit: f64,
}

impl<'a> Moves<'a> {
    fn new(problem: &'a Problem, labels: &[usize]) -> Self {
        let largest = problem.unary.iter().fold(problem.weight, |top, cost| top.max(cost.abs()));
        let unit =
            if largest > 0.0 && largest.is_finite() { (40.0 - largest.log2().ceil()).exp2() } else { 0.0 };
        let mut carried = vec![0; problem.costs.labels()];
        labels.iter().for_each(|label| carried[*label] += 1);
        Self {
            problem,
            network: Network::default(),
            carried,
            cells: Vec::new(),
            dearer: Vec::new(),
            node: vec![None; labels.len()],
            unit,
        }
    }

    /// Shares the cells of two labels anew. Tells whether the energy fell.
    fn swap(&mut self, labels: &mut [usize], one: usize, other: usize) -> bool {
        if self.carried[one] + self.carried[other] == 0 {
            return false;
        }
        let edge = self.problem.weight * self.problem.costs.between(one, other);
        if self.takes_part(labels, (one, other), edge) {
            return false;
        }
        self.cut(edge);
        let Self { problem, network, carried, cells, .. } = self;
        let chosen = |at: usize| if network.is_on_source_side(at) { one } else { other };
        if cells.iter().enumerate().all(|(at, cell)| labels[*cell] == chosen(at)) {
            return false;
        }
        let before = problem.energy(labels);
        let former: Vec<usize> = cells.iter().map(|cell| labels[*cell]).collect();
        cells.iter().enumerate().for_each(|(at, cell)| labels[*cell] = chosen(at));
        // Not for less than rounding can make of nothing, else two labelings could follow each other for ever.
        if problem.energy(labels) < before - 1e-12 * before.abs().max(1.0) {
            for (cell, former) in cells.iter().zip(former) {
                carried[former] -= 1;
                carried[labels[*cell]] += 1;
            }
            return true;
        }
        cells.iter().zip(former).for_each(|(cell, label)| labels[*cell] = label);
        false
    }

    /// Finds the cells that take part and what the first label costs more in each. Tells whether all of them are better off
    /// as they are, whatever their neighbours carry: most moves end here.
    fn takes_part(&mut self, labels: &[usize], (one, other): (usize, usize), edge: f64) -> bool {
        let Self { problem, cells, dearer, node, .. } = self;
        cells.clear();
        dearer.clear();
        for (cell, label) in labels.iter().enumerate() {
            node[cell] = (*label == one || *label == other).then_some(cells.len());
            cells.extend(node[cell].map(|_| cell));
        }
        let mut settled = true;
        for &cell in cells.iter() {
            let unary = problem.unary_of(cell);
            let (mut costs, mut within) = ([unary[one], unary[other]], 0.0);
            for near in neighbours(problem.blocks, cell) {
                if node[near].is_some() {
                    within += edge;
                } else {
                    costs[0] += problem.weight * problem.costs.between(one, labels[near]);
                    costs[1] += problem.weight * problem.costs.between(other, labels[near]);
                }
            }
            let more = costs[0] - costs[1];
            settled &= if labels[cell] == one { -more > within } else { more > within };
            dearer.push(more);
        }
        settled
    }

    /// Cuts the cells that take part in two; those on the source's side choose the first label.
    fn cut(&mut self, edge: f64) {
        let Self { problem, network, cells, dearer, node, unit, .. } = self;
        let (source, sink) = (cells.len(), cells.len() + 1);
        let edge = (edge * *unit).round() as i64;
        network.clear(cells.len() + 2);
        for (at, (&cell, dearer)) in cells.iter().zip(dearer).enumerate() {
            match (*dearer * *unit).round() as i64 {
                more @ 1.. => network.join(at, sink, more, 0),
                less => network.join(source, at, -less, 0),
            }
            for near in
                neighbours(problem.blocks, cell).filter(|near| *near > cell).filter_map(|near| node[near])
            {
                network.join(at, near, edge, edge);
            }
        }
        network.cut(source, sink);
    }
}
