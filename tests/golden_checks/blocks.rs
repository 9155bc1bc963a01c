//! The Mix Blocks: masks, inner maps, gradients, BatchNorm buffers.

use std::collections::BTreeMap;

use admix_api::{MixInput, Mixed, MixerConfig, MixerContext, Plan, Store, Streams, Value};
use admix_plugins::mixers::block::{Activation, ContentOf, Gamma, Order, Rescale, Upsample};
use admix_plugins::mixers::{AMix, AutoMix, Preset};
use admix_torch::{Device, Kind, Tensor, grad_of};

use super::{Golden, Tolerance};

/// Masks, attention, values, buffers: 1e-5 absolute.
const MAPS: Tolerance = Tolerance::absolute(1e-5);
/// lambda after the polynomial.
const LAMBDA: Tolerance = Tolerance::absolute(1e-6);
const AUTOMIX_GRADS: Tolerance = Tolerance::relative(1e-4, 1e-5);
const AMIX_GRADS: Tolerance = Tolerance::relative(2e-4, 2e-5);
const DEFAULT_GRADS: Tolerance = Tolerance::of_largest(1e-4, 2e-5);
/// Analytically zero: a softmax over keys does not see a constant added to all of them.
const KEY_BIAS_GRAD: Tolerance = Tolerance::absolute(1e-5);

/// One block of a file, and one draw through it.
struct Bench<'a> {
    golden: &'a Golden,
    store: Store,
    mixer: Box<dyn admix_api::Mixer>,
    images: Tensor,
    features: Tensor,
    partner_features: Option<Tensor>,
    partner: Vec<i64>,
}

impl<'a> Bench<'a> {
    fn new(golden: &'a Golden, config: &dyn MixerConfig) -> Self {
        let features = golden.get("x").set_requires_grad(true);
        let (n, channels, h, w) = features.size4().expect("a feature map");
        let factor = golden.number("scale_factor") as i64;
        let store = Store::new(Device::Cpu, Streams::new(0));
        let mixer = config
            .build(
                &store.root(),
                &MixerContext { feature_channels: Some(channels), ..MixerContext::default() },
            )
            .expect("a block");
        let count = n * 3 * h * w * factor * factor;
        let images = (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.7).sin();
        let bench = Self {
            golden,
            store,
            mixer,
            images: images.reshape([n, 3, h * factor, w * factor]),
            features,
            partner_features: golden.find("x_pair").map(|map| map.set_requires_grad(true)),
            partner: match golden.has("index") {
                true => golden.integers("index"),
                false => (0..n).collect(),
            },
        };
        bench.load(&BTreeMap::new());
        bench
    }

    /// Loads the weights of the file, or those given; buffers that it lacks start afresh.
    fn load(&self, other: &BTreeMap<&str, Tensor>) {
        let fresh = |name: &str| {
            let end = name.rsplit('.').next()?;
            let size = self.store.buffers().into_iter().find(|(n, _)| n == name)?.1.size();
            let value = if end == "running_var" { 1.0 } else { 0.0 };
            Some(Tensor::full(size, value, (Kind::Float, Device::Cpu)))
        };
        self.store
            .load(|name| {
                let given = other.get(name).map(Tensor::shallow_clone);
                given.or_else(|| self.golden.find(&format!("w.{name}"))).or_else(|| fresh(name))
            })
            .expect("all weights are in the file");
    }

    fn mix(&mut self, lambda: &Value) -> Mixed {
        let plan = Plan::default()
            .with("lambda", lambda.clone())
            .with("partner", Value::Ints(self.partner.clone()))
            .on(Device::Cpu)
            .expect("a plan");
        let input = MixInput {
            features: Some(&self.features),
            partner_features: self.partner_features.as_ref(),
            ..MixInput::of(&self.images)
        };
        self.mixer.mix(&input, &plan).expect("a mix")
    }

    /// One train-mode draw, backward from sum(mask * cotangent), and everything that the file says about it under
    /// `prefix`, gradients only if they are there.
    fn check_draw(&mut self, prefix: &str, lambda: &Value, grads: Tolerance) {
        let golden = self.golden;
        let key = |name: &str| format!("{prefix}.{name}");
        let leaves = || {
            let maps = [("x", Some(&self.features)), ("x_pair", self.partner_features.as_ref())];
            let maps =
                maps.into_iter().filter_map(|(name, map)| Some((name.to_string(), map?.shallow_clone())));
            let weights =
                self.store.parameters().into_iter().map(|(name, leaf, _)| (format!("w.{name}"), leaf));
            maps.chain(weights).collect::<Vec<_>>()
        };
        let leaves = leaves();
        for (_, leaf) in &leaves {
            admix_torch::clear_grads(&[leaf.shallow_clone()]).expect("cleared");
        }

        self.mixer.train(true);
        let mixed = self.mix(lambda);
        let own = mixed.mask.as_ref().expect("a mask");
        let both = Tensor::cat(&[own.shallow_clone(), 1.0 - own], 1);
        golden.check(&key("mask"), &both, MAPS);
        let partner = self.images.index_select(0, &Tensor::from_slice(&self.partner));
        let blended: Tensor = own * &self.images + (1.0 - own) * partner;
        Tolerance::absolute(1e-6).check(&key("image = m0 x_i + m1 x_j"), &mixed.images, &blended.detach());

        for (name, extra) in [("attention", "attention"), ("value", "value"), ("lam_used", "lambda_encoded")]
        {
            if golden.has(&key(name)) {
                let found = mixed.extras[extra].shallow_clone();
                let wanted = golden.get(&key(name)).size();
                golden.check(
                    &key(name),
                    &found.reshape(&wanted),
                    if name == "lam_used" { LAMBDA } else { MAPS },
                );
            }
        }
        if golden.has(&key("mask_low")) {
            let low = 1.0 - mixed.extras["mask_low"].squeeze_dim(1);
            golden.check(&key("mask_low"), &low, MAPS);
        }

        (both * golden.get("cotangent")).sum(Kind::Float).backward();
        let mut seen = 0;
        for (name, leaf) in leaves {
            let key = key(&format!("grad.{name}"));
            if golden.has(&key) {
                let tolerance = if name == "w.key.bias" { KEY_BIAS_GRAD } else { grads };
                golden.check(&key, &grad_of(&leaf).expect("a gradient"), tolerance);
                seen += 1;
            }
        }
        assert!(seen > 0, "{prefix}: no gradient in the file");

        for (name, buffer) in self.store.buffers() {
            if golden.has(&key(&format!("after.{name}"))) {
                golden.check(&key(&format!("after.{name}")), &buffer, MAPS);
            }
        }
        if golden.has(&key("eval_mask_second")) {
            self.load(&BTreeMap::new());
            self.mixer.train(false);
            let partners = 1.0 - self.mix(lambda).mask.expect("a mask");
            golden.check(&key("eval_mask_second"), &partners, MAPS);
        }
    }
}

/// Every lambda of the file, each from the starting buffers.
fn every_lambda(golden: &Golden, config: &dyn MixerConfig, grads: Tolerance) {
    let mut bench = Bench::new(golden, config);
    for (i, lambda) in golden.numbers("lams").into_iter().enumerate() {
        bench.load(&BTreeMap::new());
        bench.check_draw(&format!("lam{i}"), &Value::Float(lambda), grads);
    }
}

/// As the authors' code, without what differs between recipes.
fn code() -> AMix {
    AMix { extras: true, ..AMix::preset(Preset::Code) }
}

pub fn mixblock_automix(golden: &Golden) {
    every_lambda(golden, &AutoMix { extras: true, ..AutoMix::default() }, AUTOMIX_GRADS);
}

pub fn mixblock_automix_lamcat(golden: &Golden) {
    every_lambda(golden, &AutoMix { lambda_plane: true, extras: true, ..AutoMix::default() }, AUTOMIX_GRADS);
}

pub fn mixblock_amix(golden: &Golden) {
    every_lambda(golden, &code(), AMIX_GRADS);
}

pub fn mixblock_amix_relu_k1(golden: &Golden) {
    let config = AMix { activation: Activation::Relu, rescale: Rescale::Polynomial(1.0), ..code() };
    every_lambda(golden, &config, AMIX_GRADS);
}

pub fn mixblock_amix_pair(golden: &Golden) {
    every_lambda(golden, &AMix { rescale: Rescale::Off, ..code() }, AMIX_GRADS);
}

pub fn mixblock_paper(golden: &Golden) {
    every_lambda(golden, &AMix { dropout: 0.0, ..AMix::preset(Preset::Literal) }, AMIX_GRADS);
}

pub fn mixblock_default(golden: &Golden) {
    let config = AMix { dropout: golden.number("dropout"), extras: true, ..AMix::preset(Preset::Paper) };
    assert_eq!(config.gamma, Gamma::Learnable);
    every_lambda(golden, &config, DEFAULT_GRADS);

    let mut bench = Bench::new(golden, &config);
    let each = Value::Floats(golden.numbers("per_sample.lam"));
    bench.check_draw("per_sample", &each, DEFAULT_GRADS);

    for prefix in ["gamma0", "gamma1"] {
        let gamma = golden.get(&format!("{prefix}.w.gamma"));
        bench.load(&BTreeMap::from([("gamma", gamma)]));
        let lambda = Value::Float(golden.number(&format!("{prefix}.lam")));
        bench.check_draw(prefix, &lambda, DEFAULT_GRADS);
    }
}

/// Fails unless `check` does.
fn must_break(what: &str, check: impl FnOnce() + std::panic::UnwindSafe) {
    assert!(std::panic::catch_unwind(check).is_err(), "the reference does not notice {what}");
}

#[test]
fn the_references_tell_every_form_of_the_block_from_the_others() {
    let form = AMix { dropout: 0.0, extras: true, ..AMix::preset(Preset::Paper) };
    let others = [
        ("gamma 1", AMix { gamma: Gamma::Constant(1.0), ..form.clone() }),
        ("the polynomial", AMix { rescale: Rescale::Polynomial(1.0), ..form.clone() }),
        ("the own content", AMix { content_of: ContentOf::Own, ..form.clone() }),
        ("ELU", AMix { activation: Activation::Elu, ..form.clone() }),
        ("the sigmoid last", AMix { order: Order::UpsampleFirst, ..form.clone() }),
        ("nearest upsampling", AMix { upsample: Upsample::Nearest, ..form.clone() }),
    ];
    every_lambda(&Golden::open("mixblock_default"), &form, DEFAULT_GRADS);
    for (what, other) in others {
        must_break(what, || every_lambda(&Golden::open("mixblock_default"), &other, DEFAULT_GRADS));
    }

    let others = [
        ("ReLU", AMix { activation: Activation::Relu, ..code() }),
        ("no polynomial", AMix { rescale: Rescale::Off, ..code() }),
        ("gamma 0.9", AMix { gamma: Gamma::Constant(0.9), ..code() }),
        ("the sigmoid first", AMix { order: Order::SigmoidFirst, ..code() }),
        ("nearest upsampling", AMix { upsample: Upsample::Nearest, ..code() }),
    ];
    for (what, other) in others {
        must_break(what, || every_lambda(&Golden::open("mixblock_amix"), &other, AMIX_GRADS));
    }
    let plane = |lambda_plane| AutoMix { lambda_plane, extras: true, ..AutoMix::default() };
    must_break("a lambda plane", || {
        every_lambda(&Golden::open("mixblock_automix"), &plane(true), AUTOMIX_GRADS)
    });
    let smooth = AutoMix { upsample: Upsample::Bilinear, ..plane(false) };
    must_break("bilinear upsampling", || {
        every_lambda(&Golden::open("mixblock_automix"), &smooth, AUTOMIX_GRADS)
    });
}
