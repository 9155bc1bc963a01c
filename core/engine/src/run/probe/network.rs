//! Features of a network: the last stage's map, averaged over its cells, in evaluation mode.

use admix_api::Streams;
use admix_data::{Dataset, Interpolation, Pass, ResizedCrop, Split};
use admix_torch::{Group, Kind, Tensor};

use super::probe::{Features, TrainPass};
use crate::precision::Precision;
use crate::recipe::Recipe;
use crate::text::list;
use crate::world::{Net, World};
use crate::{Error, Result};

/// The features that one network makes of a dataset's images.
pub(crate) struct NetworkFeatures<'a> {
    net: &'a Net,
    dataset: &'a Dataset,
    precision: Precision,
    streams: Streams,
    batch: usize,
    /// The processes that share the work: each makes the features of every P-th batch.
    group: Option<&'a Group>,
    /// Side of the crops of a pass, where it is not the dataset's.
    size: Option<i64>,
    /// Every tensor of the network, with a copy.
    before: Vec<(String, Tensor, Tensor)>,
}

impl<'a> NetworkFeatures<'a> {
    /// Of the network of this name, or of the first trained one.
    ///
    /// # Errors
    /// No such network.
    pub(crate) fn new(
        world: &'a World,
        net: Option<&str>,
        dataset: &'a Dataset,
        recipe: &Recipe,
    ) -> Result<Self> {
        let net = probed(world, net)?;
        let size = recipe.data.first_augment().config.size();
        let (precision, streams, batch) = (world.precision, world.streams, recipe.evaluate.batch);
        let before = copies(net)?;
        let group = world.group.as_deref();
        Ok(Self { net, dataset, precision, streams, batch, group, size, before })
    }

    /// The number of this process, and how many there are.
    fn place(&self) -> (usize, usize) {
        self.group.map_or((0, 1), |group| (group.rank(), group.processes()))
    }

    /// Features `[N, C]` float32 of images `[N, C, H, W]`.
    fn of(&self, images: &Tensor) -> Result<Tensor> {
        let _guard = admix_torch::no_grad();
        let summary = {
            let _low = self.precision.enter(images.device())?;
            let backbone = self.net.network.backbone();
            backbone.summary(&backbone.forward(images, &admix_models::Pass::EVALUATE)?)?
        };
        Ok(summary.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?)
    }
}

impl Features for NetworkFeatures<'_> {
    fn classes(&self) -> i64 {
        self.dataset.info().classes as i64
    }

    fn width(&self) -> i64 {
        let backbone = self.net.network.backbone();
        backbone.channels(backbone.stages())
    }

    fn samples(&self) -> usize {
        self.dataset.len(Split::Labelled)
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn streams(&self) -> Streams {
        self.streams
    }

    fn whole(&self, split: Split) -> Result<(Tensor, Tensor)> {
        let _guard = admix_torch::no_grad();
        let total = self.dataset.len(split);
        let labels = self.dataset.labels(split);
        let (rank, processes) = self.place();
        // Of others' batches 0, so that the sum over processes has everybody's features as they are.
        let all = Tensor::f_zeros([total as i64, self.width()], (Kind::Float, labels.device()))?;
        for start in (rank * self.batch..total).step_by(processes * self.batch) {
            let count = self.batch.min(total - start);
            let features = self.of(&self.dataset.clean_batch(split, start, count)?.images)?;
            all.f_narrow(0, start as i64, count as i64)?.f_copy_(&features)?;
        }
        if let Some(group) = self.group {
            group.all_reduce(std::slice::from_ref(&all))?;
        }
        Ok((all, labels.shallow_clone()))
    }

    fn pass(&self, pass: TrainPass, each: &mut dyn FnMut(&Tensor, &Tensor) -> Result<()>) -> Result<()> {
        let TrainPass { least_area, order, batch, epoch, streams } = pass;
        let cropped = least_area.map(|area| {
            let (size, scale) = (self.size, (area, 1.0));
            let crop =
                ResizedCrop { size, scale, interpolation: Interpolation::Bicubic, ..ResizedCrop::default() };
            self.dataset.augmented_by(&crop)
        });
        let cropped = cropped.transpose()?;
        let dataset = cropped.as_ref().unwrap_or(self.dataset);
        let (rank, processes) = self.place();
        let (images, batches) = (order.len(), order.len().div_ceil(batch));
        let mut loader = dataset.loader(Pass {
            split: Split::Labelled,
            batch,
            batches: (rank..batches).step_by(processes).collect(),
            order,
            streams,
            purpose: "augment".into(),
            views: vec![String::new()],
            epoch,
            first_step: 0,
        })?;
        for turn in (0..batches).step_by(processes) {
            let own = match loader.next_batch(dataset)? {
                Some(own) => Some((self.of(&own.images)?, own.labels)),
                None => None,
            };
            let Some(group) = self.group else {
                own.iter().try_for_each(|(features, labels)| each(features, labels))?;
                continue;
            };
            // Everybody learns from the batches of all, in their order. Short ones travel at full length.
            let device = self.dataset.labels(Split::Labelled).device();
            let features = Tensor::f_zeros([batch as i64, self.width()], (Kind::Float, device))?;
            let labels = Tensor::f_zeros([batch as i64], (Kind::Int64, device))?;
            if let Some((own, own_labels)) = own {
                features.f_narrow(0, 0, own.size()[0])?.f_copy_(&own)?;
                labels.f_narrow(0, 0, own.size()[0])?.f_copy_(&own_labels)?;
            }
            let (features, labels) = (group.all_gather(&features)?, group.all_gather(&labels)?);
            for (number, start) in (turn..batches.min(turn + processes)).zip((0..).step_by(batch)) {
                let count = batch.min(images - number * batch) as i64;
                each(&features.f_narrow(0, start, count)?, &labels.f_narrow(0, start, count)?)?;
            }
        }
        Ok(())
    }

    fn unchanged(&self) -> Result<()> {
        same(&self.before)
    }
}

/// Refuses tensors that differ from their copies.
fn same(before: &[(String, Tensor, Tensor)]) -> Result<()> {
    let _guard = admix_torch::no_grad();
    for (name, live, copy) in before {
        if !live.f_equal(copy)? {
            return Err(Error::Input(format!(
                "an evaluation must leave the network alone, but its tensor `{name}` changed: the figures are worth nothing"
            )));
        }
    }
    Ok(())
}

/// Every tensor of a network, parameters and buffers, with a copy.
fn copies(net: &Net) -> Result<Vec<(String, Tensor, Tensor)>> {
    let copied = |(name, live): (String, Tensor)| {
        let copy = live.f_detach_copy()?;
        Ok((name, live, copy))
    };
    net.store.tensors().into_iter().map(copied).collect()
}

/// The network of this name, or the first trained one.
fn probed<'a>(world: &'a World, name: Option<&str>) -> Result<&'a Net> {
    let found = match name {
        Some(name) => world.nets.iter().find(|net| net.name == name),
        None => world.nets.iter().find(|net| net.trained),
    };
    found.ok_or_else(|| {
        let names = || world.nets.iter().map(|net| net.name.as_str());
        let name = name.unwrap_or_default();
        Error::Input(format!(
            "no network named `{name}`; there is {}{}",
            list(names()),
            admix_api::did_you_mean(name, names())
        ))
    })
}

/// Refuses data without labels.
///
/// # Errors
/// A training or test image has none.
pub(crate) fn needs_labels(dataset: &Dataset, protocol: &str) -> Result<()> {
    for (split, word) in [(Split::Labelled, "training"), (Split::Test, "test")] {
        let labels = dataset.labels(split);
        if labels.numel() == 0 || labels.f_min()?.f_int64_value(&[])? < 0 {
            return Err(Error::Input(format!(
                "the {word} images of `{}` have no labels, which the protocol {protocol} needs: choose data with labels in \
                 both splits (a run without labels is measured when it is done, by `admix eval RUN --protocol {protocol}` on such \
                 data)",
                dataset.info().name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use admix_api::Store;
    use admix_models::{ConvNetConfig, Network};
    use admix_torch::Device;

    use super::*;

    #[test]
    fn a_backbone_that_moves_is_found_out() {
        let store = Store::new(Device::Cpu, Streams::new(3));
        let config = ConvNetConfig { widths: vec![4, 6], strides: vec![1, 2] };
        let network = Network::build(&store.root(), &config, &["one".to_string()], 3, 3).expect("a network");
        let net = Net { name: "q".into(), network, store, trained: true, frozen: false, layer_decay: 1.0 };
        let before = copies(&net).expect("copies");
        let images = Tensor::ones([2, 3, 8, 8], (Kind::Float, Device::Cpu));
        let _ = net.network.backbone().forward(&images, &admix_models::Pass::EVALUATE).expect("features");
        same(&before).expect("evaluation mode moves nothing");
        let _ =
            net.network.backbone().forward(&images, &admix_models::Pass::TRAIN).expect("a train-mode pass");
        let message = same(&before).expect_err("refused").to_string();
        assert!(message.contains("running_mean") && message.contains("leave the network alone"), "{message}");
    }
}
