//! Things that do not fit together: checkpoints and recipes, networks and data, partners and batches.

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
