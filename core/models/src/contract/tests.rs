//! Every entry keeps the contract; a backbone with one vice breaks the right promise.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use admix_api::contract::{Outcome, Verdict, check, table};
use admix_api::{Describe, Entry, Hints, Init, Path, Registry, erased_serde};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::*;
use crate::{BatchNorm2d, Conv2d, Conv2dConfig, Grid};

/// libtorch has one generator for the process, so what draws from it and what watches it take turns.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn more_settings(name: &str) -> Vec<Json> {
    match name {
        "resnet" => vec![json!({"depth": 34, "width": 0.05}), json!({"depth": 50, "stem": "Large"})],
        "resnext" => {
            vec![json!({"stem": "Large", "width": 0.5}), json!({"depth": 101, "groups": 64, "width": 0.1})]
        }
        "swin" => vec![json!({"drop_path": 0.0, "patch": 2, "window": 4})],
        "vit" => vec![json!({"drop_path": 0.0, "patch": 16, "image": 224})],
        "wideresnet" => vec![json!({"depth": 16, "width": 1.0})],
        "convnet" => {
            vec![json!({"widths": [5], "strides": [1]}), json!({"widths": [4, 9], "strides": [3, 1]})]
        }
        _ => vec![],
    }
}

fn named(verdicts: &[Verdict], which: fn(&Outcome) -> bool) -> Vec<&'static str> {
    verdicts.iter().filter(|verdict| which(&verdict.outcome)).map(|verdict| verdict.promise).collect()
}

#[test]
fn every_entry_keeps_the_contract() {
    let _alone = alone();
    let registry = Registry::linked().expect("entries");
    assert!(registry.of::<dyn Backbone>().count() >= 3);
    for entry in registry.of::<dyn Backbone>() {
        let verdicts = check(entry, &[vec![json!({})], more_settings(&entry.name)].concat());
        assert!(!verdicts.iter().any(Verdict::is_broken), "{entry:?}\n{}", table(&verdicts));
        // A check that looks at nothing finds nothing broken.
        let idle = named(&verdicts, |outcome| matches!(outcome, Outcome::NotApplicable { .. }));
        let hosted = "leaves alpha, per, fold and partner to the host";
        // A ConvNet is small as it is; dry runs build every other network at toy width.
        let small = if entry.name == "convnet" { NARROW } else { hosted };
        let reader = entry.reader::<dyn Backbone>().expect("a backbone");
        let mut defaults = <dyn erased_serde::Deserializer<'_>>::erase(json!({}));
        let config = (reader.read)(&mut defaults).expect("defaults");
        let built = Built::new(config.as_ref(), 3, 1).expect("a network");
        let plain = built.network.batch_norms().is_empty();
        let [moves, listed] = if plain { [TRAIN, NORMS] } else { [hosted; 2] };
        let unseeing = if entry.name == "vit" { hosted } else { ATTENTION };
        let may_be_idle = [hosted, small, DROPS, moves, listed, unseeing];
        assert!(idle.iter().all(|promise| may_be_idle.contains(promise)), "{}", table(&verdicts));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
enum Vice {
    #[default]
    None,
    OtherChannels,
    TakesAnyStage,
    WritesInput,
    StillInTraining,
    MovesInEvaluation,
    ForgetsNorm,
    NormsBackwards,
    Counts,
    HoldsOwnTensor,
    UnusedParameter,
    IgnoresDraws,
    DropsInEvaluation,
    DrawsGlobally,
    Waits,
    OtherToy,
    OneColour,
    AttendsTooMuch,
    AttendsByError,
}

/// A network of tokens with a class token, whose blocks are dropped by draws, with at most one vice.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Tokens {
    /// What it does wrong.
    vice: Vice,
}

crate::backbone! { Tokens, "Tokens", "tokens", "tokens with a class token", source: "no paper" }

#[derive(Debug)]
struct TokenNet {
    vice: Vice,
    patches: Conv2d,
    norms: Vec<BatchNorm2d>,
    class: Tensor,
    blocks: Vec<Tensor>,
    unsaved: Tensor,
    calls: Cell<i64>,
}

const WIDTH: i64 = 6;

impl BackboneConfig for Tokens {
    fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>> {
        if self.vice == Vice::OneColour && in_channels > 1 {
            let message = "only one colour";
            return Err(admix_api::Error::plugin("tokens", message).into());
        }
        let shape = Conv2dConfig { stride: 8, padding: 0, ..Conv2dConfig::new(in_channels, WIDTH, 8) };
        let parameter =
            |name: &str, shape: &[i64]| path.parameter(name, shape, Init::Normal(0.2), Hints::default());
        let mut built = TokenNet {
            vice: self.vice,
            patches: Conv2d::new(&path.sub("patches"), shape)?,
            norms: vec![
                BatchNorm2d::new(&path.sub("bn1"), WIDTH)?,
                BatchNorm2d::new(&path.sub("bn2"), WIDTH)?,
            ],
            class: parameter("class", &[1, 1, WIDTH])?,
            blocks: vec![parameter("block1", &[WIDTH, WIDTH])?, parameter("block2", &[WIDTH, WIDTH])?],
            unsaved: Tensor::f_zeros([WIDTH, WIDTH], (Kind::Float, Device::Cpu))?,
            calls: Cell::new(0),
        };
        match self.vice {
            Vice::UnusedParameter => drop(parameter("unused", &[3])?),
            // Differs with the streams, as the parameters do, but is none.
            Vice::HoldsOwnTensor => built.unsaved = built.blocks[0].f_detach()?.f_mul_scalar(0.5)?,
            _ => {}
        }
        Ok(Box::new(built))
    }

    fn narrowed(&self) -> Option<std::rc::Rc<dyn BackboneConfig>> {
        match self.vice {
            Vice::OtherToy => Some(std::rc::Rc::new(crate::ConvNetConfig::default())),
            _ => Some(std::rc::Rc::new(self.clone())),
        }
    }
}

impl TokenNet {
    /// Images to tokens, a class token in front of them.
    fn stem(&self, images: &Map, train: bool) -> Result<Map> {
        let cells = self.patches.forward(images.tensor())?;
        let cells = self.norms[1].forward(&self.norms[0].forward(&cells, train)?, train)?;
        let (n, _, height, width) = cells.size4()?;
        let tokens = cells.f_flatten(2, 3)?.f_transpose(1, 2)?;
        let class = self.class.f_expand([n, 1, WIDTH], false)?;
        Map::tokens(Tensor::f_cat(&[class, tokens], 1)?, Grid { beside: 1, height, width })
    }

    /// Tokens plus a mean over all of them, times a matrix; not for the samples that drop it.
    fn block(&self, index: usize, map: &Map, pass: &Pass) -> Result<Map> {
        let tokens = map.tensor();
        let mixed = tokens.f_add(&tokens.f_mean_dim([1].as_slice(), true, None::<Kind>)?)?;
        let mut branch = mixed.f_matmul(&self.blocks[index].f_add(&self.unsaved)?)?.f_tanh()?;
        let counts = pass.train || self.vice == Vice::DropsInEvaluation;
        if let Some(drops) = pass.drops.as_ref().filter(|_| counts && self.vice != Vice::IgnoresDraws) {
            let kept =
                drops.f_select(0, index as i64)?.f_ge(0.5)?.f_to_kind(Kind::Float)?.f_mul_scalar(2.0)?;
            branch = branch.f_mul(&kept.f_reshape([-1, 1, 1])?)?;
        }
        Ok(map.like(tokens.f_add(&branch)?))
    }
}

impl Backbone for TokenNet {
    fn stages(&self) -> usize {
        self.blocks.len()
    }

    fn stage(&self, index: usize, map: &Map, pass: &Pass) -> Result<Map> {
        let stages = self.stages();
        let index = if self.vice == Vice::TakesAnyStage { index.min(stages) } else { index };
        match (self.vice, index) {
            (Vice::WritesInput, 1) => drop(map.tensor().f_detach()?.f_mul_scalar_(0.5)?),
            (Vice::DrawsGlobally, 1) => drop(Tensor::f_rand([1], (Kind::Float, Device::Cpu))?),
            (Vice::Waits, 1) => drop(map.tensor().f_detach()?.f_mean(None::<Kind>)?.f_double_value(&[])?),
            _ => {}
        }
        let train = match self.vice {
            Vice::StillInTraining => false,
            Vice::MovesInEvaluation => true,
            _ => pass.train,
        };
        let map = match index {
            0 => self.stem(map, train)?,
            _ if index <= stages => self.block(index - 1, map, pass)?,
            _ => return Err(Error::UnknownStage { stage: index, stages }),
        };
        self.calls.set(self.calls.get() + 1);
        Ok(match self.vice {
            Vice::Counts => map.like(map.tensor().f_add_scalar(self.calls.get())?),
            _ => map,
        })
    }

    fn channels(&self, stage: usize) -> i64 {
        match stage {
            2 if self.vice == Vice::OtherChannels => 2 * WIDTH,
            _ if stage <= self.stages() => WIDTH,
            _ => 0,
        }
    }

    fn batch_norms(&self) -> Vec<&BatchNorm2d> {
        match self.vice {
            Vice::ForgetsNorm => self.norms.iter().take(1).collect(),
            Vice::NormsBackwards => self.norms.iter().rev().collect(),
            _ => self.norms.iter().collect(),
        }
    }

    fn drops(&self) -> usize {
        self.blocks.len()
    }

    fn attention(&self, below: &Map) -> Result<Option<Tensor>> {
        let cells = below.cells()?;
        let (_, _, height, width) = cells.size4()?;
        let shares =
            cells.f_mean_dim([1i64].as_slice(), false, Kind::Float)?.f_flatten(1, 2)?.f_softmax(1, None)?;
        let all = if self.vice == Vice::AttendsTooMuch { 1.5 } else { 0.5 };
        if self.vice == Vice::AttendsByError {
            return Err(admix_api::Error::plugin("tokens", "no attention").into());
        }
        Ok(Some(shares.f_mul_scalar(all)?.f_unflatten(1, [height, width])?))
    }
}

fn verdicts(entry: &Entry, vice: Vice) -> Vec<Verdict> {
    let _alone = alone();
    check(entry, &[json!({ "vice": vice })])
}

#[test]
fn a_network_of_tokens_with_draws_keeps_the_contract() {
    let found = verdicts(&Tokens::entry(), Vice::None);
    assert!(!found.iter().any(Verdict::is_broken), "{}", table(&found));
    let idle = named(&found, |outcome| matches!(outcome, Outcome::NotApplicable { .. }));
    assert_eq!(idle.len(), 1, "{}", table(&found));
}

#[test]
fn a_vice_breaks_its_promise() {
    for (vice, promise, seen) in [
        (Vice::OtherChannels, STAGES, "says 12 channels"),
        (Vice::TakesAnyStage, BEYOND, "there is no stage 3"),
        (Vice::WritesInput, INPUTS, "stage 1 wrote into"),
        (Vice::StillInTraining, TRAIN, "`bn1.running_mean` is as before"),
        (Vice::MovesInEvaluation, EVALUATE, "`bn1.running_mean` is not as before"),
        (Vice::ForgetsNorm, NORMS, "`bn2.running_mean` is 0 times in the list"),
        (Vice::NormsBackwards, NORMS, "number 0 of the list runs after number 1, `bn1.`"),
        (Vice::Counts, SAME, "other numbers"),
        (Vice::HoldsOwnTensor, SAVED, "other maps"),
        (Vice::UnusedParameter, GRADIENTS, "`unused` gets none"),
        (Vice::IgnoresDraws, DROPS, "other draws gave the same map"),
        (Vice::DropsInEvaluation, DROPS, "draws count in evaluation mode"),
        (Vice::DrawsGlobally, OWN, "generator was drawn from"),
        (Vice::Waits, WAITS, "the host waited"),
        (Vice::OtherToy, NARROW, "it has 3 stages, the network 2"),
        (Vice::OneColour, BUILT, "only one colour"),
        (Vice::AttendsTooMuch, ATTENTION, "rows sum to"),
        (Vice::AttendsByError, ATTENTION, "no attention"),
    ] {
        let found = verdicts(&Tokens::entry(), vice);
        let told = found.iter().any(|verdict| match &verdict.outcome {
            Outcome::Broken { message, .. } => verdict.promise == promise && message.contains(seen),
            _ => false,
        });
        assert!(told, "{vice:?}: wanted {promise:?}, {seen:?}\n{}", table(&found));
        // Where each number is another, more than one promise is broken.
        if ![Vice::Counts, Vice::MovesInEvaluation, Vice::StillInTraining].contains(&vice) {
            let broken = named(&found, |outcome| matches!(outcome, Outcome::Broken { .. }));
            assert_eq!(broken, [promise], "{vice:?}\n{}", table(&found));
        }
    }
}
