//! The memory of online deep clustering, through updates, new centroids and clusters that ran dry.

use admix_engine::{Clusterer, ClustererConfig, Odc, OdcClusterer, Reweight};
use admix_torch::{Device, Kind, Tensor};

use super::{Golden, Tolerance};

const VALUES: Tolerance = Tolerance::absolute(1e-6);

fn check(golden: &Golden, stage: &str, clusterer: &OdcClusterer) {
    for (name, found) in clusterer.tensors() {
        let (key, tolerance) = match name {
            "features" | "centroids" => (name, VALUES),
            "labels" => (name, Tolerance::EXACT),
            _ => continue,
        };
        golden.check(&format!("{stage}.{key}"), &found, tolerance);
    }
    let weights = format!("{stage}.class_weight");
    if golden.has(&weights) {
        golden.check(&weights, &clusterer.class_weight().expect("weights"), VALUES);
    }
}

fn restore(golden: &Golden, stage: &str, clusterer: &mut OdcClusterer) {
    let part = |name: &str| golden.get(&format!("{stage}.before.{name}"));
    clusterer.set(&part("features"), &part("labels"), &part("centroids")).expect("a clusterer");
}

/// The file's stand-in for 2-means: by the first coordinate, the upper half (the smaller one) leaves.
fn split(members: &Tensor) -> admix_engine::Result<Tensor> {
    let (_, order) = members.select(1, 0).sort_stable(true, 0, false);
    let stay = (members.size()[0] + 1) / 2;
    Ok(order.narrow(0, stay, members.size()[0] - stay))
}

pub fn odc_memory(golden: &Golden) {
    let raw = golden.get("init.features_raw");
    let (samples, width) = raw.size2().expect("features");
    let clusters = golden.number("num_classes") as i64;
    let config = Odc {
        k: clusters,
        momentum: golden.number("momentum"),
        min_size: golden.number("min_cluster") as i64,
        reweight: Reweight::SumOne,
        ..Odc::default()
    };
    config.check(samples as usize).expect("settings that fit");
    let mut clusterer = OdcClusterer::new(config, samples, width, Device::Cpu).expect("a clusterer");
    let units = admix_api::unit(&raw).expect("units");
    let centroids = Tensor::zeros([clusters, width], (Kind::Float, Device::Cpu));
    clusterer.set(&units, &golden.get("init.labels"), &centroids).expect("a clusterer");
    clusterer.update_centroids().expect("centroids");
    check(golden, "s0", &clusterer);
    for stage in ["s1", "s2", "s3"] {
        let (index, feature) = (golden.get(&format!("{stage}.ind")), golden.get(&format!("{stage}.feature")));
        let changed = clusterer.update(&index, &feature).expect("an update");
        golden.check(&format!("{stage}.change_ratio"), &changed, VALUES);
        check(golden, stage, &clusterer);
    }
    clusterer.update_centroids().expect("centroids");
    check(golden, "s4", &clusterer);
    for stage in ["s5", "s6", "s7"] {
        restore(golden, stage, &mut clusterer);
        let between = format!("{stage}.after_centroid_update");
        if golden.has(&format!("{between}.labels")) {
            clusterer.update_centroids().expect("centroids");
            check(golden, &between, &clusterer);
        }
        assert!(clusterer.dissolve_small(&mut split).expect("splits"), "{stage} has a cluster that ran dry");
        check(golden, stage, &clusterer);
    }
}
