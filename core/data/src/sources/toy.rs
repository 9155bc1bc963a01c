//! A generated set that a small network learns in seconds: each class is a grating of its own direction and colour.
//!
//! Image i of a split is drawn from its own stream, so sizes do not shift contents.

use std::f64::consts::{PI, TAU};

use admix_api::{Draws, Streams};

use super::{Images, Part, Source};
use crate::config::ToyConfig;
use crate::{Info, Result, TrainSplit};

pub(crate) fn load(config: &ToyConfig, streams: Streams) -> Result<Source> {
    let &ToyConfig { classes, train, test, size, channels } = config;
    let split = |name: &str, n: usize| -> Result<Part> {
        let mut images = Images { labels: Vec::with_capacity(n), pixels: Vec::new() };
        for i in 0..n {
            images.labels.push((i % classes) as u16);
            let mut draws = streams.draws("toy", name, 0, i as u64);
            grating(i % classes, config, &mut draws, &mut images.pixels);
        }
        Part::new(&images, channels, size, size)
    };
    let info = Info {
        name: "toy".into(),
        classes,
        class_names: (0..classes).map(|class| format!("grating {class}")).collect(),
        channels,
        height: size,
        width: size,
        mean: vec![0.5; channels as usize],
        std: vec![0.25; channels as usize],
        train,
        test,
        unlabelled: 0,
        split: TrainSplit::Train,
        source: "generated from the seed".into(),
    };
    Ok(Source { train: split("train", train)?, test: split("test", test)?, unlabelled: None, info })
}

/// Appends one image `[C, H, W]`: a wave in the class's direction, of random phase, in the class's colour, with noise.
fn grating(class: usize, config: &ToyConfig, draws: &mut Draws, pixels: &mut Vec<u8>) {
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
