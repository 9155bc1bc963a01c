//! A trained network that is taken out of its run: flags of the commands that do so.

use std::path::PathBuf;

use admix_api::Streams;
use admix_data::Dataset;
use admix_engine::{
    Checkpoint, EmbeddingHeadConfig, Images, Override, Pick, Recipe, Session, Shape, reestimate, reestimates,
};
use admix_torch::Device;
use anyhow::Result;
use clap::Args;

use crate::checkpoints;
use crate::device::DeviceArgs;
use crate::failure::bad_input;
use crate::libraries;
use crate::output;
use crate::recipes::Changes;

/// Which network.
#[derive(Args)]
pub struct TrainedArgs {
    /// A run folder (its newest good checkpoint is used), or a checkpoint.
    run: PathBuf,
    /// Use the best checkpoint of the run folder instead of the newest.
    #[arg(long)]
    best: bool,
    /// The network. Default: the one that the run reports.
    #[arg(long, value_name = "NAME")]
    net: Option<String>,
    /// The head. Default: the one that the run reports.
    #[arg(long, value_name = "NAME")]
    head: Option<String>,
    /// Of a momentum network: leave the running values of its BatchNorms as training made them. By default they are estimated
    /// anew on training images, as `admix eval` does, for which the data must be there.
    #[arg(long)]
    running_values: bool,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A network in evaluation, as `admix eval` measures it.
pub struct Trained {
    /// Its checkpoint.
    pub checkpoint: Checkpoint,
    /// The recipe that it was trained with.
    pub recipe: Recipe,
    /// The state of its run.
    pub session: Session,
    /// The images that it takes.
    pub images: Images,
    /// Which network and head.
    pub pick: Pick,
    /// What became of its BatchNorms, in words.
    pub batch_norms: &'static str,
    /// Whether its BatchNorms have other values than those that `admix eval` measures.
    pub other_values: bool,
    /// Where it is.
    pub device: Device,
}

impl TrainedArgs {
    /// Reads the checkpoint and makes its network ready.
    pub fn open(&self) -> Result<Trained> {
        let device = self.device.open()?;
        let registry = libraries::registry()?;
        let checkpoint = checkpoints::open(&self.run, self.best, device)?;
        let recipe = checkpoints::recipe(&checkpoint, &self.changes.set, &registry)?;
        let images = checkpoint.header.images.clone().ok_or_else(|| {
            bad_input(format!(
                "{} does not say what images its network takes: a newer version of the program writes it; go on with the run by \
                 --resume",
                checkpoint.path.display()
            ))
        })?;
        let shape = Shape {
            split: recipe.data.split,
            mean: images.mean.clone(),
            std: images.std.clone(),
            ..Shape::new(images.channels, images.classes.len() as i64)
        };
        let session =
            checkpoints::session_of(&checkpoint, (&recipe, &self.changes.set), &registry, shape, device)?;
        let pick = Pick::of(&recipe, &session, self.net.as_deref(), self.head.as_deref())?;
        let reported = recipe.reported().unwrap_or_default();
        let on_embeddings = |(name, head): (&String, &EmbeddingHeadConfig)| {
            head.evaluate.as_ref().is_some_and(|net| format!("{name}_{net}") == reported)
        };
        if self.head.is_none() && recipe.embedding_heads.iter().any(on_embeddings) {
            output::note(&format!(
                "warning: the run reports `{reported}`, a head on embeddings, which cannot be taken out: this is {}",
                pick.head.as_ref().map_or("the network alone".into(), |head| format!(
                    "the head `{head}` of `{}`",
                    pick.net
                ))
            ));
        }
        let estimates = reestimates(&session, &recipe, &pick.net) && !self.running_values;
        let idle = |set: &&Override| {
            let of_data = set.path == "data" || set.path.starts_with("data.");
            of_data && set.path != "data.exif" && !estimates
        };
        if let Some(set) = self.changes.set.iter().find(idle) {
            return Err(bad_input(format!(
                "--set {}: this changes nothing here, since the network takes images as its run made them; leave it out",
                set.path
            )));
        }
        let mut batch_norms = match session.world().nets.iter().find(|net| net.name == pick.net) {
            Some(net) if net.network.backbone().batch_norms().is_empty() => "none",
            _ => "running values of training",
        };
        let mut other_values = false;
        if reestimates(&session, &recipe, &pick.net) {
            if self.running_values {
                batch_norms = "running values of training, not estimated anew";
                other_values = true;
            } else {
                batch_norms = "estimated anew on training images, as for every evaluation";
                let data = Dataset::open(&recipe.data, &registry, device, Streams::new(recipe.seed));
                let data = data.map_err(|error| {
                    bad_input(format!(
                        "{error}. The BatchNorms of the momentum network `{}` are estimated anew on training images: say where \
                         they are with --set 'data.root=\"DIR\"', or leave the values of training with --running-values",
                        pick.net
                    ))
                })?;
                let found = Images::of(&data);
                if let Some(other) = images.differ(&found) {
                    return Err(bad_input(format!(
                        "the training images of `{}` are not those that the network was trained on: {other}; leave out --set of the \
                         data, or leave the BatchNorm values of training with --running-values",
                        found.data
                    )));
                }
                reestimate(&session, &data, &recipe)?;
            }
        }
        Ok(Trained { checkpoint, recipe, session, images, pick, batch_norms, other_values, device })
    }
}
