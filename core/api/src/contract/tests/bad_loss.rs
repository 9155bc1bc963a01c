//! A loss of logits, a teacher's logits, a target and a mix, with at most one vice.

use std::cell::Cell;

use crate::Autocast;
use crate::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(super) enum Vice {
    #[default]
    None,
    TargetOnly,
    FailsToBuild,
    PanicsInArguments,
    NoArguments,
    Fails,
    Panics,
    NotScalar,
    HalfValue,
    Undefined,
    Overflows,
    NanGradient,
    NoGraph,
    WrongGradient,
    WritesTarget,
    Waits,
    Counts,
    DrawsGlobally,
    LeavesGradOff,
    LeavesAutocast,
    StaysLow,
    PairsOnly,
}

/// Recipe: `BadLoss(vice: Fails)`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BadLoss {
    /// What it does wrong.
    pub(super) vice: Vice,
}

crate::loss! { BadLoss, "bad_loss", "a loss with a vice", source: "no paper" }

#[derive(Debug)]
struct Losing {
    vice: Vice,
    calls: Cell<i64>,
}

impl LossConfig for BadLoss {
    fn build(&self) -> Result<Box<dyn Loss>> {
        if self.vice == Vice::FailsToBuild {
            return Err(Error::plugin("bad_loss", "no build"));
        }
        Ok(Box::new(Losing { vice: self.vice, calls: Cell::new(0) }))
    }
}

impl Loss for Losing {
    fn arguments(&self) -> Vec<Argument> {
        match self.vice {
            Vice::PanicsInArguments => panic!("no arguments"),
            Vice::NoArguments => vec![],
            Vice::TargetOnly => vec![Argument::Target],
            _ => {
                vec![Argument::Tensor("logits"), Argument::Tensor("teacher"), Argument::Target, Argument::Mix]
            }
        }
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        self.calls.set(self.calls.get() + 1);
        let shares = input.get("target.shares")?;
        if self.vice == Vice::TargetOnly {
            return Ok(shares.f_mean(None)?);
        }
        let wide = |tensor: &Tensor| match tensor.kind() {
            Kind::BFloat16 => tensor.f_to_kind(Kind::Float),
            _ => tensor.f_to_kind(tensor.kind()),
        };
        let (logits, teacher) = (wide(input.get("logits")?)?, wide(input.get("teacher")?)?);
        let mask = wide(input.get("mask")?)?;
        match self.vice {
            Vice::Fails => {
                return Err(Error::plugin("bad_loss", "no loss"));
            }
            Vice::Panics => panic!("no loss at all"),
            Vice::PairsOnly if shares.size2()?.1 != 2 => {
                return Err(Error::plugin("bad_loss", "pairs only"));
            }
            Vice::WritesTarget => drop(shares.shallow_clone().f_fill_(0.25)?),
            Vice::Waits => drop(logits.detach().f_mean(None)?.double_value(&[])),
            Vice::DrawsGlobally => drop(Tensor::rand([1], (Kind::Float, Device::Cpu))),
            Vice::LeavesGradOff => std::mem::forget(no_grad()),
            Vice::LeavesAutocast => {
                std::mem::forget(Autocast::enter(Device::Cpu, Kind::BFloat16).map_err(Error::from)?);
            }
            _ => {}
        }
        let likelihood = logits.f_log_softmax(1, None)?;
        let own = likelihood.f_gather(1, input.get("target.labels")?, false)?;
        let distance = logits.f_sub(&teacher)?.f_mul_scalar(1e-3)?.f_square()?.f_mean(None)?;
        let value = own
            .f_mul(shares)?
            .f_mean(None)?
            .f_neg()?
            .f_add(&distance)?
            .f_add(&mask.f_mean(None)?.f_sub(&input.get("lambda")?.f_mean(None)?)?.f_square()?)?;
        Ok(match self.vice {
            Vice::NotScalar => value.f_reshape([1])?,
            Vice::HalfValue if value.kind() == Kind::Float => value.f_to_kind(Kind::Half)?,
            Vice::Undefined => Tensor::new(),
            Vice::Overflows => value.f_add(&logits.f_exp()?.f_mean(None)?)?,
            Vice::NanGradient => value.f_add(&logits.f_square()?.f_sqrt()?.f_mean(None)?)?,
            Vice::NoGraph => value.detach(),
            Vice::WrongGradient => value.f_mul_scalar(2.0)?.f_sub(&value.detach())?,
            Vice::Counts => value.f_add_scalar(self.calls.get())?,
            Vice::StaysLow if input.get("logits")?.kind() == Kind::BFloat16 => {
                value.f_to_kind(Kind::BFloat16)?
            }
            _ => value,
        })
    }
}
