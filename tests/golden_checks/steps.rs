//! Whole supervised training steps, through the bundled script and `Session::step_with`.

use std::collections::BTreeMap;

use admix_api::{Plan, Registry};
use admix_data::Batch;
use admix_engine::{Clock, Execution, Method, Recipe, Scheduled, Session, Shape, StepOptions, bundled};
use admix_models::Pass;
use admix_torch::{Device, Kind, Tensor};

use super::{Golden, Tolerance};

/// What differs between the files.
struct Form {
    mixer: String,
    mask: String,
    losses: Tolerance,
    images: Tolerance,
    masks: Tolerance,
    gradients: Tolerance,
    after: Tolerance,
    eval: Tolerance,
}

/// Tolerances of the two files of the authors' code.
fn code(mixer: String, mask: &str) -> Form {
    Form {
        mixer,
        mask: mask.into(),
        losses: Tolerance::absolute(1e-5),
        images: Tolerance::absolute(1e-5),
        masks: Tolerance::absolute(1e-5),
        gradients: Tolerance::relative(5e-4, 1e-5),
        after: Tolerance::absolute(1e-4),
        eval: Tolerance::absolute(1e-4),
    }
}

pub fn supervised_step_automix(golden: &Golden) {
    let margin = golden.number("lam_margin");
    let mixer = format!("AutoMix(stage: 2, lam_margin: {margin:?}, adjust: 0.0, lambda_plane: false)");
    two_steps(golden, &code(mixer, "Mask(preset: Code, mode: L1)"), true, Execution::Direct);
}

pub fn supervised_step_amix(golden: &Golden) {
    let margin = golden.number("lam_margin");
    let mixer = format!("AMix(preset: Code, stage: 2, lam_margin: {margin:?}, adjust: 0.0)");
    two_steps(golden, &code(mixer, "Mask(preset: Code, mode: L1Variance)"), true, Execution::Direct);
}

pub fn supervised_step_default(golden: &Golden) {
    let (dropout, margin) = (golden.number("dropout"), golden.number("lam_margin"));
    let form = Form {
        mixer: format!("AMix(preset: Paper, stage: 2, dropout: {dropout:?}, lam_margin: {margin:?})"),
        mask: format!("Mask(margin: {:?})", golden.number("mask_loss_margin")),
        losses: Tolerance::absolute(1e-5),
        images: Tolerance::absolute(2e-5),
        masks: Tolerance::absolute(1e-5),
        gradients: Tolerance::of_largest(2e-4, 1e-5),
        after: Tolerance::absolute(1e-5),
        eval: Tolerance::absolute(5e-5),
    };
    assert_eq!(golden.number("weight_decay.gamma"), 0.0);
    for execution in [Execution::Direct, Execution::Recorded] {
        two_steps(golden, &form, true, execution);
        two_steps(golden, &form, false, execution);
    }
}

/// The file's name of one of our tensors.
fn golden_name(own: &str) -> Option<String> {
    let own = own.strip_prefix("optimizer.momentum.").unwrap_or(own);
    if let Some(rest) = own.strip_prefix("mixer.amix.") {
        return Some(format!("mix_block.{rest}"));
    }
    let (net, rest) = own.strip_prefix("net.")?.split_once('.')?;
    if let Some(layer) = rest.strip_prefix("backbone.") {
        return Some(format!("{net}.{layer}"));
    }
    let (head, layer) = rest.strip_prefix("head.")?.split_once('.')?;
    Some(format!("head_{head}_{net}.{layer}"))
}

fn session(golden: &Golden, form: &Form, full_key_pass: bool) -> Session {
    admix_torch::set_threads(1);
    let widths: Vec<i64> = (1..)
        .map_while(|i| golden.find(&format!("init.q.conv{i}.weight")))
        .map(|weight| weight.size()[0])
        .collect();
    let strides = vec![2; widths.len()];
    let single = |name: &str| golden.number(name);
    let recipe = format!(
        "(
            epochs: 1, method: \"amix\", heads: [\"one\", \"mix\"],
            params: {{\"full_key_pass\": {full_key_pass}}},
            weights: {{\"mask\": {:?}}},
            model: ConvNet(widths: {widths:?}, strides: {strides:?}),
            pairs: [(from: \"q\", to: \"k\")],
            mixers: {{\"amix\": {}}},
            losses: {{\"mask\": {}}},
            optimizer: Sgd(lr: {:?}, momentum: {:?}, weight_decay: {:?}),
            groups: {{\"amix\": (lr: Some({:?}))}},
        )",
        single("mask_loss_weight"),
        form.mixer,
        form.mask,
        single("lr.backbone"),
        single("sgd_momentum"),
        single("weight_decay"),
        single("lr.mixblock"),
    );
    let registry = Registry::linked().expect("a registry");
    let recipe = Recipe::parse(&recipe, "golden", &[], &registry).expect("a recipe");
    let (script, file) = bundled::script("amix").expect("the bundled script");
    let method = Method::compile(script, file).expect("a method");
    let shape =
        Shape::new(golden.get("step0.image").size()[1], golden.get("init.head_one_q.fc.bias").size()[0]);
    let clock = Clock { step: 0, steps: 2, epoch: 0, epochs: 1 };
    let mut session =
        Session::build(&recipe, method, &registry, shape, clock, Device::Cpu).expect("a session");
    let mut state: BTreeMap<String, Tensor> =
        session.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
    for (own, tensor) in &mut state {
        if !own.starts_with("optimizer.") {
            let name = golden_name(own).expect("a name of the file");
            *tensor = golden.get(&format!("init.{name}"));
        }
    }
    session.load(&state).expect("the file's weights");
    session
}

fn two_steps(golden: &Golden, form: &Form, full_key_pass: bool, execution: Execution) {
    let mut session = session(golden, form, full_key_pass);
    let momenta = golden.numbers("ema_momentum");
    let early = |name: &str| {
        let early = format!("early.{name}");
        if !full_key_pass && golden.has(&early) { early } else { name.to_string() }
    };
    for (step, momentum) in momenta.iter().enumerate() {
        let at = |name: &str| format!("step{step}.{name}");
        let images = golden.get(&at("image"));
        let labels = golden.get(&at("label"));
        if golden.has(&at("feature")) {
            passes_match(golden, form, &mut session, step);
        }
        let gamma_before = session.tensors().get("mixer.amix.gamma").map(Tensor::copy);
        let index = Tensor::arange(labels.size()[0], (Kind::Int64, Device::Cpu));
        let plan = |which: &str| {
            let partner = golden.integers(&at(&format!("index_{which}")));
            session_plan(&session, golden.number(&at(&format!("lam_{which}"))), &partner)
        };
        let plans =
            BTreeMap::from([("attempt".into(), plan("mixblock")), ("lesson".into(), plan("backbone"))]);
        let rates = BTreeMap::from([
            ("net".to_string(), golden.number("lr.backbone")),
            ("amix".to_string(), golden.number("lr.mixblock")),
        ]);
        let options = StepOptions {
            plans,
            schedule: Some(Scheduled { rates, ema: Some(*momentum), ..Scheduled::default() }),
            detail: true,
            execution,
        };
        let report =
            session.step_with(vec![Batch::new(images, labels, index)], &options).expect("a training step");

        let loss = |term: &str| {
            report
                .losses
                .iter()
                .find(|(name, _)| name == term)
                .map(|(_, value)| value.copy())
                .expect("a term")
        };
        let weighted = loss("mask") * golden.number("mask_loss_weight");
        golden.check(&at("loss.mix_k"), &loss("gen"), form.losses);
        golden.check(&at("loss.mix_q"), &loss("mix"), form.losses);
        golden.check(&at("loss.one_q"), &loss("one"), form.losses);
        golden.check(&at("loss.mask_weighted"), &weighted, form.losses);
        let total = loss("gen") + loss("mix") + loss("one") + &weighted;
        golden.check(&at("loss.total"), &total, form.losses);
        golden.check(&at("image_mixed_mixblock"), &report.mixes["attempt"].images, form.images);
        golden.check(&at("image_mixed_backbone"), &report.mixes["lesson"].images, form.images);
        if golden.has(&at("mask_mixblock")) {
            for (which, draw) in [("mixblock", "attempt"), ("backbone", "lesson")] {
                let own = report.mixes[draw].mask.as_ref().expect("a mask");
                let both = Tensor::cat(&[own.copy(), 1.0 - own], 1);
                golden.check(&at(&format!("mask_{which}")), &both, form.masks);
            }
            golden.check(&at("loss.mask"), &loss("mask"), form.losses);
            let mask = report.mixes["attempt"].mask.as_ref().expect("a mask").flatten(1, -1);
            let mean = mask.mean_dim(1i64, false, Kind::Float);
            let gap = (golden.number(&at("lam_mixblock")) - mean).abs() - golden.number("mask_loss_margin");
            golden.check(&at("loss.mask_mean"), &gap.relu().mean(Kind::Float), form.losses);
            let variance = mask.var_dim(1i64, false, false).mean(Kind::Float);
            golden.check(&at("loss.mask_var"), &variance, form.losses);
        }

        let mut gradients = 0;
        for (name, gradient) in &report.gradients {
            golden.check(
                &at(&format!("grad.{}", golden_name(name).expect("a name"))),
                gradient,
                form.gradients,
            );
            gradients += 1;
        }
        let expected = golden.names().filter(|name| name.starts_with(&at("grad."))).count();
        assert_eq!(gradients, expected, "step {step}: every gradient of the file, and no other");

        for (own, tensor) in session.tensors() {
            let name = golden_name(&own).expect("a name");
            if own.starts_with("optimizer.") {
                if golden.has(&at(&format!("momentum.{name}"))) {
                    golden.check(&at(&format!("momentum.{name}")), &tensor, form.gradients);
                }
                continue;
            }
            golden.check(&early(&at(&format!("after.{name}"))), &tensor, form.after);
        }
        if let Some(before) = gamma_before {
            let velocity = golden.get(&at("momentum.mix_block.gamma"));
            let unclamped = before - velocity * golden.number("lr.mixblock");
            golden.check(&at("gamma_unclamped"), &unclamped, form.after);
            let clamped = golden.get(&at("gamma_unclamped")).clamp(0.0, 1.0);
            Tolerance::absolute(1e-7).check(
                "gamma is clamped",
                &clamped,
                &golden.get(&at("after.mix_block.gamma")),
            );
        }
        if step + 1 == momenta.len() {
            let images = golden.get(&at("image"));
            let world = session.world();
            for net in &world.nets {
                for (head, logits) in net.network.forward_eval(&images).expect("logits") {
                    golden.check(&early(&format!("eval.acc_{head}_{}", net.name)), &logits, form.eval);
                }
            }
        }
    }
}

/// The mixer's own plan values (coins, keys) with the file's lambda and partners.
fn session_plan(session: &Session, lambda: f64, partner: &[i64]) -> Plan {
    let world = session.world();
    let unit = &world.mixers[0];
    let ask = admix_api::Ask {
        batch: partner.len(),
        height: 1,
        width: 1,
        pairing: unit.pairing.clone(),
        lambda: None,
        quiet: true,
        progress: 0.0,
    };
    let mut draws = world.streams.draws("golden", "", 0, 0);
    let plan = unit.mixer.plan(&ask, &mut draws).expect("a plan");
    plan.with("lambda", admix_api::Value::Float(lambda))
        .with("partner", admix_api::Value::Ints(partner.to_vec()))
}

/// Features and logits of the step's passes, on a state that is put back afterwards.
fn passes_match(golden: &Golden, form: &Form, session: &mut Session, step: usize) {
    let before: BTreeMap<String, Tensor> =
        session.tensors().into_iter().map(|(n, t)| (n, t.copy())).collect();
    {
        let _guard = admix_torch::no_grad();
        let world = session.world();
        let net = |name: &str| world.nets.iter().find(|n| n.name == name).expect("a network");
        let at = |name: &str| format!("step{step}.{name}");
        let images = golden.get(&at("image"));
        let features =
            net("k").network.backbone().forward_to(2, &images, &Pass::TRAIN).expect("features").into_tensor();
        golden.check(&at("feature"), &features, form.images);
        for (name, which, head, of) in [
            ("mix_k", "k", "mix", "image_mixed_mixblock"),
            ("one_q", "q", "one", "image"),
            ("mix_q", "q", "mix", "image_mixed_backbone"),
        ] {
            let network = &net(which).network;
            let map = network.backbone().forward(&golden.get(&at(of)), &Pass::TRAIN).expect("a pass");
            let logits = network.forward_head(head, &map, true).expect("logits");
            golden.check(&at(&format!("logits.{name}")), &logits, form.eval);
        }
    }
    session.load(&before).expect("the state before");
}
