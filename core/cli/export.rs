//! `admix export`: a trained network as a file for others.

use std::path::{Path, PathBuf};

use admix_engine::{Card, Export, RunFolder, Target, card};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::failure::bad_input;
use crate::output::{self, Format};
use crate::trained::TrainedArgs;

/// Flags of `admix export`.
#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    trained: TrainedArgs,
    /// Whose names the tensors get: torchvision, timm, another library that has the backbone, admix (its own names, all heads),
    /// or detectron2 (the trunk of a detector). Default: torchvision where it has the backbone.
    #[arg(long, value_name = "NAME")]
    format: Option<String>,
    /// The file: NAME.safetensors, NAME.pth (as `torch.save` writes it), or NAME.pkl for Detectron2. Beside it NAME.*.md says
    /// what it is.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace files of these names.
    #[arg(long)]
    force: bool,
    /// How to say what was written.
    #[arg(long, value_enum, default_value_t)]
    report: Format,
}

/// Writes a trained network.
pub fn export(args: &ExportArgs) -> Result<()> {
    let target = Target::of(&args.output, args.format.as_deref())?;
    let mut beside = args.output.clone().into_os_string();
    beside.push(".md");
    let beside = PathBuf::from(beside);
    for path in [&args.output, &beside] {
        room(path, args.force)?;
    }
    let trained = args.trained.open()?;
    let export = Export::of(&trained.session, &trained.recipe, &trained.pick, args.format.as_deref())?;
    let content = export.content(target, &trained.images)?;
    let file = args.output.file_name().unwrap_or_default().to_string_lossy();
    let text = card(&Card {
        file: &file,
        export: &export,
        pick: &trained.pick,
        header: &trained.checkpoint.header,
        recipe: &trained.recipe,
        images: &trained.images,
        batch_norms: trained.batch_norms,
        other_values: trained.other_values,
    });
    for (path, content) in [(&args.output, content.as_slice()), (&beside, text.as_bytes())] {
        output::save(path, content, args.force)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    match args.report {
        Format::Json => output::print_json(&json!({
            "file": args.output.display().to_string(),
            "card": beside.display().to_string(),
            "format": export.format,
            "network": trained.pick.net,
            "head": trained.pick.head,
            "classifier": export.classifier,
            "tensors": export.tensors.len(),
            "parameters": export.parameters,
            "left_out": export.left_out,
            "batch_norms": trained.batch_norms,
        })),
        Format::Text => {
            let left_out = match export.left_out.as_slice() {
                [] => String::new(),
                some => format!("; left out: {}", some.join(", ")),
            };
            output::print(&format!(
                "{}: network `{}`, {} tensors by the names of {}, {} learned values; BatchNorm: {}{left_out}",
                args.output.display(),
                trained.pick.net,
                export.tensors.len(),
                export.format,
                output::thousands(export.parameters as u64),
                trained.batch_norms,
            ))
        }
    }
}

/// Refuses a place that is taken, that a run needs, or that has no folder.
pub fn room(path: &Path, force: bool) -> Result<()> {
    if let Some(run) = RunFolder::owner_of(path) {
        return Err(bad_input(format!(
            "{} is where the run of {} keeps its own files: choose another name",
            path.display(),
            run.display()
        )));
    }
    if path.is_dir() {
        return Err(bad_input(format!("{} is a folder: name a file", path.display())));
    }
    if !force && path.symlink_metadata().is_ok() {
        return Err(bad_input(format!(
            "{} exists already: choose another name, or replace it with --force",
            path.display()
        )));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match folder.is_dir() {
        true => Ok(()),
        false => Err(bad_input(format!("{}: there is no folder {}", path.display(), folder.display()))),
    }
}
