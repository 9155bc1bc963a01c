//! Host numbers on the device.

use admix_torch::{Device, Tensor};

use crate::Result;

/// Copies numbers to the device without waiting for it.
pub(crate) fn upload(values: &[i64], device: Device) -> Result<Tensor> {
    Ok(admix_torch::upload(&Tensor::f_from_slice(values)?, device)?)
}
