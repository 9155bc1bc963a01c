//! `admix data`: get, import, info, verify.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use admix_api::Registry;
use admix_data::{Channels, Datasets, Exif, GetOptions, ImportOptions, ImportReport, Info};
use anyhow::Result;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::libraries;
use crate::output::{self, Format};

/// Skipped files that are named; the rest is counted.
const NAMED: usize = 20;

/// What to do with datasets.
#[derive(Subcommand)]
pub enum DataCommand {
    /// Pack a folder of images in JPEG, PNG, WebP, BMP, TIFF or GIF (or a tar, tar.xz, tar.gz or zip of one) into a dataset.
    ///
    /// Layout: SPLIT/CLASS/FILES with splits train and test (or val), or CLASS/FILES with --test-per-class. Images without class
    /// folders become a set without labels, for methods that need none.
    Import(ImportArgs),
    /// Download a dataset from where it is published, compare it with its checksum and make it ready.
    ///
    /// A download that was cut off goes on where it stopped.
    Get(GetArgs),
    /// Print what is known of a dataset.
    Info(NamedArgs),
    /// Read every byte of a dataset and compare it with its checksum.
    Verify(NamedArgs),
}

/// Flags of `admix data import`.
#[derive(Args)]
pub struct ImportArgs {
    /// The folder or archive.
    path: PathBuf,
    /// What recipes will call it.
    #[arg(long)]
    name: String,
    /// The folder that holds the datasets.
    #[arg(long, value_name = "DIR", default_value = "data")]
    root: PathBuf,
    /// Bring every image to this height and width, such as 64x64. Default: as they are, all of one size.
    #[arg(long, value_name = "HxW", value_parser = size)]
    size: Option<(i64, i64)>,
    /// Leave pictures as they are stored, whatever orientation their cameras noted.
    #[arg(long)]
    ignore_exif: bool,
    /// Hold out the last N images of each class for testing: for a folder without a test split.
    #[arg(long, value_name = "N", default_value_t = 0)]
    test_per_class: usize,
    /// Channels of an image: 3, or 1 for grey.
    #[arg(long, value_name = "N", default_value = "3", value_parser = channels)]
    channels: Channels,
    /// Take all images without labels, whatever folders they lie in; where there are training and test folders, those of the
    /// first.
    #[arg(long)]
    unlabelled: bool,
    /// Take the images that this file names, a path and a label on each line. The file is looked for in the folder, the images
    /// beside the file.
    #[arg(long, value_name = "FILE")]
    train_list: Option<PathBuf>,
    /// The same for test images.
    #[arg(long, value_name = "FILE", requires = "train_list")]
    test_list: Option<PathBuf>,
    /// Replace a dataset of this name.
    #[arg(long)]
    force: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Flags of `admix data get`.
#[derive(Args)]
pub struct GetArgs {
    /// The dataset, such as cifar10; `admix datasets` says of which sets it is known how to get them.
    name: String,
    /// The folder that holds the datasets.
    #[arg(long, value_name = "DIR", default_value = "data")]
    root: PathBuf,
    /// Another address of the same archive; for fashion-mnist, of the folder of its four files.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Flags of `admix data info` and `verify`.
#[derive(Args)]
pub struct NamedArgs {
    /// The dataset.
    name: String,
    /// The folder that holds the datasets.
    #[arg(long, value_name = "DIR", default_value = "data")]
    root: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn size(text: &str) -> Result<(i64, i64), String> {
    let sides =
        text.split_once(['x', 'X']).and_then(|(h, w)| Some((h.trim().parse().ok()?, w.trim().parse().ok()?)));
    sides
        .filter(|(h, w)| *h > 0 && *w > 0)
        .ok_or_else(|| "expected height x width in pixels, such as 64x64".into())
}

fn channels(text: &str) -> Result<Channels, String> {
    match text {
        "1" => Ok(Channels::Grey),
        "3" => Ok(Channels::Rgb),
        _ => Err("expected 3, or 1 for grey".into()),
    }
}

/// Imports, inspects or verifies a dataset.
pub fn data(command: &DataCommand) -> Result<()> {
    admix_torch::open_cuda(admix_torch::Wanted::Cpu)?;
    let registry = &libraries::registry()?;
    match command {
        DataCommand::Get(args) => get(args, registry),
        DataCommand::Import(args) => import(args, registry),
        DataCommand::Info(args) => {
            print_info(&Datasets::new(&args.root, registry).info(&args.name)?, args.format)
        }
        DataCommand::Verify(args) => verify(args, registry),
    }
}

fn import(args: &ImportArgs, registry: &Registry) -> Result<()> {
    let begin = Instant::now();
    let progress = downloading();
    let options = ImportOptions {
        force: args.force,
        size: args.size,
        exif: if args.ignore_exif { Exif::Ignore } else { Exif::Apply },
        test_per_class: args.test_per_class,
        channels: args.channels,
        unlabelled: args.unlabelled,
        lists: args.train_list.as_deref().map(|train| (train, args.test_list.as_deref())),
        progress: &progress,
    };
    let report = Datasets::new(&args.root, registry).import(&args.path, &args.name, options);
    output::end_bar();
    let report = report?;
    let seconds = begin.elapsed().as_secs_f64();
    match args.format {
        Format::Json => output::print_json(&json!({ "report": report, "seconds": seconds })),
        Format::Text => output::print(&told(&report, seconds)),
    }
}

fn get(args: &GetArgs, registry: &Registry) -> Result<()> {
    let begin = Instant::now();
    let progress = downloading();
    let options = GetOptions { url: args.url.as_deref(), progress: &progress };
    let report = Datasets::new(&args.root, registry).get(&args.name, options);
    output::end_bar();
    let report = report?;
    let seconds = begin.elapsed().as_secs_f64();
    if args.format == Format::Json {
        return output::print_json(&json!({ "report": report, "seconds": seconds }));
    }
    let mut text = String::new();
    for file in &report.files {
        text.push_str(&match (file.downloaded, file.resumed_from) {
            (false, _) => format!("{} was there; its checksum fits\n", file.url),
            (true, 0) => format!("{}: {}, its checksum fits\n", file.url, output::bytes(file.bytes)),
            (true, before) => format!(
                "{}: {}, of which {} were there; its checksum fits\n",
                file.url,
                output::bytes(file.bytes),
                output::bytes(before)
            ),
        });
    }
    let how = if report.files.is_empty() { "was there already".into() } else { output::duration(seconds) };
    output::print(&format!("{text}{} is ready in {} ({how})", report.name, report.root.display()))
}

/// Shows bytes done of bytes in all, where there is a terminal; the bar goes with `output::end_bar`.
/// Shows a download, once it takes a while.
pub fn downloading() -> impl Fn(u64, u64) {
    let bar = OnceCell::new();
    move |done, total| {
        if let Some(bar) = bar.get_or_init(|| output::bar(|| ProgressBar::new(0).with_style(style()))) {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

fn style() -> ProgressStyle {
    let template = "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn told(report: &ImportReport, seconds: f64) -> String {
    let Info { name, train, test, height, width, .. } = &report.info;
    let (train, test) = (output::thousands(*train as u64), output::thousands(*test as u64));
    let images = match report.classes {
        0 => format!("{train} images without labels"),
        classes => format!("{train} training and {test} test images of {classes} classes"),
    };
    let mut text = format!(
        "{name}: {images}, {height}x{width}, in {}\nwritten to {} ({})\n",
        output::duration(seconds),
        report.path.display(),
        output::bytes(report.bytes)
    );
    if !report.skipped.is_empty() {
        let mut reasons = BTreeMap::new();
        report.skipped.iter().for_each(|(_, why)| *reasons.entry(why.as_str()).or_insert(0) += 1);
        let counts: Vec<String> = reasons.iter().map(|(why, count)| format!("{count} ({why})")).collect();
        text.push_str(&format!("left out: {} files: {}\n", report.skipped.len(), counts.join(", ")));
        named(&report.skipped, &mut text);
    }
    if !report.flawed.is_empty() {
        text.push_str(&format!("flawed, but packed: {} files\n", report.flawed.len()));
        named(&report.flawed, &mut text);
    }
    text
}

/// The first of some files, each with what there is to say of it.
fn named(files: &[(String, String)], text: &mut String) {
    for (file, why) in files.iter().take(NAMED) {
        text.push_str(&format!("  {file}: {why}\n"));
    }
    if files.len() > NAMED {
        text.push_str(&format!("  and {} more: --format json names all\n", files.len() - NAMED));
    }
}

fn verify(args: &NamedArgs, registry: &Registry) -> Result<()> {
    let verified = Datasets::new(&args.root, registry).verify(&args.name)?;
    if args.format == Format::Json {
        return output::print_json(&verified);
    }
    let sum = match (&verified.path, &verified.checksum) {
        (Some(path), Some(checksum)) => format!("; {} has the checksum {checksum}", path.display()),
        _ => String::new(),
    };
    let unlike = match &verified.unlike_published {
        Some(how) => format!("; it is not the published set of this name: {how}"),
        None => String::new(),
    };
    output::print(&format!("{} is sound: {} read{sum}{unlike}", args.name, output::bytes(verified.bytes)))
}

/// Prints the facts of a dataset.
pub fn print_info(info: &Info, format: Format) -> Result<()> {
    if format == Format::Json {
        return output::print_json(info);
    }
    let numbers = |values: &[f32]| values.iter().map(|v| format!("{v:.4}")).collect::<Vec<_>>().join(", ");
    let number = |images: usize| output::thousands(images as u64);
    let row = |name: &str, value: String| vec![name.to_string(), value];
    const SHOWN: usize = 20;
    let mut names = info.class_names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if info.class_names.len() > SHOWN {
        names.push_str(", ...");
    }
    output::print(&output::table(&[
        row("name", info.name.clone()),
        row("source", info.source.clone()),
        row(
            "images",
            match info.unlabelled {
                0 if info.classes == 0 => format!("{} for training, without labels", number(info.train)),
                0 => format!("{} for training, {} for testing", number(info.train), number(info.test)),
                more => format!(
                    "{} for training, {} for testing, {} without labels (data.split)",
                    number(info.train),
                    number(info.test),
                    number(more)
                ),
            },
        ),
        row("size", format!("{} channels, {}x{} pixels", info.channels, info.height, info.width)),
        row("classes", if info.classes == 0 { "none".into() } else { format!("{}: {names}", info.classes) }),
        row("mean", numbers(&info.mean)),
        row("std", numbers(&info.std)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_height_times_width() {
        assert_eq!(size("64x48"), Ok((64, 48)));
        for text in ["64", "x", "0x3", "64x", "-1x2", "axb"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn skipped_files_are_named_and_counted() {
        let info = Info {
            name: "set".into(),
            classes: 2,
            class_names: vec!["a".into(), "b".into()],
            channels: 3,
            height: 8,
            width: 8,
            mean: vec![],
            std: vec![],
            train: 1000,
            test: 10,
            unlabelled: 0,
            split: admix_data::TrainSplit::Train,
            source: "x".into(),
        };
        let skipped = (0..25).map(|i| (format!("{i}.jpg"), "not an image".to_string())).collect();
        let report = ImportReport {
            path: "data/set.admix".into(),
            bytes: 1,
            images: 1010,
            classes: 2,
            skipped,
            flawed: Vec::new(),
            info,
        };
        let text = told(&report, 1.0);
        assert!(text.contains("left out: 25 files") && text.contains("  19.jpg: not an image"), "{text}");
        assert!(text.contains("and 5 more") && !text.contains("20.jpg"), "{text}");
        assert!(
            text.starts_with("set: 1,000 training and 10 test images of 2 classes, 8x8, in 1.0 s"),
            "{text}"
        );
    }
}
