//! Promises about one mixed batch.

use admix_torch::{Kind, Tensor};

use super::bench::Case;
use super::ledger::{Ledger, Promise};
use super::samples::{Batch, all, close, described, same, wild};
use super::watch::{Check, ensure};
use crate::{Credit, LossInput, Mixed, Needs, Plan};

const IMAGES: &str = "images keep shape, kind and device";
const FINITE: &str = "images are finite";
const SOURCES: &str = "the label's sources lie in the batch";
const SHARES: &str = "shares are float32, not negative, and sum to 1";
pub(super) const WEIGHTS: &str = "weights of sources are float32, not negative, and finite";
const CREDIT: &str = "a pair is credited with the planned lambda or the area";
const MASK: &str = "a mask is [N, 1, H, W] in [0, 1]";
const FOLLOW: &str = "images follow their mask";
pub(super) const HIDDEN: &str =
    "a hidden mix has its images, a mask or a mix of maps, a pair and its plan's stage";
pub(super) const MAPS: &str = "a mix of maps keeps their shape and kind, and is finite";
const EXTRAS: &str = "extras are tensors";

/// Channels, height and width of the maps that a mix of maps is tried on.
const MAP: [i64; 3] = [5, 4, 3];
/// What networks compute in.
const KINDS: [Kind; 2] = [Kind::Float, Kind::BFloat16];

const NO_MIX: &str = "there was no mix to look at";
pub(super) const PROMISES: &[Promise] = &[
    (IMAGES, NO_MIX),
    (FINITE, "there were no images of the right shape"),
    (SOURCES, NO_MIX),
    (SHARES, "there were no shares of sources in the batch"),
    (WEIGHTS, "it gives shares, which sum to 1"),
    (CREDIT, "the label is not shared by pairs, or there was no mix"),
    (MASK, "it has no mask"),
    (FOLLOW, "it has no mask, does not share the label by pairs, or mixes inside of networks"),
    (HIDDEN, "it makes no hidden mixes"),
    (MAPS, "it mixes no maps in a way of its own"),
    (EXTRAS, "it hands out none"),
];

/// What is left to be said of a mix, after what was seen of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Examined {
    /// The images have the right form, and so has the mask if there is one.
    pub(super) whole: bool,
    /// The images are finite too.
    pub(super) finite: bool,
    /// And they follow their mask, as far as that was looked at.
    pub(super) sound: bool,
}

/// Judges a mix. What comes of inputs or a plan that were changed on the way is not held against credit and mask.
pub(super) fn examine(
    ledger: &mut Ledger,
    case: &Case,
    (batch, needs): (&Batch, &Needs),
    plan: &Plan,
    (mixed, untouched): (&Mixed, bool),
) -> Examined {
    let n = batch.images.size()[0];
    if mixed.hidden.is_some() {
        return examine_hidden(ledger, case, (batch, needs), plan, (mixed, untouched));
    }
    let whole = ledger.holds(IMAGES, case, || {
        let alike = mixed.images.defined()
            && mixed.images.size() == batch.images.size()
            && mixed.images.kind() == batch.images.kind()
            && mixed.images.device() == batch.images.device();
        ensure(alike, || format!("{} became {}", described(&batch.images), described(&mixed.images)))
    });
    let finite = whole
        && ledger.holds(FINITE, case, || ensure(all(&mixed.images.isfinite()), || "NaN or infinity".into()));

    let mut credit = None;
    ledger.holds(SOURCES, case, || {
        let (sources, shares) = mixed.credit.shares()?;
        sources_in_batch(&sources, n)?;
        credit = Some((sources, shares));
        Ok(())
    });
    let fair = match &credit {
        Some((sources, shares)) => ledger
            .holds(credit_promise(&mixed.credit), case, || shares_of_one(sources, shares, n, &mixed.credit)),
        None => false,
    };
    let masked = match &mixed.mask {
        Some(mask) => ledger.holds(MASK, case, || mask_in_range(mask, &batch.images)),
        None => true,
    };
    let mut sound = finite && masked && untouched;
    if let (true, Credit::Pair { partner, lambda }) = (fair && untouched, &mixed.credit) {
        let mask = mixed.mask.as_ref().filter(|_| masked);
        ledger.holds(CREDIT, case, || credited(lambda, plan, mask, n));
        if let (true, Some(mask)) = (finite, mask) {
            sound &= ledger.holds(FOLLOW, case, || follows(mixed, mask, partner, batch));
        }
    }
    for (name, extra) in &mixed.extras {
        ledger.holds(EXTRAS, case, || ensure(extra.defined(), || format!("`{name}` is undefined")));
    }
    Examined { whole: whole && masked, finite, sound }
}

/// The same for a mix inside of a network, whose images are those of the batch.
fn examine_hidden(
    ledger: &mut Ledger,
    case: &Case,
    (batch, needs): (&Batch, &Needs),
    plan: &Plan,
    (mixed, untouched): (&Mixed, bool),
) -> Examined {
    let n = batch.images.size()[0];
    let whole = ledger.holds(HIDDEN, case, || {
        ensure(!untouched || same(&mixed.images, &batch.images), || {
            "its images are not those it was given".into()
        })?;
        let (Some(stage), deepest) = (mixed.hidden.map(|hidden| hidden.stage), needs.hidden) else {
            return Ok(());
        };
        ensure(Some(stage) <= deepest, || {
            let told = deepest.map_or("names none".into(), |deepest| format!("goes down to stage {deepest}"));
            format!("it happens at stage {stage}, and `hidden` in its needs {told}")
        })?;
        ensure(mixed.mask.as_ref().is_none_or(Tensor::defined), || "the mask is undefined".into())?;
        mixed.check_hidden(<[i64; 4]>::from(batch.images.size4()?))?;
        Ok(())
    });
    let (true, Credit::Pair { lambda, .. }) = (whole, &mixed.credit) else {
        return Examined { whole: false, finite: false, sound: false };
    };
    let mask = mixed.mask.as_ref();
    let masked = mask.is_none_or(|mask| {
        ledger.holds(MASK, case, || {
            ensure(mask.kind() == Kind::Float, || format!("the mask is {}", described(mask)))?;
            in_range(mask)
        })
    });
    let mapped = mixed.map.is_none()
        || KINDS.into_iter().all(|kind| {
            ledger.holds(MAPS, case, || {
                let maps = wild(&[n, MAP[0], MAP[1], MAP[2]], 0.3, kind).to_device(mixed.images.device());
                let found = mixed.blended(&maps, &maps)?;
                ensure(all(&found.isfinite()), || format!("NaN or infinity, of {kind:?}"))
            })
        });
    ledger.holds(SOURCES, case, || sources_in_batch(&mixed.credit.shares()?.0, n));
    let fair = ledger.holds(SHARES, case, || {
        let (sources, shares) = mixed.credit.shares()?;
        shares_of_one(&sources, &shares, n, &mixed.credit)
    });
    if fair && untouched {
        ledger.holds(CREDIT, case, || credited(lambda, plan, mask.filter(|_| masked), n));
    }
    for (name, extra) in &mixed.extras {
        ledger.holds(EXTRAS, case, || ensure(extra.defined(), || format!("`{name}` is undefined")));
    }
    let good = masked && mapped;
    Examined { whole: good, finite: good, sound: good && untouched }
}

/// Judges the stages of two mixes by plans of one structure; 0 is a mix of images.
pub(super) fn examine_stages(ledger: &mut Ledger, case: &Case, structure: u64, (one, two): (usize, usize)) {
    if (one, two) != (0, 0) {
        ledger.holds(HIDDEN, case, || {
            ensure(one == two, || {
                format!("plans of the structure {structure} mix at stage {one} and at stage {two}")
            })
        });
    }
}

/// Judges a mix of two views: `one` is the mix of the first view with itself.
pub(super) fn examine_view(
    ledger: &mut Ledger,
    promise: &'static str,
    case: &Case,
    views: &Batch,
    plan: &Plan,
    (one, two): (&Mixed, &Mixed),
) {
    let Credit::Pair { partner, .. } = &two.credit else { return };
    if two.hidden.is_some() {
        // The network's pass takes the partners from there.
        return;
    }
    let own_alone = match plan.lambdas(views.images.size()[0] as usize) {
        Ok(lambdas) => lambdas.iter().all(|lambda| *lambda > 0.999),
        Err(_) => true,
    };
    // A mask tells pixel by pixel; without one, the other view must at least make a difference.
    ledger.holds(promise, case, || match &two.mask {
        Some(mask) => follows(two, mask, partner, views),
        None => ensure(own_alone || !same(&one.images, &two.images), || {
            "the other view makes no difference".into()
        }),
    });
}

fn credit_promise(credit: &Credit) -> &'static str {
    if matches!(credit, Credit::Weights { .. }) { WEIGHTS } else { SHARES }
}

fn sources_in_batch(sources: &Tensor, n: i64) -> Check {
    let sound = sources.defined()
        && sources.kind() == Kind::Int64
        && sources.dim() == 2
        && sources.size()[0] == n
        && sources.size()[1] > 0;
    ensure(sound, || format!("the sources are {}, wanted {n}xS Int64", described(sources)))?;
    let (low, high) = (sources.min().int64_value(&[]), sources.max().int64_value(&[]));
    ensure(low >= 0 && high < n, || format!("sources from {low} to {high} in a batch of {n}"))
}

fn shares_of_one(sources: &Tensor, shares: &Tensor, n: i64, credit: &Credit) -> Check {
    let sound = shares.defined() && shares.kind() == Kind::Float && shares.size() == sources.size();
    ensure(sound, || format!("the shares are {} for sources {}", described(shares), described(sources)))?;
    let low = shares.min().double_value(&[]);
    ensure(low >= 0.0, || format!("a share of {low}"))?;
    if matches!(credit, Credit::Weights { .. }) {
        return ensure(all(&shares.isfinite()), || "a weight is not finite".into());
    }
    let one = Tensor::ones([n], (Kind::Float, shares.device()));
    let sums = shares.sum_dim_intlist(1, false, None);
    ensure(close(&sums, &one, 1e-6), || {
        format!("they sum to {} .. {}", sums.min().double_value(&[]), sums.max().double_value(&[]))
    })?;
    // Sources of one class: the class gets everything.
    let labels = Tensor::full([n], 2, (Kind::Int64, shares.device()));
    let target = LossInput::default().with_target(credit, &labels)?;
    let dense = Tensor::zeros([n, 4], (Kind::Float, shares.device())).f_scatter_add(
        1,
        target.get("target.labels")?,
        target.get("target.shares")?,
    )?;
    ensure(close(&dense.select(1, 2), &one, 1e-6), || "one class does not get the whole label".into())
}

fn credited(lambda: &Tensor, plan: &Plan, mask: Option<&Tensor>, n: i64) -> Check {
    let lambda = lambda.f_expand([n], false)?;
    let planned = plan.on(lambda.device())?.lambda();
    let planned = planned.ok().map(|lambda| lambda.f_expand([n], false)).transpose()?;
    let area = mask.map(|mask| mask.mean_dim([1i64, 2, 3].as_slice(), false, None).expand([n], false));
    let by_area = area.is_some_and(|area| close(&area, &lambda, 1e-6));
    ensure(by_area || planned.as_ref().is_some_and(|planned| lambda.equal(planned)), || {
        let first = |tensor: &Tensor| tensor.double_value(&[0]);
        let planned =
            planned.as_ref().map_or("no lambda".into(), |planned| format!("lambda {}", first(planned)));
        format!("{planned} was planned and {} is credited, which is no area seen", first(&lambda))
    })
}

fn mask_in_range(mask: &Tensor, images: &Tensor) -> Check {
    let (n, _, height, width) = images.size4()?;
    let sound = mask.defined() && mask.size() == [n, 1, height, width] && mask.kind() == Kind::Float;
    ensure(sound, || format!("the mask is {}, the images {}", described(mask), described(images)))?;
    in_range(mask)
}

fn in_range(mask: &Tensor) -> Check {
    let (low, high) = (mask.min().double_value(&[]), mask.max().double_value(&[]));
    ensure(low >= 0.0 && high <= 1.0 + 1e-6, || format!("the mask goes from {low} to {high}"))
}

fn follows(mixed: &Mixed, mask: &Tensor, partner: &Tensor, batch: &Batch) -> Check {
    let input = batch.input();
    let mut partners = input.partners(partner)?;
    if let Some(placed) = mixed.extras.get(Mixed::PLACED) {
        is_made_of(placed, &partners)?;
        partners = placed.shallow_clone();
    }
    let blended: Tensor = mask * input.images + (1.0 - mask) * partners;
    let gap = (&mixed.images - blended).abs().max().double_value(&[]);
    ensure(gap <= 1e-5, || format!("they are {gap:.3e} away from mask * own + (1 - mask) * partner"))
}

/// Whether a moved or resized image may be made of the partner's. What a policy does to it is its own affair, but each
/// colour stays within the range of that partner's colour, so that no other image can stand in for it.
fn is_made_of(placed: &Tensor, partners: &Tensor) -> Check {
    let alike = placed.defined() && placed.size() == partners.size() && placed.kind() == partners.kind();
    ensure(alike, || format!("placed are {}, the partners {}", described(placed), described(partners)))?;
    let area = [2i64, 3];
    let below = (partners.amin(area.as_slice(), true) - placed).max().double_value(&[]);
    let above = (placed - partners.amax(area.as_slice(), true)).max().double_value(&[]);
    ensure(below.max(above) <= 1e-5, || {
        format!("placed are {:.3e} outside the range of the partner's colours", below.max(above))
    })
}

/// What a mix of maps makes of maps without a graph.
pub(super) fn blended_maps(mixed: &Mixed) -> crate::Result<Tensor> {
    let maps = wild(&[mixed.images.size4()?.0, MAP[0], MAP[1], MAP[2]], 0.3, Kind::Float);
    let maps = maps.to_device(mixed.images.device());
    mixed.blended(&maps, &maps)
}
