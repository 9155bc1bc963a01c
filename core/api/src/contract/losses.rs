//! Promises about losses.

use admix_torch::{Device, Kind, Tensor};

use super::bench::{DRAWS, MODES};
use super::examine::BUILT;
use super::ledger::{Ledger, Promise};
use super::samples::{all, described, same, wild};
use super::slopes::slopes_agree;
use super::watch::{Check, ensure, watched_on};
use crate::{Argument, Credit, Loss, LossConfig, LossInput, Result};

const NAMED: &str = "names its arguments";
const GIVEN: &str = "every batch has a loss";
const SCALAR: &str = "a loss is a float32 scalar";
const FINITE: &str = "a loss is finite for finite inputs";
const GRADIENTS: &str = "a loss has finite gradients";
const DIFFERENCES: &str = "gradients match central differences";
const INPUTS: &str = "inputs are left alone";
const SAME: &str = "the same inputs give the same loss";
const HALF: &str = "half precision is widened";
const WAITS: &str = "a loss does not wait for the device";

const NO_LOSS: &str = "there was no loss to look at";
pub(crate) const PROMISES: &[Promise] = &[
    (NAMED, "it was not built"),
    (GIVEN, "it was not built"),
    (SCALAR, NO_LOSS),
    (FINITE, "there was no scalar to look at"),
    (GRADIENTS, "there was no finite loss, or no argument can have a gradient"),
    (DIFFERENCES, "it does not compute in float64, or no argument can have a gradient"),
    (INPUTS, NO_LOSS),
    (SAME, NO_LOSS),
    (HALF, "there was no scalar, or no two losses of the same inputs were the same"),
    (WAITS, NO_LOSS),
    (DRAWS, "it was not built"),
    (MODES, "it was not built"),
];

/// Entries of a queue.
const QUEUE: i64 = 7;

/// What a loss is given.
#[derive(Debug)]
pub struct Given {
    /// Samples.
    pub n: i64,
    /// Classes, or the width of an embedding.
    pub classes: i64,
    /// Kind of logits, masks and whatever else is a float.
    pub kind: Kind,
    /// Scales the logits.
    pub spread: f64,
    /// Sources of a target and of a contrast, 1 to 3: 1 are labels alone, or keys.
    pub sources: usize,
    /// lambda of the mix: 0-dim or `[N]`. All else lies on its device.
    pub lambda: Tensor,
}

impl Given {
    /// The arguments of a loss, and those among them that require a gradient, by name.
    ///
    /// A tensor of a name that is not known here is like logits: `[N, K]`. Keys are `[N, K]` too, and a `queue` is
    /// `[K, 7]`, `queue_labels` `[7]`.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn to(&self, arguments: &[Argument]) -> Result<(LossInput, Vec<(&'static str, Tensor)>)> {
        let (n, k, device) = (self.n, self.classes, self.lambda.device());
        let wild = |shape: &[i64], seed| wild(shape, seed, self.kind).to_device(device);
        let mut input = LossInput::default();
        let mut leaves = Vec::new();
        for (place, argument) in arguments.iter().enumerate() {
            input = match argument {
                Argument::Tensor("class_weight") => input.with("class_weight", wild(&[k], 0.7).abs() + 0.1),
                // K entries of D numbers; what the others call classes is D.
                Argument::Tensor("queue") => {
                    let queue = (wild(&[k, QUEUE], 0.5) * self.spread).set_requires_grad(true);
                    leaves.push(("queue", queue.shallow_clone()));
                    input.with("queue", queue)
                }
                Argument::Tensor("queue_labels") => {
                    let labels = Tensor::f_arange(QUEUE, (Kind::Int64, device))?.f_remainder(k)?;
                    input.with("queue_labels", labels)
                }
                Argument::Tensor(name) => {
                    // Two of them are not the same numbers.
                    let seed = 0.6 + 0.01 * place as f64;
                    let tensor = (wild(&[n, k], seed) * self.spread).set_requires_grad(true);
                    leaves.push((*name, tensor.shallow_clone()));
                    input.with(name, tensor)
                }
                Argument::Target => {
                    let labels = Tensor::f_arange(n, (Kind::Int64, device))?.f_remainder(k)?;
                    input.with_target(&self.credit()?, &labels)?
                }
                Argument::Contrast => {
                    let (sources, shares) = self.credit()?.shares()?;
                    // Of each source, so that a change of one shows in the loss.
                    let keys = wild(&[n, sources.size()[1], k], 0.65) * self.spread;
                    let keys = keys.set_requires_grad(true);
                    leaves.push(("contrast", keys.shallow_clone()));
                    input.with("contrast.keys", keys).with("contrast.shares", shares)
                }
                Argument::Mix => {
                    let mask = (wild(&[n, 1, 4, 6], 0.8) * self.spread).sigmoid().detach();
                    let mask = mask.set_requires_grad(true);
                    leaves.push(("mask", mask.shallow_clone()));
                    input.with("mask", mask).with("lambda", self.lambda.shallow_clone())
                }
            };
        }
        Ok((input, leaves))
    }

    /// Who is in each image: alone, with one other, or with two, of which the second has twice the share of the third.
    fn credit(&self) -> Result<Credit> {
        let own = Tensor::f_arange(self.n, (Kind::Int64, self.lambda.device()))?;
        let lambda = self.lambda.f_expand([self.n], false)?;
        let partner = own.f_flip([0])?;
        Ok(match self.sources {
            1 => {
                Credit::Shares { sources: own.f_unsqueeze(1)?, shares: lambda.f_ones_like()?.f_unsqueeze(1)? }
            }
            2 => Credit::Pair { partner, lambda: self.lambda.shallow_clone() },
            _ => {
                let third = lambda.f_neg()?.f_add_scalar(1.0)?.f_div_scalar(3.0)?;
                let sources = [own.shallow_clone(), partner, own.f_roll([1], [0])?];
                let shares = [lambda, third.f_mul_scalar(2.0)?, third];
                Credit::Shares {
                    sources: Tensor::f_stack(&sources, 1)?,
                    shares: Tensor::f_stack(&shares, 1)?,
                }
            }
        })
    }

    fn at(&self, settings: &str) -> String {
        let Self { n, classes, kind, spread, sources, lambda } = self;
        let each = if lambda.dim() == 0 { "one lambda" } else { "a lambda for each sample" };
        let lambda = lambda.mean(None).double_value(&[]);
        let of = ["one source", "two sources", "three sources"][sources.clamp(&1, &3) - 1];
        format!("{settings} on {n}x{classes} {kind:?}, spread {spread}, {of}, {each}, mean {lambda:.2}")
    }
}

/// Every promise of a loss with these settings.
pub(crate) fn check(config: &dyn LossConfig, settings: &str, ledger: &mut Ledger) {
    let mut build = || {
        let call = watched_on(ledger.device(), || config.build());
        ledger.judge(DRAWS, &settings, call.draws);
        ledger.judge(MODES, &settings, call.modes);
        let (loss, found) = match call.outcome {
            Ok(loss) => (Some(loss), Ok(())),
            Err(seen) => (None, Err(seen)),
        };
        ledger.judge(BUILT, &settings, found);
        loss
    };
    let (Some(loss), Some(twin)) = (build(), build()) else { return };
    let mut arguments = Vec::new();
    ledger.holds(NAMED, &settings, || {
        arguments = loss.arguments();
        let again = loss.arguments();
        ensure(arguments == again, || format!("first {arguments:?}, then {again:?}"))?;
        ensure(!arguments.is_empty(), || "a loss of nothing".into())
    });
    if arguments.is_empty() {
        return;
    }
    let (loss, twin, device) = (loss.as_ref(), twin.as_ref(), ledger.device());
    let mut bench = Bench { ledger, settings, loss, twin, arguments, same_modes: true, repeats: true };
    let shared =
        bench.arguments.iter().any(|argument| matches!(argument, Argument::Target | Argument::Contrast));
    let sources: &[usize] = if shared { &[1, 2, 3] } else { &[2] };
    let cases = [(1, 1.0), (3, 1.0), (4, 1e4), (5, 0.0)];
    for (&sources, (n, spread)) in sources.iter().flat_map(|sources| cases.map(|case| (sources, case))) {
        for lambda in [0.0f32, 0.3, 1.0] {
            for lambda in
                [Tensor::from(lambda), Tensor::full([n], f64::from(lambda), (Kind::Float, Device::Cpu))]
            {
                let lambda = lambda.to_device(device);
                bench.float32(&Given { n, classes: 4, kind: Kind::Float, spread, sources, lambda });
            }
        }
    }
    bench.half_precision();
    for &sources in sources {
        for lambda in [Tensor::from(0.3f64), Tensor::from_slice(&[0.1f64, 0.35, 0.6, 0.85])] {
            let lambda = lambda.to_device(device);
            bench.float64(&Given { n: 4, classes: 5, kind: Kind::Double, spread: 2.0, sources, lambda });
        }
    }
}

struct Bench<'a> {
    ledger: &'a mut Ledger,
    settings: &'a str,
    loss: &'a dyn Loss,
    /// Another of the same settings: what the first one keeps, it does not know.
    twin: &'a dyn Loss,
    arguments: Vec<Argument>,
    /// Whether the last call left the thread's modes alone.
    same_modes: bool,
    /// Whether the same inputs always gave the same loss.
    repeats: bool,
}

impl Bench<'_> {
    /// The value of a loss. What every call must keep is judged on the way.
    fn value(&mut self, loss: &dyn Loss, input: &LossInput, at: &str) -> Option<Tensor> {
        let call = watched_on(self.ledger.device(), || loss.loss(input));
        self.ledger.judge(WAITS, &at, call.waits);
        self.ledger.judge(DRAWS, &at, call.draws);
        self.same_modes = self.ledger.judge(MODES, &at, call.modes);
        let (value, found) = match call.outcome {
            Ok(value) => (Some(value), Ok(())),
            Err(seen) => (None, Err(seen)),
        };
        self.ledger.judge(GIVEN, &at, found);
        value
    }

    fn float32(&mut self, given: &Given) {
        let at = given.at(self.settings);
        let (Ok((input, leaves)), Ok((before, _))) = (given.to(&self.arguments), given.to(&self.arguments))
        else {
            return;
        };
        let Some(value) = self.value(self.loss, &input, &at) else { return };
        self.ledger.holds(INPUTS, &at, || untouched(&before, &input));
        let scalar = self.ledger.holds(SCALAR, &at, || is_scalar(&value, Kind::Float));
        // Recording that was left off was told of.
        let recorded = self.same_modes || (value.defined() && value.requires_grad());
        let finite = scalar
            && self.ledger.holds(FINITE, &at, || {
                let value = value.double_value(&[]);
                ensure(value.is_finite(), || format!("the loss is {value}"))
            });
        if finite && recorded && !leaves.is_empty() {
            let call = watched_on(self.ledger.device(), || Ok(gradients(&value, &leaves)?));
            self.ledger.judge(WAITS, &at, call.waits);
            self.ledger.holds(GRADIENTS, &at, || finite_gradients(&leaves, &call.outcome?));
        }
        // From inputs that no call has seen.
        for (who, loss) in [("again", self.loss), ("from a twin", self.twin)] {
            let Ok((input, _)) = given.to(&self.arguments) else { continue };
            let Some(other) = self.value(loss, &input, &at) else { continue };
            self.repeats &= self.ledger.holds(SAME, &at, || {
                ensure(same(&value, &other), || format!("first {value:?}, {who} {other:?}"))
            });
        }
    }

    fn half_precision(&mut self) {
        if !self.repeats {
            return;
        }
        let lambda = Tensor::from(0.25f32).to_device(self.ledger.device());
        let given =
            |kind| Given { n: 4, classes: 4, kind, spread: 2.0, sources: 2, lambda: lambda.shallow_clone() };
        let at = given(Kind::BFloat16).at(self.settings);
        let mut value = |kind| {
            let (input, _) = given(kind).to(&self.arguments).ok()?;
            self.value(self.loss, &input, &at)
        };
        let (Some(low), Some(full)) = (value(Kind::BFloat16), value(Kind::Float)) else { return };
        // A loss that is no scalar in float32 is not asked for more.
        if is_scalar(&full, Kind::Float).is_err() {
            return;
        }
        self.ledger.holds(HALF, &at, || {
            is_scalar(&low, Kind::Float)?;
            let (low, full) = (low.double_value(&[]), full.double_value(&[]));
            let room = 0.05f64.max(0.01 * full.abs());
            ensure(!full.is_finite() || (low - full).abs() < room, || {
                format!("{low} from bfloat16 inputs, {full} from float32")
            })
        });
    }

    fn float64(&mut self, given: &Given) {
        let at = given.at(self.settings);
        let Ok((input, leaves)) = given.to(&self.arguments) else { return };
        let Some(value) = self.value(self.loss, &input, &at) else { return };
        let exact = is_scalar(&value, Kind::Double).is_ok() && value.double_value(&[]).is_finite();
        if !exact || !self.repeats || leaves.is_empty() {
            return;
        }
        // One without a graph was told so in float32.
        let Ok(found) = gradients(&value, &leaves) else { return };
        let loss = self.loss;
        self.ledger.holds(DIFFERENCES, &at, || {
            for ((name, leaf), gradient) in leaves.iter().zip(&found) {
                let mut value =
                    || loss.loss(&input).map_or(f64::NAN, |value| value.detach().double_value(&[]));
                slopes_agree(leaf, gradient.as_ref(), &mut value)
                    .map_err(|seen| format!("`{name}`, {seen}"))?;
            }
            Ok(())
        });
    }
}

fn gradients(value: &Tensor, leaves: &[(&'static str, Tensor)]) -> admix_torch::Result<Vec<Option<Tensor>>> {
    let leaves: Vec<Tensor> = leaves.iter().map(|(_, leaf)| leaf.shallow_clone()).collect();
    admix_torch::gradients(&[value.shallow_clone()], &leaves, false, false)
}

fn finite_gradients(leaves: &[(&'static str, Tensor)], found: &[Option<Tensor>]) -> Check {
    ensure(found.iter().any(Option::is_some), || "no argument gets a gradient".into())?;
    for ((name, _), gradient) in leaves.iter().zip(found) {
        let finite = gradient.as_ref().is_none_or(|gradient| all(&gradient.isfinite()));
        ensure(finite, || format!("the gradient of `{name}` is not finite"))?;
    }
    Ok(())
}

fn is_scalar(value: &Tensor, kind: Kind) -> Check {
    let scalar = value.defined() && value.dim() == 0 && value.kind() == kind;
    ensure(scalar, || format!("the loss is {}, wanted a scalar {kind:?}", described(value)))
}

fn untouched(before: &LossInput, after: &LossInput) -> Check {
    for (name, tensor) in before.tensors() {
        let now = after.get(name)?;
        ensure(same(tensor, now), || format!("`{name}` was changed"))?;
    }
    Ok(())
}
