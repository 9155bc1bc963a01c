//! The data that networks and mixers are built for.

use admix_data::{Info, TrainSplit};
use admix_torch::{Device, Kind, Tensor};

use crate::Result;

/// The data that networks and mixers are built for.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Image channels.
    pub channels: i64,
    /// Number of classes.
    pub classes: i64,
    /// Number of training images; 0 if unknown.
    pub samples: usize,
    /// Which images are trained on: only `Train` are all labelled.
    pub split: TrainSplit,
    /// Mean of each channel that images are normalised by, pixels in [0, 1]. Empty: they are not.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, in the same way.
    pub std: Vec<f64>,
}

impl Shape {
    /// Data of which no more is known: images that are not normalised.
    pub fn new(channels: i64, classes: i64) -> Self {
        Self { channels, classes, samples: 0, split: TrainSplit::Train, mean: Vec::new(), std: Vec::new() }
    }

    /// That of a data set.
    pub fn of(info: &Info) -> Self {
        let wide = |numbers: &[f32]| numbers.iter().map(|number| f64::from(*number)).collect();
        let plain = Self::new(info.channels, info.classes as i64);
        Self { samples: info.train, split: info.split, mean: wide(&info.mean), std: wide(&info.std), ..plain }
    }

    /// Mean and standard deviation, `[1, C, 1, 1]`.
    pub(super) fn normalisation(&self, device: Device) -> Result<(Tensor, Tensor)> {
        let each = |given: &[f64], otherwise: f64| -> Result<Tensor> {
            let all = if given.is_empty() { vec![otherwise; self.channels as usize] } else { given.to_vec() };
            let all = Tensor::f_from_slice(&all)?.f_to_kind(Kind::Float)?;
            Ok(all.f_reshape([1, -1, 1, 1])?.f_to_device(device)?)
        };
        Ok((each(&self.mean, 0.0)?, each(&self.std, 1.0)?))
    }
}
