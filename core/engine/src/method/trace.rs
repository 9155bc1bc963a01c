//! The trace of a step: what the script asked for, in order. Verbs record here first and are executed from here.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// A handle that a script holds: the index of the node that made it.
pub type Id = usize;

/// An index into the step's numbers. Every number that reaches a verb is one, so that a replay can refill it.
pub type SlotId = usize;

/// What the batch offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// `[N, C, H, W]`, normalised: the first view.
    Images,
    /// Another view of the same images, from 1.
    View(usize),
    /// `[N]` int64.
    Labels,
    /// `[N]` int64: which samples of the data set these are.
    Index,
    /// `[1, C, 1, 1]`: an image is `(pixel - mean) / std`.
    Mean,
    /// `[1, C, 1, 1]`.
    Std,
}

/// How far a pass must have gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reach {
    /// The output of this stage.
    Stage(usize),
    /// The logits of this head.
    Head(String),
    /// The embedding, not normalised.
    Embedding,
    /// All stages, nothing returned: so that every BatchNorm sees the batch.
    End,
}

/// The inputs of a mix, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MixArguments {
    /// Index of the mixer.
    pub mixer: usize,
    /// Index of the mixer that the script named: the same, or the choice that picked it.
    pub named: usize,
    /// The draw's own name, unique in a step.
    pub draw: String,
    /// `images`, `features`, ... and their handles.
    pub inputs: Vec<(String, Id)>,
    /// Without graph, for the encoder only.
    pub quiet: bool,
}

/// What a step asks of a clusterer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BankVerb {
    /// The labels of samples.
    Labels {
        /// `[N]` int64: which.
        index: Id,
    },
    /// The weight of each label.
    ClassWeight,
    /// New embeddings of samples.
    Update {
        /// `[N]` int64: which.
        index: Id,
        /// `[N, D]`.
        embeddings: Id,
    },
}

/// One operation of a step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    /// Something of the batch.
    Input(Input),
    /// A pass of a network over images; nothing runs yet.
    Pass {
        /// Index of the network.
        net: usize,
        /// Images or a mix.
        input: Id,
        /// Train mode, or evaluation mode.
        train: bool,
        /// Where a hidden mix takes the partners' maps from, if not from the same pass: other images.
        partners: Option<Id>,
    },
    /// The same values without a graph, as a leaf that gradients can be asked for.
    Leaf {
        /// Of what.
        of: Id,
    },
    /// A pass runs on until it has this.
    Grow {
        /// The pass.
        pass: Id,
        /// How far.
        to: Reach,
    },
    /// A mix.
    Mix(MixArguments),
    /// The target of a mix for these labels.
    Target {
        /// The mix.
        mix: Id,
        /// `[N]` int64.
        labels: Id,
    },
    /// What a mix stands for in a contrast: the keys of its sources.
    Contrast {
        /// The mix.
        mix: Id,
        /// `[N, D]`: the keys.
        keys: Id,
        /// `[N, D]`: those of other images than the own one, if not the same.
        partner_keys: Option<Id>,
    },
    /// The entries of a queue, as they are before the step.
    Queue {
        /// Index of the queue.
        queue: usize,
    },
    /// Keys for a queue, which takes them in after the step.
    Enqueue {
        /// Index of the queue.
        queue: usize,
        /// `[N, D]`.
        keys: Id,
    },
    /// A linear head on embeddings.
    Head {
        /// Index of the head.
        head: usize,
        /// `[N, D]`.
        input: Id,
    },
    /// A tensor of a mix: "images", "mask", "lambda" or an extra.
    Part {
        /// The mix.
        mix: Id,
        /// Which.
        name: String,
    },
    /// A loss.
    Loss {
        /// Index of the loss.
        loss: usize,
        /// Its arguments in order.
        arguments: Vec<Id>,
    },
    /// Backward pass of a weighted sum.
    Learn {
        /// Name, value, weight.
        terms: Vec<(String, Id, SlotId)>,
        /// The leaf whose gradient is handed back.
        input_grad: Option<Id>,
    },
    /// The gradient of a loss for one input, without any for parameters.
    Gradient {
        /// The loss.
        of: Id,
        /// What it is asked for.
        input: Id,
    },
    /// Random numbers, from a plan of their own.
    Draw {
        /// The draw's own name, unique in a step.
        name: String,
        /// One number, or a field in the shape of this tensor.
        like: Option<Id>,
    },
    /// An operation of the tensor vocabulary.
    Tensor {
        /// Its name.
        verb: &'static str,
        /// Tensors.
        arguments: Vec<Id>,
        /// Numbers that change between steps.
        numbers: Vec<SlotId>,
        /// Numbers that fix the shape of the result (axes, sizes).
        sizes: Vec<i64>,
    },
    /// Something of a clusterer.
    Bank {
        /// Index of the clusterer.
        bank: usize,
        /// What.
        verb: BankVerb,
    },
    /// From here on the parameters of a group get no gradient in this step, and its optimiser leaves them alone.
    Freeze {
        /// As parameters are named: "net.q.backbone", "mixer.amix".
        group: String,
    },
    /// A value for the log.
    Log {
        /// Its key.
        name: String,
        /// A scalar or anything that has a mean.
        value: Id,
    },
}

/// An operation and where the script asked for it.
#[derive(Debug, Clone)]
pub struct Node {
    /// What.
    pub op: Op,
    /// Line and column in the script, from 1.
    pub at: (usize, usize),
    /// Whether the result carries a graph.
    pub graph: bool,
    /// Nodes with a graph that this one depends on.
    pub parents: Vec<Id>,
    /// `[N, C, H, W]` where it is known without executing.
    pub shape: Option<[i64; 4]>,
}

/// All operations of a step and its numbers.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// In the order of execution.
    pub nodes: Vec<Node>,
    /// The numbers, by slot.
    pub numbers: Vec<f64>,
}

impl Trace {
    /// Adds a number.
    pub fn number(&mut self, value: f64) -> SlotId {
        self.numbers.push(value);
        self.numbers.len() - 1
    }

    /// Two traces of one hash (and one structure of each plan) are the same work with other numbers.
    pub fn hash(&self, structures: &[u64]) -> u64 {
        let mut hasher = DefaultHasher::new();
        for node in &self.nodes {
            node.op.hash(&mut hasher);
            node.shape.hash(&mut hasher);
        }
        structures.hash(&mut hasher);
        hasher.finish()
    }
}
