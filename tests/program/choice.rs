//! A recipe whose mixer is a choice, through the program.

use admix_engine::Checkpoint;
use admix_torch::Device;
use serde_json::Value;

use super::{Place, TINY};

/// Two epochs of eight steps, mixed by MixUp or CutMix.
fn place() -> Place {
    let place = Place::new();
    let mixers = r#"{"mixup": MixUp(alpha: 0.8), "cutmix": CutMix(), "mix": Choice(of: {"mixup": 1.0, "cutmix": 1.0})}"#;
    let recipe = TINY.replace(r#"{"amix": AMix(alpha: 2.0)}"#, mixers);
    let recipe = recipe
        .replace("method: \"amix\"", "method: \"mixup\"")
        .replace(r#"heads: ["one", "mix"]"#, r#"heads: ["one"]"#);
    let recipe = recipe.replace("    pairs: [(from: \"q\", to: \"k\", momentum: 0.99)],\n", "");
    assert!(recipe.contains("Choice") && recipe.contains("\"mixup\",") && !recipe.contains("pairs"));
    place.write("r.ron", recipe);
    place
}

#[test]
fn a_run_with_a_choice_is_drawn_measured_and_resumed_bit_for_bit() {
    let place = place();
    place.compute(&["run", "r.ron", "--out", "whole"]).good();
    place.compute(&["run", "r.ron", "--out", "parts", "--max-steps", "5"]).good();
    place.compute(&["run", "r.ron", "--out", "parts", "--resume"]).good();
    let [whole, parts] = ["whole", "parts"].map(|run| {
        let file = place.path(format!("{run}/checkpoints/step-00000016.safetensors"));
        Checkpoint::read(&file, Device::Cpu).expect("a checkpoint").tensors
    });
    assert_eq!(whole.keys().collect::<Vec<_>>(), parts.keys().collect::<Vec<_>>());
    assert!(whole.len() > 10 && whole.iter().all(|(name, tensor)| tensor.equal(&parts[name])));
    // Other weights, other bits: the choice does something.
    let only = "mixers.mix.of.mixup=0.0";
    place.compute(&["run", "r.ron", "--out", "cut", "--set", only]).good();
    let cut = place.path("cut/checkpoints/step-00000016.safetensors");
    let cut = Checkpoint::read(&cut, Device::Cpu).expect("a checkpoint").tensors;
    assert!(whole.iter().any(|(name, tensor)| !tensor.equal(&cut[name])));

    // Pictures and measurements are of the mixers that are picked.
    let picture = |mixers: &[&str], file: &str| {
        let flags = ["--checkpoint", "whole", "--count", "2", "-o", file];
        place.compute(&[&["mix", "--mixer"], mixers, &flags].concat()).good();
        std::fs::read(place.path(file)).expect("a picture")
    };
    assert!(picture(&["mix"], "a.png") == picture(&["cutmix", "mixup"], "b.png"));
    assert!(place.path("whole/samples/epoch-002.png").exists());
    let eval = place.compute(&["eval", "whole", "--protocol", "mixer", "--format", "json"]).good();
    let measured: Value = serde_json::from_str(&eval.stdout).expect("JSON");
    assert_eq!(measured["mixers"].as_object().expect("mixers").keys().collect::<Vec<_>>(), ["cutmix"]);
    assert!(eval.stderr.contains("`mix` picks among cutmix, mixup"), "{}", eval.stderr);
}

#[test]
fn a_run_of_a_mixer_that_reads_pseudo_labels_is_drawn_and_measured_with_classes_in_their_place() {
    let place = place();
    let script = "fn weights(t) { #{ loss: 1.0 } }
        fn step(t) {
            let m = t.quiet(\"mix\", #{ as: \"mix\", images: t.images, pseudo: t.labels });
            t.learn(#{ loss: t.loss(\"mixup_cross_entropy\", t.pass(\"q\", m).logits(\"one\"), m.target(t.labels)) });
        }";
    place.write("m.rhai", script);
    let mixer = "mixers={\"mix\": InterIntra(partner: ClusterAware(share: 0.5))}";
    place.compute(&["run", "r.ron", "--script", "m.rhai", "--out", "run", "--set", mixer]).good();
    assert!(place.path("run/samples/epoch-002.png").exists());
    let eval = place.compute(&["eval", "run", "--protocol", "mixer", "--format", "json"]).good();
    let measured: Value = serde_json::from_str(&eval.stdout).expect("JSON");
    assert_eq!(measured["mixers"].as_object().expect("mixers").keys().collect::<Vec<_>>(), ["mix"]);
    place.compute(&["mix", "--mixer", "inter_intra", "cutmix", "--data", "toy", "-o", "x.png"]).good();
    let told = place.admix(&["plugins", "inter_intra"]).good().stdout;
    for part in ["plays no part here: alpha", "partner: Derangement", "needs: images, pseudo labels"] {
        assert!(told.contains(part), "`{part}` is not in:\n{told}");
    }
    assert!(!told.contains("  alpha:"), "{told}");
}

#[test]
fn a_choice_is_shown_set_and_explained() {
    let place = place();
    let shown = place.admix(&["show", "r.ron", "--set", "mixers.mix.of.cutmix=0.25"]).good().stdout;
    let line =
        |name: &str| shown.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{shown}"));
    assert!(line("mixers.mix.of.cutmix").contains("0.25") && line("mixers.mix.of.cutmix").contains("--set"));
    assert!(line("mixers.mix.of.mixup").contains("1.0") && line("mixers.mix.of.mixup").contains("line "));
    let told = place.admix(&["plugins", "choice"]).good().stdout;
    for part in [
        "of: {\"mixup\": 0.5, \"cutmix\": 0.5}   [map: names to number]",
        "plays no part here: alpha, per, fold, partner",
        "needs: images, and what the mixers that it picks from need",
        "mixers: {\"cutmix\": CutMix(), \"mixup\": MixUp(), \"choice\": Choice(of:",
    ] {
        assert!(told.contains(part), "`{part}` is not in:\n{told}");
    }
    assert!(
        told.contains("  prob: 1.0") && told.contains("  until: End") && !told.contains("  alpha:"),
        "{told}"
    );
    let bad = ["run", "r.ron", "--dry-run", "--set", "mixers.mix.of.cutmx=0.5"];
    place.admix(&bad).refused(2, &["--set mixers.mix.of.cutmx=0.5", "Did you mean `cutmix`?"]);
    place
        .admix(&["mix", "--mixer", "choice", "-o", "x.png"])
        .refused(2, &["--mixer choice", "without settings"]);
}
