//! Minimum cuts of small flow networks, on the host.
//!
//! Source  the maximum flow by blocking flows along shortest ways (Dinic, 1970).

/// More than any flow, less than overflows.
const ENDLESS: i64 = 1 << 60;

/// A flow network of whole numbers. Edge `e` and its reverse `e ^ 1` stand together.
#[derive(Debug, Default)]
pub(super) struct Network {
    nodes: usize,
    edges_of: Vec<Vec<u32>>,
    to: Vec<u32>,
    room: Vec<i64>,
    depth: Vec<u32>,
    next: Vec<u32>,
    queue: Vec<usize>,
}

impl Network {
    /// Starts again with these nodes and no edges, in the memory that is there.
    pub(super) fn clear(&mut self, nodes: usize) {
        self.nodes = nodes;
        self.edges_of.iter_mut().for_each(Vec::clear);
        if self.edges_of.len() < nodes {
            self.edges_of.resize_with(nodes, Vec::new);
        }
        self.to.clear();
        self.room.clear();
    }

    /// An edge with this much room, and as much as `back` the other way.
    pub(super) fn join(&mut self, from: usize, to: usize, room: i64, back: i64) {
        for (start, end, room) in [(from, to, room), (to, from, back)] {
            self.edges_of[start].push(self.to.len() as u32);
            self.to.push(end as u32);
            self.room.push(room);
        }
    }

    /// Sets how far each node is from the source along edges with room, 0 where there is no way; says if there is one to
    /// the sink.
    fn explore(&mut self, source: usize, sink: usize) -> bool {
        self.depth.clear();
        self.depth.resize(self.nodes, 0);
        self.depth[source] = 1;
        self.queue.clear();
        self.queue.push(source);
        let mut at = 0;
        while let Some(&node) = self.queue.get(at) {
            at += 1;
            for &edge in &self.edges_of[node] {
                let to = self.to[edge as usize] as usize;
                if self.room[edge as usize] > 0 && self.depth[to] == 0 {
                    self.depth[to] = self.depth[node] + 1;
                    self.queue.push(to);
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

    /// Finds a minimum cut: the room that is left is that after a maximum flow. Ask [`Network::is_on_source_side`] then.
    pub(super) fn cut(&mut self, source: usize, sink: usize) {
        while self.explore(source, sink) {
            self.next.clear();
            self.next.resize(self.nodes, 0);
            self.push(source, sink, ENDLESS);
        }
    }

    /// Whether a node is on the source's side of the minimum cut.
    pub(super) fn is_on_source_side(&self, node: usize) -> bool {
        self.depth[node] > 0
    }
}
