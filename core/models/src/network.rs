//! One backbone with named heads.

use std::rc::Rc;

use admix_api::Path;
use admix_torch::{Group, Tensor};

use crate::heads::global_average_pool;
use crate::{Backbone, BackboneConfig, BatchNorm2d, Error, Head, LinearHead, Map, NeckConfig, Pass, Result};

/// A backbone, the heads that read its last map, and a neck if there is one. Names: `backbone.<...>`,
/// `head.<name>.fc.weight` and `neck.<...>`.
#[derive(Debug)]
pub struct Network {
    backbone: Box<dyn Backbone>,
    heads: Vec<(String, Box<dyn Head>)>,
    neck: Option<(Box<dyn Head>, i64)>,
}

impl Network {
    /// Makes the backbone and one linear head of `classes` outputs for each name, at `path`.
    ///
    /// # Errors
    /// Settings out of range, or two heads of one name.
    pub fn build(
        path: &Path,
        config: &dyn BackboneConfig,
        heads: &[String],
        classes: i64,
        in_channels: i64,
    ) -> Result<Self> {
        let backbone = config.build(&path.sub("backbone"), in_channels)?;
        let channels = backbone.channels(backbone.stages());
        let mut built: Vec<(String, Box<dyn Head>)> = Vec::new();
        for name in heads {
            let head = LinearHead::new(&path.sub("head").sub(name), channels, classes)?;
            built.push((name.clone(), Box::new(head)));
        }
        Ok(Self::new(backbone, built))
    }

    /// A network of parts made elsewhere, such as a neck for a head.
    pub fn new(backbone: Box<dyn Backbone>, heads: Vec<(String, Box<dyn Head>)>) -> Self {
        Self { backbone, heads, neck: None }
    }

    /// The network with a neck at `path`, the same path that it was built at.
    ///
    /// # Errors
    /// Settings out of range, or there is one already.
    pub fn with_neck(mut self, path: &Path, config: &NeckConfig) -> Result<Self> {
        let channels = self.backbone.channels(self.backbone.stages());
        self.neck = Some((config.build(&path.sub("neck"), channels)?, config.width()));
        Ok(self)
    }

    /// Width of an embedding: the neck's, or without one the channels of the last stage.
    pub fn embedding_width(&self) -> i64 {
        self.neck.as_ref().map_or_else(|| self.backbone.channels(self.backbone.stages()), |(_, width)| *width)
    }

    /// The embedding `[N, D]` of the last stage's map, not normalised: through the neck, or without one the mean over the
    /// map's cells, or its class token.
    ///
    /// # Errors
    /// A map of other channels.
    pub fn embed(&self, map: &Map, train: bool) -> Result<Tensor> {
        let map = self.backbone.summary(map)?;
        match &self.neck {
            Some((neck, _)) => neck.forward(&map, train),
            None => global_average_pool(&map),
        }
    }

    /// The embeddings `[N, D]` of the last stage's maps of several passes, as one batch: a norm in the neck sees all of them.
    /// Takes what [`pooled`](Self::pooled) gave, joined.
    ///
    /// # Errors
    /// Other channels.
    pub fn embed_pooled(&self, pooled: &Tensor, train: bool) -> Result<Tensor> {
        match &self.neck {
            Some((neck, _)) => neck.forward(pooled, train),
            None => global_average_pool(pooled),
        }
    }

    /// What a neck sees of the last stage's map: the mean over its cells, or its class token, `[N, C, 1, 1]`.
    ///
    /// # Errors
    /// A map of other channels.
    pub fn pooled(&self, map: &Map) -> Result<Tensor> {
        let rows = global_average_pool(&self.backbone.summary(map)?)?;
        Ok(rows.f_unsqueeze(2)?.f_unsqueeze(3)?)
    }

    /// Splits every train-mode batch of the trunk's BatchNorms into so many groups; see [`BatchNorm2d::set_groups`].
    pub fn set_batch_norm_groups(&self, groups: i64) {
        for norm in self.backbone.batch_norms() {
            norm.set_groups(groups);
        }
    }

    /// Normalises train-mode batches in trunk and neck over all processes of a group; see [`BatchNorm2d::share`].
    pub fn share_batch_norms(&self, group: &Rc<Group>) {
        let neck = self.neck.iter().flat_map(|(neck, _)| neck.batch_norms());
        self.backbone.batch_norms().into_iter().chain(neck).for_each(|norm| norm.share(group));
    }

    /// The trunk.
    pub fn backbone(&self) -> &dyn Backbone {
        self.backbone.as_ref()
    }

    /// Runs a stage of the trunk another time, as [`Backbone::stage`] does, with every buffer of a BatchNorm left alone.
    ///
    /// # Errors
    /// As there.
    pub fn repeat_stage(&self, index: usize, map: &Map, pass: &Pass) -> Result<Map> {
        let norms = self.backbone.batch_norms();
        let momenta: Vec<f64> = norms.iter().map(|norm| norm.momentum()).collect();
        norms.iter().for_each(|norm| norm.set_momentum(0.0));
        let map = self.backbone.stage(index, map, pass);
        norms.iter().zip(momenta).for_each(|(norm, momentum)| norm.set_momentum(momentum));
        map
    }

    /// The layer of a parameter and the number of layers, for the decay of the learning rate by layers. Heads and neck are
    /// the last layer.
    pub fn layer(&self, parameter: &str) -> (usize, usize) {
        let layers = self.backbone.layers();
        let of_backbone = parameter.strip_prefix("backbone.");
        (of_backbone.map_or(layers, |name| self.backbone.layer(name)), layers + 1)
    }

    /// The heads' names, in order.
    pub fn head_names(&self) -> Vec<&str> {
        self.heads.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// One head on the last stage's map: `[N, K]`.
    ///
    /// # Errors
    /// No such head, or a map of other channels.
    pub fn forward_head(&self, name: &str, map: &Map, train: bool) -> Result<Tensor> {
        let (_, head) = self.heads.iter().find(|(own, _)| own == name).ok_or_else(|| {
            let known = if self.heads.is_empty() { "none".into() } else { self.head_names().join(", ") };
            Error::UnknownHead { name: name.into(), known }
        })?;
        head.forward(&self.backbone.summary(map)?, train)
    }

    /// All heads' logits `[N, K]` of images `[N, C, H, W]`, by head name: eval mode, no graph, one trunk pass.
    ///
    /// # Errors
    /// Images of other channels.
    pub fn forward_eval(&self, images: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let _guard = admix_torch::no_grad();
        self.logits(&self.backbone.forward(images, &Pass::EVALUATE)?)
    }

    /// The same of the last stage's map.
    ///
    /// # Errors
    /// A map of other channels.
    pub fn logits(&self, map: &Map) -> Result<Vec<(String, Tensor)>> {
        let map = self.backbone.summary(map)?;
        self.heads.iter().map(|(name, head)| Ok((name.clone(), head.forward(&map, false)?))).collect()
    }

    /// Replaces the trunk's BatchNorm buffers by their averages over train-mode passes without graph, each batch
    /// `[N, C, H, W]` weighing the same. Nothing is dropped in these passes. Returns the number of batches; with none, nothing changes.
    ///
    /// Momentum networks that stop early see few or no clean images in their last BatchNorms, so they need it
    /// before evaluation and export.
    ///
    /// # Errors
    /// A batch is an error or does not fit; the buffers then have their former values.
    pub fn reestimate_batch_norm<E: From<Error>>(
        &self,
        batches: impl IntoIterator<Item = std::result::Result<Tensor, E>>,
    ) -> std::result::Result<usize, E> {
        let norms = self.backbone.batch_norms();
        let mut former = Vec::new();
        for norm in &norms {
            for buffer in norm.buffers() {
                let value = buffer.f_detach_copy().map_err(Error::from)?;
                former.push((buffer, value));
            }
        }
        let momenta: Vec<f64> = norms.iter().map(|norm| norm.momentum()).collect();
        let outcome = self.average_passes(&norms, batches);
        for (norm, momentum) in norms.iter().zip(momenta) {
            norm.set_momentum(momentum);
        }
        if outcome.is_err() {
            let _guard = admix_torch::no_grad();
            for (mut buffer, value) in former {
                buffer.f_copy_(&value).map_err(Error::from)?;
            }
        }
        outcome
    }

    fn average_passes<E: From<Error>>(
        &self,
        norms: &[&BatchNorm2d],
        batches: impl IntoIterator<Item = std::result::Result<Tensor, E>>,
    ) -> std::result::Result<usize, E> {
        let mut count = 0;
        for batch in batches {
            let images = batch?;
            let _guard = admix_torch::no_grad();
            if count == 0 {
                // Momentum 1 alone would keep a non-finite old value: 0 * inf is not 0.
                for mut buffer in norms.iter().flat_map(|norm| norm.buffers()) {
                    let _ = buffer.f_zero_().map_err(Error::from)?;
                }
            }
            count += 1;
            for norm in norms {
                norm.set_momentum(1.0 / count as f64);
            }
            let _ = self.backbone.forward(&images, &Pass::TRAIN)?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::{Device, Kind};

    use super::*;
    use crate::ConvNetConfig;

    fn network() -> Result<(Store, Network)> {
        let store = Store::with_kind(Device::Cpu, Kind::Double, Streams::new(3));
        let config = ConvNetConfig { widths: vec![4, 6], strides: vec![1, 2] };
        let heads = ["one".to_string(), "mix".to_string()];
        let network = Network::build(&store.root(), &config, &heads, 5, 3)?;
        Ok((store, network))
    }

    fn images(n: i64) -> Result<Tensor> {
        Ok(admix_api::contract::wild(&[n, 3, 7, 10], 0.3, Kind::Double))
    }

    fn buffer(store: &Store, name: &str) -> Result<Tensor> {
        let (_, tensor) = store.buffers().into_iter().find(|(n, _)| n == name).expect(name);
        Ok(tensor.f_detach_copy()?)
    }

    #[test]
    fn a_stage_that_runs_another_time_gives_the_same_and_leaves_all_buffers() -> Result<()> {
        // The mean of three equal values may round.
        for groups in [1, 3] {
            let (store, network) = network()?;
            network.set_batch_norm_groups(groups);
            let x = Map::from(images(6)?);
            let first = network.backbone().stage(1, &x, &Pass::TRAIN)?.into_tensor();
            let before: Vec<Tensor> =
                store.buffers().iter().map(|(_, t)| Ok(t.f_detach_copy()?)).collect::<Result<_>>()?;
            assert_eq!(*network.repeat_stage(1, &x, &Pass::TRAIN)?.tensor(), first);
            assert!(store.buffers().iter().zip(&before).all(|((_, now), was)| now == was), "{groups} groups");
            // The momentum is back.
            let _ = network.backbone().stage(1, &x, &Pass::TRAIN)?;
            assert!(store.buffers().iter().zip(&before).any(|((_, now), was)| now != was));
        }
        Ok(())
    }

    #[test]
    fn names_say_backbone_and_head() -> Result<()> {
        let (store, _) = network()?;
        let names: Vec<String> = store.tensors().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "backbone.conv1.weight",
                "backbone.bn1.weight",
                "backbone.bn1.bias",
                "backbone.conv2.weight",
                "backbone.bn2.weight",
                "backbone.bn2.bias",
                "head.one.fc.weight",
                "head.one.fc.bias",
                "head.mix.fc.weight",
                "head.mix.fc.bias",
                "backbone.bn1.running_mean",
                "backbone.bn1.running_var",
                "backbone.bn2.running_mean",
                "backbone.bn2.running_var",
            ]
        );
        Ok(())
    }

    #[test]
    fn evaluation_is_one_pass_without_graph_for_all_heads() -> Result<()> {
        let (store, network) = network()?;
        let x = images(3)?;
        let before = buffer(&store, "backbone.bn2.running_mean")?;
        let logits = network.forward_eval(&x)?;
        let map = network.backbone().forward(&x, &Pass::EVALUATE)?;
        for (name, given) in &logits {
            assert!(!given.requires_grad());
            assert_eq!(given.size(), [3, 5]);
            assert_eq!(*given, network.forward_head(name, &map, false)?);
        }
        assert_eq!(logits.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["one", "mix"]);
        assert_ne!(logits[0].1, logits[1].1);
        assert_eq!(before, buffer(&store, "backbone.bn2.running_mean")?);
        let error = network.forward_head("two", &map, false).expect_err("unknown").to_string();
        assert!(error.contains("`two`") && error.contains("one, mix"), "{error}");
        Ok(())
    }

    #[test]
    fn two_heads_of_one_name_are_refused() {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let config = ConvNetConfig::default();
        let heads = ["one".to_string(), "one".to_string()];
        assert!(Network::build(&store.root(), &config, &heads, 2, 3).is_err());
    }

    #[test]
    fn reestimation_is_the_mean_over_batches() -> Result<()> {
        let (store, network) = network()?;
        // Poisoned buffers do not survive.
        for (_, mut tensor) in store.buffers() {
            let _ = tensor.f_fill_(f64::NAN)?;
        }
        let batches = [images(4)?, images(3)?, images(5)?];
        let weight = store.parameters()[0].1.f_detach()?;
        let (mut mean, mut variance) = (vec![0.0; 4], vec![0.0; 4]);
        for x in &batches {
            let y = x.f_conv2d(&weight, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1)?;
            for c in 0..4 {
                let values = Vec::<f64>::try_from(y.f_select(1, c)?.f_reshape([-1])?)?;
                let m = values.iter().sum::<f64>() / values.len() as f64;
                mean[c as usize] += m / 3.0;
                variance[c as usize] +=
                    values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (values.len() - 1) as f64 / 3.0;
            }
        }
        let count =
            network.reestimate_batch_norm(batches.iter().map(|x| Ok::<_, Error>(x.shallow_clone())))?;
        assert_eq!(count, 3);
        for (name, wanted) in [("backbone.bn1.running_mean", &mean), ("backbone.bn1.running_var", &variance)]
        {
            let got = Vec::<f64>::try_from(buffer(&store, name)?)?;
            assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} {wanted:?}");
        }
        assert!(network.backbone().batch_norms().iter().all(|norm| norm.momentum() == 0.1));
        for (name, tensor) in store.buffers() {
            assert!(bool::try_from(tensor.f_isfinite()?.f_all()?)?, "{name}");
        }
        Ok(())
    }

    #[test]
    fn a_failed_or_empty_reestimation_changes_nothing() -> Result<()> {
        let (store, network) = network()?;
        let _ = network.backbone().forward(&images(4)?, &Pass::TRAIN)?;
        let before: Vec<Tensor> =
            store.buffers().iter().map(|(_, t)| Ok(t.f_detach_copy()?)).collect::<Result<_>>()?;
        let same = || store.buffers().iter().zip(&before).all(|((_, now), was)| now == was);
        assert_eq!(network.reestimate_batch_norm(std::iter::empty::<Result<Tensor>>())?, 0);
        assert!(same());
        let lost = Error::UnknownStage { stage: 9, stages: 2 };
        let outcome = network.reestimate_batch_norm([Ok(images(4)?), Err(lost)]);
        assert!(matches!(outcome, Err(Error::UnknownStage { stage: 9, .. })));
        assert!(same());
        assert!(network.backbone().batch_norms().iter().all(|norm| norm.momentum() == 0.1));
        Ok(())
    }
}
