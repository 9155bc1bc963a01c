//! What a trunk can do: run one stage at a time. And its settings, which build it.

use std::fmt::Debug;
use std::rc::Rc;

use admix_api::{Path, Settings};
use admix_torch::Tensor;

use crate::{BatchNorm2d, Map, Naming, Pass, Result};

/// A trunk in stages. Stage 0 is the stem, the stages 1 to [`stages`](Backbone::stages) follow.
///
/// No pass reads anything back from the device, and no pass draws: see [`Pass::drops`].
///
/// ```
/// use admix_api::{Store, Streams};
/// use admix_models::{BackboneConfig, ConvNetConfig, Pass};
/// use admix_torch::{Device, Kind, Tensor};
///
/// let store = Store::new(Device::Cpu, Streams::new(0));
/// let config = ConvNetConfig { widths: vec![4, 8], strides: vec![1, 2] };
/// let backbone = config.build(&store.root(), 3)?;
/// let images = Tensor::f_zeros([2, 3, 9, 14], (Kind::Float, Device::Cpu))?;
/// let map = backbone.forward_to(1, &images, &Pass::EVALUATE)?;
/// let map = backbone.stage(2, &map, &Pass::EVALUATE)?;
/// assert_eq!(map.cells()?.size(), [2, backbone.channels(2), 5, 7]);
/// # Ok::<(), admix_models::Error>(())
/// ```
pub trait Backbone: Debug {
    /// Number of stages after the stem.
    fn stages(&self) -> usize;

    /// Runs exactly stage `index` on the output of the one before; index 0 takes the images `[N, C, H, W]`. The map that it is
    /// given stays as it is.
    ///
    /// # Errors
    /// No such stage, or an input of other channels.
    fn stage(&self, index: usize, map: &Map, pass: &Pass) -> Result<Map>;

    /// Channels of the map that `stage` gives; 0 for a stage that does not exist.
    fn channels(&self, stage: usize) -> i64;

    /// All BatchNorm layers, in the order they run.
    fn batch_norms(&self) -> Vec<&BatchNorm2d>;

    /// How many uniform numbers a train-mode pass takes for each sample, for stochastic depth, say. 0 by default.
    fn drops(&self) -> usize {
        0
    }

    /// What heads average over cells, of the last stage's map: the class token as `[N, C, 1, 1]` where it has one, else the
    /// cells. A network that does more after its pool says so here.
    ///
    /// # Errors
    /// A map of other channels.
    fn summary(&self, map: &Map) -> Result<Tensor> {
        map.summary()
    }

    /// How much the class token attends to each cell in the last block, the mean over heads: `[N, h, w]` float32 without a
    /// graph, given the map of the stage before the last. A row sums to less than 1, as the token attends to itself too.
    /// `None`: there is no class token.
    ///
    /// # Errors
    /// A map of another form.
    fn attention(&self, _below: &Map) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// How many layers the decay of the learning rate by layers counts, the stem included. 1 by default: all is one layer.
    fn layers(&self) -> usize {
        1
    }

    /// The layer of a parameter, given its name here (without `backbone.`): 0 the stem, up to
    /// [`layers`](Backbone::layers) - 1; `layers` for what counts with the heads.
    fn layer(&self, _parameter: &str) -> usize {
        0
    }

    /// Images `[N, C, H, W]` to the map of `stage`.
    ///
    /// # Errors
    /// As [`stage`](Backbone::stage).
    fn forward_to(&self, stage: usize, images: &Tensor, pass: &Pass) -> Result<Map> {
        let mut map = Map::from(images.shallow_clone());
        for index in 0..=stage {
            map = self.stage(index, &map, pass)?;
        }
        Ok(map)
    }

    /// The whole trunk: images `[N, C, H, W]` to the last stage's map.
    ///
    /// # Errors
    /// As [`stage`](Backbone::stage).
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Map> {
        self.forward_to(self.stages(), images, pass)
    }
}

/// The settings of a backbone, as a recipe writes them.
///
/// ```
/// use admix_api::Settings;
/// use admix_models::{BackboneConfig, ConvNetConfig};
///
/// let config = ConvNetConfig { widths: vec![4, 8], strides: vec![1, 2] };
/// config.validate()?;
/// assert_eq!(config.resolved(), serde_json::json!({ "widths": [4, 8], "strides": [1, 2] }));
/// assert!(ConvNetConfig { widths: vec![-4], strides: vec![1] }.validate().is_err());
/// # Ok::<(), admix_api::Error>(())
/// ```
pub trait BackboneConfig: Debug + Settings {
    /// Checks ranges and combinations, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    fn validate(&self) -> admix_api::Result<()> {
        Ok(())
    }

    /// Makes the backbone's parameters at `path`, for images of `in_channels` channels.
    ///
    /// # Errors
    /// Settings out of range, or a name is taken.
    fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>>;

    /// The same network at toy width, with the same stages, for dry runs. `None`: it is small as it is.
    fn narrowed(&self) -> Option<Rc<dyn BackboneConfig>> {
        None
    }

    /// How other libraries name the tensors of this network; its weights are read from and written to their files by these
    /// names. Empty: no other library has it.
    fn namings(&self) -> Vec<Naming> {
        Vec::new()
    }

    /// The setting to change where a tensor of a weight file has another shape than here. `tensor` is its name here. `None`:
    /// no setting gives the network of that file.
    fn misfit(&self, _tensor: &str, _theirs: &[i64], _ours: &[i64]) -> Option<&'static str> {
        None
    }

    /// How many parameters networks of this kind have, for people: "with the defaults: 6,088".
    fn sizes(&self) -> Vec<&'static str> {
        Vec::new()
    }
}
