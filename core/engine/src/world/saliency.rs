//! Where the networks of a run look.

use admix_models::Pass;
use admix_torch::{Reduction, Tensor};

use crate::method::vocabulary;
use crate::world::World;
use crate::{Error, Result};

impl World {
    /// Saliency `[N, H, W]` of images `[N, C, H, W]` with labels `[N]`: of the cross-entropy of the first trained network
    /// and its first head, in evaluation mode. Without classifiers it is that of the first head on embeddings for the
    /// cluster that it finds likeliest, whatever the labels. No gradient of a parameter is computed.
    ///
    /// # Errors
    /// No network or head, or shapes that do not fit.
    pub fn saliency(&self, images: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let net = self.nets.iter().find(|net| net.trained).or(self.nets.first());
        let network = &net.ok_or_else(|| Error::Input("there is no network".into()))?.network;
        let _graph = admix_torch::with_grad();
        let leaf = images.f_detach()?.f_set_requires_grad(true)?;
        let map = network.backbone().forward(&leaf, &Pass::EVALUATE)?;
        let classifiers = network.head_names();
        let (logits, labels) = match (classifiers.first(), self.heads.iter().find(|unit| unit.trained)) {
            (Some(head), _) => (network.forward_head(head, &map, false)?, labels.shallow_clone()),
            (None, Some(unit)) => {
                let logits = unit.forward(&network.embed(&map, false)?, false)?;
                let likeliest = logits.f_detach()?.f_argmax(1, false)?;
                (logits, likeliest)
            }
            (None, None) => {
                return Err(Error::Input(
                    "there is no head to take a saliency from: neither in `heads` nor in `embedding_heads`"
                        .into(),
                ));
            }
        };
        let loss = logits.f_cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0)?;
        let gradient = admix_torch::gradients(&[loss], &[leaf], false, false)?.into_iter().flatten().next();
        let gradient =
            gradient.ok_or_else(|| Error::Input("the logits do not depend on the images".into()))?;
        vocabulary::apply("saliency", &[&gradient], &[])
    }
}
