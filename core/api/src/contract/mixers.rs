//! Tries a mixer on every batch.

use std::collections::BTreeMap;

use admix_torch::{Autocast, Device, Kind, Tensor, no_grad};

use super::bench::{Bench, Built, Case, DRAWS, MISSING, MODES, took};
use super::examine::BUILT;
use super::ledger::{Ledger, Promise};
use super::samples::{Batch, DEPTH, SHAPES, all, by, same, wild, wild_like};
use super::watch::{Check, Seen, ensure, guarded, watched_on};
use super::{mixes, plans};
use crate::{Mixed, MixerConfig, MixerContext, Needs, Pairing, Partner, Per, Plan, Planned, Store, Streams};

const NEEDS: &str = "needs are the same before and after building";
const MIXED: &str = "every batch can be mixed";
const LATER: &str = "evaluation mode and after_step work";
const INPUTS: &str = "inputs and plan are left alone";
const SAME: &str = "the same plan gives the same bits";
const READ: &str = "everything is read from the plan";
const VIEW: &str = "partners come from the other view, if there is one";
const HALF: &str = "half precision images stay so, masks are float32";
const WAITS: &str = "a capturable mix does not wait for the device";
const GRAPH: &str = "only a loud mix of trained parameters has a graph";
const GRADIENTS: &str = "a loud mix gives its parameters finite gradients";

const NO_MIX: &str = "there was no mix to look at";
const PROMISES: &[Promise] = &[
    (NEEDS, "it was not built"),
    (MIXED, "it was not planned"),
    (LATER, "it was not built"),
    (INPUTS, NO_MIX),
    (SAME, NO_MIX),
    (READ, "no two plans were of one form, or one plan gave two results"),
    (VIEW, "the label is not shared by pairs, or some mix was not sound without it"),
    (HALF, "there was no mix of the right form"),
    (MISSING, "it reads images alone, or could not be mixed"),
    (WAITS, "it says that it cannot be captured, or there was no mix"),
    (DRAWS, "it was not built"),
    (MODES, "it was not built"),
    (GRAPH, "there were no images to look at"),
    (GRADIENTS, "it has no trained parameters, or there was no loud mix with a graph"),
];

/// The promises about plans, about calls, and about what is mixed.
pub(crate) fn promises() -> Vec<Promise> {
    [plans::PROMISES, PROMISES, mixes::PROMISES].concat()
}

/// Some of the promises.
type Part = fn(&mut Bench<'_>);

/// Every promise of a mixer with these settings.
pub(crate) fn check(config: &dyn MixerConfig, pairing: &Pairing, settings: &str, ledger: &mut Ledger) {
    if matches!(guarded(|| Ok(config.choices().is_some())), Ok(true)) {
        // It mixes nothing: the host picks one of the mixers that it names, and those keep the promises.
        return;
    }
    let needs = match guarded(|| Ok(config.needs())) {
        Ok(needs) => needs,
        Err(seen) => {
            ledger.judge(NEEDS, &settings, Err(seen));
            return;
        }
    };
    let device = ledger.device();
    let (mut reached, mut sound) = (BTreeMap::new(), true);
    let reads = Needs { pseudo: needs.pseudo || pairing.partner.needs_pseudo(), ..needs.clone() };
    // The other view comes last: it says something only about a mixer that is sound without it, on every batch.
    let one_view: &[Part] = &[
        |bench| bench.planning(),
        |bench| bench.mixing(),
        |bench| bench.pairings(),
        |bench| bench.repeating(),
        |bench| bench.half_precision(),
        |bench| bench.missing_inputs(),
        |bench| bench.later(),
    ];
    let two_views: &[Part] = &[|bench| bench.other_view()];
    for parts in [one_view, two_views] {
        for (shape, quiet) in SHAPES.into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
            let at = format!("{settings} for {}", by(&shape[..4]));
            let Some(built) = build(config, &needs, shape[1], &at, ledger) else { continue };
            let mut bench = Bench {
                ledger: &mut *ledger,
                batch: Batch::new(shape, &reads, quiet, device),
                config,
                pairing,
                settings,
                needs: &needs,
                built,
                untouched: true,
                same_modes: true,
                whole: true,
                sound: &mut sound,
                stages: BTreeMap::new(),
                reached: &mut reached,
            };
            for part in parts {
                let outcome = guarded(|| {
                    part(&mut bench);
                    Ok(())
                });
                unwound(outcome, &at, bench.ledger);
            }
            let Bench { built, .. } = bench;
            dropped(built, &at, ledger);
        }
        if !sound {
            break;
        }
    }
    if let Some((name, _)) = reached.iter().find(|(_, reached)| !**reached) {
        let seen = format!("no gradient ever reached `{name}`");
        ledger.judge(GRADIENTS, &format!("{settings}, any loud mix"), Err(seen.into()));
    }
}

/// A panic where nothing was asked: when the mixer is dropped.
fn unwound(outcome: Check, at: &str, ledger: &mut Ledger) {
    if outcome.is_err() {
        ledger.judge(BUILT, &at, outcome);
    }
}

fn dropped(built: Built, at: &str, ledger: &mut Ledger) {
    let outcome = guarded(|| {
        drop(built);
        Ok(())
    });
    unwound(outcome, at, ledger);
}

/// Builds the mixer for images of so many channels, and moves its parameters away from the start, where masks are flat.
fn build(
    config: &dyn MixerConfig,
    needs: &Needs,
    channels: i64,
    at: &str,
    ledger: &mut Ledger,
) -> Option<Built> {
    let device = ledger.device();
    let store = Store::new(device, Streams::new(1));
    let context = MixerContext {
        feature_channels: needs.features.map(|_| DEPTH),
        mean: vec![0.5; channels as usize],
        std: vec![0.5; channels as usize],
        classes: 4,
    };
    let call = watched_on(device, || config.build(&store.root().sub("mixer"), &context));
    let mut mixer = took(ledger, BUILT, &at, call)?;
    ledger.holds(NEEDS, &at, || {
        let after = mixer.needs();
        ensure(after == *needs, || format!("before: {needs:?}, after: {after:?}"))
    });
    let parameters: Vec<_> = store.parameters().into_iter().map(|(name, tensor, _)| (name, tensor)).collect();
    let call = watched_on(device, || {
        let _no_graph = no_grad();
        for (_, weight) in &parameters {
            // A single number is more often a strength in [0, 1] than a weight. What leaves its range is put back.
            let spread = if weight.numel() == 1 { 0.4 } else { 1.5 };
            let moved = (wild_like(weight, spread) * spread).abs();
            weight.shallow_clone().f_copy_(&moved)?;
        }
        mixer.after_step()
    });
    took(ledger, LATER, &at, call)?;
    let buffers = store.buffers().into_iter().map(|(_, buffer)| Ok((buffer.f_detach_copy()?, buffer)));
    let buffers = buffers.collect::<crate::Result<Vec<_>>>().ok()?;
    Some(Built { mixer, parameters, buffers })
}

impl Bench<'_> {
    /// Mixes a batch and judges what every mix must keep, whatever comes out.
    fn mix(&mut self, case: &Case, batch: &Batch, plan: &Plan, slots: &Planned) -> Option<Mixed> {
        // The plugin gets copies, so that one that writes into them spoils no other case.
        let given = batch.copy();
        {
            let _no_graph = no_grad();
            for (before, buffer) in &self.built.buffers {
                buffer.shallow_clone().f_copy_(before).ok()?;
            }
        }
        let mut call = watched_on(self.ledger.device(), || {
            let paired = slots.paired(given.pseudo.as_ref())?;
            let mixed = self.built.mixer.mix(&given.input(), paired.as_ref().unwrap_or(slots))?;
            // Part of every step, so it must not wait either. What is wrong with it is judged later.
            let shares = guarded(|| Ok(mixed.credit.shares()?));
            drop(shares);
            Ok(mixed)
        });
        if self.needs.capturable && !self.needs.host_solver {
            let waits = std::mem::replace(&mut call.waits, Ok(()));
            self.ledger.judge(WAITS, case, waits);
        }
        self.same_modes = call.modes.is_ok();
        let mixed = self.took(MIXED, case, call)?;
        self.untouched = self.ledger.holds(INPUTS, case, || {
            for ((name, before), (_, after)) in batch.tensors().into_iter().zip(given.tensors()) {
                ensure(same(before, after), || format!("the {name} were changed"))?;
            }
            unchanged(plan, slots, batch.images.device())
        });
        Some(mixed)
    }

    /// Mixes by a plan of its own.
    fn mix_by(&mut self, case: &Case, plan: &Plan) -> Option<Mixed> {
        let slots = plan.on(self.ledger.device()).ok()?;
        let batch = self.batch.copy();
        self.mix(case, &batch, plan, &slots)
    }

    fn mixing(&mut self) {
        for (per, step) in [(Per::Batch, 0), (Per::Sample, 1), (Per::Batch, 2), (Per::Sample, 3)] {
            let Some((case, plan)) = self.plan(per, step) else { continue };
            let Some(mixed) = self.mix_by(&case, &plan) else { continue };
            let pair = (&mixed, self.untouched);
            let given = (&self.batch, self.needs);
            let found = mixes::examine(self.ledger, &case, given, &plan, pair);
            let stage = mixed.hidden.map_or(0, |hidden| hidden.stage);
            let first = *self.stages.entry(plan.structure).or_insert(stage);
            mixes::examine_stages(self.ledger, &case, plan.structure, (first, stage));
            self.whole &= found.whole;
            *self.sound &= found.sound;
            // Undefined images were told of, and so was recording that was left off.
            let defined = mixed.images.defined();
            if !defined || (!self.same_modes && !mixed.images.requires_grad()) {
                continue;
            }
            let trained = !self.built.parameters.is_empty() && !self.batch.quiet;
            let graph = self.ledger.holds(GRAPH, &case, || graph_where_trained(&mixed, trained));
            if trained && graph && found.finite {
                self.gradients(&case, &mixed);
            }
        }
    }

    fn gradients(&mut self, case: &Case, mixed: &Mixed) {
        let Built { parameters, .. } = &self.built;
        for (name, _) in parameters {
            self.reached.entry(name.clone()).or_default();
        }
        let leaves: Vec<Tensor> = parameters.iter().map(|(_, leaf)| leaf.shallow_clone()).collect();
        let reached = &mut *self.reached;
        self.ledger.holds(GRADIENTS, case, || {
            let weighed = |tensor: &Tensor, seed| {
                let tensor = tensor.to_kind(Kind::Float);
                (&tensor * wild_like(&tensor, seed)).sum(None)
            };
            let mut target = weighed(&mixed.images, 0.4);
            if mixed.map.is_some() {
                target += weighed(&mixes::blended_maps(mixed)?, 0.6);
            }
            if let Some(mask) = mixed.mask.as_ref().filter(|mask| mask.defined()) {
                target += weighed(mask, 0.5);
            }
            let found = admix_torch::gradients(&[target], &leaves, false, false)?;
            for ((name, _), gradient) in parameters.iter().zip(found) {
                let Some(gradient) = gradient else { continue };
                ensure(all(&gradient.isfinite()), || format!("the gradient of `{name}` is not finite"))?;
                reached.insert(name.clone(), true);
            }
            Ok(())
        });
    }

    /// Mixes by every other way to choose partners and lambda.
    fn pairings(&mut self) {
        let [even, whole] = [0.5, 1.0].map(|share| Partner::ClusterAware { share });
        let ways = [(Partner::Derangement, true), (Partner::Flip, false), (even, false), (whole, true)];
        for (step, (way, per)) in
            (20..).zip(ways.into_iter().flat_map(|way| [(way, Per::Batch), (way, Per::Sample)]))
        {
            let case = Case { pairing: Some(way), ..self.case(per, step) };
            let Some((case, plan)) = self.plan_of(case) else { continue };
            let Ok(slots) = plan.on(self.ledger.device()) else { continue };
            let batch = self.batch.with_pseudo();
            let Some(mixed) = self.mix(&case, &batch, &plan, &slots) else { continue };
            let pair = (&mixed, self.untouched);
            let found = mixes::examine(self.ledger, &case, (&batch, self.needs), &plan, pair);
            *self.sound &= found.sound;
        }
    }

    /// One plan gives one result: again, from another mixer of the same settings, and from slots that held another plan.
    fn repeating(&mut self) {
        for per in [Per::Batch, Per::Sample] {
            let Some((case, plan)) = self.plan(per, 4) else { continue };
            let Some(first) = self.mix_by(&case, &plan) else { continue };
            let Some(again) = self.mix_by(&case, &plan) else { continue };
            if !self.ledger.holds(SAME, &case, || same_mix(&first, &again)) {
                continue;
            }
            // Drawn after the first mix: a mixer that kept something of the last plan is found out.
            let Some((other_case, other)) = self.plan(per, 5) else { continue };
            if plan.structure != other.structure || plans::fits(&plan, &other).is_err() {
                continue;
            }
            let Ok(slots) = other.on(self.ledger.device()) else { continue };
            let batch = self.batch.copy();
            let Some(second) = self.mix(&other_case, &batch, &other, &slots) else { continue };
            let at = format!("{} for {}", self.settings, by(&case.shape));
            let Some(fresh) = build(self.config, self.needs, case.shape[1], &at, self.ledger) else {
                continue;
            };
            let used = std::mem::replace(&mut self.built, fresh);
            let fresh = self.mix_by(&other_case, &other);
            let fresh_one = std::mem::replace(&mut self.built, used);
            dropped(fresh_one, &at, self.ledger);
            // Compared before the slots are refilled: a credit may be the slot itself.
            let clean = fresh.is_none_or(|fresh| {
                self.ledger.holds(READ, &other_case, || {
                    same_mix(&fresh, &second).map_err(|seen| after("a mix by another plan", &seen))
                })
            });
            if !clean || plan.fill(&slots).is_err() {
                continue;
            }
            let Some(refilled) = self.mix(&case, &batch, &plan, &slots) else { continue };
            self.ledger.holds(READ, &case, || {
                same_mix(&first, &refilled).map_err(|seen| after("its slots held another plan", &seen))
            });
        }
    }

    fn other_view(&mut self) {
        for per in [Per::Batch, Per::Sample] {
            let Some((case, plan)) = self.plan(per, 10) else { continue };
            let Some(one) = self.mix_by(&case, &plan) else { continue };
            let Ok(slots) = plan.on(self.ledger.device()) else { continue };
            let views = self.batch.with_other_view();
            let Some(two) = self.mix(&case, &views, &plan, &slots) else { continue };
            mixes::examine_view(self.ledger, VIEW, &case, &views, &plan, (&one, &two));
        }
    }

    fn half_precision(&mut self) {
        if !self.whole {
            return;
        }
        let Some((case, plan)) = self.plan(Per::Sample, 9) else { return };
        let Ok(slots) = plan.on(self.ledger.device()) else { return };
        let mut low = self.batch.copy();
        low.images = low.images.to_kind(Kind::BFloat16);
        let Ok(_low) = Autocast::enter(self.ledger.device(), Kind::BFloat16) else { return };
        let Some(mixed) = self.mix(&case, &low, &plan, &slots) else { return };
        self.ledger.holds(HALF, &format!("{case}, bfloat16 images under autocast"), || {
            let kind = mixed.images.kind();
            ensure(kind == Kind::BFloat16, || format!("bfloat16 images became {kind:?}"))?;
            let mask = mixed.mask.as_ref().map(Tensor::kind);
            ensure(mask.is_none_or(|kind| kind == Kind::Float), || format!("the mask is {mask:?}"))
        });
    }

    /// Leaves out one input after the other, then gives features of another width. A mix may do without; else its error
    /// names what it lacks.
    fn missing_inputs(&mut self) {
        let Some((case, plan)) = self.plan(Per::Batch, 0) else { return };
        let Ok(slots) = plan.on(self.ledger.device()) else { return };
        if self.mix_by(&case, &plan).is_none() {
            // It fails with everything it reads, so its errors are not about what is missing.
            return;
        }
        type Change = fn(&mut Batch);
        let changes: [(&str, bool, Change); 4] = [
            ("features", self.needs.features.is_some(), |batch| batch.features = None),
            ("saliency", self.needs.saliency, |batch| batch.saliency = None),
            ("pseudo", self.needs.pseudo, |batch| batch.pseudo = None),
            ("", self.needs.features.is_some(), |batch| {
                let n = batch.images.size()[0];
                let features = wild(&[n, DEPTH - 1, 2, 2], 0.5, Kind::Float);
                batch.features = Some(features.to_device(batch.images.device()));
            }),
        ];
        for (name, needed, change) in changes {
            if !needed {
                continue;
            }
            let mut batch = self.batch.copy();
            change(&mut batch);
            let call = watched_on(self.ledger.device(), || self.built.mixer.mix(&batch.input(), &slots));
            let how = if name.is_empty() { "with narrow features".into() } else { format!("without {name}") };
            self.ledger.holds(MISSING, &format!("{case}, {how}"), || match call.outcome {
                Err(seen) if seen.panicked => Err(seen),
                Err(Seen { text, .. }) => ensure(text.contains(name) && !text.contains('\n'), || {
                    format!("the error is not one line that names `{name}`: {text}")
                }),
                Ok(_) => Ok(()),
            });
        }
    }

    fn later(&mut self) {
        let Some((case, plan)) = self.plan(Per::Batch, 7) else { return };
        let call = watched_on(self.ledger.device(), || {
            self.built.mixer.train(false);
            let _no_graph = no_grad();
            self.built.mixer.after_step()
        });
        let at = Case { settings: format!("{} after train(false)", case.settings), ..case };
        if self.took(LATER, &at, call).is_some() {
            self.mix_by(&at, &plan);
        }
    }
}

fn unchanged(plan: &Plan, slots: &Planned, device: Device) -> Check {
    let wanted = plan.on(device)?;
    for (name, _) in plan.values() {
        let (wanted, found) = (wanted.get(name)?, slots.get(name)?);
        ensure(same(&wanted, &found), || format!("the plan's `{name}` was changed"))?;
    }
    Ok(())
}

fn graph_where_trained(mixed: &Mixed, trained: bool) -> Check {
    let has = |tensor: &Tensor| tensor.defined() && tensor.requires_grad();
    if mixed.map.is_some() && trained {
        // What is wrong with the maps themselves is told elsewhere, and those of a quiet mix are quietened.
        let Ok(maps) = mixes::blended_maps(mixed) else { return Ok(()) };
        return ensure(has(&maps), || "the maps of a loud hidden mix have no graph".into());
    }
    if trained && mixed.hidden.is_some() {
        return ensure(mixed.mask.as_ref().is_some_and(has), || {
            "the mask of a loud hidden mix has no graph".into()
        });
    }
    if trained {
        return ensure(has(&mixed.images), || "the images of a loud mix have no graph".into());
    }
    ensure(!has(&mixed.images), || "the images have a graph".into())?;
    ensure(!mixed.mask.as_ref().is_some_and(has), || "the mask has a graph".into())?;
    match mixed.extras.iter().find(|(_, tensor)| has(tensor)) {
        Some((name, _)) => Err(format!("the extra `{name}` has a graph").into()),
        None => Ok(()),
    }
}

fn same_mix(one: &Mixed, two: &Mixed) -> Check {
    ensure(same(&one.images, &two.images), || "the images differ".into())?;
    ensure(one.hidden == two.hidden, || format!("{:?}, then {:?}", one.hidden, two.hidden))?;
    let masks = match (&one.mask, &two.mask) {
        (Some(one), Some(two)) => same(one, two),
        (one, two) => one.is_none() && two.is_none(),
    };
    ensure(masks, || "the masks differ".into())?;
    let (Ok(one), Ok(two)) = (one.credit.shares(), two.credit.shares()) else { return Ok(()) };
    ensure(same(&one.0, &two.0) && same(&one.1, &two.1), || "the credits differ".into())
}

fn after(what: &str, seen: &Seen) -> Seen {
    format!("{} after {what}", seen.text).into()
}
