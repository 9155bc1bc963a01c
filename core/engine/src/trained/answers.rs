//! What a trained network says of images.

use admix_models::Pass;
use admix_torch::{Kind, Tensor};

use super::pick::Pick;
use crate::session::Session;
use crate::{Error, Result};

/// What a network says of a batch of images.
#[derive(Debug)]
pub struct Answers {
    /// `[N, K]` float32, each row summing to 1; `None` without a head.
    pub probabilities: Option<Tensor>,
    /// `[N, D]` float32: what heads average of the last stage's map, which the probes measure too.
    pub features: Tensor,
}

/// Asks a network of a session about images `[N, C, H, W]` as they are measured: in evaluation mode, without a graph.
///
/// # Errors
/// No such network, or images that it does not take.
pub fn answers(session: &Session, pick: &Pick, images: &Tensor) -> Result<Answers> {
    let world = session.world();
    let net = world.nets.iter().find(|net| net.name == pick.net);
    let net = net.ok_or_else(|| Error::Input(format!("there is no network `{}`", pick.net)))?;
    let _guard = admix_torch::no_grad();
    let (summary, logits) = {
        let _low = world.precision.enter(world.device)?;
        let backbone = net.network.backbone();
        let map = backbone.forward(images, &Pass::EVALUATE)?;
        let head = |head: &String| net.network.forward_head(head, &map, false);
        (backbone.summary(&map)?, pick.head.as_ref().map(head).transpose()?)
    };
    let softmax = |logits: Tensor| logits.f_softmax(1, Kind::Float);
    Ok(Answers {
        probabilities: logits.map(softmax).transpose()?,
        features: summary.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?,
    })
}
