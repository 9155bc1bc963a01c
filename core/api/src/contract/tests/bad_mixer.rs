//! A trained mixer that reads everything there is, and has at most one vice.

use std::cell::{Cell, RefCell};

use crate::prelude::*;
use crate::{Autocast, Path};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(super) enum Vice {
    #[default]
    None,
    // Of settings.
    ResolvesToOthers,
    RefusesItself,
    FailsToBuild,
    PanicsInBuild,
    PanicsInDrop,
    NeedsDiffer,
    NeedsPanic,
    // Of plans.
    PanicsInPlan,
    ImpurePlan,
    ChangingNames,
    ChangingForms,
    LambdaOutside,
    NoLambda,
    RefusesOddSizes,
    RefusesSizes,
    RefusesSomeDraws,
    PartnersOutside,
    // Of mixes.
    Fails,
    Panics,
    PanicsInEvaluation,
    PanicsAfterStep,
    WrongShape,
    WrongKind,
    UndefinedImages,
    NotFinite,
    NoSources,
    SourcesOutside,
    SharesOfTooMuch,
    NegativeShares,
    DoubleShares,
    CreditsAnything,
    MaskOutside,
    MaskOfOneColour,
    UndefinedMask,
    LeavesItsMask,
    PlacesOthers,
    PlacesHalf,
    UndefinedExtra,
    DrawsGlobally,
    WritesImages,
    WritesFeatures,
    WritesPlan,
    Waits,
    WaitsButSaysSo,
    LeavesGradOff,
    LeavesAutocast,
    QuietGraph,
    Detached,
    OneDetached,
    CountsMixes,
    KeepsFirstPlan,
    KeepsLastPlan,
    WidensImages,
    LowMask,
    OneView,
    PlacesOneView,
    PanicsWithoutFeatures,
    SilentAboutSaliency,
    // Of single shapes.
    FailsAlone,
    DropsTheOdd,
    SwapsSides,
    WantsColours,
}

/// Recipe: `Bad(vice: Fails)`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Bad {
    /// What it does wrong.
    pub(super) vice: Vice,
    /// A number that means nothing.
    pub(super) shift: i64,
}

crate::mixer! {
    Bad, "bad", "a mixer with a vice", source: "no paper", pairing: Pairing::alpha(1.0)
}

#[derive(Debug)]
struct Mixing {
    vice: Vice,
    weights: [Tensor; 2],
    train: bool,
    plans: Cell<i64>,
    mixes: i64,
    kept: RefCell<Option<f64>>,
    first: Option<Tensor>,
}

impl MixerConfig for Bad {
    fn needs(&self) -> Needs {
        assert!(self.vice != Vice::NeedsPanic, "no needs");
        let capturable = !matches!(self.vice, Vice::WaitsButSaysSo);
        Needs { features: Some(1), saliency: true, pseudo: true, capturable, ..Needs::default() }
    }

    fn validate(&self) -> Result<()> {
        if self.vice == Vice::RefusesItself {
            return Err(Error::plugin("bad", "out of range"));
        }
        Ok(())
    }

    fn build(&self, path: &Path, _context: &MixerContext) -> Result<Box<dyn Mixer>> {
        match self.vice {
            Vice::FailsToBuild => {
                return Err(Error::plugin("bad", "no build"));
            }
            Vice::PanicsInBuild => panic!("no build at all"),
            _ => {}
        }
        let weight = |name: &str| path.parameter(name, &[3], Init::Constant(0.0), Hints::default());
        Ok(Box::new(Mixing {
            vice: self.vice,
            weights: [weight("a")?, weight("b")?],
            train: true,
            plans: Cell::new(0),
            mixes: 0,
            kept: RefCell::new(None),
            first: None,
        }))
    }
}

impl Serialize for Bad {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shift = self.shift + i64::from(self.vice == Vice::ResolvesToOthers);
        serde_json::json!({ "vice": self.vice, "shift": shift }).serialize(serializer)
    }
}

fn refused(height: i64) -> Error {
    Error::range("shift", "1", format!("a divisor of {height}"))
}

impl Drop for Mixing {
    fn drop(&mut self) {
        assert!(self.vice != Vice::PanicsInDrop || std::thread::panicking(), "it does not go quietly");
    }
}

impl Mixing {
    /// Shares of the label that are wrong, for the vices of that kind.
    fn credit(&self, n: i64) -> Result<Option<Credit>> {
        let even = |number: f64, kind| Tensor::full([n, 2], number, (kind, Device::Cpu));
        let shares = |sources, shares| Credit::Shares { sources, shares };
        let halves = even(0.5, Kind::Float);
        Ok(Some(match self.vice {
            Vice::NoSources => shares(Tensor::new(), halves),
            Vice::SourcesOutside => shares(even(n as f64, Kind::Int64), halves),
            Vice::SharesOfTooMuch => shares(even(0.0, Kind::Int64), even(0.6, Kind::Float)),
            Vice::DoubleShares => shares(even(0.0, Kind::Int64), even(0.5, Kind::Double)),
            Vice::NegativeShares => {
                let more = Tensor::from_slice(&[1.5f32, -0.5]).f_expand([n, 2], false)?;
                shares(even(0.0, Kind::Int64), more)
            }
            _ => return Ok(None),
        }))
    }
}

impl Mixer for Mixing {
    fn needs(&self) -> Needs {
        let needs = Bad { vice: self.vice, shift: 0 }.needs();
        Needs { host_solver: self.vice == Vice::NeedsDiffer, ..needs }
    }

    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let plan = Plan::draw(ask, draws)?;
        self.plans.set(self.plans.get() + 1);
        self.kept.replace(plan.lambdas(ask.batch)?.first().copied());
        Ok(match self.vice {
            Vice::PanicsInPlan => panic!("no plan"),
            Vice::ImpurePlan => plan.with("count", Value::Int(self.plans.get())),
            Vice::ChangingNames if draws.coin(0.5) => plan.with("sometimes", Value::Int(1)),
            Vice::ChangingForms if draws.coin(0.5) => plan.with("form", Value::Int(1)),
            Vice::ChangingForms => plan.with("form", Value::Ints(vec![1, 2])),
            Vice::LambdaOutside => plan.with("lambda", Value::Float(1.25)),
            Vice::NoLambda => Plan::default().with("partner", plan.value("partner")?.clone()),
            Vice::RefusesOddSizes if ask.height % 4 != 0 => return Err(refused(ask.height)),
            Vice::RefusesSomeDraws if ask.height == 33 && draws.coin(0.5) => return Err(refused(ask.height)),
            Vice::RefusesSizes if ask.height == 8 && ask.width == 8 => return Err(refused(ask.height)),
            Vice::PartnersOutside => plan.with("partner", Value::Ints(vec![ask.batch as i64; ask.batch])),
            _ => plan,
        })
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let _no_graph = (input.quiet && self.vice != Vice::QuietGraph).then(no_grad);
        let failed = |message: &str| Error::plugin("bad", message);
        let (n, c, height, width) = input.nchw()?;
        self.mixes += 1;
        match self.vice {
            Vice::Fails => return Err(failed("no mix\nand a second line")),
            Vice::Panics => panic!("no mix at all"),
            Vice::PanicsInEvaluation if !self.train => panic!("it only trains"),
            Vice::FailsAlone if n == 1 => return Err(failed("nobody to meet")),
            Vice::WantsColours if c != 3 => return Err(failed("three colours")),
            Vice::PanicsWithoutFeatures if input.features.is_none() => panic!("where are they"),
            _ => {}
        }
        let features = input.features_for("bad")?;
        for (name, given) in [("saliency", input.saliency), ("pseudo", input.pseudo)] {
            if given.is_none() {
                let silent = self.vice == Vice::SilentAboutSaliency;
                return Err(failed(if silent { "something is missing" } else { name }));
            }
        }
        match self.vice {
            Vice::DrawsGlobally => drop(Tensor::rand([1], (Kind::Float, Device::Cpu))),
            Vice::WritesImages => drop(input.images.shallow_clone().f_add_scalar_(1.0)?),
            Vice::WritesFeatures => drop(features.shallow_clone().f_zero_()?),
            Vice::Waits | Vice::WaitsButSaysSo => drop(plan.lambda()?.f_mean(None)?.double_value(&[])),
            Vice::LeavesGradOff => std::mem::forget(no_grad()),
            Vice::LeavesAutocast => {
                std::mem::forget(Autocast::enter(Device::Cpu, Kind::BFloat16).map_err(Error::from)?);
            }
            _ => {}
        }
        let partner = plan.partner()?;
        let mut lambda = plan.lambda_over_images(Kind::Float)?;
        match self.vice {
            Vice::KeepsFirstPlan => {
                let first = lambda.f_mean(None)?;
                lambda = self.first.get_or_insert(first).shallow_clone();
            }
            Vice::KeepsLastPlan => {
                lambda = Tensor::from(self.kept.borrow().unwrap_or_default() as f32);
            }
            Vice::CountsMixes => lambda = lambda.f_mul_scalar(0.999f64.powi(self.mixes as i32))?,
            _ => {}
        }
        // In [0, 1]: most of it lambda, some of it what the weights make of the features.
        let weights = match self.vice {
            Vice::Detached => self.weights.each_ref().map(Tensor::detach),
            Vice::OneDetached => [self.weights[0].detach(), self.weights[1].shallow_clone()],
            _ => self.weights.each_ref().map(Tensor::shallow_clone),
        };
        let learned = weights[0].f_mul(&weights[1])?.f_sum(None)?.f_mul(&features.f_mean(Kind::Float)?)?;
        let part = learned.f_sigmoid()?.f_mul_scalar(0.2)?;
        let mut mask = lambda
            .f_mul_scalar(0.8)?
            .f_add(&part)?
            .f_expand([n, 1, height, width], false)?
            .f_mul_scalar(1.0)?;
        if self.vice == Vice::MaskOutside {
            mask = mask.f_add_scalar(0.5)?;
        }
        let own = if self.vice == Vice::LeavesItsMask { mask.f_square()? } else { mask.f_mul_scalar(1.0)? };
        let theirs = match self.vice {
            Vice::OneView => input.images.f_index_select(0, &partner)?,
            // Moved by a column, out of the partner's image, of the own one, or of the partner's in the first view.
            Vice::PlacesHalf => input.partners(&partner)?.f_roll([1i64], [3i64])?,
            Vice::PlacesOthers => input.images.f_roll([1i64], [3i64])?,
            Vice::PlacesOneView => input.images.f_index_select(0, &partner)?.f_roll([1i64], [3i64])?,
            _ => input.partners(&partner)?,
        };
        let kind = input.images.kind();
        let mut images = theirs.f_lerp_tensor(input.images, &own.f_to_kind(kind)?)?;
        let mut credit = plan.lambda()?;
        match self.vice {
            Vice::WrongShape => images = images.f_narrow(2, 0, height - 1)?,
            Vice::WrongKind => images = images.f_to_kind(Kind::Double)?,
            Vice::WidensImages => images = images.f_to_kind(Kind::Float)?,
            Vice::UndefinedImages => images = Tensor::new(),
            Vice::NotFinite => images = images.f_div_scalar(0.0)?,
            Vice::DropsTheOdd if n > 1 => images = images.f_narrow(0, 0, n / 2 * 2)?,
            Vice::SwapsSides if height != width => images = images.f_transpose(2, 3)?,
            Vice::CreditsAnything => credit = Tensor::from(0.123f32),
            Vice::WritesPlan => drop(plan.lambda()?.f_fill_(0.5)?),
            Vice::MaskOfOneColour => mask = mask.f_squeeze_dim(1)?,
            Vice::UndefinedMask => mask = Tensor::new(),
            Vice::LowMask if kind == Kind::BFloat16 => mask = mask.f_to_kind(kind)?,
            _ => {}
        }
        let mut mixed = Mixed::pair(images, partner, credit).masked(mask).with("part", part);
        if let Some(bad) = self.credit(n)? {
            mixed.credit = bad;
        }
        match self.vice {
            Vice::UndefinedExtra => mixed = mixed.with("nothing", Tensor::new()),
            Vice::PlacesHalf => mixed = mixed.placed(theirs.f_narrow(3, 1, width - 1)?),
            Vice::PlacesOthers | Vice::PlacesOneView => mixed = mixed.placed(theirs),
            _ => {}
        }
        Ok(mixed)
    }

    fn train(&mut self, on: bool) {
        self.train = on;
    }

    fn after_step(&mut self) -> Result<()> {
        assert!(self.vice != Vice::PanicsAfterStep || self.train, "no step");
        Ok(())
    }
}
