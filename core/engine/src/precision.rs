//! What a step computes in.

use admix_torch::{Autocast, Device, Kind};
use serde::{Deserialize, Serialize};

use crate::Result;

/// What products and convolutions of networks, heads and mixers compute in, in steps and evaluations. Parameters, the
/// optimiser, momentum pairs, losses and checkpoints are float32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// 16-bit brain floats, by autocast.
    Bf16,
}

impl Precision {
    /// Its name on the command line: "bf16".
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
        }
    }

    /// Computes in this precision until the guard is dropped. It must be dropped before weights change.
    ///
    /// # Errors
    /// A device other than CPU and CUDA.
    pub(crate) fn enter(self, device: Device) -> Result<Option<Autocast>> {
        match self {
            Self::Fp32 => Ok(None),
            Self::Bf16 => Ok(Some(Autocast::enter(device, Kind::BFloat16)?)),
        }
    }

    /// Computes in the precision of the operands until the guard is dropped: for losses, and for backward passes, which
    /// follow the precision of their forward passes by themselves.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub(crate) fn leave(self, device: Device) -> Result<Option<Autocast>> {
        match self {
            Self::Fp32 => Ok(None),
            Self::Bf16 => Ok(Some(Autocast::off(device)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use admix_torch::Tensor;

    use super::*;

    #[test]
    fn products_are_lower_within_and_as_given_where_that_is_left() {
        let product = || {
            let ones = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
            ones.matmul(&ones).kind()
        };
        let _low = Precision::Bf16.enter(Device::Cpu).expect("a guard");
        assert_eq!(product(), Kind::BFloat16);
        {
            let _full = Precision::Bf16.leave(Device::Cpu).expect("a guard");
            assert_eq!(product(), Kind::Float);
        }
        assert_eq!(product(), Kind::BFloat16);
        assert!(Precision::Fp32.leave(Device::Cpu).expect("none").is_none());
    }
}
