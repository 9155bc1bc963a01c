//! The exact optimum by one minimum cut, on the host.
//!
//! Source  the level sets of `icm` as nodes of a network (Ishikawa, TPAMI 2003): cells on the source's side have
//!         z_k = 1, an edge of weight w joins every two levels of neighbours. The maximum flow is Dinic's (1970).
//! Notes   costs are rounded to whole numbers of 2^-40 of the largest, so that no flow is lost to rounding; whole numbers
//!         up to 2^40 stay what they are. Samples are shared among as many threads as libtorch may use. Waits for a
//!         device that is not the host.

use admix_api::prelude::*;
use admix_api::threads;

use super::super::Problem;
use super::Solve;

/// The exact solver for any grid.
#[derive(Debug, Clone, Copy, Default)]
pub struct MinCut;

/// More than any flow, less than overflows.
const ENDLESS: i64 = 1 << 60;

/// How much an arc may carry at first.
#[derive(Clone, Copy)]
enum Room {
    /// The weight of this edge of the grid.
    Edge(usize),
    Endless,
    None,
}

/// The network of a grid, the same for all samples. Node `K cell + k - 1` is level k of a cell. Source and sink are no
/// nodes: a node has a supply instead, from the source or, below 0, to the sink.
struct Network {
    /// Arcs of node `i` are `first[i] .. first[i + 1]`.
    first: Vec<u32>,
    to: Vec<u32>,
    /// The arc in the other direction.
    twin: Vec<u32>,
    room: Vec<Room>,
    cells: usize,
    levels: usize,
}

/// Edges of a grid of b x b cells: first those down, then those to the right, in rows.
fn edges(blocks: usize) -> impl Iterator<Item = (usize, usize)> {
    let down = (0..blocks * (blocks - 1)).map(move |cell| (cell, cell + blocks));
    let right = (0..blocks * (blocks - 1)).map(move |i| {
        let cell = i / (blocks - 1) * blocks + i % (blocks - 1);
        (cell, cell + 1)
    });
    down.chain(right)
}

impl Network {
    fn new(blocks: usize, levels: usize) -> Self {
        let cells = blocks * blocks;
        let mut pairs = Vec::new();
        for (edge, (a, b)) in edges(blocks).enumerate() {
            for (k, other) in (0..levels).flat_map(|k| (0..levels).map(move |other| (k, other))) {
                pairs.push((a * levels + k, b * levels + other, Room::Edge(edge), Room::Edge(edge)));
            }
        }
        for node in (0..cells * levels).filter(|node| node % levels > 0) {
            // z_(k + 1) = 1 without z_k = 1 is no label.
            pairs.push((node, node - 1, Room::Endless, Room::None));
        }
        let nodes = cells * levels;
        let mut first = vec![0u32; nodes + 1];
        for &(a, b, ..) in &pairs {
            first[a + 1] += 1;
            first[b + 1] += 1;
        }
        for node in 0..nodes {
            first[node + 1] += first[node];
        }
        let arcs = 2 * pairs.len();
        let (mut to, mut twin, mut room) = (vec![0; arcs], vec![0; arcs], vec![Room::None; arcs]);
        let mut free = first.clone();
        for (a, b, there, back) in pairs {
            let (one, other) = (free[a], free[b]);
            free[a] += 1;
            free[b] += 1;
            for (arc, end, opposite, space) in [(one, b, other, there), (other, a, one, back)] {
                to[arc as usize] = end as u32;
                twin[arc as usize] = opposite;
                room[arc as usize] = space;
            }
        }
        Self { first, to, twin, room, cells, levels }
    }
}

/// One sample's costs, in rows.
struct Sample<'a> {
    unary: &'a [f64],
    /// Of the edges down, and of those to the right.
    weights: [&'a [f64]; 2],
}

/// What a thread needs for one sample after the other.
struct Flow<'a> {
    network: &'a Network,
    supply: Vec<i64>,
    room: Vec<i64>,
    depth: Vec<u32>,
    next: Vec<u32>,
    queue: Vec<u32>,
    weights: Vec<f64>,
    rise: Vec<f64>,
}

impl<'a> Flow<'a> {
    fn new(network: &'a Network) -> Self {
        let nodes = network.cells * network.levels;
        Self {
            network,
            supply: vec![0; nodes],
            room: vec![0; network.to.len()],
            depth: vec![0; nodes],
            next: vec![0; nodes],
            queue: Vec::with_capacity(nodes),
            weights: Vec::new(),
            rise: vec![0.0; nodes],
        }
    }

    /// Sets supplies and rooms to those of a sample.
    fn fill(&mut self, sample: &Sample<'_>) {
        let (cells, levels) = (self.network.cells, self.network.levels);
        let blocks = cells.isqrt();
        self.weights.clear();
        self.weights.extend(sample.weights.iter().copied().flatten());
        let mut degree = vec![0.0; cells];
        for ((a, b), weight) in edges(blocks).zip(&self.weights) {
            degree[a] += weight;
            degree[b] += weight;
        }
        let a = (levels * levels) as f64;
        for (cell, degree) in degree.iter().enumerate() {
            let value =
                |l: usize| a * sample.unary[cell * (levels + 1) + l] - degree * (l * (levels - l)) as f64;
            for k in 0..levels {
                self.rise[cell * levels + k] = value(k + 1) - value(k);
            }
        }
        let largest = self.rise.iter().chain(&self.weights).fold(0.0, |top: f64, x| top.max(x.abs()));
        let unit = if largest > 0.0 { (40.0 - largest.log2().ceil()).exp2() } else { 0.0 };
        let whole = |cost: f64| (cost * unit).round() as i64;
        for (supply, rise) in self.supply.iter_mut().zip(&self.rise) {
            *supply = -whole(*rise);
        }
        for (room, space) in self.room.iter_mut().zip(&self.network.room) {
            *room = match space {
                Room::Edge(edge) => whole(self.weights[*edge]),
                Room::Endless => ENDLESS,
                Room::None => 0,
            };
        }
    }

    /// Sets how far each node is from the source along arcs with room, 0 where there is no way; says if there is one to
    /// the sink.
    fn explore(&mut self) -> bool {
        let network = self.network;
        self.queue.clear();
        for (node, (depth, supply)) in self.depth.iter_mut().zip(&self.supply).enumerate() {
            *depth = u32::from(*supply > 0);
            if *supply > 0 {
                self.queue.push(node as u32);
            }
        }
        let (mut at, mut reached) = (0, false);
        while let Some(&node) = self.queue.get(at) {
            at += 1;
            let node = node as usize;
            reached |= self.supply[node] < 0;
            for arc in network.first[node] as usize..network.first[node + 1] as usize {
                let to = network.to[arc] as usize;
                if self.room[arc] > 0 && self.depth[to] == 0 {
                    self.depth[to] = self.depth[node] + 1;
                    self.queue.push(to as u32);
                }
            }
        }
        reached
    }

    /// Pushes flow from a node on to the sink, each arc one step deeper.
    fn push(&mut self, node: usize, limit: i64) -> i64 {
        let network = self.network;
        let mut pushed = 0;
        if self.supply[node] < 0 {
            pushed = limit.min(-self.supply[node]);
            self.supply[node] += pushed;
        }
        while pushed < limit && self.next[node] < network.first[node + 1] {
            let arc = self.next[node] as usize;
            let to = network.to[arc] as usize;
            if self.room[arc] > 0 && self.depth[to] == self.depth[node] + 1 {
                let found = self.push(to, (limit - pushed).min(self.room[arc]));
                self.room[arc] -= found;
                self.room[network.twin[arc] as usize] += found;
                pushed += found;
            }
            if pushed < limit {
                self.next[node] += 1;
            }
        }
        pushed
    }

    /// Writes the labels of a sample: how many levels of each cell are on the source's side of a minimum cut.
    fn solve(&mut self, sample: &Sample<'_>, labels: &mut [i64]) {
        self.fill(sample);
        while self.explore() {
            self.next.copy_from_slice(&self.network.first[..self.supply.len()]);
            for node in 0..self.supply.len() {
                if self.supply[node] > 0 {
                    self.supply[node] -= self.push(node, self.supply[node]);
                }
            }
        }
        for (label, levels) in labels.iter_mut().zip(self.depth.chunks(self.network.levels)) {
            *label = levels.iter().filter(|depth| **depth > 0).count() as i64;
        }
    }
}

/// The `i`-th run of so many numbers.
fn part(of: &[f64], i: usize, length: usize) -> &[f64] {
    &of[i * length..][..length]
}

impl Solve for MinCut {
    fn solve(&self, problem: &Problem) -> Result<Tensor> {
        let (n, b, labels) = problem.shape()?;
        let (count, blocks, labels) = (n as usize, b as usize, labels as usize);
        let host = |costs: &Tensor| -> Result<Vec<f64>> {
            let costs = costs.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_contiguous()?;
            Ok(Vec::try_from(costs.f_reshape([-1])?)?)
        };
        let (unary, vertical) = (host(&problem.unary)?, host(&problem.vertical)?);
        let horizontal = host(&problem.horizontal)?;
        let cells = blocks * blocks;
        let edges = cells - blocks;
        let network = &Network::new(blocks, labels - 1);

        let solve = &|start: usize, slots: &mut [i64]| {
            let mut flow = Flow::new(network);
            for (i, slot) in (start..).zip(slots.chunks_mut(cells)) {
                let weights = [part(&vertical, i, edges), part(&horizontal, i, edges)];
                flow.solve(&Sample { unary: part(&unary, i, cells * labels), weights }, slot);
            }
        };
        let mut found = vec![0; count * cells];
        let share = count.div_ceil(threads().max(1)).max(1);
        std::thread::scope(|scope| {
            let mut parts = found.chunks_mut(share * cells).enumerate();
            // The last part is this thread's own.
            let own = parts.next_back();
            for (number, slots) in parts {
                scope.spawn(move || solve(number * share, slots));
            }
            if let Some((number, slots)) = own {
                solve(number * share, slots);
            }
        });
        let found = Tensor::f_from_slice(&found)?.f_reshape([n, b, b])?;
        Ok(found.f_to_device(problem.unary.device())?)
    }
}
