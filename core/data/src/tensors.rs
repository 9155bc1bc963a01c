//! Host numbers on the device.

use admix_torch::{Device, Tensor};

use crate::Result;

/// Scale and shift of each channel, `[1, C, 1, 1]`: pixel * scale + shift is the normalised value.
pub(crate) fn per_channel(mean: &[f32], std: &[f32], device: Device) -> Result<(Tensor, Tensor)> {
    let channels = || mean.iter().zip(std).map(|(&mean, &std)| (f64::from(mean), f64::from(std)));
    let scale: Vec<f32> = channels().map(|(_, std)| (1.0 / (255.0 * std)) as f32).collect();
    let shift: Vec<f32> = channels().map(|(mean, std)| (-mean / std) as f32).collect();
    let tensor = |values: &[f32]| -> Result<Tensor> {
        Ok(Tensor::f_from_slice(values)?.f_view([1, values.len() as i64, 1, 1])?.f_to_device(device)?)
    };
    Ok((tensor(&scale)?, tensor(&shift)?))
}

/// Copies numbers to the device without waiting for it.
pub(crate) fn upload(values: &[i64], device: Device) -> Result<Tensor> {
    Ok(admix_torch::upload(&Tensor::f_from_slice(values)?, device)?)
}
