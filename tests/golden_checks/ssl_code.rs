//! One step of AMix-I and of AMix-C as the authors' code takes them, through the bundled scripts.

use std::collections::BTreeMap;

use admix_api::{MixInput, Plan, Value};
use admix_data::Batch;
use admix_engine::{Scheduled, StepOptions};
use admix_models::Pass;
use admix_torch::{Kind, Tensor};

use super::ssl::{
    banked, both, check_bank, check_gradients, clusterers, embedding, enqueued, filled, golden_name, looking,
    plan, term,
};
use super::{Golden, Tolerance};

const VALUES: Tolerance = Tolerance::absolute(1e-5);
const GRADIENTS: Tolerance = Tolerance::relative(1e-3, 1e-5);

pub fn ssl_step_i_code(golden: &Golden) {
    one_step(golden, false);
}

pub fn ssl_step_i_pairfixed(golden: &Golden) {
    one_step(golden, true);
}

pub fn ssl_step_c_code(golden: &Golden) {
    one_step(golden, false);
}

pub fn ssl_step_c_pairfixed(golden: &Golden) {
    one_step(golden, true);
}

/// A number uniform in [0, 1) that the law Beta(2, 2) makes this one of.
fn before_beta(x: &Tensor) -> Tensor {
    let x = x.to_kind(Kind::Double);
    &x * &x * 3.0 - &x * &x * &x * 2.0
}

fn one_step(golden: &Golden, pair_fixed: bool) {
    let weights = golden.numbers("weights.bb_mix__bb_ssl__mb_main__mb_auxi__mb_mask");
    let [bb_mix, bb_ssl, main, bce, mask] = weights[..] else { panic!("five weights") };
    let samples = banked(golden);
    let clustered = samples > 0;
    // The code sums over samples, with weights that sum to 1 over the clusters, and adjusts by pseudo labels.
    let (method, by_label, cluster, heads) = match clustered {
        true => (
            "code/amix_c",
            ", same_cluster: Blend",
            ", \"cluster\": CrossEntropy(class_weight: OverSamples)",
            format!(", \"online\": {main:?}, \"online_mix\": {main:?}"),
        ),
        false => ("code/amix_i", "", "", String::new()),
    };
    let clusters = clusterers(golden, "reweight: SumOne");
    let fields = format!(
        "{clusters} params: {{\"pair_fixed\": {pair_fixed}}},
         weights: {{\"mix\": {bb_mix:?}, \"moco\": {bb_ssl:?}, \"main\": {main:?}, \"bce\": {bce:?}, \"mask\": {mask:?}{heads}}},
         mixers: {{\"amix\": AMix(preset: Code, stage: 2, rescale: Off, adjust: 1.0, adjust_margin: {:?},
                                lam_margin: {:?}, partner: Derangement{by_label})}},
         losses: {{\"info_nce\": InfoNce(temperature: {temperature:?}), \"bce\": Bce(temperature: {temperature:?}),
                   \"mask\": Mask(preset: Code, mode: L1Variance){cluster}}},",
        golden.number("mean_margin"),
        golden.number("lam_margin"),
        temperature = golden.number("temperature"),
    );
    let view = |name: &str| golden.get(name);
    let mut session = filled(golden, method, &view("view_q"), &fields, samples);
    let (view_q, view_k) = (view("view_q"), view("view_k"));
    let samples = view_q.size()[0];
    let index =
        golden.find("sample_ids").unwrap_or_else(|| Tensor::arange(samples, (Kind::Int64, view_q.device())));
    let pointer = session.tensors()["queue.keys.pointer"].int64_value(&[0]);
    let ours = |which: &str| {
        let partner = golden.integers(&format!("index_{which}"));
        plan(&session, golden.number(&format!("lam_{which}")), &partner)
    };
    let (attempt, lesson) = (ours("mixblock"), ours("backbone"));
    looking(&mut session, |session| {
        let (z_q, z_k) = (golden.get("feature_q_view"), golden.get("feature_k_view"));
        let input = MixInput { features: Some(&z_q), partner_features: Some(&z_k), ..MixInput::of(&view_q) };
        let planned = lesson.on(view_q.device()).expect("a plan");
        let mut world = session.world_mut();
        let raw = world.mixers[0].mixer.mix(&input, &planned).expect("a mix").mask.expect("a mask");
        golden.check("mask_backbone_raw", &both(&raw), VALUES);
    });
    let uniform = before_beta(&golden.get("extension_beta_draw")).reshape([-1]);
    let uniform = Vec::<f64>::try_from(uniform).expect("numbers");
    let extrapolate = golden.number("extension_extrapolate");
    assert_eq!(golden.number("extension_uniform_draw") > 0.5, extrapolate == 1.0);
    let options = StepOptions {
        plans: BTreeMap::from([
            ("attempt".into(), attempt),
            ("lesson".into(), lesson),
            ("extension".into(), Plan::default().with("field", Value::Floats(uniform))),
            ("extrapolate".into(), Plan::default().with("number", Value::Float(extrapolate))),
        ]),
        // The file has no optimiser step.
        schedule: Some(Scheduled {
            rates: BTreeMap::from([("net".to_string(), 0.0)]),
            ema: Some(golden.number("ema_momentum")),
            ..Scheduled::default()
        }),
        detail: true,
        ..StepOptions::default()
    };
    if clustered {
        let weights = session.world().clusterers[0].clusterer.class_weight().expect("weights");
        golden.check("class_weight", &weights, VALUES);
    }
    let batch =
        Batch::of_views(vec![view_q.copy(), view_k.copy()], index.zeros_like(), index).expect("a batch");
    let report = session.step_with(vec![batch], &options).unwrap_or_else(|error| panic!("{error}"));

    let loss = |name: &str| term(&report, name);
    let mut of_mixer = loss("main") * main + loss("bce") * bce;
    if clustered {
        of_mixer += (loss("online") + loss("online_mix")) * main;
    }
    golden.check("loss.moco", &loss("moco"), VALUES);
    golden.check("loss.backbone_mix", &loss("mix"), VALUES);
    golden.check("loss.mixblock_total", &of_mixer, VALUES);
    golden.check("loss.mask", &loss("mask"), VALUES);
    let total = loss("moco") * bb_ssl + loss("mix") * bb_mix + of_mixer + loss("mask") * mask;
    golden.check("loss.total", &total, VALUES);
    for (which, draw) in [("mixblock", "attempt"), ("backbone", "lesson")] {
        golden.check(&format!("image_mixed_{which}"), &report.mixes[draw].images, VALUES);
    }
    let adjusted = report.mixes["lesson"].mask.as_ref().expect("a mask");
    golden.check("mask_backbone_adjusted", &both(adjusted), VALUES);
    check_gradients(golden, "", &report, GRADIENTS);
    for (own, tensor) in session.tensors().iter().filter(|(own, _)| !own.starts_with("optimizer.")) {
        if !check_bank(golden, "", own, tensor) {
            golden.check(&format!("after.{}", golden_name(own).expect("a name")), tensor, VALUES);
        }
    }
    if clustered {
        let (name, changed) = &report.logged[0];
        assert_eq!(name, "odc_changed");
        golden.check("change_ratio", changed, VALUES);
        golden.check("memory.after.centroids", &golden.get("memory.before.centroids"), Tolerance::EXACT);
    }
    golden.check("key_of_k_view", &enqueued(&session, pointer, samples), VALUES);
    looking(&mut session, |session| {
        let views = Tensor::cat(&[&view_q, &view_k], 0);
        let keys = admix_api::unit(&embedding(session, "k", &views)).expect("unit");
        golden.check("key_of_q_view", &keys.narrow(0, 0, samples), VALUES);
        let world = session.world();
        let k = world.nets.iter().find(|net| net.name == "k").expect("a network");
        let features =
            k.network.backbone().forward_to(2, &views, &Pass::TRAIN).expect("features").into_tensor();
        golden.check("feature_q_view", &features.narrow(0, 0, samples), VALUES);
        golden.check("feature_k_view", &features.narrow(0, samples, samples), VALUES);
    });
}
