//! What people are told when something is wrong: where, what, what was expected, and a way out.
//!
//! One message, one line; exit code 2 for bad input, 1 for a run that failed.

use std::fs;

use admix_engine::{Checkpoint, Override, Recipe};
use admix_torch::{Device, Kind};
use image::RgbImage;

use super::{Outcome, Place, TINY};

/// Starts the recipe with one part of its text replaced.
#[track_caller]
fn edited(part: &str, by: &str) -> Outcome {
    assert!(TINY.contains(part), "{part}");
    let place = Place::new();
    place.write("r.ron", TINY.replacen(part, by, 1));
    let outcome = place.compute(&["run", "r.ron", "--out", "run", "--max-steps", "1"]);
    assert!(!place.path("run").exists(), "a run that cannot be must leave nothing behind");
    outcome
}

/// Each row: a part of the recipe, what takes its place, and parts of the message.
#[track_caller]
fn table(rows: &[(&str, &str, &[&str])]) {
    for (part, by, parts) in rows {
        edited(part, by).refused(2, parts);
    }
}

#[test]
fn unknown_fields_are_told_with_their_place_and_the_nearest() {
    table(&[
        ("batch: 8", "bach: 8", &["r.ron:3:5: ", "unknown field `bach`", "Did you mean `batch`?"]),
        ("crop: None", "crap: None", &["r.ron:4:25: ", "unknown field `crap`", "Did you mean `crop`?"]),
        (
            "alpha: 2.0",
            "alfa: 2.0",
            &["r.ron:9:27: ", "unknown field `alfa`", "dropout", "Did you mean `alpha`?"],
        ),
        ("margin: 0.1", "margn: 0.1", &["r.ron:10:27: ", "unknown field `margn`", "Did you mean `margin`?"]),
        ("from: \"q\"", "frm: \"q\"", &["r.ron:7:14: ", "unknown field `frm`", "Did you mean `from`?"]),
        ("epochs: 2,", "", &["r.ron:", "`epochs` is missing"]),
        ("epochs: 2,", "epochs: 2, epochs: 3,", &["r.ron:2:16: ", "`epochs` is there twice"]),
    ]);
}

#[test]
fn values_of_the_wrong_type_are_told_with_what_was_expected() {
    table(&[
        ("epochs: 2", "epochs: \"two\"", &["r.ron:2:13: `epochs` is \"two\"", "expected a whole number"]),
        ("batch: 8", "batch: 8.5", &["r.ron:3:12: `batch` is 8.5", "expected a whole number"]),
        (
            "batch: 8",
            "batch: -1",
            &["r.ron:3:12: `batch` is -1", "expected a whole number that is not negative"],
        ),
        ("[\"one\", \"mix\"]", "\"one\"", &["r.ron:6:12: `heads` is \"one\"", "expected a list in brackets"]),
        (
            "alpha: 2.0",
            "alpha: \"two\"",
            &["r.ron:9:34: `mixers.amix.alpha` is \"two\"", "expected a number"],
        ),
        ("alpha: 2.0", "dropout: true", &["r.ron:9:36: `mixers.amix.dropout` is true", "expected a number"]),
        (
            "alpha: 2.0",
            "until: 0.5",
            &["r.ron:9:34: `mixers.amix.until` is 0.5", "expected a name: End, Epochs, Share"],
        ),
        (
            "alpha: 2.0",
            "until: Epochs(-1)",
            &["`mixers.amix.until`", "expected a whole number that is not negative"],
        ),
        ("\"toy\"", "toy", &["r.ron:4:18: `data.name` is toy", "expected a text in quotes: \"toy\""]),
        (
            "optimizer:",
            "params: {\"min_lr\": \"x\"}, optimizer:",
            &["`params.min_lr` is \"x\"", "expected a number"],
        ),
    ]);
}

#[test]
fn what_is_no_recipe_is_told_in_the_words_of_recipes() {
    table(&[
        ("epochs: 2", "epochs: 1e3", &["r.ron:2:13: `epochs` is 1e3", "written with digits alone"]),
        ("method: \"amix\"", "method: 'amix'", &["r.ron:8:13: `method` is 'amix'", "in double quotes"]),
        ("method: \"amix\"", "method: \"a\\qmix\"", &["r.ron:8:", "write \\\\ for one backslash"]),
        ("{\"amix\": AMix(", "{amix: AMix(", &["r.ron:9:13: `mixers`", "names in quotes: {\"name\": value}"]),
        (
            "optimizer:",
            "params: {\"min_lr\": [1]}, optimizer:",
            &["`params.min_lr` is [1]", "a number, true or false"],
        ),
        ("Sgd(lr: 0.1", "\"sgd\", (lr: 0.1", &["`optimizer` is \"sgd\"", "adamw"]),
        ("batch: 8,", "batch: 8,,", &["r.ron:3:14: ", "the name of a field"]),
        (
            "batch: 8,",
            "batch: 8, lr: 0.1,",
            &["unknown field `lr`", "Did you mean `optimizer: Sgd(lr: 0.1)`?"],
        ),
    ]);
    for (text, told) in [
        ("epochs: 1", "r.ron:1:1: a recipe is fields in parentheses"),
        ("{\"epochs\": 1}", "r.ron:1:1: a recipe is fields in parentheses"),
        ("# mine\n(epochs: 1)", "r.ron:1:1: a comment begins with //"),
        ("(epochs: 1, weights: {\"a\": 1.0)", "or a bracket before it is still open"),
    ] {
        let place = Place::new();
        place.write("r.ron", text);
        place.compute(&["check", "r.ron"]).refused(2, &[told]);
    }
}

#[test]
fn values_out_of_range_are_told_with_the_range() {
    table(&[
        ("alpha: 2.0", "alpha: 0.0", &["r.ron:9:34: `mixers.amix.alpha` is 0", "expected a number above 0"]),
        ("alpha: 2.0", "alpha: -1", &["r.ron:9:34: `mixers.amix.alpha` is -1", "above 0"]),
        ("alpha: 2.0", "dropout: 1.0", &["r.ron:9:36: `mixers.amix.dropout` is 1", "[0, 0.99]"]),
        ("alpha: 2.0", "stage: 4", &["r.ron:9:34: `mixers.amix.stage` is 4", "3 stages", "expected 1 to 3"]),
        ("alpha: 2.0", "stage: 0", &["r.ron:9:34: `mixers.amix.stage` is 0", "at least 1"]),
        ("margin: 0.1", "margin: -0.1", &["r.ron:10:35: `losses.mask.margin` is -0.1", "at least 0"]),
        ("batch: 8", "batch: 0", &["r.ron:3:12: `batch` is 0", "expected a whole number from 1"]),
        ("batch: 8", "batch: 65", &["r.ron:3:12: `batch` is 65", "`toy` has only 64 training images"]),
        ("lr: 0.1", "lr: 0.0", &["r.ron:11:24: `optimizer.lr` is 0", "expected a number above 0"]),
        ("epochs: 2", "epochs: 0", &["r.ron:2:13: `epochs` is 0", "expected a whole number from 1"]),
        ("[8, 8, 8]", "[8, 0, 8]", &["r.ron:5:28: `model.widths` is [8, 0, 8]", "all positive"]),
        ("momentum: 0.99", "momentum: 1.5", &["r.ron:7:12: `pairs`", "momentum 1.5", "[0, 1]"]),
        ("crop: None", "per_class: 0", &["r.ron:4:36: `data.per_class` is 0", "at least 1"]),
        ("crop: None", "crop: 16", &["r.ron:4:31: `data.crop` is 16", "16x16"]),
        ("train: 64", "train: 1", &["`data.toy.train` is 1", "one image per class"]),
        ("optimizer:", "weights: {\"mask\": NaN}, optimizer:", &["`weights.mask` is NaN", "finite"]),
        ("optimizer:", "max_bad_steps: 0, optimizer:", &["`max_bad_steps` is 0", "from 1"]),
        (
            "optimizer:",
            "groups: {\"amix\": (lr: -0.1)}, optimizer:",
            &["`groups.amix.lr` is -0.1", "above 0"],
        ),
        ("\"one\", \"mix\"]", "\"one\", \"one\"]", &["r.ron:6:12: `heads`", "`one` twice"]),
    ]);
    let resnet = ["ConvNet(widths: [8, 8, 8], strides: [2, 2, 2])", "ResNet(width: 0.0)"];
    edited(resnet[0], resnet[1]).refused(2, &["r.ron:5:26: `model.width` is 0", "more than 0"]);
    edited(resnet[0], "ResNet(depth: 20)")
        .refused(2, &["r.ron:5:26: `model.depth` is 20", "18, 34, 50, 101"]);
}

#[test]
fn unknown_names_are_told_with_the_nearest() {
    table(&[
        ("AMix(", "AMixx(", &["r.ron:9:22: ", "no mixer named `AMixx`", "cutmix", "Did you mean `amix`?"]),
        ("Mask(", "Mas(", &["r.ron:10:22: ", "no loss named `Mas`", "Did you mean `mask`?"]),
        (
            "\"toy\"",
            "\"cifar1\"",
            &["r.ron:4:18: ", "no dataset named `cifar1`", "Did you mean `cifar10`?", "import"],
        ),
        (
            "ConvNet(",
            "ConvNeet(",
            &["r.ron:5:12: ", "no backbone named `ConvNeet`", "Did you mean `convnet`?"],
        ),
        ("pairs: [(", "pairs: [(from: \"q\", to: \"k\"), (", &["r.ron:", "lets `k` follow twice"]),
        (
            "AMix(alpha: 2.0",
            "AMix(alpha: 2.0, alpha: 1.0",
            &["r.ron:", "the field `alpha` is there twice; remove one"],
        ),
        ("Sgd(", "Sgdd(", &["r.ron:11:16: ", "no optimiser named `Sgdd`", "Did you mean `sgd`?"]),
        ("method: \"amix\"", "method: \"amx\"", &["r.ron:8:13: `method` is `amx`", "Did you mean `amix`?"]),
        ("from: \"q\"", "from: \"p\"", &["r.ron:7:12: `pairs` follows `p`", "`q`"]),
        ("{\"amix\"", "{\"amx\"", &["amix.rhai:", "no mixer named `amix`", "Did you mean `amx`?"]),
        ("\"mix\"]", "\"mixx\"]", &["amix.rhai:", "no head named `mix`", "Did you mean `mixx`?"]),
        (
            "optimizer:",
            "params: {\"min_ler\": 0.0}, optimizer:",
            &["`params.min_ler`", "Did you mean `min_lr`?"],
        ),
        ("optimizer:", "weights: {\"mas\": 0.0}, optimizer:", &["`weights.mas`", "Did you mean `mask`?"]),
        ("optimizer:", "groups: {\"amx\": (lr: 0.1)}, optimizer:", &["`groups.amx`", "Did you mean `amix`?"]),
        (
            "optimizer:",
            "evaluate: (report: \"mix_z\"), optimizer:",
            &["`mix_z`", "`one_q`", "Did you mean `mix_k`?"],
        ),
    ]);
}

#[test]
fn broken_recipes_are_told_with_the_place_where_they_break() {
    table(&[
        ("epochs: 2,", "epochs: 2", &["r.ron:3:5: ", "expected a comma before this"]),
        ("AMix(alpha: 2.0)", "AMix", &["r.ron:9:22: `mixers.amix` is AMix", "parentheses", "Name()"]),
        (
            "ConvNet(widths: [8, 8, 8], strides: [2, 2, 2])",
            "ResNet",
            &["r.ron:5:12: `model` is ResNet", "parentheses", "Name()"],
        ),
        ("(every_steps: Some(2)),\n)", "(every_steps: Some(2)),", &["r.ron:12:", "still open"]),
        ("\"amix\",", "\"amix,", &["r.ron:"]),
    ]);
    let place = Place::new();
    place.write("empty.ron", "");
    place.write("binary.ron", [0x7f, b'E', b'L', b'F', 0xff, 0xfe, 0, 1]);
    place.write("text.ron", "hello there");
    fs::create_dir(place.path("folder.ron")).expect("a folder");
    for (recipe, parts) in [
        ("empty.ron", &["empty.ron:1:1: ", "is empty", "( field: value"][..]),
        ("binary.ron", &["binary.ron", "not text", "RON"]),
        ("text.ron", &["text.ron:1:"]),
        ("folder.ron", &["folder.ron", "a folder, expected a file"]),
        ("nowhere.ron", &["nowhere.ron", "admix recipes"]),
        ("quickstrat", &["quickstrat", "admix recipes", "Did you mean `quickstart`?"]),
    ] {
        place.admix(&["run", recipe]).refused(2, parts);
    }
}

#[test]
fn no_mutilated_recipe_makes_the_reader_fall_over() {
    let registry = admix_engine::registry().expect("plugins");
    let set: Override = "optimizer.momentum=0.5".parse().expect("path=value");
    let places: Vec<usize> = TINY.char_indices().map(|(at, _)| at).collect();
    let (mut read, mut refused) = (0, 0);
    for at in places {
        let (before, after) = TINY.split_at(at);
        let rest = &after[1..];
        let texts = ["", "(", ")", "\"", ",", "é", "0", "//"].map(|by| format!("{before}{by}{rest}"));
        for text in texts.iter().map(String::as_str).chain([before]) {
            match Recipe::parse(text, "r.ron", std::slice::from_ref(&set), &registry) {
                Ok(_) => read += 1,
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.starts_with("r.ron") || message.starts_with("--set "), "{message}");
                    assert!(!message.contains('\n'), "{message}");
                    refused += 1;
                }
            }
        }
    }
    assert!(read > 200 && refused > 2000, "{read} {refused}");
}

/// Runs the recipe under a script. Lines of the body count from 3.
fn scripted(body: &str, flags: &[&str]) -> (Place, Outcome) {
    let script = format!("fn weights(t) {{ #{{ one: 1.0, mix: 1.0 }} }}\nfn step(t) {{\n{body}\n}}\n");
    with_script(&script, flags)
}

fn with_script(script: &str, flags: &[&str]) -> (Place, Outcome) {
    let place = Place::new();
    place.write("r.ron", TINY);
    place.write("s.rhai", script);
    let outcome = place.compute(&[&["run", "r.ron", "--script", "s.rhai", "--out", "run"], flags].concat());
    (place, outcome)
}

#[test]
fn mistakes_in_scripts_are_told_with_their_place_before_the_first_step() {
    let features = "let z = t.pass(\"k\", t.images).features(\"amix\");";
    let p = "let p = t.pass(\"q\", t.images);\nt.learn(#{ one: t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels) });";
    let mix = "t.quiet(\"amix\", #{ as: \"a\", images: t.images";
    for (body, parts) in [
        ("let x = t.images\nlet y = 3;", &["s.rhai:4:1: ", "';'"][..]),
        (
            "t.pas(\"q\", t.images);",
            &["s.rhai:3:3: ", "no verb or function named `pas`", "Did you mean `pass`?"],
        ),
        ("t.imges;", &["s.rhai:3:", "no property `imges`", "Did you mean `images`?"]),
        ("t.pass(\"z\", t.images);", &["s.rhai:3:3: ", "no network named `z`", "`q`, `k`"]),
        (
            "t.pass(\"q\", t.images).logits(\"on\");",
            &["s.rhai:3:", "no head named `on`", "Did you mean `one`?"],
        ),
        (
            "t.loss(\"cross_entropi\", t.images, t.labels);",
            &["s.rhai:3:3: ", "Did you mean `cross_entropy`?"],
        ),
        (&format!("{mix} }});"), &["s.rhai:3:3: ", "`amix` needs `features`", "given `images`"]),
        (
            &format!("{features}\n{mix}, features: z, saliency: z }});"),
            &["s.rhai:4:3: ", "takes no `saliency`"],
        ),
        ("t.param(\"foo\");", &["s.rhai:3:3: ", "no parameter named `foo`"]),
        (
            &format!("{p}\nt.learn(#{{ mix: t.loss(\"cross_entropy\", p.logits(\"mix\"), t.labels) }});"),
            &["s.rhai:5:3: ", "`mix` needs the graph", "line 4", "one `learn`"],
        ),
        (&format!("{p}\n{p}"), &["s.rhai:6:3: ", "`one` was learned in line 4", "line 6", "another name"]),
        (&p.replace("one:", "won:"), &["s.rhai:4:3: ", "`won` is not in `weights`", "`one`"]),
        (
            "t.learn(#{ one: t.pass(\"q\", t.images).logits(\"one\") });",
            &["s.rhai:3:3: ", "`one`", "take its `mean`"],
        ),
        ("t.learn(#{ one: 3 });", &["s.rhai:3:3: ", "`one` must be a loss, got a number"]),
        ("while true { }", &["s.rhai:2:1: ", "`step`", "is there a loop that does not end?"]),
        ("let x = t.images; loop { x = x + 1; }", &["s.rhai:3:", "is there a loop that does not end?"]),
    ] {
        let (place, outcome) = scripted(body, &["--max-steps", "1"]);
        outcome.refused(2, parts);
        assert!(!place.path("run").exists(), "{body}");
    }
    for (script, parts) in [
        ("fn weights(t) { #{ } }", &["s.rhai: ", "needs a function `step(t)`", "docs/scripts.md"][..]),
        ("fn step(t) { }", &["s.rhai: ", "needs a function `weights(t)`"]),
        (
            "fn weights(t) { #{ } }\nfn step(t, u) { }",
            &["s.rhai:2:1: ", "`step` takes 2 arguments, expected 1"],
        ),
        ("fn weights(t) { 3 }\nfn step(t) { }", &["s.rhai:1:1: ", "`weights` must return a map", "a number"]),
        (
            "fn f(x) { f(x) }\nfn weights(t) { f(1) }\nfn step(t) { }",
            &["s.rhai:", "a recursion that does not end?"],
        ),
        (
            "fn weights(t) { #{ } }\nfn schedule(t) { #{ lrr: 0.1 } }\nfn step(t) { }",
            &["s.rhai:2:1: ", "`schedule` returned `lrr`", "`lr`, `ema`"],
        ),
    ] {
        with_script(script, &["--max-steps", "1"]).1.refused(2, parts);
    }
}

#[test]
fn a_term_that_becomes_nan_is_named_with_its_step_and_the_last_good_checkpoint_stays() {
    let body = "let p = t.pass(\"q\", t.images);
        let one = t.loss(\"cross_entropy\", p.logits(\"one\"), t.labels);
        if t.step >= 9 { one = (one - one) / 0.0; }
        t.learn(#{ one: one, mix: t.loss(\"cross_entropy\", p.logits(\"mix\"), t.labels) });";
    let (place, outcome) = scripted(body, &["--set", "max_bad_steps=3", "--set", "log_every=1"]);
    let parts =
        ["3 steps", "max_bad_steps", "term `one` (NaN) at step 10 (epoch 2)", "step-00000010.safetensors"];
    let outcome = outcome.refused(1, &parts);
    assert!(outcome.stderr.contains("warning: 1 steps were skipped"), "{}", outcome.stderr);
    let files = super::files_below(&place.path("run/checkpoints"));
    assert!(files.iter().any(|file| file.ends_with("step-00000010.safetensors")), "{files:?}");
    for file in files {
        let checkpoint = Checkpoint::read(&file, Device::Cpu).expect("whole");
        for (name, tensor) in &checkpoint.tensors {
            let finite = tensor.to_kind(Kind::Double).isfinite().all();
            assert!(bool::try_from(finite).expect("a bool"), "{name} in {}", file.display());
        }
    }
}

#[test]
fn missing_data_are_told_with_how_to_get_them() {
    for name in ["cifar10", "fashion-mnist"] {
        let outcome = edited("\"toy\"", &format!("{name:?}"));
        outcome.refused(2, &["r.ron:4:18: ", &format!("dataset `{name}` is not in data"), "to get it: "]);
    }
    let place = Place::new();
    place.admix(&["data", "info", "cifar10"]).refused(2, &["cifar10", "to get it: ", "admix data import"]);
    place.admix(&["data", "import", "nowhere", "--name", "x"]).refused(2, &["nowhere", "No such file"]);
    place.admix(&["datasets", "cifar"]).refused(2, &["cifar", "Did you mean `cifar10`?"]);
}

#[test]
fn images_that_cannot_be_read_are_named_and_counted() {
    let place = Place::new();
    for class in ["cat", "dog"] {
        for number in 0..4 {
            let file = place.path(format!("pictures/train/{class}/{number}.png"));
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            RgbImage::from_pixel(8, 8, image::Rgb([number, 9, 200])).save(&file).expect("written");
        }
    }
    let good = fs::read(place.path("pictures/train/cat/0.png")).expect("a picture");
    place.write("pictures/train/cat/cut.png", &good[..good.len() / 2]);
    place.write("pictures/train/dog/letter.jpg", "not a picture");
    let import = ["data", "import", "pictures", "--name", "pets", "--test-per-class", "1"];
    let outcome = place.admix(&import).good();
    assert!(outcome.stdout.contains("6 training and 2 test images of 2 classes"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("left out: 2 files"), "{}", outcome.stdout);
    for file in ["train/cat/cut.png: ", "train/dog/letter.jpg: "] {
        let line = outcome.stdout.lines().find(|line| line.contains(file)).expect(file);
        assert!(line.split(": ").nth(1).is_some_and(|why| why.len() > 5), "{line}");
    }
    place.admix(&import).refused(2, &["data/pets.admix", "exists already", "--force"]);
    // More broken ones than whole ones: probably not what was meant.
    for number in 0..9 {
        place.write(&format!("pictures/train/cat/x{number}.png"), "not a picture");
    }
    let outcome = place.admix(&[&import[..], &["--force"]].concat());
    outcome.refused(2, &["11 of 19 files could not be decoded", "cat/", "nothing was written"]);
    place.admix(&["data", "verify", "pets"]).good();
}

#[test]
fn a_gpu_that_is_not_there_is_told_with_a_way_out() {
    let place = Place::new();
    place.write("r.ron", TINY);
    for device in ["cuda", "cuda:7"] {
        let outcome = place.admix(&["run", "r.ron", "--device", device]);
        outcome.refused(2, &["--device cuda", "cargo xtask setup --cuda"]);
    }
    place.admix(&["run", "r.ron", "--device", "gpu"]).bad_flag(&["--device", "expected auto, cpu, cuda"]);
    let half = ["run", "r.ron", "--device", "cpu", "--precision", "bf16"];
    place.admix(&half).refused(2, &["--precision bf16", "leave the flag out"]);
    let rounded = ["run", "r.ron", "--device", "cpu", "--tf32"];
    place.admix(&rounded).refused(2, &["--tf32", "CPU", "leave the flag out"]);
}

#[test]
fn a_bad_set_is_blamed_on_the_flag() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let set = |change: &str| place.compute(&["run", "r.ron", "--dry-run", "--set", change]);
    for change in ["epochs", "=3", "epochs=", "optimizer..lr=3"] {
        set(change).bad_flag(&["--set", &format!("`{change}` is not path=value")]);
    }
    for (change, parts) in [
        ("epocs=3", &["unknown field `epocs`", "Did you mean `epochs`?"][..]),
        ("optimizer.lrr=3", &["unknown field `lrr`", "Did you mean `lr`?"]),
        ("mixers.amix.alpah=3", &["unknown field `alpah`", "Did you mean `alpha`?"]),
        ("mixers.amx.alpha=3", &["`mixers` has no `amx`", "Did you mean `amix`?"]),
        ("nothing.at.all=3", &["unknown field `nothing`", "epochs"]),
        ("epochs=two", &["`epochs` is two, expected a whole number"]),
        ("epochs=0", &["`epochs` is 0, expected a whole number from 1"]),
        ("epochs=3, batch: 4", &["expected one value"]),
        ("epochs.x=3", &["`epochs` is 2", "has no fields"]),
        ("batch=8.5", &["`batch` is 8.5, expected a whole number"]),
        ("batch=65", &["`batch` is 65", "64 training images"]),
        ("optimizer.lr=-1", &["`optimizer.lr` is -1, expected a number above 0"]),
        ("optimizer=Sgd(lr: -1)", &["`optimizer.lr` is -1, expected a number above 0"]),
        ("data.name=toy", &["`data.name` is toy, expected a text in quotes: \"toy\""]),
        ("data.name=\"to\"", &["no dataset named `to`", "Did you mean `toy`?"]),
        ("model.widths=[0]", &["`model.widths` is [0]", "positive"]),
        ("pairs.0.momentum=0.9", &["`pairs` is [", "set it as a whole"]),
        ("params.min_ler=0.1", &["`params.min_ler` is no parameter", "Did you mean `min_lr`?"]),
        ("weights.mas=0.1", &["`weights.mas` is no term", "Did you mean `mask`?"]),
    ] {
        set(change).refused(2, &[&[format!("--set {change}: ").as_str()], parts].concat());
    }
    // All of these can be set, though the recipe has no such lines.
    let good = ["params.min_lr=0.01", "weights.mask=0", "groups.amix.lr=0.2", "evaluate.every=2", "seed=7"];
    let flags = good.iter().flat_map(|change| ["--set", change]);
    place.compute(&[&["run", "r.ron", "--dry-run"], &flags.collect::<Vec<_>>()[..]].concat()).good();
    // A mistake of the recipe stays one, whatever the flags name.
    place.write("r.ron", TINY.replace("Sgd(lr: 0.1)", "Sgd(lrr: 0.1)"));
    set("optimizer.lr=0.2").refused(2, &["r.ron:11:", "unknown field `lrr`"]);
}

#[test]
fn unknown_flags_commands_and_values_are_told_with_help() {
    let place = Place::new();
    place.write("r.ron", TINY);
    place.admix(&["run", "r.ron", "--bogus"]).bad_flag(&["--bogus"]);
    place.admix(&["rnu"]).bad_flag(&["rnu"]);
    place.admix(&["run"]).bad_flag(&["<RECIPE>"]);
    place.admix(&["run", "r.ron", "--threads", "0"]).bad_flag(&["--threads", "1..="]);
    place.admix(&["run", "r.ron", "--max-steps", "0"]).bad_flag(&["--max-steps"]);
    place
        .admix(&["mix", "--mixer", "mixup", "--lambda", "2", "-o", "x.png"])
        .bad_flag(&["--lambda", "from 0 to 1"]);
    place.admix(&["run", "r.ron", "--log", "loud"]).refused(2, &["--log loud", "error, warn, info"]);
}

#[test]
fn files_that_are_not_there_are_told_by_name() {
    let place = Place::new();
    place.write("r.ron", TINY);
    fs::create_dir(place.path("folder")).expect("a folder");
    for (arguments, parts) in [
        (&["run", "r.ron", "--script", "nowhere.rhai"][..], &["nowhere.rhai", "no such file", "`amix`"][..]),
        (&["run", "r.ron", "--script", "folder"], &["folder", "it is a folder"]),
        (&["check", "nowhere.rhai"], &["nowhere.rhai"]),
        (&["eval", "nowhere"], &["nowhere", "no such run folder or checkpoint"]),
        (&["eval", "folder"], &["folder holds no checkpoint", "checkpoints/step-"]),
        (&["eval", "folder", "--protocol", "nearest"], &["--protocol nearest", "`test`", "`linear-cached`"]),
        (&["eval", "folder", "--k", "5"], &["--k belongs to --protocol knn, not to test"]),
        (&["eval", "folder", "--protocol", "knn", "--lr", "1"], &["--lr belongs to --protocol linear"]),
        (&["mix", "--mixer", "mixup", "-o", "x.jpg"], &["x.jpg", ".png"]),
        (&["mix", "--mixer", "amx", "-o", "x.png"], &["no mixer named `amx`", "Did you mean `amix`?"]),
        (&["mix", "--mixer", "mixup", "--checkpoint", "nowhere", "-o", "x.png"], &["nowhere"]),
        (&["plugins", "amx"], &["no kind or plugin named `amx`", "Did you mean `amix`?"]),
        (&["recipes", "quickstrat"], &["quickstrat", "Did you mean `quickstart`?"]),
        (&["backbones", "resnt"], &["resnt", "Did you mean `resnet`?"]),
    ] {
        place.admix(arguments).refused(2, parts);
    }
    // A file that is no checkpoint.
    place.admix(&["eval", "r.ron"]).refused(2, &["checkpoint r.ron", "not a safetensors file"]);
}
