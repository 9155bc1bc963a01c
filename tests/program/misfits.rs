//! Things that do not fit together: checkpoints and recipes, networks and data, partners and batches.

use std::fs;

use super::resume::{file_of, same_state};
use super::streaming::pictures;
use super::{Place, TINY};

/// Sets for the data of a run that is trained.
const FOUR: &str = "data.toy.classes=4";

fn trained() -> Place {
    let place = Place::new();
    place.write("r.ron", TINY);
    place.compute(&["run", "r.ron", "--out", "run", "--max-steps", "2", "--set", FOUR]).good();
    place
}

#[test]
fn a_resume_with_other_classes_says_what_has_changed() {
    let place = trained();
    let again = ["run", "r.ron", "--out", "run", "--resume"];
    let other = [&again[..], &["--set", "data.toy.classes=5"]].concat();
    place.compute(&other).refused(
        2,
        &["step-00000002", "does not fit to r.ron", "`data.toy.classes` was 4 and is 5", "--out"],
    );
    place.compute(&[&again[..], &["--set", FOUR]].concat()).good();
}

#[test]
fn data_of_more_classes_than_a_network_knows_are_refused_by_eval() {
    let place = trained();
    let eval = |more: &[&str]| place.compute(&[&["eval", "run", "--set"], more].concat());
    eval(&["data.toy.classes=6"]).refused(2, &["`toy` has 6 classes", "tell 4 apart", "--protocol knn"]);
    eval(&["data.toy.classes=6", "--protocol", "knn", "--k", "5"]).good();
    eval(&[FOUR]).good();
}

#[test]
fn classes_that_are_numbered_otherwise_are_no_data_for_trained_heads() {
    let place = pictures();
    let run = ["run", "stream.ron", "--out", "run", "--set", "data.workers=1"];
    place.compute(&[&run[..], &["--max-steps", "5"]].concat()).good();
    let rename = |from: &str, to: &str| {
        for split in ["train", "val"] {
            let folder = place.path("data/pictures").join(split);
            fs::rename(folder.join(from), folder.join(to)).expect("renamed");
        }
    };
    let resume = [&run[..], &["--resume"]].concat();
    rename("ant", "wasp");
    for arguments in [&["eval", "run"][..], &resume] {
        place
            .compute(arguments)
            .refused(2, &["`pictures`", "`bee` is number 0 there, and number 1 for the heads"]);
    }
    place.compute(&["eval", "run", "--protocol", "knn", "--k", "3"]).good();
    rename("wasp", "aunt");
    let renamed = place.compute(&["eval", "run"]).good();
    assert!(renamed.stderr.contains("number 0 is `aunt` there, and was `ant`"), "{}", renamed.stderr);
    rename("aunt", "ant");
    let same = place.compute(&resume).good();
    assert!(!same.stderr.contains("names its classes"), "{}", same.stderr);
}

#[test]
fn a_resume_names_what_was_changed_since() {
    let place = trained();
    let changed = ["--set", FOUR, "--set", "optimizer.lr=0.2", "--seed", "9"];
    let said = place.compute(&[&["run", "r.ron", "--out", "run", "--resume"], &changed[..]].concat()).good();
    for part in ["`seed` was 0 and is 9", "`optimizer.lr` was 0.1 and is 0.2"] {
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
}

#[test]
fn a_run_of_which_only_the_best_checkpoint_is_left_goes_on_from_it_with_the_same_bits() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let run = |out: &'static str, more: &[&'static str]| [&["run", "r.ron", "--out", out], more].concat();
    place.compute(&run("whole", &[])).good();
    // Within the second epoch: the best is that of the first.
    place.compute(&run("left", &["--max-steps", "12"])).good();
    for entry in fs::read_dir(place.path("left/checkpoints")).expect("a folder") {
        let path = entry.expect("a file").path();
        if !path.ends_with("best.safetensors") {
            fs::remove_file(path).expect("removed");
        }
    }
    let said = place.compute(&["eval", "left"]).good().stderr;
    assert!(said.contains("no checkpoint but the best one"), "{said}");
    place.compute(&run("left", &["--resume"])).good();
    same_state(&file_of(&place, "whole", 16), &file_of(&place, "left", 16));
    // A damaged lock names nobody.
    fs::write(place.path("left/lock"), b"\xff\xfe").expect("written");
    place.compute(&run("left", &["--resume"])).good();
}

#[test]
fn parts_of_a_recipe_that_a_method_never_asks_for_are_told() {
    let place = Place::new();
    place.write("r.ron", TINY);
    let check = |change: &str| place.compute(&["check", "r.ron", "--set", change]).good().stderr;
    assert_eq!(check("batch=8"), "");
    let said = check("queues={\"keys\": (length: 8)}");
    assert!(said.contains("`queues.keys` has no effect"), "{said}");
    let said = check("embedding_heads={\"spare\": (out: 4)}");
    assert!(said.contains("`embedding_heads.spare` has no effect"), "{said}");
    let said = check("neck=Linear(out: 8)");
    assert!(said.contains("`neck` has no effect: no dry call of amix.rhai asks for an embedding"), "{said}");
    let said = check("data.views=3");
    assert!(
        said.contains("`data.views` makes 3 views of each image, and no dry call of amix.rhai reads `t.views[1]`, `t.views[2]`"),
        "{said}"
    );
    let said = check("losses.cross_entropi=CrossEntropy(smoothing: 0.1)");
    assert!(
        said.contains("`losses.cross_entropi` has no effect: no dry call of amix.rhai asks for it"),
        "{said}"
    );
    place.write(
        "m.ron",
        TINY.replace("\"amix\": AMix(alpha: 2.0)", "\"mixup\": MixUp()")
            .replace("method: \"amix\"", "method: \"mixup\"")
            .replace("heads: [\"one\", \"mix\"],", ""),
    );
    let said = place.compute(&["check", "m.ron"]).good().stderr;
    assert!(said.contains("`mixers.mixup` has no effect") && said.contains("it asks for none"), "{said}");
}

#[test]
fn a_method_that_keeps_tensors_is_refused_where_a_step_has_several_parts() {
    let place = Place::new();
    let flags =
        ["--set", "data.name=\"toy\"", "--set", "data.toy=(train:96,test:32)", "--set", "model.width=0.03"];
    let check = [&["check", "cifar100/r18/recursivemix", "--set", "batch=16"], &flags[..]].concat();
    place.compute(&check).good();
    let parts = [&check[..], &["--set", "accumulate=2"]].concat();
    place.compute(&parts).refused(2, &["`keep` works where a step has one part", "`accumulate: 1`"]);
}

#[test]
fn a_damaged_checkpoint_is_bad_input() {
    let place = trained();
    let whole = std::fs::read(place.path("run/checkpoints/step-00000002.safetensors")).expect("a checkpoint");
    place.write("cut.safetensors", &whole[..whole.len() / 2]);
    place.compute(&["eval", "cut.safetensors"]).refused(2, &["checkpoint cut.safetensors", "damaged"]);
}

#[test]
fn partners_that_are_never_the_image_itself_need_two_images() {
    let place = Place::new();
    place.write("r.ron", TINY.replace("alpha: 2.0", "alpha: 2.0, partner: Derangement"));
    place
        .compute(&["check", "r.ron", "--set", "batch=1"])
        .refused(2, &["r.ron:9:", "`mixers.amix.partner` is Derangement", "`batch` from 2"]);
    place.compute(&["check", "r.ron", "--set", "batch=2"]).good();
}

#[test]
fn a_wrong_setting_of_a_mixer_without_settings_of_its_own_is_told_the_nearest() {
    let place = Place::new();
    place.write("r.ron", TINY.replace("AMix(alpha: 2.0)", "MixUp(aplha: 0.5)"));
    place.compute(&["check", "r.ron"]).refused(2, &["unknown field `aplha`", "Did you mean `alpha`?"]);
}

#[test]
fn all_else_of_a_recipe_is_checked_where_its_data_are_missing() {
    let place = Place::new();
    let missing = ["dataset `cifar10` is not in", "admix data get cifar10", "All else of", "is good"];
    place.compute(&["check", "cifar10/r18/mixup"]).refused(2, &missing);
    let worse = place.compute(&["check", "cifar10/r18/mixup", "--set", "weights={\"lss\": 1.0}"]);
    worse.refused(2, &["weights.lss", "Did you mean `loss`?"]);
    let large = place.compute(&["check", "cifar10/r18/mixup", "--set", "batch=60000"]);
    large.refused(2, &["`cifar10` has only 50000 training images"]);
}
