//! Imports as people and scripts meet them: channels, formats, hostile names, damaged archives, picture bombs.

use std::io::{Cursor, Write};
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};

use super::streaming::jpeg;
use super::{Outcome, Place, finish};

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, ImageFormat::Png).expect("a PNG");
    bytes.into_inner()
}

fn grey(at: u8) -> GrayImage {
    GrayImage::from_fn(12, 12, |x, y| Luma([10 * at + (x * y) as u8]))
}

/// Two classes of grey pictures, four training and one test image each.
fn greys() -> Place {
    let place = Place::new();
    for (split, n) in [("train", 8), ("test", 2)] {
        for at in 0..n {
            let class = ["a", "b"][at as usize % 2];
            place.write(&format!("pictures/{split}/{class}/{at}.png"), png(grey(at)));
        }
    }
    place.write(
        "r.ron",
        r#"(
            epochs: 1,
            batch: 4,
            data: (name: "greys"),
            model: ResNet(depth: 18, width: 0.0625),
            method: "mixup",
            optimizer: Sgd(lr: 0.03),
        )"#,
    );
    place
}

fn import(place: &Place, source: &str, more: &[&str]) -> Outcome {
    place.admix(&[&["data", "import", source, "--name", "greys"], more].concat())
}

#[test]
fn grey_pictures_become_a_set_of_one_channel_that_networks_train_on() {
    let place = greys();
    import(&place, "pictures", &["--channels", "1"]).good();
    let info = place.admix(&["data", "info", "greys"]).good().stdout;
    assert!(info.contains("1 channels, 12x12 pixels") && info.contains("0.4490"), "{info}");
    for (out, model) in [
        ("resnet", "ResNet(depth: 18, width: 0.0625)"),
        ("convnet", "ConvNet(widths: [4, 8], strides: [2, 2])"),
    ] {
        let model = format!("model={model}");
        place.compute(&["run", "r.ron", "--out", out, "--set", &model]).good();
    }
    place
        .compute(&["check", "r.ron", "--set", "data.mean=[0.5, 0.5, 0.5]"])
        .refused(2, &["`data.mean` is 3 numbers", "1, one per channel of `greys`"]);
    import(&place, "pictures", &["--channels", "2"]).bad_flag(&["--channels", "1 for grey"]);
    import(&place, "pictures", &["--force"]).good();
    assert!(place.admix(&["data", "info", "greys"]).good().stdout.contains("3 channels"));
    // A folder that is streamed can be grey too.
    std::fs::create_dir_all(place.path("data")).expect("a folder");
    std::fs::rename(place.path("pictures"), place.path("data/folder")).expect("moved");
    let streamed = ["--set", "data.name=\"folder\"", "--set", "data.augment=ResizedCrop(size: 8)"];
    let channels = ["--set", "data.channels=Grey"];
    let run = [&["run", "r.ron", "--out", "streamed"], &streamed[..], &channels].concat();
    place.compute(&run).good();
    place
        .compute(
            &[&["check", "r.ron"], &streamed[..], &channels, &["--set", "data.std=[0.2, 0.2, 0.2]"]].concat(),
        )
        .refused(2, &["`data.std` is 3 numbers", "1, one per channel"]);
    place
        .compute(&[&["check", "r.ron"], &channels[..]].concat())
        .refused(2, &["`data.channels` is Grey", "--channels 1"]);
}

#[test]
fn an_avif_file_is_left_out_by_name_with_a_way_to_convert_it() {
    let place = greys();
    let avif = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B";
    place.write("pictures/train/a/x.avif", avif);
    // What it is, its content says.
    place.write("pictures/train/b/y.jpg", avif);
    let said = import(&place, "pictures", &[]).good().stdout;
    let why = "AVIF is not read: convert it to PNG or JPEG, such as with `avifdec in.avif out.png`";
    assert!(said.contains(&format!("left out: 2 files: 2 ({why}")), "{said}");
    for file in ["train/a/x.avif", "train/b/y.jpg"] {
        assert!(said.contains(&format!("  {file}: {why}")), "{said}");
    }
    std::fs::remove_file(place.path("pictures/train/b/y.jpg")).expect("removed");
    std::fs::rename(place.path("pictures"), place.path("data/folder")).expect("moved");
    let outcome = place.admix(&["data", "info", "folder"]).good();
    assert!(outcome.stderr.contains(why) && outcome.stderr.contains("x.avif"), "{}", outcome.stderr);
}

#[test]
fn test_folders_are_known_by_all_their_names() {
    for name in ["valid", "validation", "eval", "testing"] {
        let place = greys();
        std::fs::rename(place.path("pictures/test"), place.path("pictures").join(name)).expect("renamed");
        let said = import(&place, "pictures", &[]).good().stdout;
        assert!(said.starts_with("greys: 8 training and 2 test images of 2 classes"), "{name}: {said}");
        std::fs::rename(place.path("pictures"), place.path("data/folder")).expect("moved");
        let said = place.admix(&["data", "info", "folder"]).good().stdout;
        assert!(said.contains("8 for training, 2 for testing"), "{name}: {said}");
    }
}

/// A tar archive with these files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *bytes).expect("an entry");
    }
    builder.into_inner().expect("an archive")
}

#[track_caller]
fn plain(outcome: &Outcome) {
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }
}

#[test]
fn control_characters_in_names_never_reach_the_terminal() {
    let place = greys();
    let evil = "\u{1b}]0;title\u{7}\u{1b}[2J";
    let class = |at: usize| format!("train/{}/{at}.png", ["a", "b"][at % 2]);
    let pictures: Vec<(String, Vec<u8>)> = (0..4).map(|at| (class(at), png(grey(at as u8)))).collect();
    let with = |name: String, bytes: &[u8]| {
        let mut files: Vec<(&str, &[u8])> =
            pictures.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
        files.push((&name, bytes));
        tar(&files)
    };
    // Left out by name, refused by name, a class of that name, and an archive of that name.
    place.write("out.tar", with(format!("train/a/{evil}.png"), b"no picture"));
    let outcome = import(&place, "out.tar", &["--test-per-class", "1"]).good();
    plain(&outcome);
    assert!(outcome.stdout.contains(r"\u{1b}"), "{}", outcome.stdout);
    place.write("up.tar", with(format!("../{evil}.png"), b"x"));
    let outcome = import(&place, "up.tar", &["--force"]);
    plain(&outcome);
    outcome.refused(2, &[r"\u{1b}", "would leave the target folder"]);
    place.write("class.tar", with(format!("train/{evil}/1.png"), b"no picture"));
    let outcome = import(&place, "class.tar", &["--force", "--test-per-class", "1"]);
    plain(&outcome);
    outcome.refused(2, &[r"\u{1b}", "holds no image that can be read"]);
    place.write("named.tar", with(format!("train/{evil}/1.png"), &png(grey(1))));
    let outcome = import(&place, "named.tar", &["--force", "--test-per-class", "1"]);
    plain(&outcome);
    outcome.refused(2, &[r"\u{1b}", "has only 1 images"]);
    place.write(&format!("{evil}.tar"), "no archive");
    let outcome = import(&place, &format!("{evil}.tar"), &["--force"]);
    plain(&outcome);
    outcome.refused(2, &["neither a folder nor a tar"]);
    // In a folder that is streamed, and of a class that is shown.
    for (split, at) in [("train", 1), ("val", 2)] {
        place.write(&format!("data/folder/{split}/{evil}/1.jpg"), jpeg(at));
        place.write(&format!("data/folder/{split}/{evil}/{evil}.txt"), "x");
        place.write(&format!("data/folder/{split}/a/1.jpg"), jpeg(at));
    }
    plain(&place.admix(&["data", "info", "folder"]).good());
    place.write(&format!("data/folder/train/a/{evil}.jpg"), "no picture");
    let outcome = place.admix(&["data", "verify", "folder"]);
    plain(&outcome);
    outcome.refused(2, &["not a picture of a known format"]);
}

#[test]
fn a_damaged_archive_is_bad_input_and_links_are_no_matter_of_packing() {
    let place = greys();
    let picture = png(grey(1));
    let whole = tar(&[("train/a/1.png", &picture), ("train/b/1.png", &picture)]);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&whole).expect("packed");
    let packed = packer.finish().expect("packed");
    place.write("cut.tar.gz", &packed[..packed.len() / 2]);
    let parts = ["cut.tar.gz: the archive is damaged", "get it again, or pack it again"];
    import(&place, "cut.tar.gz", &[]).refused(2, &parts);
    place.write("cut.tar", &whole[..700]);
    import(&place, "cut.tar", &[]).refused(2, &["cut.tar"]);
    std::os::unix::fs::symlink("0.png", place.path("pictures/train/a/link.png")).expect("a link");
    let refused = import(&place, "pictures", &[]);
    assert!(!refused.stderr.contains("pack the images again"), "{}", refused.stderr);
    refused.refused(2, &["train/a/link.png` is a link, which an import does not follow", "cp -rL"]);
    assert!(!place.path("data/greys.admix").exists());
}

/// A black PNG of `side` x `side` pixels, one bit each: some kilobytes.
fn bomb(side: u32) -> Vec<u8> {
    let row = vec![0; 1 + side as usize / 8];
    let mut data = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    (0..side).for_each(|_| data.write_all(&row).expect("packed"));
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    for (kind, body) in [(b"IHDR", header), (b"IDAT", data.finish().expect("packed")), (b"IEND", Vec::new())]
    {
        let mut sum = flate2::Crc::new();
        sum.update(kind);
        sum.update(&body);
        file.extend([&(body.len() as u32).to_be_bytes()[..], kind, &body, &sum.sum().to_be_bytes()].concat());
    }
    file
}

/// Runs the program to its end and measures the most memory that it had at once, in megabytes.
fn measured(place: &Place, arguments: &[&str]) -> (Outcome, u64) {
    let mut command = place.command(arguments);
    let mut child = command.env("RAYON_NUM_THREADS", "8").spawn().expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().expect("a child").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        most = peak.and_then(|peak| peak.trim().parse::<u64>().ok()).map_or(most, |peak| peak / 1024);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    (finish(child), most)
}

#[test]
fn picture_bombs_are_imported_or_refused_within_bounded_memory() {
    let place = Place::new();
    for (folder, side, count) in
        [("large", 10_000, 26), ("huge", 12_000, 26), ("mixed", 10_000, 4), ("two", 10_000, 2)]
    {
        let bytes = bomb(side);
        assert!(bytes.len() < 24_000, "{}", bytes.len());
        for at in 0..count {
            place.write(&format!("{folder}/{at:02}.png"), &bytes);
        }
    }
    place.write("mixed/!.png", bomb(8));
    let refused = "`--size` is not given";
    for (folder, size, code, parts) in [
        ("large", None, 2, &[refused, "is 10000x10000", "1 to 4096 pixels a side"][..]),
        ("huge", Some("8x8"), 2, &["26 of 26 files could not be decoded", "12000x12000 pixels are too many"]),
        // Four threads decode at once and keep 300 MB of pixels each, if nothing holds them back.
        ("mixed", None, 2, &["`!.png` is 8x8, `00.png` is 10000x10000", "--size"]),
        ("two", Some("8x8"), 0, &["bombs: 2 images without labels, 8x8"]),
    ] {
        let flags = ["data", "import", folder, "--name", "bombs"];
        let size = size.map_or(vec![], |size| vec!["--size", size]);
        let (outcome, most) = measured(&place, &[&flags[..], &size].concat());
        // A picture takes 1.1 GB while it is decoded, the program itself some hundred megabytes.
        assert!((50..2000).contains(&most), "{folder}: {most} MB");
        match code {
            0 => parts.iter().for_each(|part| assert!(outcome.stdout.contains(part), "{}", outcome.stdout)),
            _ => drop(outcome.refused(code, parts)),
        }
    }
    assert!(place.path("data/bombs.admix").exists());
}

/// Colours turn grey as Pillow turns them.
#[test]
fn colours_turn_grey_where_one_channel_is_asked_for() {
    let place = Place::new();
    for (class, colour) in [("a", [255, 0, 0]), ("b", [0, 0, 255])] {
        for at in 0..2 {
            place.write(&format!("c/{class}/{at}.png"), png(RgbImage::from_pixel(8, 8, Rgb(colour))));
        }
    }
    import(&place, "c", &["--channels", "1", "--test-per-class", "1"]).good();
    let bytes = std::fs::read(Path::new(&place.path("data/greys.admix"))).expect("a packed file");
    let pixels = &bytes[bytes.len() - 4 * 64..];
    let image = |at: usize| &pixels[64 * at..64 * (at + 1)];
    for (at, wanted) in [(0, 76), (1, 29), (2, 76), (3, 29)] {
        assert!(image(at).iter().all(|pixel| *pixel == wanted), "{at}: {:?}", image(at));
    }
}

#[test]
fn names_that_are_no_text_are_refused_and_files_beside_the_pictures_left_out() {
    use std::os::unix::ffi::OsStrExt;

    let place = greys();
    for split in ["train", "test"] {
        for at in 0..8 {
            let class = ["a", "b"][at % 2];
            place.write(&format!("pictures/{split}/{class}/{at}.json"), "{}");
        }
    }
    let said = import(&place, "pictures", &["--channels", "1"]).good().stdout;
    assert!(said.starts_with("greys: 8 training and 2 test images of 2 classes"), "{said}");
    let class = place.path("pictures/train");
    std::fs::rename(class.join("b"), class.join(std::ffi::OsStr::from_bytes(b"\xb9\xb7"))).expect("renamed");
    import(&place, "pictures", &["--channels", "1", "--force"])
        .refused(2, &["`train/\\xb9\\xb7` has a name that is not UTF-8", "nothing was written"]);
}
