//! `p.features`, `p.logits`, `p.embed`, ...: what a pass is asked for, and how it runs on until it has that.

use crate::method::handle::{Call, PassHandle, TensorHandle, record, tensor};
use crate::method::recompute::{self, Segment};
use crate::method::verb::mix;
use crate::method::verb::pass::Pass;
use crate::method::{
    Cell, Entry, Executing, Frame, Growing, HiddenMix, Id, Node, Op, Operand, Outcome, Place, line,
};
use crate::text;
use crate::world::World;
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line("`p.features(mixer)`", "the map of the stage that this mixer reads"),
        line("`p.features(stage)`", "the map of a stage: 0 is the stem, then from 1"),
        line(
            "`p.attention()`",
            "how much the class token attends to each cell in the last block, the mean over heads: `[N, h, w]` without a graph; a \
             row sums to less than 1. For a ViT, and before the logits",
        ),
        line("`p.logits(head)`", "the output of a head, `[N, classes]`"),
        line(
            "`p.embed()`",
            "the embedding, `[N, D]`: through the recipe's `neck`, or without one the mean over the last map's cells",
        ),
        line("`p.unit()`", "the same, L2-normalised"),
        line(
            "`p.finish()`",
            "nothing; the pass runs through all stages, so that every BatchNorm sees the batch",
        ),
    ],
    register: |engine| {
        fn grown(call: &Call<'_>, p: &PassHandle, to: Reach) -> Outcome<TensorHandle> {
            tensor(call, &p.frame, |frame, at| grow(frame, p.id, to, at))
        }
        engine.register_fn("features", |call: Call<'_>, p: &mut PassHandle, mixer: &str| {
            tensor(&call, &p.frame, |frame, at| {
                let stage = stage_of(frame, mixer)?;
                grow(frame, p.id, Reach::Stage(stage), at)
            })
        });
        engine.register_fn("features", |call: Call<'_>, p: &mut PassHandle, stage: i64| {
            tensor(&call, &p.frame, |frame, at| {
                let stage = usize::try_from(stage);
                let stage = stage.map_err(|_| Error::Input("a stage is a number from 0".into()))?;
                grow(frame, p.id, Reach::Stage(stage), at)
            })
        });
        engine.register_fn("logits", |call: Call<'_>, p: &mut PassHandle, head: &str| {
            grown(&call, p, Reach::Head(head.into()))
        });
        engine.register_fn("attention", |call: Call<'_>, p: &mut PassHandle| {
            // The pass behind it has a graph; what is handed out has none.
            let shares = grown(&call, p, Reach::Attention)?;
            TensorHandle::apply(&call, "detach", &[shares], &[], &[])
        });
        engine.register_fn("embed", |call: Call<'_>, p: &mut PassHandle| grown(&call, p, Reach::Embedding));
        engine.register_fn("unit", |call: Call<'_>, p: &mut PassHandle| {
            let embedding = grown(&call, p, Reach::Embedding)?;
            TensorHandle::apply(&call, "unit", &[embedding], &[], &[])
        });
        engine.register_fn("finish", |call: Call<'_>, p: &mut PassHandle| {
            record(&call, &p.frame, |frame, at| grow(frame, p.id, Reach::End, at).map(drop))
        });
    },
};

/// How far a pass must have gone.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// The output of this stage.
    Stage(usize),
    /// What the class token attends to in the last stage, which comes next.
    Attention,
    /// The logits of this head.
    Head(String),
    /// The embedding, not normalised.
    Embedding,
    /// All stages, nothing returned.
    End,
}

/// A pass runs on until it has this.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Grow {
    pass: Id,
    /// Index of its network.
    net: usize,
    to: Reach,
}

/// The stage that a mixer of this name reads.
fn stage_of(frame: &Frame, mixer: &str) -> Result<usize> {
    let world = frame.world();
    let unit = &world.mixers[mix::index(world, mixer)?];
    let none = || Error::Input(format!("mixer `{mixer}` ({}) reads no features", unit.plugin));
    unit.needs.features.ok_or_else(none)
}

/// Lets a pass run on until it has this.
///
/// # Errors
/// No pass, or something that its network does not have.
pub fn grow(frame: &mut Frame, pass: Id, to: Reach, at: Place) -> Result<Id> {
    let Some(&Pass { net, .. }) = frame.node(pass).get() else {
        return Err(Error::Input("expected a pass".into()));
    };
    if to == Reach::Embedding {
        frame.call("neck", "");
    }
    {
        let world = frame.world();
        let network = &world.nets[net].network;
        let stages = network.backbone().stages();
        match &to {
            Reach::Head(head) => {
                text::find("head", head, "the recipe has", || network.head_names().into_iter())?;
            }
            Reach::Stage(stage) if *stage > stages => {
                return Err(Error::Input(format!("no stage {stage}; the network has {stages} stages")));
            }
            _ => {}
        }
    }
    // A pass is one chain: what comes later hangs on what ran before.
    let before = frame.asked.grown.get(&pass).copied().unwrap_or(pass);
    let parents = frame.with_graph([pass, before]);
    let id = frame.push(Node::of(Grow { pass, net, to }, at).after(parents))?;
    frame.asked.grown.insert(pass, id);
    Ok(id)
}

impl Op for Grow {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        // Out of its cell while it runs, as it may look at that of its mix. An error ends the step.
        let cell = std::mem::replace(&mut step.values.cells[self.pass], Cell::Done);
        let Cell::Pass(mut pass) = cell else { return Err(Error::Input("expected a pass".into())) };
        self.run(step, &mut pass)?;
        let result = self.result(step.world, &mut pass)?;
        step.values.cells[self.pass] = Cell::Pass(pass);
        Ok(result)
    }

    fn label(&self, world: &World) -> String {
        let verb = if self.to == Reach::End { "finish" } else { "pass" };
        format!("{verb} {}", world.nets[self.net].name)
    }

    fn head(&self, world: &World) -> Option<String> {
        let Reach::Head(head) = &self.to else { return None };
        Some(format!("net.{}.head.{head}", world.nets[self.net].name))
    }

    fn grows(&self) -> Option<Id> {
        Some(self.pass)
    }
}

impl Grow {
    /// Runs stages. A hidden mix happens as soon as its stage has run: first all stages below it over the own images, then,
    /// if partners come from other images, the same stages over those.
    fn run(&self, step: &mut Executing<'_>, pass: &mut Growing) -> Result<()> {
        let world = &*step.world;
        let backbone = world.nets[self.net].network.backbone();
        let target = match &self.to {
            Reach::Stage(stage) => *stage,
            Reach::Attention => backbone.stages().saturating_sub(1),
            Reach::Head(_) | Reach::Embedding | Reach::End => backbone.stages(),
        };
        while pass.next <= target {
            let again = world.recompute_stages.contains(&pass.next);
            pass.map = if again && recompute::is_wanted(world, self.net, pass.map.tensor()) {
                let segment = Segment::run(world, (self.net, pass.next), &pass.map, &pass.run)?;
                let output = segment.output();
                step.values.segments.push(segment);
                output
            } else {
                backbone.stage(pass.next, &pass.map, &pass.run)?
            };
            if let Some(HiddenMix { mix, partners, .. }) = pass.hidden.take_if(|h| h.stage == pass.next) {
                let Cell::Mix(mixed, _) = &step.values.cells[mix] else {
                    return Err(Error::Input("expected a mix".into()));
                };
                let own = pass.map_back(&pass.map)?;
                let theirs = match partners {
                    Some(images) => {
                        let images = pass.ordered(&images)?;
                        let map = backbone.forward_to(pass.next, &images, &pass.run)?;
                        pass.map_back(&map)?
                    }
                    None => own.like(own.tensor().shallow_clone()),
                };
                let blended =
                    own.blended(&theirs, |own, theirs| Ok::<_, Error>(mixed.blended(own, theirs)?))?;
                pass.map = blended.like(pass.ordered(blended.tensor())?);
            }
            if world.kept_stages.contains(&pass.next) {
                pass.kept.insert(pass.next, pass.map.like(pass.map.tensor().shallow_clone()));
            }
            pass.next += 1;
        }
        Ok(())
    }

    /// What a pass that is far enough gives.
    fn result(&self, world: &World, pass: &mut Growing) -> Result<Cell> {
        let network = &world.nets[self.net].network;
        let rows = match &self.to {
            Reach::Stage(stage) if *stage + 1 == pass.next => pass.ordered_back(&pass.map.cells()?)?,
            Reach::Stage(stage) => {
                let map = pass.kept.get(stage).ok_or_else(|| {
                    Error::Input(format!(
                        "the pass is already past stage {stage} and did not keep its features: ask for them before \
                         the logits"
                    ))
                })?;
                pass.ordered_back(&map.cells()?)?
            }
            Reach::Attention => {
                let shares = network.backbone().attention(&pass.map)?.ok_or_else(|| {
                    let name = &world.nets[self.net].name;
                    Error::Input(format!(
                        "network `{name}` has no class token, so no attention of one; a ViT has"
                    ))
                })?;
                if pass.next > network.backbone().stages() {
                    let wanted =
                        "the pass is already past the last block: ask for the attention before the logits";
                    return Err(Error::Input(wanted.into()));
                }
                pass.ordered_back(&shares)?
            }
            Reach::Head(head) => {
                pass.ordered_back(&network.forward_head(head, &pass.map, pass.run.train)?)?
            }
            Reach::Embedding => match &pass.embedding {
                Some(embedding) => embedding.shallow_clone(),
                None => {
                    let embedding = pass.ordered_back(&network.embed(&pass.map, pass.run.train)?)?;
                    pass.embedding.insert(embedding).shallow_clone()
                }
            },
            Reach::End => return Ok(Cell::Done),
        };
        Ok(Cell::Tensor(rows))
    }
}
