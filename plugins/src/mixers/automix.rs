//! AutoMix: the mask comes from cross-attention between the feature maps of the two images.
//!
//! Source  Liu et al., ECCV 2022, arXiv:2103.13027 (Mix Block); the AMix paper, section 3.2, restates it.
//! See     `block` for inputs, outputs and errors.

use admix_api::mixer;
use admix_api::prelude::*;

use super::block::{
    Activation, Adjust, Attention, Block, Content, ContentOf, Encoding, Initial, MixBlock, Order, Projection,
    SameCluster, Upsample,
};

admix_api::settings! {
    /// Recipe: `AutoMix(alpha: 2.0)`.
    pub struct AutoMix {
        /// The stage whose features it reads, from 1 (paper: l = 3).
        pub stage: usize = 3,
        /// Whether lambda is appended to the features as a constant channel (the authors: on 224-pixel images). Without it
        /// the mask does not depend on lambda.
        pub lambda_plane: bool = false,
        /// How the mask grows to the size of the image.
        pub upsample: Upsample = Upsample::Nearest,
        /// In the encoder's lesson: where lambda or 1 - lambda is at most this, plain MixUp; in [0, 0.5]. 0 is never; the
        /// authors' code has 0.08.
        pub lam_margin: f64 = 0.0,
        /// In the encoder's lesson: how often the mean of the mask is moved to lambda, in [0, 1].
        pub adjust: f64 = 0.0,
        /// How the weights start.
        pub init: Initial = Initial::Normal(0.01),
        /// Whether the mix hands out `attention`, `value`, `mask_low`, `lambda_encoded`.
        pub extras: bool = false,
    }
}

impl AutoMix {
    /// What the settings mean for the block.
    pub fn block(&self) -> Block {
        Block {
            plugin: "automix",
            stage: self.stage,
            encoding: if self.lambda_plane { Encoding::Plane } else { Encoding::None },
            attention: Attention::Cross,
            projection: Projection::Shared,
            shared_name: "query",
            content: Content::Linear,
            content_of: ContentOf::Partner,
            activation: Activation::Relu,
            dropout: 0.0,
            order: Order::SigmoidFirst,
            upsample: self.upsample,
            adjust: Adjust {
                probability: self.adjust,
                margin: 0.0,
                lam_margin: self.lam_margin,
                same_cluster: SameCluster::Keep,
            },
            initial: self.init,
            extras: self.extras,
        }
    }
}

impl MixerConfig for AutoMix {
    fn needs(&self) -> Needs {
        self.block().needs()
    }

    fn validate(&self) -> Result<()> {
        self.block().validate()
    }

    fn build(&self, path: &Path, context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(MixBlock::new(self.block(), path, context)?))
    }
}

mixer! {
    AutoMix, "automix", "a trained mask from cross-attention between the two images",
    source: "Liu et al., ECCV 2022, arXiv:2103.13027", pairing: Pairing::alpha(2.0)
}
