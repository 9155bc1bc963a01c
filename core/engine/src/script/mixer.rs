//! Mixers written in the script language.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use admix_api::{
    Ask, Credit, Draws, Hidden, MixInput, Mixed, Mixer, Needs, Plan, Planned, Value, did_you_mean,
};
use admix_torch::{Kind, Tensor};
use rhai::{Array, Dynamic, Engine, Map, NativeCallContext, Position};

use super::language::{Dialect, Script};
use super::live::{Live, Params, as_plugin};
use super::sandbox;
use crate::method::operand::{self, Outcome, refuse};
use crate::param::Param;
use crate::script::values::{kind_of, number};
use crate::text::list;
use crate::{Result, float32};

/// What can follow `d.` and `m.`, for suggestions.
const NAMES: &[&[&str]] = &[
    &["lambda", "lambdas", "batch", "height", "width", "quiet", "progress", "param"],
    &["uniform", "normal", "beta", "below", "coin", "permutation", "derangement", "field_key"],
    &[
        "images",
        "partners",
        "features",
        "partner_features",
        "saliency",
        "pseudo",
        "shown",
        "shown_partners",
        "partner",
        "plan",
        "structure",
        "channels",
    ],
];

/// A mixer that is a script: `mix(m)`, and where it has them `plan(d)`, `params()` and `needs()`.
#[derive(Debug, Clone)]
pub struct ScriptedMixer {
    script: Rc<Script>,
    params: Params,
    needs: Needs,
}

impl ScriptedMixer {
    /// Compiles a script, with these values of its parameters. `file` is its name in messages.
    ///
    /// # Errors
    /// A syntax error, no function `mix`, needs that there are none of, a parameter that it does not have.
    pub fn compile(text: &str, file: &str, given: &BTreeMap<String, Param>) -> Result<Self> {
        let script =
            Script::compile(text, file, Dialect { names: NAMES.concat(), kind_of: |_| None, register })?;
        for (name, count) in [("mix", 1), ("plan", 1), ("params", 0), ("needs", 0)] {
            if !script.takes(name, count)? && name == "mix" {
                let message = "a mixer needs a function `mix(m)`; see docs/scripts.md".to_string();
                return Err(script.error(Position::NONE, message));
            }
        }
        let params = Params::of(script.params()?, given, file)?;
        let needs = needs(&script)?;
        Ok(Self { script: Rc::new(script), params, needs })
    }

    /// The parameters: the script's defaults with the given values.
    pub fn params(&self) -> &BTreeMap<String, Param> {
        self.params.all()
    }

    /// What it reads beside images.
    pub fn needs(&self) -> Needs {
        self.needs.clone()
    }

    fn planned(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let mut plan = Plan::draw(ask, draws)?;
        if !self.script.has("plan") {
            return Ok(plan);
        }
        let per_sample = plan.is_per_sample();
        let lambdas = plan.lambdas(if per_sample { ask.batch } else { 1 })?;
        let roll = Rc::new(Roll {
            draws: RefCell::new(draws.clone()),
            ask: ask.clone(),
            lambdas,
            per_sample,
            params: self.params.clone(),
        });
        let returned = self.script.call("plan", (Dice(roll.clone()),));
        *draws = roll.draws.borrow().clone();
        for (name, value) in self.script.map("plan", returned?)? {
            let refuse = |why: String| {
                self.script
                    .error(self.script.place_of("plan"), format!("the value `{name}` of the plan {why}"))
            };
            if name == "structure" {
                let structure = value.as_int().ok().and_then(|v| u64::try_from(v).ok());
                let got = || format!("must be a whole number from 0, got {}", told(&value));
                plan = plan.structured(structure.ok_or_else(|| refuse(got()))?);
                continue;
            }
            let value = plan_value(&value, ask.batch, per_sample).map_err(refuse)?;
            match (name.as_str(), &value) {
                ("partner", Value::Ints(list)) if list.len() == ask.batch => {
                    if let Some(bad) = list.iter().find(|i| !(0..ask.batch as i64).contains(*i)) {
                        return Err(refuse(format!(
                            "names the sample {bad}, but the batch has 0 to {}",
                            ask.batch - 1
                        )));
                    }
                }
                ("partner", _) => {
                    return Err(refuse(format!(
                        "must be an array of {} whole numbers, one for each sample",
                        ask.batch
                    )));
                }
                ("lambda", Value::Int(_) | Value::Ints(_)) => {
                    return Err(refuse("must be fractional: write 1.0, not 1".into()));
                }
                ("lambda", Value::Float(_) | Value::Floats(_)) => {
                    let all = match &value {
                        Value::Floats(all) => all.clone(),
                        Value::Float(one) => vec![*one],
                        _ => Vec::new(),
                    };
                    if let Some(bad) = all.iter().find(|v| !(0.0..=1.0).contains(*v)) {
                        return Err(refuse(format!("is {bad}, expected numbers in [0, 1]")));
                    }
                }
                _ => {}
            }
            plan = plan.with(&name, value);
        }
        Ok(plan)
    }

    fn mixed(&self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        let (n, c, height, width) = input.nchw()?;
        let partner = plan.partner()?;
        let view = View(Rc::new(Seen {
            images: Live::of(input.images),
            partner_images: input.partner_images.map(Live::of),
            partners: OnceCell::new(),
            features: input.features.map(Live::of),
            partner_features: input.partner_features.map(Live::of),
            their_features: OnceCell::new(),
            saliency: input.saliency.map(Live::of),
            pseudo: input.pseudo.map(Live::of),
            shown: input.shown.map(Live::of),
            partner_shown: input.partner_shown.map(Live::of),
            shown_partners: OnceCell::new(),
            partner: Live::of(&partner),
            plan: plan.values().map(|(name, value)| (name.to_string(), Live::of(value))).collect(),
            params: self.params.clone(),
            sizes: [n, c, height, width],
            structure: plan.structure() as i64,
            quiet: input.quiet,
        }));
        let returned = self.script.map("mix", self.script.call("mix", (view,))?)?;
        let mut back = Returned { script: &self.script, tensors: returned };
        let hidden = back.stage()?;
        let images = match back.take("images")? {
            None if hidden.is_some() => input.images.shallow_clone(),
            images => images.ok_or_else(|| {
                back.refuse("returned no `images`: return #{ images: ..., mask: ..., lambda: ... }".into())
            })?,
        };
        back.check("images", &images, &[&[n, c, height, width]])?;
        // A script has no word for kinds: weights in float32 over images in half precision give float32 images.
        let images = match (images.is_floating_point(), images.kind() == input.images.kind()) {
            (_, true) => images,
            (true, false) => images.f_to_kind(input.images.kind())?,
            (false, false) => {
                return Err(back.refuse(format!(
                    "returned `images` of the kind {:?}, expected {:?} as the images it was given",
                    images.kind(),
                    input.images.kind()
                )));
            }
        };
        let mask = match back.take("mask")? {
            Some(mask) if hidden.is_some() => {
                let one: &[&[i64]] = &[&[], &[1, 1, 1, 1], &[n, 1, 1, 1]];
                back.check(
                    "mask",
                    &mask,
                    &[one, &[&[1, 1, height, width], &[n, 1, height, width]]].concat(),
                )?;
                let mask = fractional(mask)?;
                Some(if mask.dim() == 0 { mask.f_reshape([1i64; 4])? } else { mask })
            }
            None if hidden.is_some() => {
                Some(plan.lambda_over_images(Kind::Float)?.f_reshape([-1i64, 1, 1, 1])?)
            }
            Some(mask) => {
                back.check("mask", &mask, &[&[n, 1, height, width], &[1, 1, height, width]])?;
                Some(fractional(mask)?.f_expand([n, 1, height, width], false)?)
            }
            None => None,
        };
        let lambda = match back.take("lambda")? {
            Some(lambda) => {
                back.check("lambda", &lambda, &[&[], &[n]])?;
                fractional(lambda)?
            }
            None => plan.lambda()?,
        };
        let credit = match (back.take("sources")?, back.take("shares")?) {
            (None, None) => Credit::Pair { partner, lambda },
            (Some(sources), Some(shares)) => {
                let count = sources.size().get(1).copied().unwrap_or(1);
                back.check("sources", &sources, &[&[n, count]])?;
                back.check("shares", &shares, &[&[n, count]])?;
                if sources.kind() != Kind::Int64 {
                    return Err(back.refuse(format!(
                        "returned `sources` of the kind {:?}, expected whole numbers: which sample is in the image",
                        sources.kind()
                    )));
                }
                Credit::Shares { sources, shares: fractional(shares)? }
            }
            (Some(_), None) => return Err(back.refuse("returned `sources` without `shares`".into())),
            (None, Some(_)) => return Err(back.refuse("returned `shares` without `sources`".into())),
        };
        let mut extras = BTreeMap::new();
        while let Some(name) = back.tensors.keys().next().map(ToString::to_string) {
            if let Some(extra) = back.take(&name)? {
                extras.insert(name, extra);
            }
        }
        Ok(Mixed { images, mask, hidden, credit, extras })
    }
}

impl Mixer for ScriptedMixer {
    fn needs(&self) -> Needs {
        self.needs.clone()
    }

    fn plan(&self, ask: &Ask, draws: &mut Draws) -> admix_api::Result<Plan> {
        self.planned(ask, draws).map_err(as_plugin)
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> admix_api::Result<Mixed> {
        self.mixed(input, plan).map_err(as_plugin)
    }
}

/// A mask of a comparison holds true and false: as numbers.
fn fractional(tensor: Tensor) -> Result<Tensor> {
    let is_float = matches!(tensor.kind(), Kind::Float | Kind::Double);
    Ok(if is_float { tensor } else { tensor.f_to_kind(Kind::Float)? })
}

/// What `mix` returned, while it is looked through.
struct Returned<'a> {
    script: &'a Script,
    tensors: Map,
}

impl Returned<'_> {
    fn refuse(&self, what: String) -> crate::Error {
        self.script.error(self.script.place_of("mix"), format!("`mix` {what}"))
    }

    /// The stage of a mix inside of the network; 0 is a mix of the images.
    fn stage(&mut self) -> Result<Option<Hidden>> {
        let Some(value) = self.tensors.remove("stage") else { return Ok(None) };
        let stage = value.as_int().ok().and_then(|stage| usize::try_from(stage).ok());
        let refused = || format!("returned `stage` {}, expected a whole number from 0", told(&value));
        let stage = stage.ok_or_else(|| self.refuse(refused()))?;
        Ok((stage > 0).then_some(Hidden { stage }))
    }

    fn take(&mut self, name: &str) -> Result<Option<Tensor>> {
        let Some(value) = self.tensors.remove(name) else { return Ok(None) };
        match value.read_lock::<Live>() {
            Some(live) => Ok(Some(live.tensor().shallow_clone())),
            None => Err(self.refuse(format!("returned `{name}` that is no tensor but {}", told(&value)))),
        }
    }

    fn check(&self, name: &str, tensor: &Tensor, wanted: &[&[i64]]) -> Result<()> {
        let size = tensor.size();
        if wanted.iter().any(|shape| *shape == size) {
            return Ok(());
        }
        let shapes: Vec<String> = wanted
            .iter()
            .map(|shape| if shape.is_empty() { "one number (0-dim)".into() } else { format!("{shape:?}") })
            .collect();
        Err(self.refuse(format!("returned `{name}` of the shape {size:?}, expected {}", shapes.join(" or "))))
    }
}

/// A value as messages tell it.
fn told(value: &Dynamic) -> String {
    match number(value) {
        Some(_) => value.to_string(),
        None => kind_of(value).to_string(),
    }
}

/// A value that `plan` returned.
fn plan_value(value: &Dynamic, batch: usize, per_sample: bool) -> Result<Value, String> {
    let finite = |value: f64| {
        if float32::holds(value) { Ok(value) } else { Err(format!("is {}", float32::refused(value))) }
    };
    if let Ok(whole) = value.as_int() {
        return Ok(Value::Int(whole));
    }
    if let Ok(one) = value.as_float() {
        return Ok(Value::Float(finite(one)?));
    }
    let Some(all) = value.read_lock::<Array>() else {
        return Err(format!("must be a number or an array of numbers, got {}", told(value)));
    };
    if all.len() == 1 && !per_sample {
        return plan_value(&all[0], batch, per_sample);
    }
    if all.len() != batch {
        let or_one = if per_sample { "" } else { ", or one for all" };
        return Err(format!(
            "has {} elements, expected {batch}: one number for each sample{or_one}",
            all.len()
        ));
    }
    if let Ok(whole) = all.iter().map(Dynamic::as_int).collect::<Result<Vec<i64>, _>>() {
        return Ok(Value::Ints(whole));
    }
    all.iter()
        .map(|one| {
            finite(number(one).ok_or_else(|| format!("must be an array of numbers; it holds {}", told(one)))?)
        })
        .collect::<Result<_, _>>()
        .map(Value::Floats)
}

fn needs(script: &Script) -> Result<Needs> {
    let mut needs = Needs::images();
    if !script.has("needs") {
        return Ok(needs);
    }
    for (name, value) in script.map("needs", script.call("needs", ())?)? {
        let refuse = |wanted: &str| {
            Err(script.error(
                script.place_of("needs"),
                format!("`{name}` in `needs` must be {wanted}, got {}", told(&value)),
            ))
        };
        match name.as_str() {
            "features" | "hidden" => {
                match value.as_int().ok().and_then(|v| usize::try_from(v).ok()).filter(|v| *v > 0) {
                    Some(stage) if name == "features" => needs.features = Some(stage),
                    Some(stage) => needs.hidden = Some(stage),
                    None => return refuse("the number of a stage, from 1"),
                }
            }
            "saliency" | "pseudo" | "shown" => match value.as_bool() {
                Ok(on) if name == "saliency" => needs.saliency = on,
                Ok(on) if name == "pseudo" => needs.pseudo = on,
                Ok(on) => needs.shown = on,
                Err(_) => return refuse("true or false"),
            },
            other => {
                let known = ["features", "saliency", "pseudo", "hidden", "shown"];
                return Err(script.error(
                    script.place_of("needs"),
                    format!(
                        "`needs` returned `{other}`; it may return {}{}",
                        list(known),
                        did_you_mean(other, known)
                    ),
                ));
            }
        }
    }
    Ok(needs)
}

/// `d`: what a plan is wanted for, and the draws.
#[derive(Debug, Clone)]
struct Dice(Rc<Roll>);

#[derive(Debug)]
struct Roll {
    draws: RefCell<Draws>,
    ask: Ask,
    /// One for the batch, or one for each sample.
    lambdas: Vec<f64>,
    per_sample: bool,
    params: Params,
}

/// `m`: what is mixed.
#[derive(Debug, Clone)]
struct View(Rc<Seen>);

#[derive(Debug)]
struct Seen {
    images: Live,
    partner_images: Option<Live>,
    partners: OnceCell<Live>,
    features: Option<Live>,
    partner_features: Option<Live>,
    their_features: OnceCell<Live>,
    saliency: Option<Live>,
    pseudo: Option<Live>,
    shown: Option<Live>,
    partner_shown: Option<Live>,
    shown_partners: OnceCell<Live>,
    partner: Live,
    plan: Vec<(String, Live)>,
    params: Params,
    sizes: [i64; 4],
    structure: i64,
    quiet: bool,
}

impl Seen {
    fn planned(&self, name: &str, context: &NativeCallContext<'_>) -> Outcome<Live> {
        self.plan.iter().find(|(have, _)| have == name).map(|(_, live)| live.clone()).ok_or_else(|| {
            let names = || self.plan.iter().map(|(name, _)| name.as_str());
            let message = format!(
                "the plan holds no `{name}`; it has {}{}",
                list(names()),
                did_you_mean(name, names())
            );
            refuse(message, context.call_position())
        })
    }
}

/// A tensor's rows at the partners, made when the script first asks for it.
fn of_partners(
    cell: &OnceCell<Live>,
    from: &Live,
    partner: &Live,
    context: &NativeCallContext<'_>,
) -> Outcome<Live> {
    if let Some(made) = cell.get() {
        return Ok(made.clone());
    }
    let _outside = sandbox::outside();
    let made = from.tensor().f_index_select(0, partner.tensor());
    let made = made.map_err(|e| refuse(admix_api::Error::from(e), context.call_position()))?;
    Ok(cell.get_or_init(|| Live::of(&made)).clone())
}

fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<Live>("Tensor")
        .register_type_with_name::<Dice>("Draws")
        .register_type_with_name::<View>("Mix");
    operand::register::<Live>(engine);
    register_draws(engine);
    register_view(engine);
}

fn whole_array(values: Vec<i64>) -> Array {
    values.into_iter().map(Dynamic::from).collect()
}

fn register_draws(engine: &mut Engine) {
    type C<'a> = NativeCallContext<'a>;
    engine
        .register_get("lambda", |c: C<'_>, d: &mut Dice| -> Outcome<f64> {
            match d.0.lambdas[..] {
                [one] if !d.0.per_sample => Ok(one),
                _ => Err(refuse(
                    "each sample has a lambda of its own here: use `d.lambdas`",
                    c.call_position(),
                )),
            }
        })
        .register_get("lambdas", |d: &mut Dice| -> Array {
            d.0.lambdas.iter().map(|lambda| Dynamic::from(*lambda)).collect()
        })
        .register_get("batch", |d: &mut Dice| d.0.ask.batch as i64)
        .register_get("height", |d: &mut Dice| d.0.ask.height)
        .register_get("width", |d: &mut Dice| d.0.ask.width)
        .register_get("quiet", |d: &mut Dice| d.0.ask.quiet)
        .register_get("progress", |d: &mut Dice| d.0.ask.progress);
    engine.register_fn("param", |c: C<'_>, d: &mut Dice, name: &str| d.0.params.get(name, &c));
    engine.register_fn("uniform", |d: &mut Dice| d.0.draws.borrow_mut().uniform());
    engine.register_fn("normal", |d: &mut Dice| d.0.draws.borrow_mut().normal());
    engine.register_fn("field_key", |d: &mut Dice| d.0.draws.borrow_mut().field_key());
    engine.register_fn("beta", |c: C<'_>, d: &mut Dice, a: Dynamic, b: Dynamic| -> Outcome<f64> {
        let at = c.call_position();
        let (Some(a), Some(b)) = (number(&a), number(&b)) else {
            return Err(refuse("`beta` takes two numbers above 0", at));
        };
        d.0.draws.borrow_mut().beta(a, b).map_err(|e| refuse(e, at))
    });
    engine.register_fn("below", |c: C<'_>, d: &mut Dice, end: i64| -> Outcome<i64> {
        let end = usize::try_from(end).ok().filter(|end| *end > 0);
        let end = end.ok_or_else(|| refuse("`below` takes a whole number from 1", c.call_position()))?;
        Ok(d.0.draws.borrow_mut().below(end) as i64)
    });
    engine.register_fn("coin", |c: C<'_>, d: &mut Dice, p: Dynamic| -> Outcome<bool> {
        let p = number(&p).filter(|p| (0.0..=1.0).contains(p));
        let p = p.ok_or_else(|| refuse("`coin` takes a probability in [0, 1]", c.call_position()))?;
        Ok(d.0.draws.borrow_mut().coin(p))
    });
    engine.register_fn("permutation", |d: &mut Dice| {
        whole_array(d.0.draws.borrow_mut().permutation(d.0.ask.batch))
    });
    engine.register_fn("derangement", |c: C<'_>, d: &mut Dice| -> Outcome<Array> {
        if d.0.ask.batch < 2 {
            let message =
                "`derangement` lets no sample meet itself, but the batch has one: expected a batch from 2";
            return Err(refuse(message, c.call_position()));
        }
        Ok(whole_array(d.0.draws.borrow_mut().derangement(d.0.ask.batch)))
    });
}

fn register_view(engine: &mut Engine) {
    type C<'a> = NativeCallContext<'a>;
    const NEED: &str = "was not given: ask for it in `fn needs()`";
    engine
        .register_get("images", |m: &mut View| m.0.images.clone())
        .register_get("partner", |m: &mut View| m.0.partner.clone())
        .register_get("lambda", |c: C<'_>, m: &mut View| m.0.planned("lambda", &c))
        .register_get("partners", |c: C<'_>, m: &mut View| -> Outcome<Live> {
            let from = m.0.partner_images.as_ref().unwrap_or(&m.0.images);
            of_partners(&m.0.partners, from, &m.0.partner, &c)
        })
        .register_get("shown", |m: &mut View| m.0.shown.as_ref().unwrap_or(&m.0.images).clone())
        .register_get("shown_partners", |c: C<'_>, m: &mut View| -> Outcome<Live> {
            let seen = &m.0;
            let from = seen.partner_shown.as_ref().or(seen.partner_images.as_ref()).unwrap_or(&seen.images);
            of_partners(&seen.shown_partners, from, &seen.partner, &c)
        })
        .register_get("partner_features", |c: C<'_>, m: &mut View| -> Outcome<Live> {
            let from = m.0.partner_features.as_ref().or(m.0.features.as_ref());
            let from = from.ok_or_else(|| {
                refuse(format!("`partner_features` {NEED}: #{{ features: STAGE }}"), c.call_position())
            })?;
            of_partners(&m.0.their_features, from, &m.0.partner, &c)
        })
        .register_get("batch", |m: &mut View| m.0.sizes[0])
        .register_get("channels", |m: &mut View| m.0.sizes[1])
        .register_get("height", |m: &mut View| m.0.sizes[2])
        .register_get("width", |m: &mut View| m.0.sizes[3])
        .register_get("structure", |m: &mut View| m.0.structure)
        .register_get("quiet", |m: &mut View| m.0.quiet);
    type Input = fn(&Seen) -> Option<&Live>;
    let inputs: [(&str, &str, Input); 3] = [
        ("features", "STAGE", |seen| seen.features.as_ref()),
        ("saliency", "true", |seen| seen.saliency.as_ref()),
        ("pseudo", "true", |seen| seen.pseudo.as_ref()),
    ];
    for (name, value, input) in inputs {
        engine.register_get(name, move |c: C<'_>, m: &mut View| -> Outcome<Live> {
            input(&m.0)
                .cloned()
                .ok_or_else(|| refuse(format!("`{name}` {NEED}: #{{ {name}: {value} }}"), c.call_position()))
        });
    }
    engine.register_fn("plan", |c: C<'_>, m: &mut View, name: &str| m.0.planned(name, &c));
    engine.register_fn("param", |c: C<'_>, m: &mut View, name: &str| m.0.params.get(name, &c));
}
