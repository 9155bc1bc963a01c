//! The heads on embeddings.

use std::rc::Rc;

use admix_api::{Hints, Init, Store, Streams};
use admix_models::{Head, Linear, MlpNeck, MlpNeckConfig};
use admix_torch::{Device, Group, Tensor};

use crate::recipe::Recipe;
use crate::world::part::{Parameter, Part, named, named_parameters};
use crate::{Error, Result};

/// A head on embeddings.
#[derive(Debug)]
pub struct HeadUnit {
    /// Its name in scripts.
    pub name: String,
    layer: Layer,
    pub(super) store: Store,
    /// False for a head that follows another.
    pub trained: bool,
    /// The network on whose embeddings it is evaluated.
    pub evaluated: Option<String>,
    /// D of the embeddings that it takes.
    width: i64,
}

#[derive(Debug)]
enum Layer {
    /// Weights and a bias.
    Linear(Linear),
    /// Rows of unit length as each step begins, `[P, D]`. What the optimiser makes of them stays until the next step.
    Prototypes(Tensor),
    /// Two layers with a BatchNorm and a ReLU between them.
    Predictor(MlpNeck),
}

impl HeadUnit {
    /// Normalises train-mode batches over all processes of a group, if it has norms.
    pub(super) fn share_batch_norms(&self, group: &Rc<Group>) {
        if let Layer::Predictor(layers) = &self.layer {
            layers.batch_norms().into_iter().for_each(|norm| norm.share(group));
        }
    }

    /// The heads of a recipe on embeddings of this width of images of so many classes.
    ///
    /// # Errors
    /// A head for a clusterer that the recipe does not have, fewer prototypes than classes, or settings out of range.
    pub(crate) fn all(
        recipe: &Recipe,
        (width, classes): (i64, i64),
        streams: &Streams,
        device: Device,
    ) -> Result<Vec<Self>> {
        let build = |(name, config): (&String, &crate::EmbeddingHeadConfig)| {
            let store = Store::new(device, streams.fork(name));
            let outputs = match (&config.evaluate, config.out) {
                (None, _) => recipe.head_outputs(name, config)?,
                (Some(_), None) => classes,
                (Some(_), Some(out)) if out == classes => classes,
                (Some(_), Some(out)) => {
                    let wrong =
                        format!("is {out}, but it is evaluated on data of {classes} classes: leave it out");
                    return Err(recipe.field_error(&format!("embedding_heads.{name}.out"), wrong));
                }
            };
            let (path, init) = (store.root().sub("fc"), Init::Normal(0.01));
            let layer = match (config.prototypes, config.hidden) {
                (true, None) if outputs < classes => {
                    let wrong = format!(
                        "is {outputs}: fewer prototypes than the {classes} classes of the data cannot tell them apart; \
                         write {classes} or more"
                    );
                    return Err(recipe.field_error(&format!("embedding_heads.{name}.out"), wrong));
                }
                (true, None) => {
                    Layer::Prototypes(path.parameter("weight", &[outputs, width], init, Hints::default())?)
                }
                (false, None) => Layer::Linear(Linear::new(&path, width, outputs, init)?),
                (false, Some(hidden)) => {
                    let form = MlpNeckConfig { hidden, out: outputs, norm: true, ..MlpNeckConfig::default() };
                    form.validate().map_err(|error| {
                        recipe.field_error(&format!("embedding_heads.{name}"), error.to_string())
                    })?;
                    Layer::Predictor(MlpNeck::new(&store.root(), width, &form)?)
                }
                (true, Some(_)) => {
                    let wrong =
                        "has `prototypes` and `hidden`, but prototypes are one layer: leave one of them out";
                    return Err(recipe.field_error(&format!("embedding_heads.{name}"), wrong));
                }
            };
            let trained = !recipe.pairs.iter().any(|pair| &pair.to == name);
            let evaluated = config.evaluate.clone();
            Ok(Self { name: name.clone(), layer, width, store, trained, evaluated })
        };
        recipe.embedding_heads.iter().map(build).collect()
    }

    /// Embeddings `[N, D]` to logits `[N, K]`, to their products with the prototypes, or to predictions. `train` matters to a head
    /// with a BatchNorm.
    ///
    /// # Errors
    /// Embeddings of another width.
    pub fn forward(&self, embedding: &Tensor, train: bool) -> Result<Tensor> {
        let width = self.width;
        if !matches!(embedding.size()[..], [_, own] if own == width) {
            return Err(Error::Input(format!(
                "the head `{}` takes embeddings [N, {width}], got the shape {:?}: give it what `p.embed()` gives",
                self.name,
                embedding.size()
            )));
        }
        match &self.layer {
            Layer::Linear(linear) => Ok(linear.forward(embedding)?),
            Layer::Prototypes(rows) => Ok(embedding.f_linear(rows, None::<Tensor>)?),
            Layer::Predictor(layers) => {
                Ok(layers.forward(&embedding.f_unsqueeze(-1)?.f_unsqueeze(-1)?, train)?)
            }
        }
    }

    fn owner(&self) -> String {
        format!("head.{}", self.name)
    }
}

impl Part for HeadUnit {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        named(&self.owner(), self.store.tensors())
    }

    fn parameters(&self) -> (Vec<Parameter>, Option<&str>) {
        let trained = self.trained.then(|| named_parameters(&self.owner(), &self.store));
        (trained.unwrap_or_default(), None)
    }

    fn early(&self) -> Vec<Tensor> {
        match &self.layer {
            Layer::Linear(_) => Vec::new(),
            Layer::Prototypes(rows) => vec![rows.shallow_clone()],
            Layer::Predictor(_) => self.store.buffers().into_iter().map(|(_, buffer)| buffer).collect(),
        }
    }

    fn running(&self) -> Vec<Tensor> {
        self.store.buffers().into_iter().map(|(_, buffer)| buffer).collect()
    }

    fn begin(&mut self) -> Result<()> {
        if let Layer::Prototypes(rows) = &self.layer {
            let _guard = admix_torch::no_grad();
            rows.shallow_clone().f_copy_(&admix_api::unit(rows)?)?;
        }
        Ok(())
    }
}
