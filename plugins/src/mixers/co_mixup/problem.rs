//! The labelling of one output, with all others fixed: which input, or which two in equal parts, each cell shows.

/// What two neighbours cost that carry different labels, in units of the weight of smoothness. Labels `0 .. inputs` are
/// inputs, those that follow are pairs of two inputs, half and half.
///
/// Two inputs cost 1. What a pair costs with any label stands in its own row.
#[derive(Debug, Clone, PartialEq)]
pub struct PairCosts {
    inputs: usize,
    /// One row for each pair: its costs with every label, inputs first.
    pairs: Vec<Vec<f64>>,
}

/// What a pair label costs beside other labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairForm {
    /// As the objective counts it, half of the squared distance of the shares: 1/4 beside a member and beside a pair
    /// with a common member, 3/4 beside any other input.
    Distance,
    /// 1/4 beside a member and 1 beside everything else: as the authors' code.
    Members,
}

impl PairCosts {
    /// Of inputs alone.
    pub fn inputs(inputs: usize) -> Self {
        Self { inputs, pairs: Vec::new() }
    }

    /// Of inputs and these pairs of them.
    pub fn with_pairs(inputs: usize, pairs: &[[usize; 2]], form: PairForm) -> Self {
        let row = |pair: &[usize; 2]| {
            let common = |other: &[usize; 2]| pair.iter().filter(|member| other.contains(member)).count();
            let of_inputs = (0..inputs).map(|input| match (pair.contains(&input), form) {
                (true, _) => 0.25,
                (false, PairForm::Distance) => 0.75,
                (false, PairForm::Members) => 1.0,
            });
            let of_pairs = pairs.iter().map(|other| match (common(other), form) {
                (2, _) => 0.0,
                (1, PairForm::Distance) => 0.25,
                (_, PairForm::Distance) => 0.5,
                (_, PairForm::Members) => 1.0,
            });
            of_inputs.chain(of_pairs).collect()
        };
        Self { inputs, pairs: pairs.iter().map(row).collect() }
    }

    /// From the rows of the pairs, one cost for each label, inputs first.
    pub fn of_rows(inputs: usize, pairs: Vec<Vec<f64>>) -> Self {
        Self { inputs, pairs }
    }

    /// How many labels there are.
    pub fn labels(&self) -> usize {
        self.inputs + self.pairs.len()
    }

    /// Of some of the labels, in their order: `kept` holds their numbers here, rising.
    fn only(&self, kept: &[usize]) -> Self {
        let inputs = kept.iter().filter(|label| **label < self.inputs).count();
        let row = |label: &usize| kept.iter().map(|other| self.between(*label, *other)).collect();
        Self { inputs, pairs: kept[inputs..].iter().map(row).collect() }
    }

    /// The most that two labels cost.
    fn most(&self) -> f64 {
        self.pairs.iter().flatten().fold(1.0, |most: f64, cost| most.max(*cost))
    }

    /// What two labels cost.
    pub fn between(&self, one: usize, other: usize) -> f64 {
        let (low, high) = (one.min(other), one.max(other));
        match high.checked_sub(self.inputs) {
            Some(pair) => self.pairs[pair][low],
            None if low == high => 0.0,
            None => 1.0,
        }
    }

    /// For every label, the least of `given(other) + weight * cost(label, other)` over all others: a message of min-sum
    /// belief propagation. Linear in the number of inputs.
    pub(super) fn least(&self, given: &[f64], weight: f64, into: &mut [f64]) {
        let (inputs, pairs) = given.split_at(self.inputs);
        // Beside another input: counting a label beside itself changes nothing, as this is dearer than 0.
        let apart = inputs.iter().fold(f64::INFINITY, |low, one| low.min(*one)) + weight;
        for (to, own) in into.iter_mut().zip(inputs) {
            *to = own.min(apart);
        }
        for (row, pair) in self.pairs.iter().zip(pairs) {
            for (to, cost) in into.iter_mut().zip(&row[..self.inputs]) {
                *to = to.min(pair + weight * cost);
            }
        }
        for (to, row) in into[self.inputs..].iter_mut().zip(&self.pairs) {
            let all = given.iter().zip(row).map(|(one, cost)| one + weight * cost);
            *to = all.fold(f64::INFINITY, f64::min);
        }
    }
}

/// A grid of cells to label: find labels that minimise the sum of `unary` over cells and of `weight * costs` over
/// neighbours.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Rows and columns of the grid.
    pub blocks: usize,
    /// The cost of each label in each cell: cells in rows, labels within.
    pub unary: Vec<f64>,
    /// Weight of smoothness, at least 0.
    pub weight: f64,
    /// The costs of neighbours.
    pub costs: PairCosts,
}

impl Problem {
    /// The costs of a cell's labels.
    pub fn unary_of(&self, cell: usize) -> &[f64] {
        let labels = self.costs.labels();
        &self.unary[cell * labels..][..labels]
    }

    /// The same without the labels that no cell can want, whatever its neighbours carry, and the numbers that the labels that
    /// are left have here. With a penalty on most inputs, few are left.
    pub(super) fn pruned(&self) -> (Self, Vec<usize>) {
        let labels = self.costs.labels();
        let mut wanted = vec![false; labels];
        for cell in 0..self.blocks * self.blocks {
            let unary = self.unary_of(cell);
            let least = unary.iter().fold(f64::INFINITY, |least, cost| least.min(*cost));
            let bound = least + self.weight * self.costs.most() * self.neighbours(cell).count() as f64;
            for (wanted, cost) in wanted.iter_mut().zip(unary) {
                *wanted |= *cost <= bound;
            }
        }
        // Where costs are no numbers, nothing is wanted.
        wanted[0] |= !wanted.contains(&true);
        let kept: Vec<usize> = (0..labels).filter(|label| wanted[*label]).collect();
        let unary =
            self.unary.chunks_exact(labels).flat_map(|row| kept.iter().map(|label| row[*label])).collect();
        (Self { blocks: self.blocks, unary, weight: self.weight, costs: self.costs.only(&kept) }, kept)
    }

    /// The neighbours of a cell.
    pub(super) fn neighbours(&self, cell: usize) -> impl Iterator<Item = usize> + use<> {
        neighbours(self.blocks, cell)
    }

    /// The cost of a label in a cell beside what its neighbours carry.
    pub(super) fn beside(&self, labels: &[usize], cell: usize, label: usize) -> f64 {
        let near: f64 = self.neighbours(cell).map(|other| self.costs.between(label, labels[other])).sum();
        self.unary_of(cell)[label] + self.weight * near
    }

    /// The energy of labels, one for each cell.
    pub fn energy(&self, labels: &[usize]) -> f64 {
        let own: f64 = labels.iter().enumerate().map(|(cell, label)| self.unary_of(cell)[*label]).sum();
        let near: f64 = edges(self.blocks).map(|(a, b)| self.costs.between(labels[a], labels[b])).sum();
        own + self.weight * near
    }

    /// The cheapest label of each cell by itself, the first of equals.
    pub fn cheapest(&self) -> Vec<usize> {
        (0..self.blocks * self.blocks).map(|cell| first_least(self.unary_of(cell).iter().copied())).collect()
    }
}

/// The neighbours of a cell of a b x b grid: above, left, right, below, as far as there are.
pub(super) fn neighbours(b: usize, cell: usize) -> impl Iterator<Item = usize> {
    let (row, column) = (cell / b, cell % b);
    let near = [
        (row > 0).then(|| cell - b),
        (column > 0).then(|| cell - 1),
        (column + 1 < b).then(|| cell + 1),
        (row + 1 < b).then(|| cell + b),
    ];
    near.into_iter().flatten()
}

/// Every two neighbours of a b x b grid, once.
pub(super) fn edges(b: usize) -> impl Iterator<Item = (usize, usize)> {
    let after = move |cell| neighbours(b, cell).filter(move |other| *other > cell);
    (0..b * b).flat_map(move |cell| after(cell).map(move |other| (cell, other)))
}

/// The place of the least value, the first of equals; what is not a number is never least.
pub(super) fn first_least(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::INFINITY);
    for (at, value) in values.enumerate() {
        if value < best.1 {
            best = (at, value);
        }
    }
    best.0
}
