//! Measures mixers: the spread of their masks, how far their mean is from lambda, and how hard their images are.

use std::collections::BTreeMap;

use admix_data::{Dataset, Split};
use admix_torch::{Kind, Reduction, Tensor};

use crate::method::Clock;
use crate::recipe::Recipe;
use crate::run::mixer_report::{ByLambda, LAMBDAS, MixLosses, MixerReport};
use crate::session::Session;
use crate::{Error, Result};

/// Pairs for each lambda that an evaluation within a run measures.
const PAIRS_WHILE_TRAINING: usize = 100;
/// So few steps teach a mixer nothing.
const FEW_STEPS: u64 = 100;
/// A mask of a smaller standard deviation is constant to the eye.
const CONSTANT: f64 = 0.02;

/// Measures a mixer against MixUp on at most `most` test pairs at each of [`LAMBDAS`], networks in evaluation mode. `None` of a
/// mixer without masks.
///
/// # Errors
/// No such mixer, an image that cannot be read, or libtorch refused.
pub fn mixer_report(
    session: &mut Session,
    dataset: &Dataset,
    recipe: &Recipe,
    mixer: &str,
    most: usize,
) -> Result<Option<ByLambda>> {
    let mut by_lambda = ByLambda::new();
    for lambda in LAMBDAS {
        let Some(report) = at_lambda(session, dataset, recipe, mixer, lambda, most)? else { return Ok(None) };
        by_lambda.insert(lambda.to_string(), report);
    }
    Ok(Some(by_lambda))
}

/// Measures the trained mixers of a run.
///
/// # Errors
/// As [`mixer_report`].
pub(super) fn trained_mixers(
    session: &mut Session,
    dataset: &Dataset,
    recipe: &Recipe,
) -> Result<BTreeMap<String, ByLambda>> {
    let trained: Vec<String> =
        session.world().mixers.iter().filter(|unit| unit.trained()).map(|unit| unit.name.clone()).collect();
    let mut reports = BTreeMap::new();
    for name in trained {
        if let Some(report) = mixer_report(session, dataset, recipe, &name, PAIRS_WHILE_TRAINING)? {
            reports.insert(name, report);
        }
    }
    Ok(reports)
}

/// What to say of a mixer whose masks are still constant, told when a quarter, a half and all of a run is over: `before` and
/// `clock` stand at the last evaluation, in epochs, and at this one. Nobody expects a mixer to have learned in a few steps.
pub(super) fn dead(mixer: &str, report: &ByLambda, before: u64, clock: Clock) -> Option<String> {
    let Clock { step, epoch: now, epochs, .. } = clock;
    if step < FEW_STEPS {
        return None;
    }
    let mark = [1u64, 2, 4].into_iter().find(|part| before * part < epochs && now * part >= epochs)?;
    let most = report.values().map(|r| r.mask_std).fold(0.0, f64::max);
    // What is not a number passes as the largest.
    if !report.values().all(|r| r.mask_std < CONSTANT) {
        return None;
    }
    let part = match mark {
        4 => "a quarter of the run",
        2 => "half of the run",
        _ => "the run",
    };
    Some(format!(
        "after {part} the masks of mixer `{mixer}` are still constant (standard deviation at most {most:.4}), so its mixes are blends \
         whose shares do not follow lambda: train longer, raise `groups.{mixer}.lr`, or give AMix or AutoMix larger first weights, \
         `mixers.{mixer}.init=FanIn(2.0)`"
    ))
}

fn at_lambda(
    session: &mut Session,
    dataset: &Dataset,
    recipe: &Recipe,
    mixer: &str,
    lambda: f64,
    most: usize,
) -> Result<Option<MixerReport>> {
    let split = if dataset.is_empty(Split::Test) { Split::Train } else { Split::Test };
    let total = dataset.len(split).min(most);
    let per = 500.min(total);
    // The head that learned from mixes, if the recipe tells it apart.
    let head = recipe.heads.iter().find(|name| *name == "mix").or(recipe.heads.last());
    let head = head.filter(|_| dataset.info().classes > 0);
    let (mut std, mut gaps, mut pairs) = (0.0, Vec::new(), 0);
    let mut losses: Option<MixLosses> = None;
    let streams = session.world().streams;
    for (index, start) in (0..total).step_by(per).enumerate() {
        let n = per.min(total - start);
        let batch = dataset.clean_batch(split, start, n)?;
        let partner = streams.draws("mixer_report", mixer, 0, index as u64).permutation(n);
        let mut draws = streams.draws("mixer_report", mixer, 1, index as u64);
        let plan = session.plan_for(mixer, &batch.images, lambda, &partner, &mut draws)?;
        // Without classes all are of one cluster.
        let labels = batch.labels.f_clamp_min(0)?;
        let report = session.mix(mixer, &batch.images, &labels, &plan)?;
        let Some(mask) = report.mask else { return Ok(None) };
        let _guard = admix_torch::no_grad();
        let per_mask = mask.f_flatten(1, -1)?.f_std_dim(1i64, false, false)?;
        std += per_mask.f_sum(Kind::Double)?.f_double_value(&[])?;
        gaps.push((mask.f_mean(Kind::Double)?.f_double_value(&[])? - lambda).abs());
        pairs += n;
        let (Some(head), Some(partner)) = (head, report.partner) else { continue };
        let theirs = batch.images.f_index_select(0, &partner)?;
        let mixup = batch.images.f_mul_scalar(lambda)?.f_add(&theirs.f_mul_scalar(1.0 - lambda)?)?;
        let other = labels.f_index_select(0, &partner)?;
        let world = session.world();
        let net = world.nets.iter().find(|n| !n.trained).or(world.nets.first());
        let net = net.ok_or_else(|| Error::Input("there is no network".into()))?;
        let loss = |images: &Tensor| -> Result<f64> {
            let map = net.network.backbone().forward(images, &admix_models::Pass::EVALUATE)?;
            let logits = net.network.forward_head(head, &map, false)?;
            let sum = |labels: &Tensor| -> Result<f64> {
                let loss = logits.f_cross_entropy_loss::<Tensor>(labels, None, Reduction::Sum, -100, 0.0)?;
                Ok(loss.f_double_value(&[])?)
            };
            Ok(lambda * sum(&labels)? + (1.0 - lambda) * sum(&other)?)
        };
        let sums = losses.get_or_insert(MixLosses { loss_mixed: 0.0, loss_mixup: 0.0 });
        sums.loss_mixed += loss(&report.images)?;
        sums.loss_mixup += loss(&mixup)?;
    }
    let count = pairs.max(1) as f64;
    Ok(Some(MixerReport {
        mask_std: std / count,
        mean_gap: gaps.iter().sum::<f64>() / gaps.len().max(1) as f64,
        worst_gap: gaps.iter().copied().fold(0.0, f64::max),
        losses: losses.map(|sums| MixLosses {
            loss_mixed: sums.loss_mixed / count,
            loss_mixup: sums.loss_mixup / count,
        }),
        pairs,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(mask_std: f64) -> ByLambda {
        let one = MixerReport { mask_std, mean_gap: 0.0, worst_gap: 0.0, losses: None, pairs: 1 };
        ByLambda::from([("0.3".into(), MixerReport { mask_std: 0.0, ..one.clone() }), ("0.7".into(), one)])
    }

    #[test]
    fn constant_masks_are_told_of_when_a_quarter_a_half_and_all_of_a_run_is_over() {
        let at = |step, epoch| Clock { step, steps: 1000, epoch, epochs: 10 };
        let dead = |std, before, epoch| super::dead("amix", &report(std), before, at(100 * epoch, epoch));
        let told: Vec<u64> = (1..=10).filter(|now| dead(0.019, now - 1, *now).is_some()).collect();
        assert_eq!(told, [3, 5, 10]);
        let said = dead(0.0123, 0, 10).expect("a word");
        assert!(
            said.contains("after the run") && said.contains("`amix`") && said.contains("0.0123"),
            "{said}"
        );
        assert!(dead(0.02, 0, 10).is_none(), "one lambda whose masks vary");
        assert!(dead(f64::NAN, 0, 10).is_none());
        assert!(super::dead("amix", &report(0.0), 0, at(99, 10)).is_none(), "too few steps");
    }
}
