//! `admix predict`: what a trained network says of pictures.

use std::path::PathBuf;

use admix_data::{Pictures, pictures_at};
use admix_engine::{Answers, answers};
use admix_torch::Device;
use anyhow::Result;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::export::room;
use crate::failure::bad_input;
use crate::features::{Features, FeaturesFile};
use crate::output;
use crate::trained::{Trained, TrainedArgs};

/// Flags of `admix predict`.
#[derive(Args)]
pub struct PredictArgs {
    #[command(flatten)]
    trained: TrainedArgs,
    /// Pictures, folders of pictures, and lists (`.txt`, a path on each line, relative to the list).
    #[arg(required = true, value_name = "IMAGES")]
    images: Vec<PathBuf>,
    /// How many classes are told of each picture, best first.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// For people; a line of JSON for each picture; or CSV with the columns path, rank, class, probability.
    #[arg(long, value_enum, default_value_t)]
    format: Listing,
    /// Also write the features of each picture that could be read, a row of float32 each in the order of the output:
    /// FILE.safetensors (`features`) or FILE.npy.
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// Replace a file of features of this name.
    #[arg(long)]
    force: bool,
    /// Pictures that the network sees at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
}

#[derive(Clone, Copy, Default, PartialEq, ValueEnum)]
enum Listing {
    #[default]
    Text,
    Json,
    Csv,
}

/// Tells the classes of pictures.
pub fn predict(args: &PredictArgs) -> Result<()> {
    let file = args.features.as_deref().map(FeaturesFile::of).transpose()?;
    if let Some(path) = &args.features {
        room(path, args.force)?;
    }
    let mut paths = Vec::new();
    for path in &args.images {
        paths.extend(pictures_at(path)?);
    }
    let trained = args.trained.open()?;
    if trained.pick.head.is_none() && file.is_none() {
        return Err(bad_input(format!(
            "network `{}` of {} has no head: it has features alone, write them with --features FILE",
            trained.pick.net,
            trained.checkpoint.path.display()
        )));
    }
    let pictures = pictures(&trained)?;
    let bar = output::bar(|| ProgressBar::new(paths.len() as u64).with_style(style()));
    if args.format == Listing::Csv && trained.pick.head.is_some() {
        output::print(&line(&["path", "rank", "class", "probability"])?)?;
    }
    let (mut features, mut unread, mut infinite) = (Features::default(), 0, false);
    for some in paths.chunks(args.batch.into()) {
        let read = pictures.read(some)?;
        for why in read.faults.iter().flatten() {
            output::note(&format!("error: {why}"));
            unread += 1;
        }
        let good: Vec<&PathBuf> = some
            .iter()
            .zip(&read.faults)
            .filter(|(_, fault)| fault.is_none())
            .map(|(path, _)| path)
            .collect();
        if !good.is_empty() {
            let answers = answers(&trained.session, &trained.pick, &read.images)?;
            infinite |= !bool::try_from(&answers.features.f_isfinite()?.f_all()?)?;
            tell(args, &trained, &good, &answers)?;
            if file.is_some() {
                features.add(&answers.features)?;
            }
        }
        if let Some(bar) = &bar {
            bar.inc(some.len() as u64);
        }
    }
    output::end_bar();
    if let (Some(file), Some(path)) = (file, &args.features) {
        features.write(path, file)?;
    }
    if infinite {
        anyhow::bail!(
            "the network's answers are not finite: its training diverged; take an earlier checkpoint"
        );
    }
    match unread {
        0 => Ok(()),
        _ => anyhow::bail!("{unread} of {} pictures could not be read", paths.len()),
    }
}

/// What makes pictures into the images that the network was measured on.
fn pictures(trained: &Trained) -> Result<Pictures> {
    let images = &trained.images;
    let fit = images.fit.ok_or_else(|| {
        bad_input(format!(
            "{} does not say how the images of its network were measured: a newer version of the program writes it; go on with \
             the run by --resume",
            trained.checkpoint.path.display()
        ))
    })?;
    if ![1, 3].contains(&images.channels) {
        return Err(bad_input(format!(
            "the network of {} takes images of {} channels, and pictures have 3, or 1 with `data.channels: Grey`",
            trained.checkpoint.path.display(),
            images.channels
        )));
    }
    let narrow = |all: &[f64]| all.iter().map(|one| *one as f32).collect::<Vec<f32>>();
    let (mean, std) = (narrow(&images.mean), narrow(&images.std));
    Ok(Pictures::new(fit, trained.recipe.data.exif, (&mean, &std), trained.device)?)
}

/// Prints what the network says of a batch.
fn tell(args: &PredictArgs, trained: &Trained, paths: &[&PathBuf], answers: &Answers) -> Result<()> {
    let Some(probabilities) = &answers.probabilities else { return Ok(()) };
    let classes = probabilities.size2()?.1;
    let (best, labels) = probabilities.f_topk(classes.min(args.top.into()), 1, true, true)?;
    let best: Vec<Vec<f32>> = Vec::try_from(&best.f_to_device(Device::Cpu)?)?;
    let labels: Vec<Vec<i64>> = Vec::try_from(&labels.f_to_device(Device::Cpu)?)?;
    for ((path, best), labels) in paths.iter().zip(best).zip(labels) {
        let name =
            |label: i64| trained.images.classes.get(label as usize).cloned().unwrap_or(label.to_string());
        let ranked: Vec<(String, f32)> =
            labels.into_iter().zip(best).map(|(label, share)| (name(label), share)).collect();
        match args.format {
            Listing::Text => {
                let all: Vec<String> = ranked
                    .iter()
                    .map(|(name, share)| format!("{name} {}", output::percent(f64::from(*share) * 100.0, 1)))
                    .collect();
                output::print(&format!("{}: {}", path.display(), all.join(", ")))?;
            }
            Listing::Json => {
                let classes: Vec<_> = ranked
                    .iter()
                    .map(|(name, share)| json!({ "class": name, "probability": share }))
                    .collect();
                output::print_json(&json!({ "path": path.display().to_string(), "classes": classes }))?;
            }
            Listing::Csv => {
                for (rank, (name, share)) in ranked.iter().enumerate() {
                    let (path, rank) = (path.display().to_string(), (rank + 1).to_string());
                    output::print(&line(&[&path, &rank, name, &share.to_string()])?)?;
                }
            }
        }
    }
    Ok(())
}

/// One line of CSV, without its end.
fn line(cells: &[&str]) -> Result<String> {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    writer.write_record(cells)?;
    let bytes = writer.into_inner().map_err(|error| anyhow::anyhow!("cannot write CSV: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
}

fn style() -> ProgressStyle {
    let template = "{bar:30} {pos}/{len} pictures  {per_sec}  {eta} left";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
