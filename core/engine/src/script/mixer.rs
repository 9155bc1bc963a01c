//! Mixers written in the script language.

mod dice;
mod returned;
mod view;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use admix_api::{
    Ask, Credit, Draws, MapMix, MixInput, Mixed, Mixer, Needs, Plan, Planned, Value, did_you_mean,
};
use admix_torch::{Kind, Tensor};
use rhai::{Engine, Map, Position};

use self::dice::{Dice, Roll};
use self::returned::{Returned, fractional, plan_value, told};
use self::view::{Seen, View};
use super::language::{Dialect, Script};
use super::live::{Live, Params, as_plugin};
use crate::Result;
use crate::method::operand;
use crate::param::Param;
use crate::text::list;

/// What can follow `d.` and `m.`, for suggestions.
const NAMES: &[&[&str]] = &[
    &["lambda", "lambdas", "alpha", "batch", "height", "width", "quiet", "progress", "param", "count"],
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
        "map",
        "partner_map",
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
        for (name, count) in [("mix", 1), ("plan", 1), ("map", 1), ("params", 0)] {
            if !script.takes(name, count)? && name == "mix" {
                let message = "a mixer needs a function `mix(m)`; see docs/scripts.md".to_string();
                return Err(script.error(Position::NONE, message));
            }
        }
        let params = Params::of(script.params()?, given, file)?;
        let needs = needs(&script, &params)?;
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
            maps: RefCell::new(None),
        }));
        let returned = self.script.map("mix", self.script.call("mix", (view.clone(),))?)?;
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
                let depth = mask.size().get(1).copied().unwrap_or(1);
                let one: &[&[i64]] = &[&[], &[1, depth, 1, 1], &[n, depth, 1, 1]];
                back.check(
                    "mask",
                    &mask,
                    &[one, &[&[1, 1, height, width], &[n, 1, height, width]]].concat(),
                )?;
                let mask = fractional(mask)?;
                Some(if mask.dim() == 0 { mask.f_reshape([1i64; 4])? } else { mask })
            }
            None if hidden.is_some() && self.script.has("map") => None,
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
        let (sources, shares, weights) = (back.take("sources")?, back.take("shares")?, back.take("weights")?);
        let is_whole = weights.is_none();
        let credit = match (sources, shares, weights) {
            (None, None, None) => Credit::Pair { partner, lambda },
            (Some(sources), Some(shares), None) | (Some(sources), None, Some(shares)) => {
                let what = if is_whole { "shares" } else { "weights" };
                let count = sources.size().get(1).copied().unwrap_or(1);
                back.check("sources", &sources, &[&[n, count]])?;
                back.check(what, &shares, &[&[n, count]])?;
                if sources.kind() != Kind::Int64 {
                    return Err(back.refuse(format!(
                        "returned `sources` of the kind {:?}, expected whole numbers: which sample is in the image",
                        sources.kind()
                    )));
                }
                let shares = fractional(shares)?;
                if is_whole {
                    Credit::Shares { sources, shares }
                } else {
                    Credit::Weights { sources, weights: shares }
                }
            }
            (_, Some(_), Some(_)) => {
                return Err(back.refuse(
                    "returned `shares` and `weights`: the first sum to 1 for each image, the second need not; return one".into(),
                ));
            }
            (Some(_), None, None) => {
                return Err(back.refuse("returned `sources` without `shares` or `weights`".into()));
            }
            (None, ..) => {
                return Err(back.refuse(format!(
                    "returned `{}` without `sources`",
                    if is_whole { "shares" } else { "weights" }
                )));
            }
        };
        let mut extras = BTreeMap::new();
        while let Some(name) = back.tensors.keys().next().map(ToString::to_string) {
            if let Some(extra) = back.take(&name)? {
                extras.insert(name, extra);
            }
        }
        let map = hidden.filter(|_| self.script.has("map")).map(|_| self.map_mix(view));
        Ok(Mixed { images, mask, map, hidden, credit, extras })
    }

    /// The script's function `map`, for maps of a network that come later.
    fn map_mix(&self, view: View) -> MapMix {
        let script = self.script.clone();
        let mixed = move |own: &Tensor, partners: &Tensor| -> Result<Tensor> {
            *view.0.maps.borrow_mut() = Some((Live::of(own), Live::of(partners)));
            let returned = script.call("map", (view.clone(),));
            *view.0.maps.borrow_mut() = None;
            let returned = returned?;
            let refuse = |message: String| script.error(script.place_of("map"), message);
            let map = returned.read_lock::<Live>().map(|live| live.tensor().shallow_clone());
            let map =
                map.ok_or_else(|| refuse(format!("`map` must return a map, got {}", told(&returned))))?;
            if map.size() != own.size() {
                let (got, wanted) = (map.size(), own.size());
                return Err(refuse(format!("`map` returned the shape {got:?}, expected {wanted:?}")));
            }
            Ok(if map.kind() == own.kind() { map } else { map.f_to_kind(own.kind())? })
        };
        MapMix::new(move |own, partners| mixed(own, partners).map_err(as_plugin))
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

/// What `needs()` says, or `needs(p)` of the parameters.
fn needs(script: &Script, params: &Params) -> Result<Needs> {
    let mut needs = Needs::images();
    if !script.has("needs") {
        return Ok(needs);
    }
    let of_params = || params.all().iter().map(|(name, value)| (name.into(), value.into())).collect::<Map>();
    let told_needs = match script.takes("needs", 0) {
        Ok(_) => script.call("needs", ())?,
        Err(_) => {
            script.takes("needs", 1)?;
            script.call("needs", (of_params(),))?
        }
    };
    for (name, value) in script.map("needs", told_needs)? {
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

fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Live>("Tensor");
    operand::register::<Live>(engine);
    dice::register(engine);
    view::register(engine);
}
