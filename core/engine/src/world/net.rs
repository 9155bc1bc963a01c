//! The networks of a run.

use admix_api::Store;
use admix_models::{Network, Pass};
use admix_torch::{Device, Kind, Tensor};

use crate::Result;
use crate::recipe::Recipe;
use crate::world::part::{Parameter, Part, named, named_parameters};
use crate::world::shape::Shape;

/// A network by name.
#[derive(Debug)]
pub struct Net {
    /// Its name in scripts: "q".
    pub name: String,
    /// Layers.
    pub network: Network,
    /// Their tensors.
    pub store: Store,
    /// False for momentum networks and frozen ones, whose parameters never have gradients.
    pub trained: bool,
    /// It stays as it is: passes are in evaluation mode, and its running values are its own.
    pub frozen: bool,
    /// Factor on the learning rate from one layer to the one below.
    pub layer_decay: f64,
}

impl Net {
    /// The networks of a recipe, trained ones first.
    ///
    /// # Errors
    /// A stage to recompute that the backbone does not have.
    pub(crate) fn all(
        recipe: &Recipe,
        shape: &Shape,
        streams: &admix_api::Streams,
        device: Device,
    ) -> Result<Vec<Self>> {
        let mut nets: Vec<Net> = Vec::new();
        let followers: Vec<&str> = recipe.net_pairs().map(|p| p.to.as_str()).collect();
        let mut names: Vec<&str> = recipe.nets.iter().map(String::as_str).collect();
        names.extend(followers.iter().filter(|n| !recipe.nets.iter().any(|have| have == **n)));
        for name in names {
            let store = Store::new(device, streams.fork(name));
            let model = recipe.model.config.as_ref();
            let mut network =
                Network::build(&store.root(), model, &recipe.heads, shape.classes, shape.channels)?;
            if let Some(neck) = &recipe.neck {
                network = network.with_neck(&store.root(), neck)?;
            }
            network.set_batch_norm_groups(recipe.bn_groups);
            let trained = !followers.contains(&name);
            let layer_decay = recipe.layer_decay;
            nets.push(Net { name: name.to_string(), network, store, trained, frozen: false, layer_decay });
        }
        for (name, config) in &recipe.other_nets {
            let store = Store::new(device, streams.fork(name));
            let (model, heads) = (config.model.config.as_ref(), &config.heads);
            let network = Network::build(&store.root(), model, heads, shape.classes, shape.channels)?;
            let (trained, frozen) = (config.trained, !config.trained);
            nets.push(Net { name: name.to_string(), network, store, trained, frozen, layer_decay: 1.0 });
        }
        let last = nets.first().map_or(0, |net| net.network.backbone().stages());
        if let Some(unknown) = recipe.recompute_stages.iter().find(|stage| **stage > last) {
            let message = format!("has {unknown}, expected stages of the backbone: 0, the stem, to {last}");
            return Err(recipe.field_error("recompute_stages", message));
        }
        Ok(nets)
    }

    /// Width of an embedding.
    pub fn embedding_width(&self) -> i64 {
        self.network.embedding_width()
    }

    /// Embeddings `[N, D]` float32 of images `[N, C, H, W]`, not normalised: through the neck, or without one the last
    /// stage's map averaged over its cells. Evaluation mode, no graph.
    ///
    /// # Errors
    /// Images of other channels.
    pub fn embed(&self, images: &Tensor) -> Result<Tensor> {
        let _guard = admix_torch::no_grad();
        let map = self.network.backbone().forward(images, &Pass::EVALUATE)?;
        Ok(self.network.embed(&map, false)?.f_to_kind(Kind::Float)?)
    }

    fn owner(&self) -> String {
        format!("net.{}", self.name)
    }
}

impl Part for Net {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        named(&self.owner(), self.store.tensors())
    }

    fn parameters(&self) -> (Vec<Parameter>, Option<&str>) {
        if !self.trained {
            return (Vec::new(), None);
        }
        let mut all = named_parameters(&self.owner(), &self.store);
        for (parameter, (name, ..)) in all.iter_mut().zip(self.store.parameters()) {
            let (layer, layers) = self.network.layer(&name);
            parameter.rate = self.layer_decay.powi((layers - 1).saturating_sub(layer) as i32);
        }
        (all, None)
    }

    /// Running values: every pass in train mode moves them.
    fn early(&self) -> Vec<Tensor> {
        self.store.buffers().into_iter().map(|(_, buffer)| buffer).collect()
    }

    fn running(&self) -> Vec<Tensor> {
        self.early()
    }
}
