//! The memory of online deep clustering, through updates, new centroids and clusters that ran dry.

use admix_engine::{ClustererConfig, Odc, OdcBank, Reweight};
use admix_torch::{Device, Kind, Tensor};

use super::{Golden, Tolerance};

const VALUES: Tolerance = Tolerance::absolute(1e-6);

fn check(golden: &Golden, stage: &str, bank: &OdcBank) {
    for (name, found) in bank.tensors() {
        let (key, tolerance) = match name {
            "features" | "centroids" => (name, VALUES),
            "labels" => (name, Tolerance::EXACT),
            _ => continue,
        };
        golden.check(&format!("{stage}.{key}"), &found, tolerance);
    }
    let weights = format!("{stage}.class_weight");
    if golden.has(&weights) {
        golden.check(&weights, &bank.class_weight().expect("weights"), VALUES);
    }
}

fn restore(golden: &Golden, stage: &str, bank: &mut OdcBank) {
    let part = |name: &str| golden.get(&format!("{stage}.before.{name}"));
    bank.set(&part("features"), &part("labels"), &part("centroids")).expect("a bank");
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
    let config = ClustererConfig::Odc(Odc {
        k: clusters,
        momentum: golden.number("momentum"),
        min_size: golden.number("min_cluster") as i64,
        reweight: Reweight::SumOne,
        ..Odc::default()
    });
    assert_eq!(config.check(samples as usize), Ok(()));
    let mut bank = config.build(samples, width, Device::Cpu).expect("a bank");
    let units = admix_api::unit(&raw).expect("units");
    let centroids = Tensor::zeros([clusters, width], (Kind::Float, Device::Cpu));
    bank.set(&units, &golden.get("init.labels"), &centroids).expect("a bank");
    bank.update_centroids().expect("centroids");
    check(golden, "s0", &bank);
    for stage in ["s1", "s2", "s3"] {
        let (index, feature) = (golden.get(&format!("{stage}.ind")), golden.get(&format!("{stage}.feature")));
        let changed = bank.update(&index, &feature).expect("an update");
        golden.check(&format!("{stage}.change_ratio"), &changed, VALUES);
        check(golden, stage, &bank);
    }
    bank.update_centroids().expect("centroids");
    check(golden, "s4", &bank);
    for stage in ["s5", "s6", "s7"] {
        restore(golden, stage, &mut bank);
        let between = format!("{stage}.after_centroid_update");
        if golden.has(&format!("{between}.labels")) {
            bank.update_centroids().expect("centroids");
            check(golden, &between, &bank);
        }
        assert!(bank.dissolve_small(&mut split).expect("splits"), "{stage} has a cluster that ran dry");
        check(golden, stage, &bank);
    }
}
