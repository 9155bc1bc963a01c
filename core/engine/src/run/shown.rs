//! The images that a dataset shows to a network.

use admix_data::{Dataset, Info};

use crate::run::Images;

impl Images {
    /// Those that a dataset shows to a network.
    pub fn of(dataset: &Dataset) -> Self {
        let (height, width) = dataset.view_size();
        let Info { name, channels, mean, std, class_names, .. } = dataset.info();
        // By their digits: 0.485 is what was meant, not 0.48500001430511475.
        let digits =
            |all: &[f32]| all.iter().map(|one| one.to_string().parse().unwrap_or_default()).collect();
        Self {
            data: name.clone(),
            channels: *channels,
            height,
            width,
            mean: digits(mean),
            std: digits(std),
            classes: class_names.clone(),
            fit: Some(dataset.fit()),
        }
    }
}
