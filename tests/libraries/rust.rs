//! Plugins in Rust: the bundled ones train alike from a library, and an example in a crate of its own holds up.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use admix_api::{Ask, Autocast, MixInput, Mixer, MixerContext, Registry, Store, Streams, erased_serde};
use admix_data::Batch;
use admix_engine::{Clock, Method, Recipe, Session, Shape, StepOptions};
use admix_torch::{Device, Kind, Tensor};
use safetensors::SafeTensors;

use super::built;
use crate::program::{Outcome, Place, TINY, finish, repository};

/// Runs cargo in this repository, with the target folder that these tests were built in.
fn cargo(arguments: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = built().parent().expect("the target folder").to_path_buf();
    let mut command = Command::new(cargo);
    command.args(arguments).args(["--locked", "--offline", "--quiet"]);
    command.current_dir(repository()).env("CARGO_TARGET_DIR", target);
    // What cargo told this test is not meant for another build: it would be taken for a change.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The bundled plugins as a library; built once.
fn bundled() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        cargo(&["rustc", "-p", "admix-plugins", "--features", "dylib", "--crate-type", "cdylib"]);
        built().join("libadmix_plugins.so")
    })
}

/// The example in `examples/plugin_rust`; built once.
pub fn smooth_mix() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        cargo(&["build", "-p", "smooth-mix"]);
        built().join("libsmooth_mix.so")
    })
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}

/// Runs the program that has no plugins of its own.
fn bare(place: &Place, arguments: &[&str]) -> Outcome {
    let host = built().join("examples/bare_host");
    assert!(host.is_file(), "`cargo test` builds {}; with --test, add --examples", host.display());
    let mut command = place.set_up(Command::new(host), arguments);
    finish(command.spawn().expect("the program starts"))
}

/// The last checkpoint of a run.
fn last_checkpoint(run: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = std::fs::read_dir(run.join("checkpoints"))
        .expect("checkpoints")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-")))
        .collect();
    files.sort();
    files.pop().expect("a checkpoint")
}

/// Fails unless two runs ended with the same tensors, bit for bit. Returns how many they have.
#[track_caller]
fn same_tensors(a: &Path, b: &Path) -> usize {
    let (a, b) = (last_checkpoint(a), last_checkpoint(b));
    assert_eq!(a.file_name(), b.file_name(), "the same step");
    let (a, b) = (std::fs::read(a).expect("read"), std::fs::read(b).expect("read"));
    let (a, b) = (SafeTensors::deserialize(&a).expect("whole"), SafeTensors::deserialize(&b).expect("whole"));
    let names = |file: &SafeTensors<'_>| {
        let mut names: Vec<String> = file.names().into_iter().map(|name| name.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&a), names(&b));
    for name in names(&a) {
        let (one, other) = (a.tensor(&name).expect("there"), b.tensor(&name).expect("there"));
        assert_eq!((one.dtype(), one.shape()), (other.dtype(), other.shape()), "{name}");
        assert!(one.data() == other.data(), "{name} differs");
    }
    names(&a).len()
}

#[test]
fn the_bundled_plugins_train_bit_for_bit_alike_from_a_library() {
    let recipe = repository().join("configs/quickstart.ron");
    let place = Place::new();
    let run = |out: &'static str| {
        ["run", text(&recipe), "--max-steps", "6", "--device", "cpu", "--threads", "1", "--out", out]
    };
    bare(&place, &run("refused")).refused(2, &["no mixer named `AMix`", "--plugin LIBRARY"]);
    assert!(!place.path("refused").exists(), "a refused run leaves nothing behind");

    bare(&place, &[&run("library")[..], &["--plugin", text(bundled())]].concat()).good();
    place.admix(&run("linked")).good();
    assert!(same_tensors(&place.path("library"), &place.path("linked")) > 100);
}

#[test]
fn a_mixer_of_a_library_is_paired_by_pseudo_labels_like_the_linked_one() {
    let place = Place::new();
    let mixer = r#""mix": CutMix(partner: ClusterAware(share: 0.8), per: Sample)"#;
    let recipe = TINY
        .replace(r#""amix": AMix(alpha: 2.0)"#, mixer)
        .replace(r#"method: "amix""#, r#"method: "m.rhai""#)
        .replace(r#"heads: ["one", "mix"]"#, r#"heads: ["one"]"#);
    place.write("r.ron", &recipe);
    let script = "fn weights(t) { #{ loss: 1.0 } }
        fn step(t) {
            let m = t.quiet(\"mix\", #{ as: \"mix\", images: t.images, pseudo: t.labels });
            t.learn(#{ loss: t.loss(\"mixup_cross_entropy\", t.pass(\"q\", m).logits(\"one\"), m.target(t.labels)) });
        }";
    place.write("m.rhai", script);
    let run = |out: &'static str| ["run", "r.ron", "--device", "cpu", "--threads", "1", "--out", out];
    bare(&place, &[&run("library")[..], &["--plugin", text(bundled())]].concat()).good();
    place.admix(&run("linked")).good();
    assert!(same_tensors(&place.path("library"), &place.path("linked")) > 10);
}

#[test]
fn a_library_of_plugins_that_are_linked_already_is_refused_with_both_origins() {
    let place = Place::new();
    place
        .admix(&["plugins", "--plugin", text(bundled())])
        .refused(2, &["are named `", "admix-plugins (plugins/src/", "libadmix_plugins.so"]);
}

#[test]
fn a_hidden_mix_of_a_rust_library_is_that_of_the_linked_plugin_bit_for_bit() {
    let recipe = repository().join("examples/plugin_cpp/grid_mix.ron");
    let place = Place::new();
    let run = |out: &'static str| {
        let mixer = "mixers.mix=ManifoldMix(stages: [0, 1, 3])";
        ["run", text(&recipe), "--set", mixer, "--device", "cpu", "--threads", "1", "--out", out]
    };
    bare(&place, &[&run("library")[..], &["--plugin", text(bundled())]].concat()).good();
    place.admix(&run("linked")).good();
    same_tensors(&place.path("library"), &place.path("linked"));
}

#[test]
fn a_mix_of_many_samples_of_a_rust_library_is_that_of_the_linked_plugin_bit_for_bit() {
    let mut library = Registry::default();
    admix_api::abi::load(bundled(), &mut library).expect("loaded");
    let linked = Registry::linked().expect("the bundled plugins");
    let images =
        (Tensor::arange(7 * 3 * 8 * 8, (Kind::Float, Device::Cpu)) * 0.37).sin().reshape([7, 3, 8, 8]);
    let saliency = images.select(1, 0).square();
    let made = |registry: &Registry| {
        let (_, reader) = registry.find::<dyn Mixer>("CoMixup").expect("there");
        let settings = serde_json::json!({"part": 3, "blocks": [2, 4]});
        let config =
            (reader.read)(&mut <dyn erased_serde::Deserializer<'_>>::erase(settings)).expect("settings");
        let store = Store::new(Device::Cpu, Streams::new(1));
        let mut mixer = config.build(&store.root(), &MixerContext::default()).expect("built");
        assert!(mixer.needs().saliency && mixer.needs().host_solver);
        let pairing = reader.served.clone();
        let ask = Ask { batch: 7, height: 8, width: 8, pairing, quiet: true, progress: 0.0, lambda: None };
        let plan = mixer.plan(&ask, &mut Streams::new(5).draws("mix", "a", 0, 0)).expect("a plan");
        let input = MixInput { saliency: Some(&saliency), quiet: true, ..MixInput::of(&images) };
        let mixed = mixer.mix(&input, &plan.on(Device::Cpu).expect("a plan")).expect("a mix");
        let (sources, shares) = mixed.credit.shares().expect("shares");
        assert_eq!(shares.size(), [7, 3]);
        let message = mixer.mix(&MixInput::of(&images), &plan.on(Device::Cpu).expect("a plan"));
        assert!(message.expect_err("no saliency").to_string().contains("saliency"));
        (plan, [mixed.images, sources, shares, mixed.extras["assignment"].shallow_clone()])
    };
    let ((one, theirs), (other, ours)) = (made(&library), made(&linked));
    assert_eq!(one, other, "the draws of the host give one plan");
    assert!(theirs.iter().zip(&ours).all(|(one, other)| one.equal(other)));
}

/// Runs the example's own recipe.
fn run_example(place: &Place, out: &str, more: &[&str]) -> Outcome {
    let recipe = repository().join("examples/plugin_rust/smooth_mix.ron");
    let flags = ["run", text(&recipe), "--out", out, "--plugin", text(smooth_mix())];
    place.compute(&[&flags[..], more].concat())
}

/// The example's trained width in a run's last checkpoint.
fn sigma(run: &Path) -> f32 {
    let bytes = std::fs::read(last_checkpoint(run)).expect("read");
    let file = SafeTensors::deserialize(&bytes).expect("whole");
    let names: Vec<String> = file.names().into_iter().map(|name| name.to_string()).collect();
    let name = names.iter().find(|name| name.ends_with("mixer.mix.sigma") && !name.contains("ema"));
    let name = name.unwrap_or_else(|| panic!("{names:?}"));
    let tensor = file.tensor(name).expect("there");
    f32::from_le_bytes(tensor.data().try_into().expect("one number"))
}

#[test]
fn a_mixer_of_a_library_learns_and_a_run_that_was_stopped_ends_like_one_that_was_not() {
    let place = Place::new();
    run_example(&place, "whole", &[]).good();
    run_example(&place, "start", &["--max-steps", "1"]).good();
    let (first, last) = (sigma(&place.path("start")), sigma(&place.path("whole")));
    assert!(first != last && (0.1..=1.0).contains(&last), "{first} {last}");

    run_example(&place, "stopped", &["--max-steps", "5"]).good();
    run_example(&place, "stopped", &["--resume"]).good();
    same_tensors(&place.path("whole"), &place.path("stopped"));
}

/// Trains a library's mixer for three steps, and gives the values of its parameter before and after.
fn trained(library: &Path, recipe: &str, script: &str, parameter: &str, low: bool) -> (Tensor, Tensor) {
    admix_torch::set_threads(1);
    let mut registry = Registry::linked().expect("the bundled plugins");
    admix_api::abi::load(library, &mut registry).expect("loaded");
    let recipe = Recipe::parse(recipe, "test.ron", &[], &registry).expect("a recipe");
    let method = Method::compile(script, "m.rhai").expect("a method");
    let clock = Clock { step: 0, steps: 3, epoch: 0, epochs: 1 };
    let shape = Shape::new(3, 5);
    let mut session = Session::build(&recipe, method, &registry, shape, clock, Device::Cpu).expect("built");
    let value = |session: &Session| -> Tensor {
        let all = session.tensors();
        all.iter().find(|(name, _)| name.ends_with(parameter)).expect("there").1.copy()
    };
    let before = value(&session);
    for _ in 0..3 {
        let images = Tensor::arange(4 * 3 * 8 * 8, (Kind::Float, Device::Cpu)).sin().reshape([4, 3, 8, 8]);
        let labels = Tensor::arange(4, (Kind::Int64, Device::Cpu));
        let batch = Batch::new(images, labels.copy(), labels);
        let _low = low.then(|| Autocast::enter(Device::Cpu, Kind::BFloat16).expect("autocast"));
        let report = session.step_with(vec![batch], &StepOptions::default()).expect("a step");
        assert!(report.losses.iter().all(|(_, value)| value.double_value(&[]).is_finite()), "{report:?}");
    }
    (before, value(&session))
}

#[test]
fn mixers_of_rust_and_cpp_libraries_train_with_and_without_autocast_to_bfloat16() {
    let start = "epochs: 1, batch: 4, method: \"m.rhai\", optimizer: Sgd(lr: 0.1), \
                 model: ConvNet(widths: [8, 8], strides: [2, 2])";
    let of_rust = format!("({start}, mixers: {{\"mix\": SmoothMix(spread: Learned)}})");
    let of_cpp = format!(
        "({start}, heads: [\"one\", \"mix\"], pairs: [(from: \"q\", to: \"k\")], mixers: {{\"soft\": SoftGrid()}})"
    );
    let cpp = super::library("examples/plugin_cpp/soft_grid.cpp");
    for low in [false, true] {
        for (library, recipe, script, parameter) in [
            (
                smooth_mix(),
                &of_rust,
                include_str!("../../examples/plugin_rust/learned.rhai"),
                "mixer.mix.sigma",
            ),
            (cpp, &of_cpp, include_str!("../../examples/plugin_cpp/soft_grid.rhai"), "mixer.soft.logits"),
        ] {
            let (before, after) = trained(library, recipe, script, parameter, low);
            assert!(bool::try_from(after.isfinite().all()).expect("a switch"), "{parameter}: {after}");
            assert!(!after.equal(&before), "{parameter}, bf16 {low}: nothing was learned");
        }
    }
}

#[test]
fn what_a_library_logs_is_in_the_log_of_the_program() {
    let place = Place::new();
    let quiet = run_example(&place, "quiet", &[]).good();
    let loud = run_example(&place, "loud", &["--log", "plugin=debug"]).good();
    assert!(!quiet.stderr.contains("one width for all"), "{}", quiet.stderr);
    assert!(loud.stderr.contains("one width for all, trained start=0.35"), "{}", loud.stderr);
}

#[test]
fn the_example_keeps_every_promise() {
    let outcome = Place::new().admix(&["plugin", "check", text(smooth_mix())]).good();
    assert!(outcome.stdout.contains("mixer smooth_mix from "), "{}", outcome.stdout);
}

#[test]
fn a_plugin_of_a_library_is_described_like_any_other() {
    let place = Place::new();
    let told = place.admix(&["plugins", "smooth_mix", "--plugin", text(smooth_mix())]).good().stdout;
    for part in [
        "mixer smooth_mix: a soft round spot of the own image, the partner around it",
        "source: Lee et al., CVPR Workshops 2020, SmoothMix",
        "libsmooth_mix.so",
        "spread",
        "Learned",
        "A trained parameter",
        "start",
        "0.35",
        "alpha",
    ] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
}
