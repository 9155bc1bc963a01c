//! Steps of i-Mix through the bundled script, and its loss in float32 and float64.

use std::collections::BTreeMap;

use admix_api::{Loss, LossInput, MixInput, Plan, Value, unit};
use admix_models::Pass;
use admix_plugins::losses::{Candidates, InfoNce};
use admix_torch::{Device, Kind, Tensor, grad_of};

use super::Golden;
use super::levels::{GRADIENTS, LOSS, Level, VALUES, decimal};
use super::peers::{FEATURES, IMAGES, mixture, pair, stepped};
use super::ssl::{looking, term};

pub fn imix(golden: &Golden) {
    for case in ["none", "mixup", "cutmix", "cutmix_inside", "inputmix1_mixup", "inputmix2_mixup", "latent"] {
        instance_mix(golden, case);
    }
}

/// The plan of InputMix and its mixer in a recipe, where the case has one.
fn input_mix(golden: &Golden, case: &str) -> Option<(String, Plan)> {
    let at = |name: &str| format!("{case}.{name}");
    let partner = |i: usize| Value::Ints(golden.integers(&at(&format!("im_index{i}"))));
    if golden.has(&at("im_lam_draw")) {
        let lambdas = golden.numbers(&at("im_lam_draw")).into_iter().map(|draw| draw.max(1.0 - draw));
        let plan = Plan::default().with("lambda", Value::Floats(lambdas.collect()));
        let mixer = "MixUp(per: Sample, fold: true)".to_string();
        return Some((mixer, plan.with("partner", partner(1))));
    }
    let shares = golden.find(&at("im_dirichlet"))?;
    let (images, parts) = shares.size2().expect("shares");
    let mut plan = Plan::default()
        .with("lambda", Value::Float(0.5))
        .with("partner", partner(1))
        .with("own", Value::Ints((0..images).collect()));
    for other in 1..parts {
        let share = Vec::try_from(shares.select(1, other).to_kind(Kind::Double) / 2.0).expect("numbers");
        plan = plan
            .with(&format!("share{other}"), Value::Floats(share))
            .with(&format!("partner{other}"), partner(other as usize));
    }
    Some((format!("Script(file: \"mixers/inputmix\", params: {{\"others\": {}}})", parts - 1), plan))
}

fn instance_mix(golden: &Golden, case: &str) {
    let at = |name: &str| format!("{case}.{name}");
    let temperature = decimal(golden, "temperature");
    let view_q = golden.get("view_q");
    let samples = view_q.size()[0];
    let (mut plans, mut mixers) = (BTreeMap::new(), Vec::new());
    let index = golden.has(&at("index")).then(|| golden.integers(&at("index")));
    if let Some(index) = &index {
        let (mixer, mut plan) = mixture(golden, case, &at("lam_draw"), index, true);
        let hidden = golden.has(&at("feature"));
        if hidden {
            plan = plan.structured(2);
        }
        mixers.push(match (hidden, mixer) {
            (true, _) => {
                "\"mix\": ManifoldMix(stages: [2], per: Sample, fold: true, partner: Derangement)".to_string()
            }
            (false, "MixUp") => "\"mix\": MixUp(per: Sample, fold: true, partner: Derangement)".to_string(),
            _ => format!("\"mix\": {mixer}(fold: true, partner: Derangement)"),
        });
        plans.insert("mix".to_string(), plan);
    }
    if let Some((mixer, plan)) = input_mix(golden, case) {
        mixers.push(format!("\"input\": {mixer}"));
        plans.insert("input".to_string(), plan);
    }
    let fields = format!(
        "mixers: {{{}}},
         losses: {{\"info_nce\": InfoNce(candidates: BatchAndQueue, temperature: {temperature:?})}},",
        mixers.join(", ")
    );
    let mut step = stepped(golden, "imix", &fields, plans);
    golden.check(&at("loss"), &term(&step.report, "imix"), LOSS);
    step.check(golden, case);
    let mut seen = golden.get("view_k");
    if golden.has(&at("inputmixed")) {
        golden.check(&at("inputmixed"), &step.report.mixes["input"].images, IMAGES);
        seen = golden.get(&at("inputmixed")).narrow(0, samples, samples);
    }
    golden.check(&at("z_k"), &step.embedded("k", &seen), VALUES);
    if golden.has(&at("image_mixed")) {
        golden.check(&at("image_mixed"), &step.report.mixes["mix"].images, IMAGES);
        golden.check(&at("z_q"), &step.embedded("q", &golden.get(&at("image_mixed"))), VALUES);
    }
    if golden.has(&at("feature")) {
        looking(&mut step.session, |session| {
            let maps = {
                let world = session.world();
                let q = world.nets.iter().find(|net| net.name == "q").expect("a network");
                let maps = q.network.backbone().forward_to(2, &view_q, &Pass::TRAIN);
                maps.expect("features").into_tensor()
            };
            golden.check(&at("feature"), &maps, FEATURES);
            let (_, plan) = mixture(golden, case, &at("lam_draw"), index.as_deref().expect("partners"), true);
            let planned = plan.structured(2).on(Device::Cpu).expect("a plan");
            let mut world = session.world_mut();
            let mixed = world.mixers[0].mixer.mix(&MixInput::of(&view_q), &planned).expect("a mix");
            golden.check(&at("feature_mixed"), &mixed.blended(&maps, &maps).expect("maps"), FEATURES);
        });
    }

    let own: Vec<i64> = (0..samples).collect();
    assert_eq!(golden.integers(&at("labels")), own, "{case}");
    if let Some(index) = &index {
        assert_eq!(&golden.integers(&at("labels_aux")), index, "{case}");
    }
    let loss = InfoNce { temperature, candidates: Candidates::BatchAndQueue, ..InfoNce::default() };
    for level in Level::both(golden, case) {
        let (z, q) = level.leaf("z_q");
        let key = unit(&level.get("z_k")).expect("unit");
        level.check("q", &q, VALUES);
        level.check("key", &key, VALUES);
        let queue = level.shared("init.queue");
        let all = Tensor::cat(&[q.matmul(&key.transpose(0, 1)), q.matmul(&queue)], 1) / temperature;
        level.check("logits", &all, VALUES);
        let partner = index.as_ref().map(|index| key.index_select(0, &Tensor::from_slice(index)));
        let told = |own: &Tensor, partner: Option<&Tensor>| match partner {
            Some(partner) => pair(own, partner, &level.get("lam")),
            None => LossInput::default().with_keys(own).expect("keys"),
        };
        let input = told(&key, partner.as_ref());
        let input = input.with("embedding", q.shallow_clone());
        let input = input.with("queue", queue.copy()).with("batch_keys", key.copy());
        let value = loss.loss(&input).expect("a loss");
        level.check("loss", &value, LOSS);
        value.backward();
        level.check("grad.z_q", &grad_of(&z).expect("a gradient"), GRADIENTS);
        for (name, keys) in [("ce_own", Some(&key)), ("ce_aux", partner.as_ref())] {
            let Some(keys) = keys else { continue };
            level.check_each(name, samples, |i| {
                let input = LossInput::default().with_keys(&keys.narrow(0, i, 1)).expect("a key");
                let input = input
                    .with("embedding", q.narrow(0, i, 1))
                    .with("queue", queue.copy())
                    .with("batch_keys", key.copy());
                loss.loss(&input).expect("a loss").detach()
            });
        }

        // Candidates that are the axes make the logits the embedding, up to the temperature.
        let axes = Tensor::eye(all.size()[1], (all.kind(), Device::Cpu));
        let leaf = (level.get("logits") * temperature).set_requires_grad(true);
        let keys = axes.narrow(0, 0, samples);
        let partner = index.as_ref().map(|index| axes.index_select(0, &Tensor::from_slice(index)));
        let input = told(&keys, partner.as_ref())
            .with("embedding", leaf.shallow_clone())
            .with("queue", axes.narrow(1, samples, all.size()[1] - samples))
            .with("batch_keys", keys);
        loss.loss(&input).expect("a loss").backward();
        level.check("grad.logits", &(grad_of(&leaf).expect("a gradient") * temperature), GRADIENTS);
    }
}
