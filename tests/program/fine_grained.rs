//! Fine-tuning on photographs in folders of their own layout, by the bundled recipes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::resume::{Watched, file_of, same_state, step_of};
use super::streaming::jpeg;
use super::{Place, repository};

/// The flags that make a bundled recipe small: two epochs of six steps.
const SMALL: [&str; 17] = [
    "--init",
    "resnet18.pth",
    "--set",
    "epochs=2",
    "--set",
    "batch=4",
    "--set",
    "data.augment=ResizedCrop(size: 32, scale: (0.5, 1.0), interpolation: Bilinear)",
    "--set",
    "model.width=0.015625",
    "--set",
    "checkpoint.every_steps=2",
    "--set",
    "log_every=1",
    "--threads",
    "1",
    "--out",
];

fn json(place: &Place, arguments: &[&str]) -> Value {
    let said = place.admix(&[arguments, &["--format", "json"]].concat()).good().stdout;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// A folder with the weights of a narrow ResNet-18 under torchvision's names.
fn place() -> Place {
    let place = Place::new();
    let weights = repository().join("tests/fixtures/weights/resnet18.pth");
    fs::copy(weights, place.path("resnet18.pth")).expect("copied");
    place
}

/// Three classes of eight training images and two test images, in the order in which tables have them.
fn birds() -> Place {
    let place = place();
    let (mut images, mut labels, mut split) = (String::new(), String::new(), String::new());
    for at in 0..30 {
        let (class, name) = (at / 10 + 1, format!("{:03}.Bird/Bird {at}.jpg", at / 10 + 1));
        place.write(&format!("data/CUB_200_2011/images/{name}"), jpeg(at));
        images += &format!("{} {name}\n", at + 1);
        labels += &format!("{} {class}\n", at + 1);
        split += &format!("{} {}\n", at + 1, u8::from(at % 10 < 8));
    }
    let classes = "1 001.Bird\n2 002.Bird\n3 003.Bird\n";
    for (list, text) in [
        ("images", images.as_str()),
        ("image_class_labels", &labels),
        ("train_test_split", &split),
        ("classes", classes),
    ] {
        place.write(&format!("data/CUB_200_2011/{list}.txt"), text);
    }
    place
}

#[test]
fn a_fine_tuned_run_that_is_killed_and_goes_on_ends_with_the_same_bits_and_says_what_it_started_from() {
    let place = birds();
    let run = |out: &'static str, more: &[&'static str]| {
        [&["run", "cub200/r18/amix", "--device", "cpu"], &SMALL[..], &[out], more].concat()
    };
    let said = place.admix(&run("whole", &[])).good().stdout;
    assert!(said.contains("starts from resnet18.pth: all 100 tensors of the backbone"), "{said}");
    let mut program = Watched::start(place.command(&run("parts", &["--max-steps", "9"])));
    assert!(program.until(|line| step_of(line).is_some_and(|step| step >= 5)), "it comes to step 5");
    program.signal("KILL");
    fs::rename(place.path("resnet18.pth"), place.path("elsewhere.pth")).expect("moved");
    let said = place.admix(&run("parts", &["--resume"])).good().stdout;
    assert!(said.contains("resumed from") && said.contains("2 epochs, 12 steps"), "{said}");
    same_state(&file_of(&place, "whole", 12), &file_of(&place, "parts", 12));

    let facts = |run: &str| -> Value {
        let text = fs::read_to_string(place.path(run).join("run.json")).expect("run.json");
        serde_json::from_str(&text).expect("JSON")
    };
    let whole = facts("whole");
    assert_eq!(whole["recipe"], "configs/cub200/r18.ron/amix");
    let from = &whole["started_from"];
    assert_eq!(
        (&from["from"], &from["names"]),
        (&"resnet18.pth".into(), &"torchvision and timm".into()),
        "{from}"
    );
    let sum = admix_fetch::sha256(Path::new(&place.path("elsewhere.pth"))).expect("a sum");
    assert_eq!((&from["sha256"], &from["matched"]), (&sum.into(), &100.into()), "{from}");
    assert_eq!(*from, facts("parts")["started_from"]);
    // The recipe that was run needs no other file to be read again.
    let kept = fs::read_to_string(place.path("whole/recipe.ron")).expect("the recipe");
    assert!(kept.contains("method: \"amix\"") && !kept.contains("variants"), "{kept}");
    place.admix(&["eval", "whole", "--device", "cpu", "--threads", "1"]).good();
}

#[test]
fn variants_of_aircraft_are_named_as_they_are_and_lose_their_strip_if_the_recipe_says_so() {
    let place = place();
    let variants = ["F/A-18", "Boeing 717", "DC-10"];
    place.write("data/fgvc-aircraft-2013b/data/variants.txt", variants.join("\n"));
    for (split, from, to) in [("trainval", 0, 24), ("test", 24, 30)] {
        let line = |at: u32| {
            place.write(&format!("data/fgvc-aircraft-2013b/data/images/{at:07}.jpg"), jpeg(at));
            format!("{at:07} {}\n", variants[at as usize % 3])
        };
        let list: String = (from..to).map(line).collect();
        place.write(&format!("data/fgvc-aircraft-2013b/data/images_variant_{split}.txt"), list);
    }
    let info = json(&place, &["data", "info", "aircraft"]);
    assert_eq!((&info["class_names"], &info["train"]), (&serde_json::json!(variants), &24.into()), "{info}");
    let run = |out: &'static str, more: &[&'static str]| {
        let run = [&["run", "aircraft/r18/cutmix", "--device", "cpu"], &SMALL[..], &[out], more].concat();
        place.admix(&[&run[..], &["--max-steps", "2"]].concat()).good();
        fs::read(file_of(&place, out, 2)).expect("a checkpoint")
    };
    assert_ne!(run("kept", &[]), run("cut", &["--set", "data.aircraft.credit_strip=Remove"]));
    let kept = fs::read_to_string(place.path("cut/recipe.ron")).expect("the recipe");
    assert!(kept.contains("aircraft: (credit_strip: Remove)"), "{kept}");

    let told = place.admix(&["plugins", "dataset", "aircraft"]).good().stdout;
    for part in [
        "credit_strip: Keep   [Keep | Remove]",
        "aircraft: (credit_strip: Keep)",
        "of many sizes",
        "arXiv:1306.5151",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let origin = |more: &[&str]| {
        let shown = json(&place, &[&["show", "aircraft/r18/amix"], more].concat());
        let rows = shown["values"].as_array().expect("a list").clone();
        rows.into_iter().find(|row| row["path"] == "data.aircraft.credit_strip").expect("the setting")
    };
    assert_eq!(origin(&[])["origin"], "default");
    let set = origin(&["--set", "data.aircraft.credit_strip=Remove"]);
    assert_eq!((&set["origin"], &set["value"]), (&"--set".into(), &"\"Remove\"".into()));
    let wrong = ["check", "aircraft/r18/amix", "--set", "data.aircraft.strip=Remove"];
    place.admix(&wrong).refused(2, &["unknown field `strip`", "credit_strip"]);
    let wrong = ["check", "aircraft/r18/amix", "--set", "data.aircrafts.credit_strip=Remove"];
    place.admix(&wrong).refused(2, &["unknown field `aircrafts`", "Did you mean `aircraft`?"]);
}
