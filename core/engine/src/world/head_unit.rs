//! The linear heads on embeddings.

use admix_api::{Init, Store, Streams};
use admix_models::Linear;
use admix_torch::{Device, Tensor};

use crate::Result;
use crate::recipe::Recipe;
use crate::world::part::{Parameter, Part, named, named_parameters};

/// A linear head on embeddings.
#[derive(Debug)]
pub struct HeadUnit {
    /// Its name in scripts.
    pub name: String,
    linear: Linear,
    pub(super) store: Store,
    /// False for a head that follows another.
    pub trained: bool,
}

impl HeadUnit {
    /// The heads of a recipe on embeddings of this width.
    ///
    /// # Errors
    /// A head for a clusterer that the recipe does not have.
    pub(crate) fn all(recipe: &Recipe, width: i64, streams: &Streams, device: Device) -> Result<Vec<Self>> {
        let build = |(name, config): (&String, _)| {
            let store = Store::new(device, streams.fork(name));
            let outputs = recipe.head_outputs(name, config)?;
            let linear = Linear::new(&store.root().sub("fc"), width, outputs, Init::Normal(0.01))?;
            let trained = !recipe.pairs.iter().any(|pair| &pair.to == name);
            Ok(Self { name: name.clone(), linear, store, trained })
        };
        recipe.embedding_heads.iter().map(build).collect()
    }

    /// Embeddings `[N, D]` to logits `[N, K]`.
    ///
    /// # Errors
    /// Embeddings of another width.
    pub fn forward(&self, embedding: &Tensor) -> Result<Tensor> {
        Ok(self.linear.forward(embedding)?)
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
}
