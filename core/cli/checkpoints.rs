//! Finding a checkpoint, and building the session that it holds.

use std::path::Path;

use admix_api::Registry;
use admix_data::Dataset;
use admix_engine::{Checkpoint, Method, Override, Recipe, RunFolder, Session, Shape};
use admix_torch::Device;
use anyhow::Result;

use crate::failure::bad_input;
use crate::output;

/// The fields of a recipe that decide which tensors a run has.
const SHAPING: [&str; 11] = [
    "model",
    "neck",
    "nets",
    "other_nets",
    "heads",
    "embedding_heads",
    "pairs",
    "mixers",
    "queues",
    "clusterers",
    "optimizer",
];

/// The checkpoint in this file, or the newest good one (or the best) of this run folder.
pub fn open(path: &Path, best: bool, device: Device) -> Result<Checkpoint> {
    Ok(RunFolder::checkpoint_at(path, best, device, &mut |message| {
        output::note(&format!("warning: {message}"));
    })?)
}

/// The recipe that a checkpoint was trained with, changed.
pub fn recipe(checkpoint: &Checkpoint, overrides: &[Override], registry: &Registry) -> Result<Recipe> {
    let header = &checkpoint.header;
    Ok(Recipe::parse_with(&header.recipe, &header.recipe_file, overrides, registry, &header.scripts)?)
}

/// A session in the checkpoint's state, of its recipe with these changes. `dataset` may be another than it was trained on.
pub fn session(
    checkpoint: &Checkpoint,
    (recipe, set): (&Recipe, &[Override]),
    registry: &Registry,
    dataset: &Dataset,
    device: Device,
) -> Result<Session> {
    session_of(checkpoint, (recipe, set), registry, Shape::of(dataset.info()), device)
}

/// The same for data of this shape, of which nothing but the number of classes and of samples comes from the checkpoint.
pub fn session_of(
    checkpoint: &Checkpoint,
    (recipe, set): (&Recipe, &[Override]),
    registry: &Registry,
    mut shape: Shape,
    device: Device,
) -> Result<Session> {
    let header = &checkpoint.header;
    let method = Method::compile(&header.script, &header.script_file)?;
    shape.classes = classes(checkpoint).unwrap_or(shape.classes);
    shape.samples = clustered(checkpoint).unwrap_or(shape.samples);
    // Not `session_of`: what is measured may have fewer images than a batch of the training had.
    let mut session = Session::build(recipe, method, registry, shape, header.clock, device)?;
    checkpoint.load_into(&mut session).map_err(|error| {
        let makes_tensors = |path: &&str| SHAPING.contains(&path.split('.').next().unwrap_or_default());
        let paths = set.iter().map(|set| set.path.as_str()).filter(makes_tensors);
        match paths.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => error.into(),
            paths => bad_input(format!(
                "--set {paths}: the networks of {} are not those of the changed recipe: {error}; leave out what changes them",
                checkpoint.path.display()
            )),
        }
    })?;
    session.set_clock(header.clock);
    Ok(session)
}

/// How many classes the heads of a checkpoint tell apart.
pub fn classes(checkpoint: &Checkpoint) -> Option<i64> {
    let is_head =
        |name: &str| name.starts_with("net.") && name.contains(".head.") && name.ends_with(".weight");
    let head = checkpoint.tensors.iter().find(|(name, tensor)| is_head(name) && tensor.dim() == 2)?.1;
    head.size().first().copied()
}

/// How many samples the clusterers of a checkpoint know.
fn clustered(checkpoint: &Checkpoint) -> Option<usize> {
    let is_bank = |name: &str| name.starts_with("bank.") && name.ends_with(".labels");
    checkpoint.tensors.iter().find(|(name, _)| is_bank(name)).map(|(_, labels)| labels.numel())
}
