//! A backbone from outside whose maps are tokens with a class token, and whose passes take draws.

use admix_api::prelude::*;
use admix_api::schemars;
use admix_engine::{Clock, Execution, Method, Recipe, Session, Shape, StepOptions, bundled};
use admix_models::{Backbone, BackboneConfig, BatchNorm2d, Conv2d, Conv2dConfig, Grid, Map, Pass};

use super::{batch, differing};

/// Patches of 4x4 pixels and a class token; two blocks that add a mean over all tokens times a matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Patches {
    /// Share of the samples that skip a block in training.
    drop: f64,
}

impl Default for Patches {
    fn default() -> Self {
        Self { drop: 0.5 }
    }
}

admix_models::backbone! { Patches, "Patches", "patches", "tokens that skip blocks", source: "no paper" }

const WIDTH: i64 = 8;

#[derive(Debug)]
struct Net {
    drop: f64,
    patches: Conv2d,
    class: Tensor,
    blocks: [Tensor; 2],
}

impl BackboneConfig for Patches {
    fn build(&self, path: &Path, in_channels: i64) -> admix_models::Result<Box<dyn Backbone>> {
        let shape = Conv2dConfig { stride: 4, padding: 0, ..Conv2dConfig::new(in_channels, WIDTH, 4) };
        let parameter = |name: &str, shape: &[i64]| {
            path.parameter(name, shape, admix_api::Init::Normal(0.3), Hints::default())
        };
        Ok(Box::new(Net {
            drop: self.drop,
            patches: Conv2d::new(&path.sub("patches"), shape)?,
            class: parameter("class", &[1, 1, WIDTH])?,
            blocks: [parameter("block1", &[WIDTH, WIDTH])?, parameter("block2", &[WIDTH, WIDTH])?],
        }))
    }
}

impl Backbone for Net {
    fn stages(&self) -> usize {
        self.blocks.len()
    }

    fn stage(&self, index: usize, map: &Map, pass: &Pass) -> admix_models::Result<Map> {
        let Some(below) = index.checked_sub(1) else {
            let cells = self.patches.forward(map.tensor())?;
            let (n, _, height, width) = cells.size4()?;
            let class = self.class.f_expand([n, 1, WIDTH], false)?;
            let tokens = Tensor::f_cat(&[class, cells.f_flatten(2, 3)?.f_transpose(1, 2)?], 1)?;
            return Map::tokens(tokens, Grid { beside: 1, height, width });
        };
        let tokens = map.tensor();
        let mixed = tokens.f_add(&tokens.f_mean_dim([1].as_slice(), true, None::<Kind>)?)?;
        let mut branch = mixed.f_matmul(&self.blocks[below])?.f_tanh()?;
        assert_eq!(pass.drops.is_some(), pass.train, "a pass in train mode is given draws");
        if let Some(drops) = &pass.drops {
            assert_eq!(drops.size(), [2, tokens.size()[0]]);
            let kept = drops.f_select(0, below as i64)?.f_ge(self.drop)?.f_to_kind(branch.kind())?;
            branch = branch.f_mul(&kept.f_reshape([-1, 1, 1])?)?;
        }
        Ok(map.like(tokens.f_add(&branch)?))
    }

    fn channels(&self, stage: usize) -> i64 {
        if stage <= self.stages() { WIDTH } else { 0 }
    }

    fn batch_norms(&self) -> Vec<&BatchNorm2d> {
        Vec::new()
    }

    fn drops(&self) -> usize {
        self.blocks.len()
    }
}

/// A session of a method with this backbone, and more of a recipe.
fn session(method: &str, model: &str, more: &str) -> Session {
    admix_torch::set_threads(1);
    let mut registry = admix_engine::registry().expect("a registry");
    registry.add(Patches::entry()).expect("a free name");
    let text = format!(
        r#"(epochs: 4, batch: 8, method: "any", seed: 3, optimizer: Sgd(lr: 0.05), model: {model}, {more})"#
    );
    let recipe = Recipe::parse(&text, "test.ron", &[], &registry).unwrap_or_else(|error| panic!("{error}"));
    let method =
        Method::compile(bundled::script(method).expect("a script").0, "test.rhai").expect("a method");
    let clock = Clock { step: 0, steps: 12, epoch: 0, epochs: 4 };
    Session::build(&recipe, method, &registry, Shape::new(3, 5), clock, Device::Cpu)
        .unwrap_or_else(|error| panic!("{error}"))
}

const HIDDEN: &str = r#"mixers: {"mix": ManifoldMix(stages: [1])},"#;
const AMIX: &str = r#"heads: ["one", "mix"], pairs: [(momentum: 0.9)], mixers: {"amix": AMix(stage: 1)},"#;

fn run(mut session: Session, execution: Execution) -> Session {
    for number in 0..4 {
        let options = StepOptions { execution, ..StepOptions::default() };
        session.step_with(vec![batch(number, 8)], &options).unwrap_or_else(|error| panic!("{error}"));
    }
    session
}

#[test]
fn draws_of_a_pass_are_slots_that_recorded_steps_fill_anew() {
    for (method, more) in [("mixup", HIDDEN), ("amix", AMIX)] {
        let build = |model: &str| session(method, model, more);
        let direct = run(build("Patches()"), Execution::Direct);
        let recorded = run(build("Patches()"), Execution::Recorded);
        assert_eq!(differing(&direct.tensors(), &recorded.tensors()), Vec::<String>::new(), "{method}");
        assert_eq!(recorded.recorded_variants(), 1, "{method}");
        // The draws do count.
        let all = run(build("Patches(drop: 0.0)"), Execution::Direct);
        let moved = differing(&direct.tensors(), &all.tensors());
        assert!(moved.iter().any(|name| name == "net.q.backbone.block2"), "{method}: {moved:?}");
    }
}

#[test]
fn stages_that_run_again_drop_what_they_dropped() {
    let stages = "recompute_stages: [0, 1, 2],";
    for (method, more) in [("mixup", HIDDEN), ("amix", AMIX)] {
        let kept = run(session(method, "Patches()", more), Execution::Direct).tensors();
        let again =
            run(session(method, "Patches()", &format!("{stages} {more}")), Execution::Direct).tensors();
        for (name, kept) in &kept {
            assert!(
                kept.kind() != Kind::Float || kept.allclose(&again[name], 1e-4, 1e-6, false),
                "{method}: {name}"
            );
        }
    }
}

#[test]
fn a_hidden_mix_mixes_the_class_token_by_its_share() {
    let session = session("mixup", "Patches(drop: 0.0)", HIDDEN);
    let world = session.world();
    let network = &world.nets[0].network;
    let map = network.backbone().forward_to(1, &batch(0, 8).images, &Pass::EVALUATE).expect("a map");
    let partner = Tensor::arange(8, (Kind::Int64, Device::Cpu)).flip([0]);
    let share = Tensor::from_slice(&[0.25f32]).reshape([1, 1, 1, 1]);
    let mixed = Mixed::hidden(1, &batch(0, 8).images, share, partner.copy(), Tensor::from(0.25f32));
    let blended = map.blended(&map, |own, theirs| Ok::<_, admix_models::Error>(mixed.blended(own, theirs)?));
    let wanted = map.tensor() * 0.25 + map.tensor().index_select(0, &partner) * 0.75;
    assert!(blended.expect("a mix").tensor().allclose(&wanted, 1e-5, 1e-6, false));
}
