//! k-means on the device: k-means++ and Lloyd's iterations, without an empty cluster.

use admix_api::Draws;
use admix_torch::{Kind, Tensor};

use crate::{Error, Result};

/// Distances that are held at once, at most.
const AT_ONCE: i64 = 1 << 24;

/// Clusters features `[n, d]` into `k`: labels `[n]` int64 in 0..k, and centroids `[k, d]`, the plain means of their
/// members. No cluster is empty: after each assignment, an empty one takes the sample that is farthest from its own
/// centroid among clusters with others. Ties go to the lowest index.
///
/// Seeds are chosen by k-means++ (Arthur and Vassilvitskii, SODA 2007): the first uniformly, every further one with a
/// probability in proportion to its squared distance from the nearest seed. Reads counts back to the host: between
/// steps only.
///
/// # Errors
/// More clusters than features.
pub fn k_means(features: &Tensor, k: i64, iterations: usize, draws: &mut Draws) -> Result<(Tensor, Tensor)> {
    let (n, _) = features.size2()?;
    if k < 1 || k > n {
        return Err(Error::Input(format!("k-means of {n} samples into {k} clusters: expected 1 to {n}")));
    }
    let _guard = admix_torch::no_grad();
    let norms = squared_norms(features)?;
    let mut centroids = seeds(features, &norms, k, draws)?;
    let mut labels = assigned(features, &norms, &centroids)?;
    for _ in 0..iterations {
        centroids = means(features, &labels, k)?.0;
        labels = assigned(features, &norms, &centroids)?;
    }
    let centroids = means(features, &labels, k)?.0;
    Ok((labels, centroids))
}

/// Means of the members, `[k, d]` (0 where there are none), and the counts `[k]` int64.
pub(super) fn means(features: &Tensor, labels: &Tensor, k: i64) -> Result<(Tensor, Tensor)> {
    let options = (features.kind(), features.device());
    let sums = Tensor::f_zeros([k, features.size()[1]], options)?.f_index_add_(0, labels, features)?;
    let counts = counted(labels, k)?;
    let over = counts.f_clamp_min(1)?.f_to_kind(features.kind())?.f_unsqueeze(1)?;
    Ok((sums.f_div(&over)?, counts))
}

/// How many samples each cluster has, `[k]` int64.
pub(super) fn counted(labels: &Tensor, k: i64) -> Result<Tensor> {
    let mut counts = Tensor::f_zeros([k], (Kind::Int64, labels.device()))?;
    Ok(counts.f_index_add_(0, labels, &labels.f_ones_like()?)?)
}

fn squared_norms(features: &Tensor) -> Result<Tensor> {
    Ok(features.f_square()?.f_sum_dim_intlist(1i64, false, None)?)
}

/// Squared distances `[m, k]` of rows from centroids.
fn distances(rows: &Tensor, norms: &Tensor, centroids: &Tensor) -> Result<Tensor> {
    let products = rows.f_matmul(&centroids.f_transpose(0, 1)?)?.f_mul_scalar(-2.0)?;
    let distances = products.f_add(&squared_norms(centroids)?)?.f_add(&norms.f_unsqueeze(1)?)?;
    Ok(distances.f_clamp_min(0.0)?)
}

fn seeds(features: &Tensor, norms: &Tensor, k: i64, draws: &mut Draws) -> Result<Tensor> {
    let n = features.size()[0];
    let row = |at: &Tensor| features.f_index_select(0, at);
    let first = Tensor::f_full([1], draws.below(n as usize) as i64, (Kind::Int64, features.device()))?;
    let mut chosen = vec![row(&first)?];
    let mut nearest = distances(features, norms, &chosen[0])?.f_squeeze_dim(1)?;
    while (chosen.len() as i64) < k {
        let below = nearest.f_cumsum(0, Kind::Double)?;
        let mark = below.f_narrow(0, n - 1, 1)?.f_mul_scalar(draws.uniform())?;
        // The first sample whose part of the sum reaches beyond the mark. All in one place: the last.
        let at = below.f_le_tensor(&mark)?.f_sum(Kind::Int64)?.f_clamp_max(n - 1)?.f_reshape([1])?;
        let seed = row(&at)?;
        nearest = nearest.f_minimum(&distances(features, norms, &seed)?.f_squeeze_dim(1)?)?;
        chosen.push(seed);
    }
    Ok(Tensor::f_cat(&chosen, 0)?)
}

/// The nearest centroid of each sample, then a member for every cluster without one.
fn assigned(features: &Tensor, norms: &Tensor, centroids: &Tensor) -> Result<Tensor> {
    let (n, k) = (features.size()[0], centroids.size()[0]);
    let rows = (AT_ONCE / k).max(1);
    let (mut labels, mut apart) = (Vec::new(), Vec::new());
    for start in (0..n).step_by(rows as usize) {
        let count = rows.min(n - start);
        let part = features.f_narrow(0, start, count)?;
        let (far, label) =
            distances(&part, &norms.f_narrow(0, start, count)?, centroids)?.f_min_dim(1, false)?;
        labels.push(label);
        apart.push(far);
    }
    let labels = Tensor::f_cat(&labels, 0)?;
    let mut counts: Vec<i64> = Vec::try_from(&counted(&labels, k)?.f_to_device(admix_torch::Device::Cpu)?)?;
    if counts.iter().all(|count| *count > 0) {
        return Ok(labels);
    }
    let (_, order) = Tensor::f_cat(&apart, 0)?.f_sort_stable(true, 0, true)?;
    let order: Vec<i64> = Vec::try_from(&order.f_to_device(admix_torch::Device::Cpu)?)?;
    let own: Vec<i64> = Vec::try_from(&labels.f_to_device(admix_torch::Device::Cpu)?)?;
    let mut farthest = order.into_iter();
    for cluster in 0..k {
        if counts[cluster as usize] > 0 {
            continue;
        }
        // There is one: n >= k, so as long as a cluster is empty another has two members.
        let Some(sample) = farthest.by_ref().find(|at| counts[own[*at as usize] as usize] > 1) else { break };
        counts[own[sample as usize] as usize] -= 1;
        counts[cluster as usize] += 1;
        let _ = labels.f_narrow(0, sample, 1)?.f_fill_(cluster)?;
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use admix_api::Streams;
    use admix_api::contract::wild;
    use admix_torch::Device;

    use super::*;

    fn draws(seed: u64) -> Draws {
        Streams::new(seed).draws("cluster", "test", 0, 0)
    }

    fn integers(tensor: &Tensor) -> Vec<i64> {
        Vec::try_from(tensor).expect("integers")
    }

    /// Ten groups of 30 samples, each close to an axis.
    fn groups() -> (Tensor, Vec<i64>) {
        let group: Vec<i64> = (0..300).map(|i| i % 10).collect();
        let features = wild(&[300, 10], 0.3, Kind::Float) * 0.05;
        for (i, axis) in group.iter().enumerate() {
            let _ = features.get(i as i64).narrow(0, *axis, 1).fill_(1.0);
        }
        (features, group)
    }

    #[test]
    fn groups_that_lie_apart_are_found() {
        let (features, group) = groups();
        let (labels, centroids) = k_means(&features, 10, 20, &mut draws(3)).expect("clusters");
        let labels = integers(&labels);
        for (i, label) in labels.iter().enumerate() {
            assert_eq!(label == &labels[0], group[i] == group[0], "sample {i}");
        }
        let own = features.index_select(0, &Tensor::from_slice(&[0i64, 10, 20]));
        let nearest = centroids.get(labels[0]);
        assert!((own.mean_dim(0i64, false, None::<Kind>) - nearest).abs().max().double_value(&[]) < 0.1);
    }

    #[test]
    fn no_cluster_is_empty_even_where_samples_are_the_same() {
        for (n, k) in [(5, 5), (40, 17), (64, 64), (9, 1)] {
            // Three places only.
            let places = wild(&[3, 4], 0.9, Kind::Float);
            let features =
                places.index_select(0, &Tensor::arange(n, (Kind::Int64, Device::Cpu)).remainder(3));
            let (labels, centroids) = k_means(&features, k, 20, &mut draws(1)).expect("clusters");
            let counts = integers(&counted(&labels, k).expect("counts"));
            assert!(counts.iter().all(|count| *count > 0), "{n} into {k}: {counts:?}");
            assert_eq!(centroids.size(), [k, 4]);
            assert_eq!(centroids.isfinite().all().int64_value(&[]), 1);
        }
    }

    #[test]
    fn centroids_are_means_and_the_same_seed_gives_the_same_bits() {
        let features = wild(&[200, 6], 0.2, Kind::Float);
        let (labels, centroids) = k_means(&features, 7, 20, &mut draws(5)).expect("clusters");
        let again = k_means(&features, 7, 20, &mut draws(5)).expect("clusters");
        assert!(labels.equal(&again.0) && centroids.equal(&again.1));
        for cluster in 0..7 {
            let members = features.masked_select(&labels.eq(cluster).unsqueeze(1)).reshape([-1, 6]);
            let gap = (members.mean_dim(0i64, false, None::<Kind>) - centroids.get(cluster)).abs().max();
            assert!(gap.double_value(&[]) < 1e-6, "cluster {cluster}");
        }
    }

    #[test]
    fn iterations_lower_the_spread() {
        let features = wild(&[500, 3], 0.7, Kind::Float);
        let spread = |iterations| {
            let (labels, centroids) = k_means(&features, 12, iterations, &mut draws(2)).expect("clusters");
            (&features - centroids.index_select(0, &labels)).square().sum(Kind::Double).double_value(&[])
        };
        assert!(spread(20) < 0.9 * spread(0), "{} and {}", spread(20), spread(0));
    }

    #[test]
    fn more_clusters_than_samples_are_refused() {
        let message =
            k_means(&wild(&[3, 2], 0.1, Kind::Float), 4, 5, &mut draws(0)).expect_err("refused").to_string();
        assert!(message.contains("3 samples into 4 clusters"), "{message}");
    }
}
