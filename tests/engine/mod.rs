//! The engine through its public objects.

mod backbones;
mod capture;
mod choice;
mod context;
mod contrast;
mod contrast_mixers;
mod driver;
mod extremes;
mod freeze;
mod from_maps;
mod gradients;
mod heads;
mod hidden;
mod keeping;
mod method;
mod mixer_losses;
mod mutants;
mod pairing;
mod parts;
mod policies;
mod precision;
mod puzzlemix;
mod recompute;
mod recorded;
mod resting;
mod resumed;
mod scripts;
mod shares;
mod skipped;
mod syncs;
mod tokens;
mod toy;
mod two_views;
mod words;

use std::collections::BTreeMap;

use admix_data::Batch;
use admix_engine::{Clock, Method, Recipe, Session, Shape};
use admix_torch::{Device, Kind, Tensor};

/// A small recipe with two networks and an AMix mixer that drops out.
pub const AMIX: &str = r#"(
    epochs: 2, batch: 8, method: "amix", heads: ["one", "mix"], seed: 3,
    model: ConvNet(widths: [8, 16, 16], strides: [2, 2, 1]),
    pairs: [(from: "q", to: "k", momentum: 0.9)],
    mixers: {"amix": AMix(stage: 2, dropout: 0.2)},
    optimizer: Sgd(lr: 0.05),
)"#;

pub fn recipe(text: &str) -> Result<Recipe, admix_engine::Error> {
    Recipe::parse(text, "test.ron", &[], &admix_engine::registry().expect("a registry"))
}

/// A session of `steps` steps on `[N, 3, 16, 16]` images of 5 classes.
pub fn session(text: &str, script: &str, steps: u64) -> Result<Session, admix_engine::Error> {
    // Tests run side by side: more threads in each only get in each other's way.
    admix_torch::set_threads(1);
    let recipe = recipe(text)?;
    let method = Method::compile(script, "test.rhai")?;
    let clock = Clock { step: 0, steps, epoch: 0, epochs: recipe.epochs };
    let shape = Shape::new(3, 5);
    Session::build(&recipe, method, &admix_engine::registry().expect("a registry"), shape, clock, Device::Cpu)
}

/// A batch of its own for each number.
pub fn batch(number: i64, n: i64) -> Batch {
    let count = n * 3 * 16 * 16;
    let ramp = Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.37 + number as f64;
    let images = ramp.sin().reshape([n, 3, 16, 16]);
    let labels = (Tensor::arange(n, (Kind::Int64, Device::Cpu)) + number).remainder(5);
    Batch::new(images, labels, Tensor::arange(n, (Kind::Int64, Device::Cpu)))
}

/// Names of tensors that differ in a single bit.
pub fn differing(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>) -> Vec<String> {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    a.iter().filter(|(name, tensor)| !tensor.equal(&b[*name])).map(|(name, _)| name.clone()).collect()
}
