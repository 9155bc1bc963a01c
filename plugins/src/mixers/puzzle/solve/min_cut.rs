//! The exact optimum by one minimum cut, on the host.
//!
//! Source  the level sets of `icm` as nodes of a network (Ishikawa, TPAMI 2003): cells on the source's side have
//!         z_k = 1, an edge of weight w joins every two levels of neighbours. The maximum flow is Dinic's (1970).
//! Notes   costs are rounded to whole numbers of 2^-40 of the largest, so that no flow is lost to rounding; whole numbers
//!         up to 2^40 stay what they are. Samples are shared among threads. Waits for the device.

use admix_api::prelude::*;

use super::super::Problem;
use super::Solve;

/// The exact solver for any grid.
#[derive(Debug, Clone, Copy, Default)]
pub struct MinCut;

/// More than any flow, less than overflows.
const ENDLESS: i64 = 1 << 60;

/// A flow network. Edge `e` and its reverse `e ^ 1` stand together.
struct Network {
    edges_of: Vec<Vec<u32>>,
    to: Vec<u32>,
    room: Vec<i64>,
    depth: Vec<u32>,
    next: Vec<u32>,
}

impl Network {
    fn new(nodes: usize) -> Self {
        Self {
            edges_of: vec![Vec::new(); nodes],
            to: Vec::new(),
            room: Vec::new(),
            depth: vec![0; nodes],
            next: vec![0; nodes],
        }
    }

    fn join(&mut self, from: usize, to: usize, room: i64, back: i64) {
        for (start, end, room) in [(from, to, room), (to, from, back)] {
            self.edges_of[start].push(self.to.len() as u32);
            self.to.push(end as u32);
            self.room.push(room);
        }
    }

    /// Sets how far each node is from the source along edges with room, 0 where there is no way; says if there is one to
    /// the sink.
    fn explore(&mut self, source: usize, sink: usize) -> bool {
        self.depth.fill(0);
        self.depth[source] = 1;
        let mut queue = vec![source];
        let mut at = 0;
        while let Some(&node) = queue.get(at) {
            at += 1;
            for &edge in &self.edges_of[node] {
                let to = self.to[edge as usize] as usize;
                if self.room[edge as usize] > 0 && self.depth[to] == 0 {
                    self.depth[to] = self.depth[node] + 1;
                    queue.push(to);
                }
            }
        }
        self.depth[sink] > 0
    }

    /// Pushes flow from a node on to the sink, each edge one step deeper.
    fn push(&mut self, node: usize, sink: usize, limit: i64) -> i64 {
        if node == sink {
            return limit;
        }
        let mut pushed = 0;
        while let Some(&edge) = self.edges_of[node].get(self.next[node] as usize) {
            let edge = edge as usize;
            let to = self.to[edge] as usize;
            if self.room[edge] > 0 && self.depth[to] == self.depth[node] + 1 {
                let found = self.push(to, sink, (limit - pushed).min(self.room[edge]));
                self.room[edge] -= found;
                self.room[edge ^ 1] += found;
                pushed += found;
                if pushed == limit {
                    return pushed;
                }
            }
            self.next[node] += 1;
        }
        pushed
    }

    /// Which nodes are on the source's side of a minimum cut.
    fn cut(mut self, source: usize, sink: usize) -> Vec<bool> {
        while self.explore(source, sink) {
            self.next.fill(0);
            self.push(source, sink, ENDLESS);
        }
        self.depth.iter().map(|depth| *depth > 0).collect()
    }
}

/// One sample's costs, in rows.
struct Sample<'a> {
    unary: &'a [f64],
    vertical: &'a [f64],
    horizontal: &'a [f64],
    blocks: usize,
    labels: usize,
}

impl Sample<'_> {
    fn edges(&self) -> impl Iterator<Item = (usize, usize, f64)> {
        let b = self.blocks;
        let down = self.vertical.iter().enumerate().map(move |(i, w)| (i, i + b, *w));
        let right = self.horizontal.iter().enumerate().map(move |(i, w)| {
            let cell = i / (b - 1) * b + i % (b - 1);
            (cell, cell + 1, *w)
        });
        down.chain(right)
    }

    fn solve(&self) -> Vec<i64> {
        let (cells, levels) = (self.blocks * self.blocks, self.labels - 1);
        let a = (levels * levels) as f64;
        let mut degree = vec![0.0; cells];
        for (first, second, weight) in self.edges() {
            degree[first] += weight;
            degree[second] += weight;
        }
        let value = |cell: usize, l: usize| {
            a * self.unary[cell * self.labels + l] - degree[cell] * (l * (levels - l)) as f64
        };
        let rise = |cell: usize, k: usize| value(cell, k + 1) - value(cell, k);
        let all = (0..cells).flat_map(|cell| (0..levels).map(move |k| rise(cell, k)));
        let largest = all.chain(self.edges().map(|edge| edge.2)).fold(0.0, |top: f64, x| top.max(x.abs()));
        let unit = if largest > 0.0 { (40.0 - largest.log2().ceil()).exp2() } else { 0.0 };
        let whole = |cost: f64| (cost * unit).round() as i64;

        let (source, sink) = (cells * levels, cells * levels + 1);
        let mut network = Network::new(cells * levels + 2);
        for cell in 0..cells {
            for k in 0..levels {
                let (node, cost) = (cell * levels + k, whole(rise(cell, k)));
                match cost {
                    1.. => network.join(node, sink, cost, 0),
                    _ => network.join(source, node, -cost, 0),
                }
                if k > 0 {
                    // z_(k + 1) = 1 without z_k = 1 is no label.
                    network.join(node, node - 1, ENDLESS, 0);
                }
            }
        }
        for (first, second, weight) in self.edges() {
            let weight = whole(weight);
            for (k, other) in (0..levels).flat_map(|k| (0..levels).map(move |other| (k, other))) {
                network.join(first * levels + k, second * levels + other, weight, weight);
            }
        }
        let own_side = network.cut(source, sink);
        let label = |cell: usize| own_side[cell * levels..][..levels].iter().filter(|on| **on).count() as i64;
        (0..cells).map(label).collect()
    }
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
        let sample = &|i: usize| Sample {
            unary: &unary[i * cells * labels..][..cells * labels],
            vertical: &vertical[i * edges..][..edges],
            horizontal: &horizontal[i * edges..][..edges],
            blocks,
            labels,
        };
        let mut found = vec![0; count * cells];
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count).max(1);
        let share = count.div_ceil(threads);
        std::thread::scope(|scope| {
            for (part, slots) in found.chunks_mut((share * cells).max(1)).enumerate() {
                scope.spawn(move || {
                    for (i, slot) in slots.chunks_mut(cells).enumerate() {
                        slot.copy_from_slice(&sample(part * share + i).solve());
                    }
                });
            }
        });
        let found = Tensor::f_from_slice(&found)?.f_reshape([n, b, b])?;
        Ok(found.f_to_device(problem.unary.device())?)
    }
}
