//! One step while its script runs: records every verb and, unless it only records, executes it at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use admix_api::{Ask, Plan, Value};
use admix_data::Batch;

use crate::choice::Weights;
use crate::method::cell::{Cell, Id};
use crate::method::clock::Clock;
use crate::method::execute::Values;
use crate::method::report::StepReport;
use crate::method::slots::SlotId;
use crate::method::trace::{Node, Trace};
use crate::method::traced::Traced;
use crate::method::tryout::Tryout;
use crate::param::Param;
use crate::script::sandbox;
use crate::world::World;
use crate::{Error, Result, float32};

/// What happens to a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Recorded, then executed at once.
    Execute,
    /// Recorded only: the trace is executed later.
    Record,
    /// Refused: `weights` and `schedule` only read the clock.
    Clock,
}

/// Verbs allowed in one step. The bundled methods have some twenty.
const MAX_VERBS: usize = 4096;

/// One step in the making.
#[derive(Debug)]
pub struct Frame {
    /// Recording reads it; only executing a verb changes it.
    world: World,
    pub(crate) mode: Mode,
    pub(crate) clock: Clock,
    pub(crate) base_lr: f64,
    pub(crate) base_ema: f64,
    pub(crate) params: BTreeMap<String, Param>,
    pub(crate) weights: BTreeMap<String, f64>,
    /// Weights of choices that `schedule` gave for this step.
    pub(crate) choices: Weights,
    /// Each choice picks the option of this number, counted round, instead of a drawn one.
    pub(crate) turn: Option<usize>,
    /// In dry calls: every mix rests that may, by `prob` or `until`; in the others none does.
    pub(crate) rests: bool,
    /// What the dry calls find out about plans.
    pub(crate) tryout: Tryout,
    /// Plans given from outside, by draw name.
    pub(crate) given: BTreeMap<String, Plan>,
    /// Keys the draws: counts every call of `step`, accumulated ones too.
    pub(crate) draw_step: u64,
    pub(crate) batch: Option<Batch>,
    pub(crate) values: Values,
    /// What the script has asked for in this step.
    pub(crate) asked: Asked,
    /// Every term learned so far in this session, for the check of `weights`.
    pub(crate) learned: BTreeSet<String>,
    /// In dry calls: the entries of the recipe's tables that the method asked for, as "mixers.mix", further views of the images,
    /// as "views.1", and the neck; and whether it keeps tensors for the next step.
    pub(crate) called: BTreeSet<String>,
    pub(crate) keeps: bool,
    /// In dry calls: the heads that a learned term went through, and the groups that were frozen: "net.q.head.one",
    /// "head.online".
    pub(crate) reached: BTreeSet<String>,
}

/// What a script has asked for in one step.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) trace: Trace,
    pub(crate) plans: BTreeMap<Id, Plan>,
    /// Handles of parts of the batch, by name.
    pub(crate) inputs: HashMap<String, Id>,
    /// Last growth of a pass: its graph hangs there.
    pub(crate) grown: HashMap<Id, Id>,
    /// The names of draws, and their lines.
    draws: HashMap<String, usize>,
    /// What the step keeps for the next ones, and the lines that say so.
    pub(crate) kept: HashMap<String, usize>,
    /// How many flips the host has drawn.
    pub(crate) flips: usize,
    /// Passes that drew something.
    pub(crate) passes: usize,
    /// Terms that were learned, and their lines.
    pub(crate) terms: HashMap<String, usize>,
    /// Groups that the step leaves as they are, as "net.q", and the lines that say so.
    pub(crate) frozen: Vec<(String, usize)>,
    /// Nodes whose graph a verb has used up.
    pub(crate) spent: HashMap<Id, Spent>,
}

/// What has used up a graph.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// The verb.
    pub verb: &'static str,
    /// How a script gets by without using the graph again.
    pub remedy: &'static str,
    /// The verb's line.
    pub line: usize,
}

impl Frame {
    /// A frame before any step.
    pub fn new(world: World, base_lr: f64, base_ema: f64) -> Self {
        Self {
            world,
            mode: Mode::Clock,
            clock: Clock { step: 0, steps: 1, epoch: 0, epochs: 1 },
            base_lr,
            base_ema,
            params: BTreeMap::new(),
            weights: BTreeMap::new(),
            choices: Weights::new(),
            turn: None,
            rests: false,
            tryout: Tryout::default(),
            given: BTreeMap::new(),
            draw_step: 0,
            batch: None,
            values: Values::default(),
            asked: Asked::default(),
            learned: BTreeSet::new(),
            called: BTreeSet::new(),
            keeps: false,
            reached: BTreeSet::new(),
        }
    }

    /// Remembers in dry calls that the method asked for an entry of a table of the recipe, or another part of it.
    pub(crate) fn call(&mut self, table: &str, name: &str) {
        if self.turn.is_some() {
            self.called.insert(format!("{table}.{name}"));
        }
    }

    /// The state that the step works on.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The same, to change: for a session, between verbs.
    pub(crate) fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// In dry calls: lets the mixer of this number try plans; see [`Tryout::plans`].
    ///
    /// # Errors
    /// A plan failed.
    pub(crate) fn try_plans(&mut self, mixer: usize, ask: &Ask) -> Result<()> {
        if self.turn.is_some() { self.tryout.plans(&self.world, mixer, ask) } else { Ok(()) }
    }

    /// At the end of the dry calls, the same for mixers that none of them mixed by; see [`Tryout::rest`].
    ///
    /// # Errors
    /// A plan failed.
    pub(crate) fn try_rest(&mut self, shape: [i64; 4]) -> Result<()> {
        self.turn = None;
        self.tryout.rest(&self.world, shape)
    }

    /// Starts a step on a batch.
    pub fn begin(&mut self, batch: Batch, mode: Mode, detail: bool, accumulate: usize) {
        self.mode = mode;
        self.batch = Some(batch);
        self.values = Values { detail, accumulate, ..Values::default() };
        self.asked = Asked::default();
    }

    /// Ends a step: lets go of the batch, all handles and what was frozen.
    pub fn end(&mut self) -> StepReport {
        if !self.asked.frozen.is_empty() {
            self.world.optimizer.thaw();
            self.asked.frozen.clear();
        }
        self.mode = Mode::Clock;
        self.batch = None;
        self.values.cells.clear();
        std::mem::take(&mut self.values.report)
    }

    /// Ends a step that only recorded, and takes out what it recorded. What it froze, its execution freezes and thaws.
    ///
    /// # Errors
    /// No step is being recorded.
    pub(crate) fn traced(&mut self) -> Result<Traced> {
        let batch = self.batch.take().ok_or_else(|| Error::Input("no batch".into()))?;
        self.mode = Mode::Clock;
        let Asked { trace, plans, .. } = std::mem::take(&mut self.asked);
        Ok(Traced { trace, plans, batch })
    }

    /// Records a node and, when executing, runs it.
    pub(crate) fn push(&mut self, node: Node) -> Result<Id> {
        let _outside = sandbox::outside();
        if self.mode == Mode::Clock {
            return Err(Error::Input(
                "only `step` may work on tensors; `params`, `weights` and `schedule` read the clock".into(),
            ));
        }
        let nodes = &mut self.asked.trace.nodes;
        let id = nodes.len();
        if id >= MAX_VERBS {
            return Err(Error::Input(format!(
                "this step ran more than {MAX_VERBS} verbs, and what they make stays in memory until it ends: is there a \
                 loop that does not end?"
            )));
        }
        nodes.push(node);
        if self.mode == Mode::Execute {
            let Some(batch) = &self.batch else { return Err(Error::Input("no batch".into())) };
            nodes[id].execute(id, &mut self.world, batch, &mut self.values)?;
        }
        Ok(id)
    }

    /// A slot for a number of `what`.
    ///
    /// # Errors
    /// float32 does not hold it.
    pub(crate) fn slot(&mut self, what: impl Fn() -> String, value: f64) -> Result<SlotId> {
        if !float32::holds(value) {
            return Err(Error::Input(format!("{} is {}", what(), float32::refused(value))));
        }
        let slot = self.asked.trace.number(value);
        if self.mode == Mode::Execute {
            self.values.slots.number(self.world.device, slot, value)?;
        }
        Ok(slot)
    }

    /// Keeps the plan of the node that is recorded next, which `what` made.
    ///
    /// # Errors
    /// float32 does not hold one of its numbers.
    pub(crate) fn planned(&mut self, what: impl Fn(&World) -> String, plan: Plan) -> Result<()> {
        for (name, value) in plan.values() {
            let bad = match value {
                Value::Float(one) => Some(*one).filter(|one| !float32::holds(*one)),
                Value::Floats(all) => all.iter().copied().find(|one| !float32::holds(*one)),
                Value::Int(_) | Value::Ints(_) => None,
            };
            if let Some(bad) = bad {
                let what = what(&self.world);
                return Err(Error::Input(format!("{what} planned the `{name}` {}", float32::refused(bad))));
            }
        }
        let id = self.asked.trace.nodes.len();
        if self.mode == Mode::Execute {
            self.values.slots.plan(self.world.device, id, &plan)?;
        }
        self.asked.plans.insert(id, plan);
        Ok(())
    }

    /// Notes the name of a draw, which a step uses once.
    pub(crate) fn drawn(&mut self, name: &str, line: usize) {
        self.asked.draws.insert(name.to_string(), line);
    }

    /// Refuses the name of a draw that the step has used.
    pub(crate) fn refuse_drawn(&self, name: &str) -> Result<()> {
        match self.asked.draws.get(name) {
            None => Ok(()),
            Some(first) => Err(Error::Input(format!(
                "the draw name `{name}` was used in line {first} already; each mix (`as`) and each draw of a step needs its own"
            ))),
        }
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.asked.trace.nodes[id]
    }

    /// Those of the handles whose values carry a graph.
    pub(crate) fn with_graph(&self, ids: impl IntoIterator<Item = Id>) -> Vec<Id> {
        ids.into_iter().filter(|id| self.node(*id).graph).collect()
    }

    /// The shape of a tensor, where it is known before or by executing.
    pub(crate) fn size(&self, id: Id) -> Option<Vec<i64>> {
        let executed = || match self.values.cells.get(id)? {
            Cell::Tensor(tensor) => Some(tensor.size()),
            _ => None,
        };
        self.node(id).shape.map(Vec::from).or_else(executed)
    }

    /// The shape of images, where it is known before or by executing.
    pub(crate) fn shape(&self, id: Id) -> Option<[i64; 4]> {
        let executed = || match self.values.cells.get(id)? {
            Cell::Tensor(tensor) => tensor.size4().ok().map(|(n, c, h, w)| [n, c, h, w]),
            _ => None,
        };
        self.node(id).shape.or_else(executed)
    }
}
