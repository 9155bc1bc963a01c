//! What every registered plugin must keep. Registering one is enough to have it tested here.

use admix_api::erased_serde;
use admix_api::prelude::*;
use admix_api::{
    Entry, MixerSeed, PluginKind, Reader, Registry, Store, Streams, SyncCounter, rng_fingerprint,
};
use serde_json::json;

/// Settings to test beside the defaults: (plugin, settings).
fn more_settings(name: &str) -> Vec<serde_json::Value> {
    match name {
        "cutmix" => vec![json!({"box_rule": "Real"})],
        "automix" => vec![
            json!({"lambda_plane": true, "adjust": 0.5, "lam_margin": 0.08}),
            json!({"upsample": "Bilinear", "adjust": 1.0, "extras": true}),
        ],
        "amix" => vec![
            json!({"preset": "Code", "adjust": 0.5}),
            json!({"preset": "Literal", "extras": true}),
            json!({"attention": "Cross", "content": "Linear", "upsample": "Nearest"}),
            json!({"attention": "Cross", "projection": "Separate", "content_of": "Own"}),
            json!({"adjust": 1.0, "adjust_margin": 0.1, "same_cluster": "Blend", "lam_margin": 0.2}),
        ],
        "cross_entropy" => vec![json!({"smoothing": 0.1, "class_weight": "WeightedMean"})],
        "mixup_cross_entropy" => vec![
            json!({"form": "Soft", "class_weight": "OverSamples"}),
            json!({"form": "Sigmoid", "negative_weight": 0.5}),
        ],
        "mask" => vec![
            json!({"preset": "Code"}),
            json!({"mode": "L1"}),
            json!({"mode": "L2Variance"}),
            json!({"mode": "Sparsity"}),
        ],
        "pbce" => vec![json!({"form": "LiteralFull"}), json!({"form": "LiteralPair"})],
        _ => vec![],
    }
}

fn entries(kind: PluginKind) -> Vec<(Entry, serde_json::Value)> {
    let registry = Registry::linked().unwrap();
    let each = |entry: &Entry| {
        let mut all = vec![json!({})];
        all.extend(more_settings(&entry.name));
        all.into_iter().map(|settings| (entry.clone(), settings)).collect::<Vec<_>>()
    };
    registry.entries().filter(|entry| entry.kind() == kind).flat_map(each).collect()
}

fn mixer_config(entry: &Entry, settings: &serde_json::Value) -> (Box<dyn MixerConfig>, Pairing) {
    let Reader::Mixer(read, pairing) = &entry.reader else { panic!("{} is not a mixer", entry.name) };
    let mut body = <dyn erased_serde::Deserializer<'_>>::erase(settings.clone());
    (read(&mut body).unwrap(), pairing.clone())
}

/// Every registered loss, each with several settings.
pub(crate) fn losses() -> Vec<(String, Box<dyn Loss>)> {
    let build = |(entry, settings): (Entry, serde_json::Value)| {
        let Reader::Loss(read) = &entry.reader else { panic!("{} is not a loss", entry.name) };
        let mut body = <dyn erased_serde::Deserializer<'_>>::erase(settings.clone());
        let config = read(&mut body).unwrap();
        config.validate().unwrap();
        (format!("{} {settings}", entry.name), config.build().unwrap())
    };
    entries(PluginKind::Loss).into_iter().map(build).collect()
}

/// Numbers between -1 and 1 without a pattern.
pub(crate) fn wild(shape: &[i64], seed: f64, kind: Kind) -> Tensor {
    let count: i64 = shape.iter().product();
    let field =
        (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 12.9898 + seed * 78.233).sin() * 43758.547;
    ((&field - field.floor()) * 2.0 - 1.0).reshape(shape).to_kind(kind)
}

const DEPTH: i64 = 6;

/// One mixer with settings, and a batch of one shape for it.
struct Bench {
    what: String,
    mixer: Box<dyn Mixer>,
    pairing: Pairing,
    images: Tensor,
    features: Option<Tensor>,
    saliency: Option<Tensor>,
    pseudo: Option<Tensor>,
    quiet: bool,
}

/// (N, C, H, W, h, w): a batch of 1, odd batches, H and W different, one colour, maps of the images' own size.
const SHAPES: [[i64; 6]; 5] =
    [[1, 3, 8, 8, 2, 2], [2, 3, 8, 8, 4, 4], [3, 3, 8, 12, 2, 3], [5, 1, 6, 4, 3, 2], [4, 3, 4, 4, 4, 4]];

impl Bench {
    fn input(&self) -> MixInput<'_> {
        MixInput {
            features: self.features.as_ref(),
            saliency: self.saliency.as_ref(),
            pseudo: self.pseudo.as_ref(),
            quiet: self.quiet,
            ..MixInput::of(&self.images)
        }
    }

    fn plan(&self, per: Per, step: u64) -> Plan {
        let (n, _, height, width) = self.images.size4().unwrap();
        let pairing = Pairing { per, ..self.pairing.clone() };
        let ask =
            Ask { batch: n as usize, height, width, pairing, quiet: self.quiet, progress: 0.5, lambda: None };
        self.mixer.plan(&ask, &mut Streams::new(3).draws("mix", "contract", 0, step)).unwrap()
    }

    fn mix(&mut self, plan: &Planned) -> Mixed {
        // Borrowed apart from the mixer.
        let (images, features) =
            (self.images.shallow_clone(), self.features.as_ref().map(Tensor::shallow_clone));
        let (saliency, pseudo) = (self.saliency.as_ref(), self.pseudo.as_ref());
        let input = MixInput {
            features: features.as_ref(),
            saliency,
            pseudo,
            quiet: self.quiet,
            ..MixInput::of(&images)
        };
        self.mixer.mix(&input, plan).unwrap_or_else(|e| panic!("{}: {e}", self.what))
    }

    fn flip(&mut self) {
        fn flipped(tensor: &Tensor) -> Tensor {
            tensor.flip([tensor.dim() as i64 - 1])
        }
        self.images = flipped(&self.images);
        self.features = self.features.as_ref().map(flipped);
        self.saliency = self.saliency.as_ref().map(flipped);
    }

    fn inputs(&self) -> Vec<Tensor> {
        let input = self.input();
        [Some(input.images), input.features, input.saliency, input.pseudo]
            .into_iter()
            .flatten()
            .map(Tensor::copy)
            .collect()
    }
}

/// Every registered mixer, with several settings, on every shape, loud and quiet.
fn benches() -> Vec<Bench> {
    let mut all = Vec::new();
    for (entry, settings) in entries(PluginKind::Mixer) {
        let (config, pairing) = mixer_config(&entry, &settings);
        config.validate().unwrap();
        let needs = config.needs();
        for [n, c, height, width, h, w] in SHAPES {
            for quiet in [false, true] {
                let store = Store::new(Device::Cpu, Streams::new(1));
                let context = MixerContext { feature_channels: needs.features.map(|_| DEPTH) };
                let mixer = config.build(&store.root().sub("mixer"), &context).unwrap();
                for (name, mut weight, _) in store.parameters() {
                    // Away from the start, where masks are flat.
                    let _no_graph = no_grad();
                    let spread = if name.ends_with("gamma") { 0.4 } else { 1.5 };
                    weight.copy_(&(wild(&weight.size(), spread, Kind::Float) * spread).abs());
                }
                assert_eq!(mixer.needs(), needs, "{}: needs before and after building", entry.name);
                all.push(Bench {
                    what: format!("{} {settings} on {n}x{c}x{height}x{width}, quiet {quiet}", entry.name),
                    mixer,
                    pairing: pairing.clone(),
                    images: wild(&[n, c, height, width], 0.1, Kind::Float),
                    features: needs.features.map(|_| wild(&[n, DEPTH, h, w], 0.2, Kind::Float)),
                    saliency: needs.saliency.then(|| wild(&[n, height, width], 0.3, Kind::Float).abs()),
                    pseudo: needs.pseudo.then(|| Tensor::arange(n, (Kind::Int64, Device::Cpu)).remainder(2)),
                    quiet,
                });
            }
        }
    }
    all
}

fn close(a: &Tensor, b: &Tensor, within: f64) -> bool {
    a.size() == b.size() && (a - b).abs().max().double_value(&[]) <= within
}

#[test]
fn the_bundled_plugins_are_registered_under_their_names() {
    let registry = Registry::linked().unwrap();
    assert_eq!(registry.names(PluginKind::Mixer), ["amix", "automix", "cutmix", "mixup"]);
    assert_eq!(registry.names(PluginKind::Loss), ["cross_entropy", "mask", "mixup_cross_entropy", "pbce"]);
    for (name, type_name) in
        [("mixup", "MixUp"), ("cutmix", "CutMix"), ("automix", "AutoMix"), ("amix", "AMix")]
    {
        assert_eq!(registry.find(PluginKind::Mixer, type_name).unwrap().name, name);
    }
    for entry in registry.entries() {
        assert!(!entry.summary.is_empty() && !entry.source.is_empty(), "{}", entry.name);
        let schema = (entry.schema)();
        let documented = schema["properties"].as_object().cloned().unwrap_or_default();
        let defaults = (entry.defaults)();
        for (field, value) in defaults.as_object().unwrap() {
            let schema = &documented[field];
            assert!(!schema["description"].as_str().unwrap_or_default().is_empty(), "{}.{field}", entry.name);
            assert_eq!(&schema["default"], value, "{}.{field}: the documented default", entry.name);
        }
    }
}

#[test]
fn unknown_settings_are_refused_by_every_plugin() {
    for (entry, _) in entries(PluginKind::Mixer).into_iter().chain(entries(PluginKind::Loss)) {
        let mut body = <dyn erased_serde::Deserializer<'_>>::erase(json!({"no_such_setting": 1}));
        let error = match &entry.reader {
            Reader::Mixer(read, _) => read(&mut body).err(),
            Reader::Loss(read) => read(&mut body).err(),
        };
        let message = error.map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains("no_such_setting"), "{}: {message:?}", entry.name);
    }
}

#[test]
fn settings_read_back_as_themselves() {
    for (entry, settings) in entries(PluginKind::Mixer) {
        let resolved = mixer_config(&entry, &settings).0.resolved();
        assert_eq!(mixer_config(&entry, &resolved).0.resolved(), resolved, "{}", entry.name);
    }
}

#[test]
fn a_recipe_sets_host_settings_presets_and_values_in_one_place() {
    use serde::de::DeserializeSeed;
    let registry = Registry::linked().unwrap();
    let read = |text: &str| {
        let options = ron::Options::default()
            .with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES);
        let mut body = ron::Deserializer::from_str_with_options(text, &options).unwrap();
        MixerSeed(&registry).deserialize(&mut body)
    };
    let choice =
        read("AMix(alpha: 1.5, preset: Code, gamma: Constant(0.5), rescale: Off, per: Sample)").unwrap();
    assert_eq!(
        (choice.plugin.as_str(), choice.pairing.alpha, choice.pairing.per),
        ("amix", 1.5, Per::Sample)
    );
    let settings = choice.config.resolved();
    assert_eq!(settings["gamma"], json!({"Constant": 0.5}));
    assert_eq!((&settings["rescale"], &settings["activation"]), (&json!("Off"), &json!("Elu")));
    for (text, alpha) in [("AMix()", 2.0), ("AutoMix()", 2.0), ("MixUp(alpha: 0.2)", 0.2), ("CutMix()", 1.0)]
    {
        assert_eq!(read(text).unwrap().pairing.alpha, alpha, "{text}");
    }
    let message = read("AMix(gama: Learnable)").unwrap_err().to_string();
    assert!(message.contains("gama") && message.contains("gamma"), "{message}");
}

#[test]
fn plans_are_pure_and_keep_their_names() {
    for bench in benches() {
        let what = &bench.what;
        for per in [Per::Batch, Per::Sample] {
            let plan = bench.plan(per, 0);
            assert_eq!(plan, bench.plan(per, 0), "{what}: the same draws, the same plan");
            let names = |plan: &Plan| plan.values().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
            for step in 1..20 {
                let other = bench.plan(per, step);
                assert_eq!(names(&plan), names(&other), "{what}");
                let n = bench.images.size()[0] as usize;
                assert!(other.lambdas(n).unwrap().iter().all(|l| (0.0..=1.0).contains(l)), "{what}");
            }
        }
    }
}

#[test]
fn a_mix_keeps_shape_kind_and_input_and_shares_out_the_whole_label() {
    for mut bench in benches() {
        let what = bench.what.clone();
        let size = bench.images.size();
        let n = size[0];
        for (per, step) in [(Per::Batch, 0), (Per::Sample, 1), (Per::Batch, 2), (Per::Sample, 3)] {
            let plan = bench.plan(per, step);
            let before = bench.inputs();
            let planned = plan.on(Device::Cpu).unwrap();
            let mixed = bench.mix(&planned);
            for (before, after) in before.iter().zip(bench.inputs()) {
                assert!(before.equal(&after), "{what}: an input was changed");
            }
            assert_eq!((mixed.images.size(), mixed.images.kind()), (size.clone(), Kind::Float), "{what}");
            assert!(bool::try_from(mixed.images.isfinite().all()).unwrap(), "{what}");

            let (sources, shares) = mixed.credit.shares().unwrap();
            assert_eq!((sources.kind(), shares.kind()), (Kind::Int64, Kind::Float), "{what}");
            assert_eq!(sources.size(), shares.size(), "{what}");
            assert_eq!(sources.size()[0], n, "{what}");
            assert!((0..n).contains(&sources.min().int64_value(&[])), "{what}");
            assert!((0..n).contains(&sources.max().int64_value(&[])), "{what}");
            assert!(shares.min().double_value(&[]) >= 0.0, "{what}");
            let one = Tensor::ones([n], (Kind::Float, Device::Cpu));
            assert!(close(&shares.sum_dim_intlist(1, false, None), &one, 1e-6), "{what}");
            // A pair of one class: the class gets everything.
            let labels = Tensor::full([n], 2, (Kind::Int64, Device::Cpu));
            let target = LossInput::default().with_target(&mixed.credit, &labels).unwrap();
            let dense = Tensor::zeros([n, 4], (Kind::Float, Device::Cpu)).scatter_add(
                1,
                target.get("target.labels").unwrap(),
                target.get("target.shares").unwrap(),
            );
            assert!(close(&dense.select(1, 2), &one, 1e-6), "{what}");

            if let Credit::Pair { partner, lambda } = &mixed.credit {
                let lambda = lambda.expand([n], false);
                let planned_lambda = planned.lambda().unwrap().expand([n], false);
                let area = mixed.mask.as_ref().map(|m| m.mean_dim([1i64, 2, 3].as_slice(), false, None));
                let by_area = area.is_some_and(|area| close(&area, &lambda, 1e-6));
                assert!(by_area || lambda.equal(&planned_lambda), "{what}: neither lambda nor the area seen");
                if let Some(mask) = &mixed.mask {
                    assert_eq!(mask.size(), [n, 1, size[2], size[3]], "{what}");
                    let (low, high) = (mask.min().double_value(&[]), mask.max().double_value(&[]));
                    assert!(low >= 0.0 && high <= 1.0 + 1e-6, "{what}: mask in [{low}, {high}]");
                    let partners = bench.images.index_select(0, partner);
                    let blended: Tensor = mask * &bench.images + (1.0 - mask) * partners;
                    assert!(close(&mixed.images, &blended, 1e-5), "{what}: images and mask disagree");
                }
            }
        }
    }
}

#[test]
fn the_same_plan_gives_the_same_bits_also_from_refilled_slots() {
    for mut bench in benches() {
        let what = bench.what.clone();
        for per in [Per::Batch, Per::Sample] {
            let (plan, other) = (bench.plan(per, 4), bench.plan(per, 5));
            assert_eq!(plan.structure, other.structure, "{what}");
            let first = bench.mix(&plan.on(Device::Cpu).unwrap());
            let again = bench.mix(&plan.on(Device::Cpu).unwrap());
            assert!(first.images.equal(&again.images), "{what}");
            let slots = other.on(Device::Cpu).unwrap();
            plan.fill(&slots).unwrap();
            let refilled = bench.mix(&slots);
            assert!(first.images.equal(&refilled.images), "{what}: something was not read from the plan");
        }
    }
}

#[test]
fn a_mix_neither_waits_for_the_device_nor_touches_the_global_generator() {
    for mut bench in benches() {
        for per in [Per::Batch, Per::Sample] {
            let plan = bench.plan(per, 6).on(Device::Cpu).unwrap();
            let generator = rng_fingerprint(Device::Cpu).unwrap();
            let waits = SyncCounter::start();
            let mixed = bench.mix(&plan);
            let shares = mixed.credit.shares().unwrap();
            assert_eq!(waits.names(), Vec::<String>::new(), "{}", bench.what);
            drop((waits, shares));
            assert_eq!(rng_fingerprint(Device::Cpu).unwrap(), generator, "{}", bench.what);
        }
    }
}

#[test]
fn only_a_loud_mix_of_a_trained_mixer_has_a_graph() {
    for mut bench in benches() {
        let plan = bench.plan(Per::Batch, 7).on(Device::Cpu).unwrap();
        let trained = bench.features.is_some();
        assert_eq!(bench.mix(&plan).images.requires_grad(), trained && !bench.quiet, "{}", bench.what);
    }
}

#[test]
fn a_mix_without_a_box_commutes_with_a_flip() {
    for mut bench in benches() {
        let what = bench.what.clone();
        let plan = bench.plan(Per::Sample, 8);
        if plan.value("c1").is_ok() {
            continue;
        }
        // Dropout has places; evaluation mode has none.
        bench.mixer.train(false);
        let plan = plan.on(Device::Cpu).unwrap();
        let mixed = bench.mix(&plan).images;
        bench.flip();
        let flipped = bench.mix(&plan).images;
        assert!(close(&mixed.flip([3]), &flipped, 1e-4), "{what}");
    }
}

#[test]
fn half_precision_images_and_features_can_be_mixed() {
    for mut bench in benches() {
        bench.images = bench.images.to_kind(Kind::BFloat16);
        bench.features = bench.features.as_ref().map(|f| f.to_kind(Kind::Float));
        let plan = bench.plan(Per::Sample, 9).on(Device::Cpu).unwrap();
        let _low = admix_api::Autocast::enter(Device::Cpu, Kind::BFloat16).unwrap();
        let mixed = bench.mix(&plan);
        assert_eq!(mixed.images.kind(), Kind::BFloat16, "{}", bench.what);
        if let Some(mask) = mixed.mask {
            assert_eq!(mask.kind(), Kind::Float, "{}: masks stay exact", bench.what);
        }
    }
}

#[test]
fn missing_features_are_named_with_a_remedy() {
    for mut bench in benches() {
        if bench.features.take().is_none() {
            continue;
        }
        let plan = bench.plan(Per::Batch, 0).on(Device::Cpu).unwrap();
        let images = bench.images.shallow_clone();
        let message = bench.mixer.mix(&MixInput::of(&images), &plan).unwrap_err().to_string();
        assert!(message.contains("features") && message.contains("t.pass"), "{message}");
        let narrow = wild(&[images.size()[0], DEPTH - 1, 2, 2], 0.5, Kind::Float);
        let input = MixInput { features: Some(&narrow), ..MixInput::of(&images) };
        let message = bench.mixer.mix(&input, &plan).unwrap_err().to_string();
        assert!(message.contains("feature map") && message.contains("stage"), "{message}");
    }
}

/// What a loss is given.
pub(crate) struct Given {
    pub(crate) n: i64,
    pub(crate) classes: i64,
    pub(crate) kind: Kind,
    /// Scales the logits.
    pub(crate) spread: f64,
    pub(crate) lambda: Tensor,
}

impl Given {
    /// The arguments that a loss takes; the leaf among them requires a gradient.
    pub(crate) fn to(&self, loss: &dyn Loss) -> (LossInput, Tensor) {
        let (n, k) = (self.n, self.classes);
        let mut input = LossInput::default();
        let mut leaf = None;
        for argument in loss.arguments() {
            input = match argument {
                Argument::Tensor("logits") => {
                    let logits = (wild(&[n, k], 0.6, self.kind) * self.spread).set_requires_grad(true);
                    leaf = Some(logits.shallow_clone());
                    input.with("logits", logits)
                }
                Argument::Tensor("class_weight") => {
                    input.with("class_weight", wild(&[k], 0.7, self.kind).abs() + 0.1)
                }
                Argument::Tensor(other) => panic!("what is the argument `{other}`? Teach this test"),
                Argument::Target => {
                    let partner = Tensor::arange(n, (Kind::Int64, Device::Cpu)).flip([0]);
                    let labels = Tensor::arange(n, (Kind::Int64, Device::Cpu)).remainder(k);
                    let credit = Credit::Pair { partner, lambda: self.lambda.shallow_clone() };
                    input.with_target(&credit, &labels).unwrap()
                }
                Argument::Mix => {
                    let mask = (wild(&[n, 1, 4, 6], 0.8, self.kind) * self.spread).sigmoid().detach();
                    let mask = mask.set_requires_grad(true);
                    leaf = Some(mask.shallow_clone());
                    input.with("mask", mask).with("lambda", self.lambda.shallow_clone())
                }
            };
        }
        (input, leaf.expect("a loss of something"))
    }
}

#[test]
fn a_loss_is_a_finite_scalar_with_a_gradient_and_without_a_wait() {
    for (what, loss) in losses() {
        for (n, spread) in [(1, 1.0), (3, 1.0), (4, 1e4), (5, 0.0)] {
            for lambda in [0.0f32, 0.3, 1.0] {
                for lambda in
                    [Tensor::from(lambda), Tensor::full([n], f64::from(lambda), (Kind::Float, Device::Cpu))]
                {
                    let given = Given { n, classes: 4, kind: Kind::Float, spread, lambda };
                    let (input, leaf) = given.to(loss.as_ref());
                    let before = leaf.copy();
                    let (generator, waits) = (rng_fingerprint(Device::Cpu).unwrap(), SyncCounter::start());
                    let value = loss.loss(&input).unwrap();
                    value.backward();
                    assert_eq!(waits.names(), Vec::<String>::new(), "{what}");
                    drop(waits);
                    assert_eq!(rng_fingerprint(Device::Cpu).unwrap(), generator, "{what}");
                    assert_eq!((value.size(), value.kind()), (vec![], Kind::Float), "{what}");
                    assert!(value.double_value(&[]).is_finite(), "{what}: N {n}, spread {spread}");
                    assert!(bool::try_from(leaf.grad().isfinite().all()).unwrap(), "{what}: N {n}, {spread}");
                    assert!(before.equal(&leaf.detach()), "{what}");
                    assert_eq!(
                        loss.loss(&input).unwrap().double_value(&[]),
                        value.double_value(&[]),
                        "{what}"
                    );
                }
            }
        }
    }
}

#[test]
fn half_precision_logits_and_masks_are_widened() {
    for (what, loss) in losses() {
        let lambda = Tensor::from(0.25f32);
        let given = |kind| Given { n: 4, classes: 4, kind, spread: 2.0, lambda: lambda.shallow_clone() };
        let low = loss.loss(&given(Kind::BFloat16).to(loss.as_ref()).0).unwrap();
        let full = loss.loss(&given(Kind::Float).to(loss.as_ref()).0).unwrap();
        assert_eq!(low.kind(), Kind::Float, "{what}");
        assert!((low.double_value(&[]) - full.double_value(&[])).abs() < 0.05, "{what}: {low} and {full}");
    }
}
