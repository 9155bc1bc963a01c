use admix_api::Streams;
use admix_api::contract::wild;

use super::*;

fn draws(step: u64) -> Draws {
    Streams::new(4).draws("cluster", "odc", 0, step)
}

fn started(settings: Odc, n: i64) -> OdcClusterer {
    let mut clusterer = OdcClusterer::new(settings, n, 8, Device::Cpu).expect("a clusterer");
    clusterer.initialise(&wild(&[n, 8], 0.4, Kind::Float), &mut draws(0)).expect("features");
    clusterer
}

fn counts(clusterer: &OdcClusterer) -> Vec<i64> {
    Vec::try_from(&clusterer.counts).expect("counts")
}

fn settings() -> Odc {
    Odc { k: 6, min_size: 5, ..Odc::default() }
}

#[test]
fn counts_follow_labels_through_updates_centroids_and_splits() {
    let mut clusterer = started(settings(), 90);
    let mut dissolved = 0;
    for step in 1..=60u64 {
        let index = Tensor::from_slice(&Streams::new(step).draws("ids", "", 0, 0).permutation(90)[..15]);
        // All new features are alike: clusters run dry.
        let new = wild(&[15, 8], 0.1, Kind::Float) * 0.1 + 1.0;
        let _ = clusterer.update(&index, &new).expect("an update");
        dissolved += u64::from(clusterer.after_step(step, &mut draws(step)).expect("a step"));
        assert!(clusterer.counts.equal(&counted(&clusterer.labels, 6).expect("counts")), "step {step}");
        assert!(counts(&clusterer).iter().all(|count| *count > 0), "step {step}: {:?}", counts(&clusterer));
        assert!(clusterer.centroids.isfinite().all().int64_value(&[]) == 1);
        let norms = clusterer.features.norm_scalaropt_dim(2.0, 1i64, false);
        assert!((norms - 1.0).abs().max().double_value(&[]) < 1e-5);
    }
    assert!(dissolved > 3, "clusters must have run dry: {dissolved}");
}

#[test]
fn embeddings_that_are_not_finite_do_not_poison_the_clusterer() {
    let mut clusterer = started(settings(), 90);
    let before = clusterer.features.copy();
    let new = wild(&[2, 8], 0.6, Kind::Float);
    let _ = new.get(0).fill_(f64::NAN);
    let _ = clusterer.update(&Tensor::from_slice(&[3i64, 4]), &new).expect("an update");
    assert!(
        clusterer.features.get(3).equal(&before.get(3)) && !clusterer.features.get(4).equal(&before.get(4))
    );
    assert_eq!(clusterer.features.isfinite().all().int64_value(&[]), 1);
}

#[test]
fn a_clusterer_that_was_never_filled_is_left_alone_between_steps() {
    let mut clusterer = OdcClusterer::new(settings(), 90, 8, Device::Cpu).expect("a clusterer");
    assert!(!clusterer.after_step(10, &mut draws(10)).expect("a step"));
    assert_eq!(counts(&clusterer), [90, 0, 0, 0, 0, 0]);
}

#[test]
fn a_rehearsed_clusterer_has_clusters_of_equal_sizes_and_nothing_to_dissolve() {
    let mut clusterer = OdcClusterer::new(settings(), 90, 8, Device::Cpu).expect("a clusterer");
    clusterer.rehearse().expect("features");
    assert_eq!(counts(&clusterer), [15; 6]);
    assert!(!clusterer.after_step(10, &mut draws(10)).expect("a step"));
    assert!(clusterer.centroids.isfinite().all().int64_value(&[]) == 1);
}

#[test]
fn weights_of_the_two_scales_differ_by_the_number_of_clusters() {
    let mean = started(settings(), 90);
    let sum = started(Odc { reweight: Reweight::SumOne, ..settings() }, 90);
    let (mean, sum) = (mean.class_weight().expect("weights"), sum.class_weight().expect("weights"));
    assert!((sum.sum(Kind::Double).double_value(&[]) - 1.0).abs() < 1e-6);
    assert!((mean - sum * 6.0).abs().max().double_value(&[]) < 1e-6);
}

#[test]
fn settings_that_the_data_cannot_fill_are_refused_by_field() {
    let refusal = |odc: Odc, samples| odc.check(samples).expect_err("refused").to_string();
    assert_eq!(refusal(Odc::default(), 150), "k is 200, expected at most the 150 training images");
    let message = refusal(Odc::default(), 3000);
    assert!(message.starts_with("min_size is 20, expected 1 to 15") && message.contains("3000"), "{message}");
    let message = Odc { momentum: 0.0, ..Odc::default() }.validate().expect_err("refused").to_string();
    assert!(message.starts_with("momentum is 0"), "{message}");
    assert!(Odc::default().check(4000).is_ok());
    let wrong =
        started(settings(), 90).update(&Tensor::from_slice(&[0i64]), &wild(&[1, 4], 0.1, Kind::Float));
    assert!(wrong.expect_err("refused").to_string().contains("embeddings [N, D]"));
}
