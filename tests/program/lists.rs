//! Lists that say which images there are and what they show.

use super::Place;
use super::streaming::jpeg;

const RECIPE: &str = r#"(
    epochs: 1,
    batch: 4,
    data: (name: "pics", augment: ResizedCrop(size: 16), train_list: "meta/train.txt", test_list: "meta/val.txt"),
    model: ConvNet(widths: [4, 8], strides: [2, 2]),
    method: "mixup",
    optimizer: Sgd(lr: 0.03),
)"#;

/// Nine training and two test images, named by lists; one path has a space, and one list begins with a mark.
fn place() -> Place {
    let place = Place::new();
    let (mut train, mut val) = ("\u{feff}".to_string(), String::new());
    for at in 0..11 {
        let name = format!("all/picture {at}.jpg");
        place.write(&format!("data/pics/{name}"), jpeg(at));
        let list = if at < 9 { &mut train } else { &mut val };
        list.push_str(&format!("../{name} {}\r\n", at % 2));
    }
    place.write("data/pics/meta/train.txt", train);
    place.write("data/pics/meta/val.txt", val);
    place.write("r.ron", RECIPE);
    place
}

#[test]
fn listed_images_are_streamed_and_imported_with_their_labels() {
    let place = place();
    let outcome = place.compute(&["run", "r.ron", "--out", "run"]).good();
    assert!(outcome.stdout.contains("test: one_q"), "{}", outcome.stdout);
    let import = ["data", "import", "data/pics", "--name", "packed", "--size", "16x16"];
    let lists = ["--train-list", "meta/train.txt", "--test-list", "meta/val.txt"];
    let said = place.admix(&[&import[..], &lists].concat()).good().stdout;
    assert!(said.starts_with("packed: 9 training and 2 test images of 2 classes, 16x16"), "{said}");
    place.admix(&["data", "verify", "packed"]).good();
    let held = [&import[..], &lists[..2], &["--test-per-class", "1", "--force"]].concat();
    let said = place.admix(&held).good().stdout;
    assert!(said.starts_with("packed: 7 training and 2 test images of 2 classes"), "{said}");
    // Without labels, and the other way round: a list without labels.
    let named = [&import[..], &["--force", "--train-list", "names.txt"]].concat();
    place.write("data/pics/names.txt", "a.jpg\nb.jpg");
    place.write("data/pics/a.jpg", jpeg(1));
    place.write("data/pics/b.jpg", jpeg(2));
    let said = place.admix(&named).good().stdout;
    assert!(said.starts_with("packed: 2 images without labels"), "{said}");
}

#[test]
fn what_is_wrong_with_a_list_is_told_with_its_line() {
    let place = place();
    let check = |more: &[&str]| place.compute(&[&["check", "r.ron"], more].concat());
    check(&[]).good();
    place.write("data/pics/meta/val.txt", "../all/picture 1.jpg 0\n../all/picture 2.jpg 7\n");
    check(&[]).refused(2, &["meta/val.txt: line 2 has the label `7`", "meta/train.txt", "mend the list"]);
    place.write("data/pics/meta/val.txt", "../all/x.jpg 0\n\n../all/x.jpg 1\n");
    check(&[]).refused(2, &["meta/val.txt: line 3 names `../all/x.jpg`, as line 1 does"]);
    place.write("data/pics/meta/val.txt", "../all/picture 9.jpg 1\n\n../all/gone.jpg 0\n");
    check(&[]).refused(2, &["meta/val.txt: line 3 names `../all/gone.jpg`, and there is no such file"]);
    place.write("data/pics/meta/val.txt", "../all/picture 9.jpg,1\n");
    check(&[]).refused(2, &["meta/val.txt: line 1 has a comma behind `../all/picture 9.jpg`"]);
    place.write("data/pics/meta/val.txt", "../all/picture 8.jpg 0\n../all/picture 9.jpg 1\n");
    let said = check(&[]).good().stderr;
    assert!(said.contains("1 test images are training images too"), "{said}");
    let none = ["--set", "data.test_list=None"];
    check(&none).refused(2, &["`heads` are measured on test images", "`pics` has none", "`data.test_list`"]);
    let gone = ["--set", "data.train_list=\"gone.txt\""];
    check(&gone).refused(2, &["gone.txt"]);
    let alone = ["--set", "data.train_list=None"];
    check(&alone).refused(2, &["`data.test_list` is meta/val.txt", "`data.train_list`"]);
    let toy = ["--set", "data.name=\"toy\""];
    check(&toy).refused(2, &["`data.train_list` is meta/train.txt", "`toy` is no folder of images"]);

    let import = ["data", "import", "data/pics", "--name", "p", "--size", "8x8", "--train-list"];
    let held = [&import[..], &["meta/train.txt"]].concat();
    place.admix(&held).refused(2, &["no list of test images, `--test-list FILE`", "--test-per-class"]);
    place.write("data/pics/bad.txt", "a.jpg 0\nb.jpg");
    let bad = [&import[..], &["bad.txt"]].concat();
    place.admix(&bad).refused(2, &["bad.txt: line 2 has no label, and line 1 has a label"]);
    let both = [&import[..], &["meta/train.txt", "--unlabelled"]].concat();
    place.admix(&both).refused(2, &["`--unlabelled`", "lines without labels"]);
    place.admix(&[&import[..7], &["--test-list", "x"]].concat()).bad_flag(&["--train-list"]);
    assert!(!place.path("data/p.admix").exists());
}
