//! Evaluation: top-1 and top-5 of every head of every network, on the test set.

use std::collections::BTreeMap;

use admix_data::{Dataset, Pass, Split};
use admix_torch::{Group, Kind, Tensor};

use crate::recipe::Recipe;
use crate::run::accuracy::Accuracy;
use crate::session::Session;
use crate::world::{Kept, Net};
use crate::{Error, Result};

/// Re-estimates the BatchNorms of momentum networks on clean training batches, then measures every head on the
/// test set. Counts stay on the device and are read once at the end.
///
/// # Errors
/// libtorch refused.
pub fn evaluate(
    session: &mut Session,
    dataset: &Dataset,
    recipe: &Recipe,
    group: Option<&Group>,
) -> Result<BTreeMap<String, Accuracy>> {
    reestimate(session, dataset, recipe)?;
    let total = if recipe.evaluates() { dataset.len(Split::Test) } else { 0 };
    let per = recipe.evaluate.batch;
    let (rank, processes) = group.map_or((0, 1), |group| (group.rank(), group.processes()));
    // Processes take batches in turns.
    let batches = total.div_ceil(per);
    let mut counts: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
    for number in (rank..batches).step_by(processes) {
        let start = number * per;
        let batch = dataset.clean_batch(Split::Test, start, per.min(total - start))?;
        for (head, sums) in session.tally(&batch.images, &batch.labels)? {
            counts.entry(head).or_default().push(sums);
        }
    }
    if let Some(group) = group {
        exchange(group, session, &mut counts, batches)?;
    }
    counts
        .into_iter()
        .map(|(name, sums)| {
            // In the order of batches, however many processes there are: the sum is the same to the last bit.
            let mut sums = sums.into_iter();
            let first = sums.next().ok_or_else(|| Error::Input("no batch was measured".into()))?;
            let sums = sums.try_fold(first, |sum, next| sum.f_add(&next))?;
            let sums: [f64; 4] = Vec::<f64>::try_from(&sums.f_to_device(admix_torch::Device::Cpu)?)?
                .try_into()
                .map_err(|_| Error::Input("four sums per head".into()))?;
            let accuracy = Accuracy::of_sums(sums, total, &format!("`{name}`"));
            Ok((name, accuracy))
        })
        .collect()
}

/// Makes the counts of each batch known to all processes.
fn exchange(
    group: &Group,
    session: &Session,
    counts: &mut BTreeMap<String, Vec<Tensor>>,
    batches: usize,
) -> Result<()> {
    let most = batches.div_ceil(group.processes());
    let nothing = Tensor::f_zeros([4i64], (Kind::Double, session.world().device))?;
    // A process without a batch has no head in its map; process 0 has one if any has.
    let heads = group.gather_text(&counts.keys().map(String::as_str).collect::<Vec<_>>().join("\n"))?;
    for head in heads[0].lines() {
        let own = counts.remove(head).unwrap_or_default();
        let padded = own.into_iter().chain(std::iter::repeat_with(|| nothing.shallow_clone())).take(most);
        let all = group.all_gather(&Tensor::f_stack(&padded.collect::<Vec<_>>(), 0)?)?;
        let of = |batch: usize| {
            let (at, rank) = (batch / group.processes(), batch % group.processes());
            all.f_get((rank * most + at) as i64)
        };
        counts.insert(head.to_string(), (0..batches).map(of).collect::<std::result::Result<_, _>>()?);
    }
    Ok(())
}

/// Whether what is measured of this network has BatchNorms that are estimated anew, for which training images are needed.
pub fn reestimates(session: &Session, recipe: &Recipe, net: &str) -> bool {
    let is_stale = session.world().nets.iter().any(|own| own.name == net && has_stale_norms(own));
    is_stale && recipe.evaluate.reestimate_batches > 0
}

/// The BatchNorms of a momentum network see other activations than those of the network that it follows.
fn has_stale_norms(net: &Net) -> bool {
    !net.trained && !net.frozen && !net.network.backbone().batch_norms().is_empty()
}

/// Re-estimates the BatchNorms of momentum networks on clean training batches. A network that gets values which are not
/// finite keeps those it had: it could not be saved otherwise.
///
/// # Errors
/// libtorch refused, or an image cannot be read.
pub fn reestimate(session: &Session, dataset: &Dataset, recipe: &Recipe) -> Result<()> {
    let world = session.world();
    let _guard = admix_torch::no_grad();
    for net in world.nets.iter().filter(|net| has_stale_norms(net)) {
        let per = recipe.batch.min(dataset.len(Split::Train));
        let batches = recipe.evaluate.reestimate_batches.min(dataset.len(Split::Train) / per.max(1));
        if batches > 0 {
            let kept = Kept::of(net.store.buffers().into_iter().map(|(_, buffer)| buffer).collect())?;
            let epoch = session.clock().epoch;
            let mut draws = world.streams.draws("reestimate", &net.name, epoch, 0);
            let mut loader = dataset.loader(Pass {
                split: Split::Train,
                order: draws.permutation(dataset.len(Split::Train)),
                batch: per,
                batches: (0..batches).collect(),
                streams: world.streams,
                purpose: "reestimate".into(),
                views: vec![net.name.clone()],
                epoch,
                // Step 0 drew the order.
                first_step: 1,
            })?;
            let mut next = || -> Result<Option<Tensor>> {
                // What prepares images is no part of the network.
                let _full = world.precision.leave(world.device)?;
                Ok(loader.next_batch(dataset)?.map(|batch| batch.images))
            };
            {
                let _low = world.precision.enter(world.device)?;
                net.network.reestimate_batch_norm(std::iter::from_fn(|| next().transpose()))?;
            }
            let flag = world.found_inf.f_zeros_like()?;
            kept.judge(&flag)?;
            kept.put_back_where(&flag)?;
            if let Some(group) = &world.group {
                let buffers: Vec<Tensor> =
                    net.store.buffers().into_iter().map(|(_, buffer)| buffer).collect();
                group.broadcast(&buffers, 0)?;
            }
        }
    }
    Ok(())
}
