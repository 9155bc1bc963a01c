//! `m` of a script's `mix(m)`: what is mixed.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use admix_api::did_you_mean;
use rhai::{Engine, NativeCallContext};

use crate::method::operand::{Outcome, refuse};
use crate::script::live::{Live, Params};
use crate::script::sandbox;
use crate::text::list;

/// `m`: what is mixed.
#[derive(Debug, Clone)]
pub(super) struct View(pub(super) Rc<Seen>);

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) images: Live,
    pub(super) partner_images: Option<Live>,
    pub(super) partners: OnceCell<Live>,
    pub(super) features: Option<Live>,
    pub(super) partner_features: Option<Live>,
    pub(super) their_features: OnceCell<Live>,
    pub(super) saliency: Option<Live>,
    pub(super) pseudo: Option<Live>,
    pub(super) shown: Option<Live>,
    pub(super) partner_shown: Option<Live>,
    pub(super) shown_partners: OnceCell<Live>,
    pub(super) partner: Live,
    pub(super) plan: Vec<(String, Live)>,
    pub(super) params: Params,
    pub(super) sizes: [i64; 4],
    pub(super) structure: i64,
    pub(super) quiet: bool,
    /// While `map` runs: the own map of a stage and that of the partners.
    pub(super) maps: RefCell<Option<(Live, Live)>>,
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

/// What can follow `m.`.
pub(super) fn register(engine: &mut Engine) {
    type C<'a> = NativeCallContext<'a>;
    const NEED: &str = "was not given: ask for it in `fn needs()`";
    engine
        .register_type_with_name::<View>("Mix")
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
    type Of = fn(&(Live, Live)) -> &Live;
    let maps: [(&str, Of); 2] = [("map", |maps| &maps.0), ("partner_map", |maps| &maps.1)];
    for (name, of) in maps {
        engine.register_get(name, move |c: C<'_>, m: &mut View| -> Outcome<Live> {
            m.0.maps.borrow().as_ref().map(|maps| of(maps).clone()).ok_or_else(|| {
                let message =
                    format!("`{name}` is there while `fn map(m)` runs, of a mix with a `stage` from 1");
                refuse(message, c.call_position())
            })
        });
    }
    engine.register_fn("plan", |c: C<'_>, m: &mut View, name: &str| m.0.planned(name, &c));
    engine.register_fn("param", |c: C<'_>, m: &mut View, name: &str| m.0.params.get(name, &c));
    engine.register_fn("count", |c: C<'_>, m: &mut View, name: &str, least: i64| {
        m.0.params.count(name, least, &c)
    });
}
