//! A loss that is ready to be computed.

use admix_torch::{Autocast, Device, Tensor};
use serde_json::Value as Json;

use super::mixer::DrivenMix;
use crate::{Argument, Credit, Error, Loss, LossChoice, LossInput, Result};

/// One argument of a loss.
#[derive(Debug)]
pub enum Operand {
    /// A tensor; labels `[N]` int64 where a loss takes a target, keys `[N, D]` where it takes a contrast.
    Tensor(Tensor),
    /// What a mix stands for: the labels `[N, S]` or the keys `[N, S, D]` of its sources, and their shares `[N, S]`.
    Shared(Tensor, Tensor),
    /// The mask of a mix, `[N, 1, H, W]`, if it has one, and its lambda as planned, 0-dim or `[N]`.
    Mask(Option<Tensor>, Tensor),
}

impl Operand {
    /// The labels `[N]` int64 or keys `[N, D]` of the sources of a mix.
    ///
    /// # Errors
    /// Neither labels nor keys, or fewer than the mix has samples.
    pub fn shared(credit: &Credit, values: &Tensor) -> Result<Self> {
        if values.dim() == 1 {
            let (sources, shares) = credit.shares()?;
            let each = values.f_index_select(0, &sources.f_reshape([-1])?)?.f_reshape(sources.size())?;
            return Ok(Self::Shared(each, shares));
        }
        let (keys, shares) = credit.contrast(values)?;
        Ok(Self::Shared(keys, shares))
    }

    /// The mask of a mix, for losses of masks.
    pub fn mask(mix: &DrivenMix) -> Self {
        Self::Mask(mix.mixed.mask.as_ref().map(Tensor::shallow_clone), mix.lambda.shallow_clone())
    }

    /// Where it is computed.
    fn device(&self) -> Device {
        match self {
            Self::Tensor(tensor) | Self::Shared(tensor, _) => tensor.device(),
            Self::Mask(mask, lambda) => mask.as_ref().unwrap_or(lambda).device(),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Tensor(tensor) => format!("a tensor {:?} of {:?}", tensor.size(), tensor.kind()),
            Self::Shared(..) => "what the sources of a mix share".into(),
            Self::Mask(..) => "a mix".into(),
        }
    }
}

/// A loss that is ready to be computed.
#[derive(Debug)]
pub struct DrivenLoss {
    choice: LossChoice,
    loss: Box<dyn Loss>,
    arguments: Vec<Argument>,
}

impl DrivenLoss {
    pub(super) fn new(choice: LossChoice) -> Result<Self> {
        let loss = choice.config.build()?;
        let arguments = loss.arguments();
        Ok(Self { choice, loss, arguments })
    }

    /// The entry's name.
    pub fn name(&self) -> &str {
        &self.choice.plugin
    }

    /// Its settings in full, with its name as `plugin`.
    pub fn settings(&self) -> Json {
        self.choice.resolved()
    }

    /// What it takes, in order.
    pub fn arguments(&self) -> &[Argument] {
        &self.arguments
    }

    /// The value, a scalar, computed in float32 or better whatever the thread's autocast says.
    ///
    /// # Errors
    /// Another number of operands, one of another form, or shapes that do not fit.
    pub fn loss(&self, operands: Vec<Operand>) -> Result<Tensor> {
        let name = format!("the loss `{}`", self.name());
        if operands.len() != self.arguments.len() {
            let wanted: Vec<String> = self.arguments.iter().map(|argument| argument.describe()).collect();
            return Err(Error::plugin(
                name,
                format!("takes {}; it was given {} arguments", wanted.join(", then "), operands.len()),
            ));
        }
        let devices: Vec<Device> = operands.iter().map(Operand::device).collect();
        let device = devices.first().copied().unwrap_or(Device::Cpu);
        if let Some((place, other)) = devices.iter().enumerate().find(|(_, other)| **other != device) {
            let wanted = format!("on {device:?}, as the first");
            return Err(Error::range(
                format!("argument {} of {name}", place + 1),
                format!("on {other:?}"),
                wanted,
            ));
        }
        let mut input = LossInput::default();
        for (argument, operand) in self.arguments.iter().zip(operands) {
            input = match (argument, operand) {
                (Argument::Tensor(name), Operand::Tensor(tensor)) => input.with(name, tensor),
                (Argument::Target, Operand::Tensor(labels)) if labels.dim() == 1 => {
                    input.with_labels(&labels)?
                }
                (Argument::Contrast, Operand::Tensor(keys)) if keys.dim() == 2 => input.with_keys(&keys)?,
                (Argument::Target, Operand::Shared(labels, shares)) if labels.dim() == 2 => {
                    input.with("target.labels", labels).with("target.shares", shares)
                }
                (Argument::Contrast, Operand::Shared(keys, shares)) if keys.dim() == 3 => {
                    input.with("contrast.keys", keys).with("contrast.shares", shares)
                }
                (Argument::Mix, Operand::Mask(Some(mask), lambda)) => {
                    input.with("mask", mask).with("lambda", lambda)
                }
                (Argument::Mix, Operand::Mask(None, _)) => {
                    return Err(Error::missing(name, "mask", "only mixers with a mask can be given to it"));
                }
                (argument, operand) => {
                    let message = format!("expects {}, got {}", argument.describe(), operand.describe());
                    return Err(Error::plugin(name, message));
                }
            };
        }
        let _full = Autocast::off(device)?;
        self.loss.loss(&input.float32_or_better()?)
    }
}
