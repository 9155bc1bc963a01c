//! Numbers as tensors.

use tch::{Device, Kind, Tensor};

/// A 0-dim float32 tensor on `device`: a learning rate, a weight, a flag that operations read without the
/// host.
///
/// # Panics
/// If `device` does not exist or is out of memory.
pub fn scalar(value: f64, device: Device) -> Tensor {
    Tensor::full([0i64; 0], value, (Kind::Float, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_has_no_axes_and_is_float32() {
        let half = scalar(0.5, Device::Cpu);
        assert_eq!((half.size(), half.kind(), half.double_value(&[])), (vec![], Kind::Float, 0.5));
    }
}
