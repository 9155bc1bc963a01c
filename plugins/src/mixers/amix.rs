//! AMix: the mask comes from global attention over both feature maps, with lambda in it (Mix Block+).
//!
//! Source  AMix paper, section 3.2, Eq. 5. `preset: Paper` is Eq. 5 read with Fig. 4, `Default` the same with a start
//!         from which it learns at once (docs/measurements.md), `Code` what the authors' code does
//!         (CIFAR recipes), `Literal` Eq. 5 as printed; every setting beside the preset wins.
//! See     `block` for inputs, outputs and errors.

use admix_api::mixer;
use admix_api::prelude::*;

use super::block::{
    Activation, Adjust, Attention, Block, Content, ContentOf, Encoding, Gamma, Initial, MixBlock, Order,
    Projection, Rescale, SameCluster, Upsample,
};

/// Where the values that are not given come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Preset {
    /// `Paper`, but its weights start large enough for an attention that is not uniform, gamma starts at 1, and each sample has a
    /// lambda of its own (`per: Sample`): the mixer learns from the first epoch on.
    #[default]
    Default,
    /// The paper, with the partner's content as in Fig. 4; weights start as in the authors' code.
    Paper,
    /// The authors' code with its CIFAR settings: separate projections, ELU, sigmoid last, gamma 1, rescale 0.25,
    /// lam_margin 0.08, no dropout.
    Code,
    /// Eq. 5 as printed: the own content gives the own mask.
    Literal,
}

settings_with_preset! {
    /// Recipe: `AMix(alpha: 2.0)`. The rows of the paper's Table 8, from `AutoMix`, add: adaptive lambda
    /// (`content: Linear, attention: Cross, upsample: Nearest`), non-linear content (`attention: Cross, upsample: Nearest`),
    /// global attention (`upsample: Nearest`), the variance of the mask loss, bilinear upsampling (the default) and
    /// lambda adjusting (`adjust: 1.0`).
    AMix as "AMix", preset Preset {
        /// The stage whose features it reads, from 1 (paper: l = 3).
        stage: usize,
        /// What a position attends to.
        attention: Attention,
        /// The weights of query and key.
        projection: Projection,
        /// The strength of lambda's encoding, in [0, 1].
        gamma: Gamma,
        /// A polynomial of lambda in front of the encoding.
        rescale: Rescale,
        /// How content is modelled.
        content: Content,
        /// Whose content is modelled.
        content_of: ContentOf,
        /// The activation of non-linear content.
        activation: Activation,
        /// Dropout of non-linear content, in [0, 0.99] (paper: 0.1).
        dropout: f64,
        /// Where the sigmoid stands.
        order: Order,
        /// How the mask grows to the size of the image.
        upsample: Upsample,
        /// In the encoder's lesson: where lambda or 1 - lambda is at most this, plain MixUp; in [0, 0.5]. 0 is never.
        lam_margin: f64,
        /// In the encoder's lesson: how often the mean of the mask is moved to lambda, in [0, 1].
        adjust: f64,
        /// Adjusting leaves means within this distance of lambda alone, in [0, 1] (the authors' self-supervised code: 0.1).
        adjust_margin: f64,
        /// In the encoder's lesson: what happens to pairs of one pseudo label.
        same_cluster: SameCluster,
        /// How the weights start.
        init: Initial,
        /// Whether the mix hands out `attention`, `value`, `mask_low`, `lambda_encoded`.
        extras: bool,
    }
}

impl AMix {
    /// The values of a preset.
    pub fn preset(preset: Preset) -> Self {
        let paper = Self {
            preset,
            stage: 3,
            attention: Attention::Global,
            projection: Projection::Shared,
            gamma: Gamma::Learnable,
            rescale: Rescale::Off,
            content: Content::NonLinear,
            content_of: ContentOf::Partner,
            activation: Activation::Relu,
            dropout: 0.1,
            order: Order::SigmoidFirst,
            upsample: Upsample::Bilinear,
            lam_margin: 0.0,
            adjust: 0.0,
            adjust_margin: 0.0,
            same_cluster: SameCluster::Keep,
            init: Initial::Normal(0.01),
            extras: false,
        };
        match preset {
            Preset::Default => Self { gamma: Gamma::LearnableFrom(1.0), init: Initial::FanIn(2.0), ..paper },
            Preset::Paper => paper,
            Preset::Code => Self {
                projection: Projection::Separate,
                gamma: Gamma::Constant(1.0),
                rescale: Rescale::Polynomial(0.25),
                activation: Activation::Elu,
                dropout: 0.0,
                order: Order::UpsampleFirst,
                lam_margin: 0.08,
                ..paper
            },
            Preset::Literal => Self { content_of: ContentOf::Own, ..paper },
        }
    }

    /// What the settings mean for the block.
    pub fn block(&self) -> Block {
        Block {
            plugin: "amix",
            stage: self.stage,
            encoding: Encoding::Scale(self.gamma, self.rescale),
            attention: self.attention,
            projection: self.projection,
            shared_name: "proj",
            content: self.content,
            content_of: self.content_of,
            activation: self.activation,
            dropout: self.dropout,
            order: self.order,
            upsample: self.upsample,
            adjust: Adjust {
                probability: self.adjust,
                margin: self.adjust_margin,
                lam_margin: self.lam_margin,
                same_cluster: self.same_cluster,
            },
            initial: self.init,
            extras: self.extras,
        }
    }
}

impl MixerConfig for AMix {
    fn needs(&self) -> Needs {
        self.block().needs()
    }

    fn validate(&self) -> Result<()> {
        self.block().validate()
    }

    /// The paper has one lambda for a batch.
    fn pairing(&self, entry: &Pairing) -> Pairing {
        let per = if self.preset == Preset::Default { entry.per } else { Per::Batch };
        Pairing { per, ..entry.clone() }
    }

    fn build(&self, path: &Path, context: &MixerContext) -> Result<Box<dyn Mixer>> {
        Ok(Box::new(MixBlock::new(self.block(), path, context)?))
    }
}

mixer! {
    AMix, "amix", "a trained mask from global attention over both images and lambda (Mix Block+)",
    source: "AMix paper, section 3.2, Eq. 5", pairing: Pairing { per: Per::Sample, ..Pairing::alpha(2.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use admix_api::Settings;
    use serde_json::json;

    #[test]
    fn what_a_recipe_gives_wins_over_the_preset() {
        let given: AMix = serde_json::from_value(json!({
            "preset": "Code", "gamma": {"Constant": 0.5}, "rescale": "Off", "upsample": "Nearest"
        }))
        .unwrap();
        let wanted = AMix {
            gamma: Gamma::Constant(0.5),
            rescale: Rescale::Off,
            upsample: Upsample::Nearest,
            ..AMix::preset(Preset::Code)
        };
        assert_eq!(given, wanted);
        assert_eq!(given.resolved()["activation"], "Elu", "the rest is the preset's");
        let back: AMix = serde_json::from_value(given.resolved()).unwrap();
        assert_eq!(back, given, "resolved settings read back as themselves");
    }

    #[test]
    fn unknown_settings_and_values_out_of_range_are_refused_by_name() {
        let wrong = serde_json::from_value::<AMix>(json!({"gama": "Learnable"})).unwrap_err().to_string();
        assert!(wrong.contains("gama") && wrong.contains("gamma"), "{wrong}");
        for (setting, value) in
            [("dropout", json!(1.0)), ("adjust", json!(1.5)), ("lam_margin", json!(0.6)), ("stage", json!(0))]
        {
            let config: AMix = serde_json::from_value(json!({ setting: value })).unwrap();
            let message = MixerConfig::validate(&config).unwrap_err().to_string();
            assert!(message.contains(setting), "{message}");
        }
        let config = AMix { rescale: Rescale::Polynomial(-1.0), ..AMix::default() };
        assert!(MixerConfig::validate(&config).unwrap_err().to_string().contains("rescale"));
    }
}
