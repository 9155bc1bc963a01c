//! The content branch: one number for each position of a map.

use admix_api::prelude::*;

use super::conv::{Biased, Conv, conv};
use super::initial::Initial;
use super::projection::{Side, side};

/// How content is modelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Content {
    /// 1x1 convolution to C/2, BatchNorm, activation, 1x1 convolution to 1, dropout (AMix).
    NonLinear,
    /// One 1x1 convolution to 1 (AutoMix).
    Linear,
}

/// The activation between the two convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Activation {
    /// max(x, 0) (the paper).
    Relu,
    /// x or e^x - 1 (the authors' code).
    Elu,
}

/// Whose content is modelled, and whose mask comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ContentOf {
    /// The partner's map gives the partner's mask (the authors' code and Fig. 4).
    Partner,
    /// The own map gives the own mask (Eq. 5 as printed).
    Own,
}

/// BatchNorm over `[N, C, h, w]`: eps 1e-5, running momentum 0.1.
#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
}

#[derive(Debug)]
pub(super) struct Branch {
    first: Conv,
    /// Channels of the map, without constant ones.
    channels: i64,
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    norm: Norm,
    activation: Activation,
    last: Conv,
    dropout: f64,
}

/// The settings of a branch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BranchSettings {
    pub(super) content: Content,
    pub(super) activation: Activation,
    pub(super) dropout: f64,
    pub(super) initial: Initial,
}

impl Branch {
    /// `channels` of the map and `planes` constant ones beside it.
    pub(super) fn new(path: &Path, (channels, planes): (i64, i64), of: BranchSettings) -> Result<Self> {
        if of.content == Content::Linear {
            let first = Conv::new(path, 1, channels + planes, Biased::Yes, of.initial)?;
            return Ok(Self { first, channels, rest: None });
        }
        let width = channels / 2;
        let first = Conv::new(&path.sub("fc0"), width, channels + planes, Biased::No, of.initial)?;
        let bn = path.sub("bn");
        let norm = Norm {
            weight: bn.parameter("weight", &[width], Init::Constant(1.0), Hints::default())?,
            bias: bn.parameter("bias", &[width], Init::Constant(0.0), Hints::default())?,
            mean: bn.buffer("running_mean", &[width], 0.0)?,
            var: bn.buffer("running_var", &[width], 1.0)?,
        };
        let last = Conv::new(&path.sub("fc1"), 1, width, Biased::No, of.initial)?;
        let rest = Some(Rest { norm, activation: of.activation, last, dropout: of.dropout });
        Ok(Self { first, channels, rest })
    }

    /// The first convolution's kernels over the map alone, `[out, C, 1, 1]`.
    pub(super) fn kernels(&self) -> Result<Tensor> {
        Ok(self.first.weight.f_narrow(1, 0, self.channels)?)
    }

    /// Channels of the first convolution's output.
    pub(super) fn width(&self) -> i64 {
        self.first.weight.size()[0]
    }

    /// The value `[N, 1, h, w]` from the first convolution's output. In train mode the BatchNorm uses this batch and
    /// moves its running buffers, and dropout acts, drawn from the plan's `dropout_key`.
    pub(super) fn value(&self, of: &Side<'_>, train: bool, plan: &Planned) -> Result<Tensor> {
        let content = side(&self.first, of, self.channels)?;
        let Some(Rest { norm, activation, last, dropout }) = &self.rest else { return Ok(content) };
        let normed = content.f_batch_norm(
            Some(&norm.weight),
            Some(&norm.bias),
            Some(&norm.mean),
            Some(&norm.var),
            train,
            0.1,
            1e-5,
            true,
        )?;
        let active = match activation {
            Activation::Relu => normed.f_relu()?,
            Activation::Elu => normed.f_elu()?,
        };
        let value = conv(&active, &last.weight)?;
        if !train || *dropout == 0.0 {
            return Ok(value);
        }
        let field = uniform_field(&plan.get("dropout_key")?, &value.size())?;
        let kept = field.f_ge(*dropout)?.f_to_kind(value.kind())?.f_mul_scalar(1.0 / (1.0 - dropout))?;
        Ok(value.f_mul(&kept)?)
    }
}
