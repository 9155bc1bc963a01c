//! A generated set that a small network learns in seconds: each class is a grating of its own direction and colour.
//!
//! Image i of a split is drawn from its own stream, so sizes do not shift contents.

use std::f64::consts::{PI, TAU};

use admix_api::Draws;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::kind::{About, DatasetSource, Wanted};
use crate::Result;
use crate::source::{Contents, Images, Part, Source};

/// Size of the generated set.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Toy {
    /// Number of classes.
    pub classes: usize,
    /// Number of training images.
    pub train: usize,
    /// Number of test images.
    pub test: usize,
    /// Height and width in pixels.
    pub size: i64,
    /// Number of channels.
    pub channels: i64,
}

impl Default for Toy {
    fn default() -> Self {
        Self { classes: 4, train: 512, test: 128, size: 16, channels: 3 }
    }
}

crate::dataset! {
    Toy, "toy",
    "coloured gratings made on the spot from the run's seed; its size is set in the recipe (data.toy)",
    source: "made for tests"
}

impl DatasetSource for Toy {
    fn validate(&self) -> admix_api::Result<()> {
        const MOST: u64 = 1 << 30;
        let refuse = |what: &str, got: String, wanted: &str| {
            Err(admix_api::Error::Range { what: what.into(), got, wanted: wanted.into() })
        };
        if !(2..=1000).contains(&self.classes) {
            return refuse("classes", self.classes.to_string(), "2 to 1000");
        }
        if self.train < self.classes {
            return refuse("train", self.train.to_string(), "at least one image per class");
        }
        if self.test == 0 {
            return refuse("test", self.test.to_string(), "at least 1");
        }
        if !(4..=512).contains(&self.size) {
            return refuse("size", self.size.to_string(), "4 to 512 pixels");
        }
        if !(1..=16).contains(&self.channels) {
            return refuse("channels", self.channels.to_string(), "1 to 16");
        }
        let image = (self.size * self.size * self.channels) as u64;
        let bytes = (self.train as u64).saturating_add(self.test as u64).saturating_mul(image);
        if bytes > MOST {
            let got = format!("{} (with the test images {bytes} bytes of pixels)", self.train);
            return refuse("train", got, "so few images that their pixels are at most 1 GiB");
        }
        Ok(())
    }

    fn about(&self) -> About {
        About {
            classes: self.classes,
            class_names: (0..self.classes).map(|class| format!("grating {class}")).collect(),
            shape: [self.channels, self.size, self.size],
            mean: vec![0.5; self.channels as usize],
            std: vec![0.25; self.channels as usize],
            train: self.train,
            test: self.test,
            unlabelled: 0,
            folds: 0,
        }
    }

    fn load(&self, wanted: Wanted<'_>) -> Result<Contents> {
        let &Self { classes, train, test, size, channels } = self;
        let split = |name: &str, n: usize| -> Result<Part> {
            let mut images = Images { labels: Vec::with_capacity(n), pixels: Vec::new() };
            for i in 0..n {
                images.labels.push((i % classes) as u16);
                let mut draws = wanted.streams.draws("toy", name, 0, i as u64);
                grating(i % classes, self, &mut draws, &mut images.pixels);
            }
            Part::new(&images, channels, size, size)
        };
        let info = self.about().info("toy", (train, test), "generated from the seed".into());
        Ok(Source { train: split("train", train)?, test: split("test", test)?, unlabelled: None, info }
            .into())
    }

    fn resolved(&self) -> Json {
        json!(self)
    }
}

/// Appends one image `[C, H, W]`: a wave in the class's direction, of random phase, in the class's colour, with noise.
fn grating(class: usize, config: &Toy, draws: &mut Draws, pixels: &mut Vec<u8>) {
    let share = class as f64 / config.classes as f64;
    let (across, down) = ((PI * share).cos(), (PI * share).sin());
    let cycles = 2.0 + (class % 2) as f64;
    let phase = TAU * draws.uniform();
    let strength = 0.25 + 0.15 * draws.uniform();
    for channel in 0..config.channels {
        let colour = 0.5 + 0.25 * (TAU * (share + channel as f64 / 3.0)).cos();
        for y in 0..config.size {
            for x in 0..config.size {
                let place = (across * x as f64 + down * y as f64) / config.size as f64;
                let wave = strength * (TAU * cycles * place + phase).sin();
                let value = colour + wave + 0.05 * draws.normal();
                pixels.push((255.0 * value.clamp(0.0, 1.0)).round() as u8);
            }
        }
    }
}
