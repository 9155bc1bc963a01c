//! Every registered plugin keeps the contract (`admix_api::contract`). Registering one is enough to have it tested
//! here. Below it stands what is true of the bundled plugins alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path as File;

use admix_api::contract::{Outcome, Verdict, check, table, wild};
use admix_api::prelude::*;
use admix_api::{Entry, Registry, Seed, Store, Streams};
use serde_json::json;

use crate::pairings::mixers;

/// Settings to test beside the defaults, by plugin. The tests on a GPU's device read them too.
const MORE_SETTINGS: &str = include_str!("../contract_settings.json");

/// The defaults, if there are any, and more.
pub(crate) fn all_settings(entry: &Entry) -> Vec<serde_json::Value> {
    let mut all = if (entry.defaults)().is_null() { vec![] } else { vec![json!({})] };
    let more: BTreeMap<String, Vec<serde_json::Value>> = serde_json::from_str(MORE_SETTINGS).unwrap();
    all.extend(more.get(&entry.name).cloned().unwrap_or_default());
    all
}

/// The promises that there is nothing to hold against this plugin; `None` where that is not known here.
fn idle(name: &str, kind: &str, all: &[&'static str]) -> Option<Vec<&'static str>> {
    let missing = "what is missing or unfit is an error in one line";
    let untrained = ["extras are tensors", "a loud mix gives its parameters finite gradients", missing];
    let hidden = "a hidden mix has its images, a mask or a mix of maps, a pair and its plan's stage";
    let unmasked = ["a mask is [N, 1, H, W] in [0, 1]", "images follow their mask"];
    match name {
        "mixup" => Some([&untrained[..], &unmasked, &[hidden]].concat()),
        // Its masks are those of hidden mixes.
        "manifoldmix" => Some([&untrained[..], &unmasked[1..]].concat()),
        "cutmix" | "fmix" => Some([&untrained[..], &[hidden]].concat()),
        // It hands out its saliency.
        "saliencymix" => Some([&untrained[1..], &[hidden]].concat()),
        // It hands out the partners as it placed them.
        "resizemix" => Some([&untrained[1..], &[hidden]].concat()),
        "automix" | "amix" => Some(vec![hidden]),
        // It is settings alone: what it picks keeps the other promises.
        "choice" => {
            let own = [
                "has a name, a summary and a source",
                "settings are read and in range",
                "unknown settings are refused by name",
                "settings read back as themselves",
            ];
            Some(all.iter().copied().filter(|promise| !own.contains(promise)).collect())
        }
        "inter_intra" => Some([&untrained[..2], &[hidden]].concat()),
        // Missing saliency is an error that can be looked at.
        "puzzlemix" => Some([&untrained[..2], &[hidden]].concat()),
        _ if kind == "loss" => Some(vec!["leaves alpha, per, fold and partner to the host"]),
        _ => None,
    }
}

#[test]
fn every_plugin_keeps_the_contract() {
    for entry in Registry::linked().unwrap().entries() {
        let verdicts = check(entry, &all_settings(entry));
        assert!(!verdicts.iter().any(Verdict::is_broken), "{entry:?}\n{}", table(&verdicts));
        // A check that looks at nothing finds nothing broken.
        let all: Vec<_> = verdicts.iter().map(|verdict| verdict.promise).collect();
        let Some(idle) = idle(&entry.name, entry.kind(), &all) else { continue };
        // No bundled plugin in Rust has any: scripts do.
        let rare = [
            "weights of sources are float32, not negative, and finite",
            "a mix of maps keeps their shape and kind, and is finite",
        ];
        assert!(entry.kind() != "mixer" || rare.iter().all(|promise| all.contains(promise)));
        let idle = idle.into_iter().filter(|promise| !rare.contains(promise));
        let unjudged = |verdict: &&Verdict| {
            matches!(verdict.outcome, Outcome::NotApplicable { .. }) && !rare.contains(&verdict.promise)
        };
        let found: BTreeSet<_> = verdicts.iter().filter(unjudged).map(|verdict| verdict.promise).collect();
        assert_eq!(found, BTreeSet::from_iter(idle), "{}\n{}", entry.name, table(&verdicts));
    }
}

/// The files under a folder that declare a plugin with this macro, by the name that the file gives it.
fn declared(folder: &File, opening: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(declared(&path, opening));
        } else if fs::read_to_string(&path).unwrap().lines().any(|line| line == opening) {
            // `mixup.rs`, or `mixup/mod.rs`.
            let own = if path.ends_with("mod.rs") { folder } else { path.as_path() };
            names.insert(own.file_stem().unwrap().to_str().unwrap().to_string());
        }
    }
    names
}

#[test]
fn every_plugin_but_a_choice_is_something_without_settings() {
    let registry = Registry::linked().unwrap();
    let bare = registry.entries().filter(|entry| (entry.defaults)().is_null());
    assert_eq!(bare.map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["choice"]);
}

#[test]
fn every_plugin_file_is_registered_under_its_name() {
    let registry = Registry::linked().unwrap();
    let root = File::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let named = |names: Vec<&str>| names.into_iter().map(String::from).collect::<BTreeSet<_>>();
    for (names, folder, opening) in [
        (named(registry.names::<dyn Mixer>()), "mixers", "mixer! {"),
        (named(registry.names::<dyn Loss>()), "losses", "loss! {"),
    ] {
        assert!(names.len() >= 4, "none is ever lost");
        assert_eq!(names, declared(&root.join(folder), opening));
    }
    for entry in registry.of::<dyn Mixer>() {
        assert_eq!(registry.find::<dyn Mixer>(&entry.type_name).unwrap().0.name, entry.name);
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
        Seed::<dyn Mixer>::of(&registry).deserialize(&mut body)
    };
    let choice =
        read("AMix(alpha: 1.5, preset: Code, gamma: Constant(0.5), rescale: Off, per: Sample)").unwrap();
    assert_eq!((choice.plugin.as_str(), choice.served.alpha, choice.served.per), ("amix", 1.5, Per::Sample));
    let settings = choice.config.resolved();
    assert_eq!(settings["gamma"], json!({"Constant": 0.5}));
    assert_eq!((&settings["rescale"], &settings["activation"]), (&json!("Off"), &json!("Elu")));
    for (text, alpha) in [("AMix()", 2.0), ("AutoMix()", 2.0), ("MixUp(alpha: 0.2)", 0.2), ("CutMix()", 1.0)]
    {
        assert_eq!(read(text).unwrap().served.alpha, alpha, "{text}");
    }
    let per = |text: &str| read(text).unwrap().served.per;
    assert_eq!([per("AMix()"), per("AMix(per: Batch)")], [Per::Sample, Per::Batch]);
    for preset in ["Paper", "Code", "Literal"] {
        assert_eq!(per(&format!("AMix(preset: {preset})")), Per::Batch, "{preset}");
        assert_eq!(per(&format!("AMix(preset: {preset}, per: Sample)")), Per::Sample, "{preset}");
    }
    let message = read("AMix(gama: Learnable)").unwrap_err().to_string();
    assert!(message.contains("gama") && message.contains("gamma"), "{message}");
}

const DEPTH: i64 = 6;

/// A mixer and a batch of one shape for it.
struct Bench {
    what: String,
    mixer: Box<dyn Mixer>,
    pairing: Pairing,
    images: Tensor,
    features: Option<Tensor>,
    pseudo: Option<Tensor>,
    quiet: bool,
}

impl Bench {
    fn plan(&self, per: Per, step: u64) -> Plan {
        let (n, _, height, width) = self.images.size4().unwrap();
        let pairing = Pairing { per, ..self.pairing.clone() };
        let ask =
            Ask { batch: n as usize, height, width, pairing, quiet: self.quiet, progress: 0.5, lambda: None };
        self.mixer.plan(&ask, &mut Streams::new(3).draws("mix", "contract", 0, step)).unwrap()
    }

    fn mix(&mut self, plan: &Planned) -> Mixed {
        let input = MixInput {
            features: self.features.as_ref(),
            pseudo: self.pseudo.as_ref(),
            quiet: self.quiet,
            ..MixInput::of(&self.images)
        };
        self.mixer.mix(&input, plan).unwrap_or_else(|e| panic!("{}: {e}", self.what))
    }
}

/// Every mixer that reads images, features and pseudo labels at most, on some shapes, loud and quiet.
fn benches() -> Vec<Bench> {
    let mut all = Vec::new();
    for (what, config, pairing) in mixers() {
        let needs = config.needs();
        if needs.saliency {
            continue;
        }
        for [n, c, height, width, h, w] in
            [[1, 3, 8, 8, 2, 2], [3, 3, 8, 12, 2, 3], [5, 1, 6, 4, 3, 2], [4, 3, 4, 4, 4, 4]]
        {
            for quiet in [false, true] {
                let store = Store::new(Device::Cpu, Streams::new(1));
                let channels = needs.features.map(|_| DEPTH);
                let context = MixerContext { feature_channels: channels, ..MixerContext::default() };
                let mixer = config.build(&store.root().sub("mixer"), &context).unwrap();
                for (name, mut weight, _) in store.parameters() {
                    // Away from the start, where masks are flat.
                    let _no_graph = no_grad();
                    let spread = if name.ends_with("gamma") { 0.4 } else { 1.5 };
                    weight.copy_(&(wild(&weight.size(), spread, Kind::Float) * spread).abs());
                }
                all.push(Bench {
                    what: format!("{what} on {n}x{c}x{height}x{width}, quiet {quiet}"),
                    mixer,
                    pairing: pairing.clone(),
                    images: wild(&[n, c, height, width], 0.1, Kind::Float),
                    features: needs.features.map(|_| wild(&[n, DEPTH, h, w], 0.2, Kind::Float)),
                    pseudo: needs.pseudo.then(|| Tensor::arange(n, (Kind::Int64, Device::Cpu)).remainder(2)),
                    quiet,
                });
            }
        }
    }
    all
}

#[test]
fn plans_of_bundled_mixers_have_one_structure_but_for_those_of_hidden_mixes() {
    for bench in benches().into_iter().filter(|bench| bench.mixer.needs().hidden.is_none()) {
        for per in [Per::Batch, Per::Sample] {
            let first = bench.plan(per, 0).structure;
            assert!((1..20).all(|step| bench.plan(per, step).structure == first), "{}", bench.what);
        }
    }
}

#[test]
fn a_mix_without_a_box_commutes_with_a_flip() {
    fn flipped(tensor: &Tensor) -> Tensor {
        tensor.flip([tensor.dim() as i64 - 1])
    }
    for mut bench in benches() {
        let plan = bench.plan(Per::Sample, 8);
        if !["mixup", "automix", "amix"].iter().any(|name| bench.what.starts_with(&format!("{name} "))) {
            continue;
        }
        // Dropout has places; evaluation mode has none.
        bench.mixer.train(false);
        let plan = plan.on(Device::Cpu).unwrap();
        let mixed = bench.mix(&plan).images;
        bench.images = flipped(&bench.images);
        bench.features = bench.features.as_ref().map(flipped);
        let gap = (mixed.flip([3]) - bench.mix(&plan).images).abs().max().double_value(&[]);
        assert!(gap <= 1e-4, "{}", bench.what);
    }
}

#[test]
fn missing_features_are_named_with_a_remedy() {
    for mut bench in benches() {
        if bench.features.is_none() {
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
