//! The detector of `examples/detection`, on made-up images of VOC.

use std::path::PathBuf;
use std::process::Command;

use image::{Rgb, RgbImage};
use serde_json::Value;

use super::{Place, TINY, repository};

/// A Python with torchvision: `ADMIX_PYTHON`, that of `cargo xtask interop`, or the system's.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("ADMIX_PYTHON").map(PathBuf::from);
    let own = repository().join("target/interop/venv/bin/python");
    let has = |python: &PathBuf| {
        let said = Command::new(python).args(["-c", "import torchvision, safetensors"]).output();
        said.is_ok_and(|said| said.status.success())
    };
    named.into_iter().chain([own, "python3".into()]).find(has)
}

/// Eight images with one box each.
fn voc(place: &Place) {
    let mut names = String::new();
    for at in 0..8u32 {
        let name = format!("{at:06}");
        let image = RgbImage::from_fn(80 + at, 60, |x, y| {
            let inside = (10..40).contains(&x) && (10..40).contains(&y);
            if inside { Rgb([200, 30, 30]) } else { Rgb([at as u8 * 20, 100, (x * 3) as u8]) }
        });
        let mut jpeg = std::io::Cursor::new(Vec::new());
        image.write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("a JPEG");
        place.write(&format!("voc/VOC2007/JPEGImages/{name}.jpg"), jpeg.into_inner());
        let class = if at % 2 == 0 { "cat" } else { "dog" };
        place.write(
            &format!("voc/VOC2007/Annotations/{name}.xml"),
            format!(
                "<annotation><object><name>{class}</name><difficult>0</difficult><bndbox><xmin>11</xmin><ymin>11</ymin>\
                 <xmax>40</xmax><ymax>40</ymax></bndbox></object></annotation>"
            ),
        );
        names.push_str(&format!("{name}\n"));
    }
    for split in ["trainval", "test"] {
        place.write(&format!("voc/VOC2007/ImageSets/Main/{split}.txt"), &names);
    }
}

const PRECISION: &str = r#"
import torch, voc_r50c4 as voc
box, far = torch.tensor([0.0, 0.0, 10.0, 10.0]), torch.tensor([50.0, 50.0, 60.0, 60.0])
one = {0: (box[None], torch.tensor([False])), 1: (box[None], torch.tensor([False]))}
assert voc.average_precision([(0, 0.9, box), (1, 0.8, box)], one, 0.5) == 1.0
# Half of the objects: the recalls 0 to 0.5 are reached, 6 of 11 points.
assert abs(voc.average_precision([(0, 0.9, box)], one, 0.5) - 6 / 11) < 1e-6
# A wrong one first: precision 1/2, then 2/3 from there on, the best of what follows counts.
assert abs(voc.average_precision([(0, 0.99, far), (0, 0.9, box), (1, 0.8, box)], one, 0.5) - 2 / 3) < 1e-6
# Found twice: the second one is wrong, and comes after all objects.
assert voc.average_precision([(0, 0.9, box), (1, 0.8, box), (0, 0.7, box)], one, 0.5) == 1.0
# A difficult one counts neither for nor against.
hard = {0: (box[None], torch.tensor([True])), 1: (box[None], torch.tensor([False]))}
assert voc.average_precision([(0, 0.9, box), (1, 0.8, box)], hard, 0.5) == 1.0
assert voc.average_precision([], {}, 0.5) is None
"#;

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_detector_trains_from_an_exported_network() {
    let Some(python) = python() else {
        eprintln!(
            "skipped: no Python with torchvision is found; `cargo xtask interop` makes one, or set ADMIX_PYTHON"
        );
        return;
    };
    let place = Place::new();
    place.write("r.ron", TINY);
    voc(&place);
    let plain = ["method=\"mixup\"", "mixers={}", "losses={}", "pairs=[]", "heads=[\"one\"]"];
    let plain: Vec<&str> = plain.iter().flat_map(|change| ["--set", change]).collect();
    for depth in ["18", "50"] {
        let model = format!("model=ResNet(depth: {depth}, stem: Large)");
        let run = ["run", "r.ron", "--max-steps", "1", "--out", depth, "--set", &model];
        place.compute(&[&run[..], &plain].concat()).good();
        place.compute(&["export", depth, "-o", &format!("r{depth}.pth")]).good();
    }
    let example = repository().join("examples/detection");
    let script = example.join("voc_r50c4.py");
    let detect = |weights: &str| {
        let output = Command::new(&python)
            .arg(&script)
            .args(["--weights", weights, "--root", "voc", "--train", "2007_trainval", "--test", "2007_test"])
            .args(["--steps", "2", "--batch", "2", "--sizes", "64", "--longest", "100", "--regions", "8"])
            .args(["--precise", "1", "--workers", "0", "--device", "cpu", "--out", "detector.pth"])
            .current_dir(place.path(""))
            .env("OMP_NUM_THREADS", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("Python starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (good, said, errors) = detect("r50.pth");
    assert!(good, "{said}{errors}");
    assert!(said.contains("265 of 265 tensors loaded from r50.pth"), "{said}");
    assert!(said.contains("step 2/2"), "{said}");
    let figures: Value = serde_json::from_str(said.lines().last().expect("a line")).expect("JSON");
    for name in ["AP", "AP50", "AP75"] {
        assert!((0.0..=100.0).contains(&figures[name].as_f64().expect(name)), "{said}");
    }
    assert!(place.path("detector.pth").is_file());
    // Weights of another network are refused, with the number that fits.
    let (good, said, errors) = detect("r18.pth");
    assert!(!good && errors.contains("of the 265 tensors of a ResNet-50 trunk"), "{said}{errors}");

    let precision = Command::new(&python)
        .args(["-c", PRECISION])
        .env("PYTHONPATH", &example)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("Python starts");
    assert!(precision.status.success(), "{}", String::from_utf8_lossy(&precision.stderr));
}
