//! Every mixer and loss once, without the engine, into one file of tensors: what other doors to them are held against.
//! `cargo run --example mix_all -- FILE [--seed 0] [--epoch 0] [--step 0]`
use std::collections::BTreeMap;

use admix_api::{
    Argument, DrivenMix, Driver, Loss, MixInput, Mixer, MixerContext, Operand, Registry, Turn, unit,
};
use admix_torch::{Device, Kind, Tensor};
// Linked, or the registry is empty.
use admix_plugins as _;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
type Tensors = BTreeMap<String, Tensor>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |flag| arguments.iter().position(|a| a == flag).and_then(|at| arguments.get(at + 1));
    let number = |flag| value(flag).and_then(|v| v.parse().ok()).unwrap_or(0);
    let file = arguments.get(1).ok_or("name a file to write")?;
    admix_torch::set_threads(1);
    let context = MixerContext { feature_channels: Some(4), classes: 5, ..MixerContext::default() };
    let driver = Driver::new(Registry::linked()?, number("--seed")).knowing(context);
    let turn = || Turn::at(number("--epoch"), number("--step"));

    let given = inputs()?;
    let mut all = Tensors::new();
    for entry in driver.registry().of::<dyn Mixer>() {
        let settings = if entry.name == "choice" { entry.shown_settings() } else { json!({}) };
        let (mixer, mixed) = mix(&driver, &entry.name, &settings, &given, &turn())?;
        let mut put = |name: &str, tensor: &Tensor| {
            all.insert(format!("mixer.{}.{name}", entry.name), tensor.detach());
        };
        let (sources, shares) = mixed.mixed.credit.shares()?;
        for (name, tensor) in [("images", &mixed.mixed.images), ("sources", &sources), ("shares", &shares)] {
            put(name, tensor);
        }
        put("lam", &mixed.lambda);
        if let Some(mask) = &mixed.mixed.mask {
            put("mask", mask);
        }
        for (name, extra) in &mixed.mixed.extras {
            put(&format!("extras.{name}"), extra);
        }
        for (name, tensor) in mixer {
            put(&format!("tensors.{name}"), &tensor);
        }
    }
    let (_, cut) = mix(&driver, "cutmix", &json!({}), &given, &turn())?;
    for entry in driver.registry().of::<dyn Loss>() {
        let loss = driver.loss(&entry.name, &json!({}))?;
        let operands = loss.arguments().iter().map(|argument| {
            Ok(match argument {
                Argument::Tensor(name) => Operand::Tensor(given[*name].shallow_clone()),
                Argument::Target => Operand::shared(&cut.mixed.credit, &given["labels"])?,
                Argument::Contrast => Operand::shared(&cut.mixed.credit, &given["keys"])?,
                Argument::Mix => Operand::mask(&cut),
            })
        });
        let operands = operands.collect::<Outcome<_>>()?;
        all.insert(format!("loss.{}", entry.name), loss.loss(operands)?);
    }
    all.extend(given.into_iter().map(|(name, tensor)| (format!("given.{name}"), tensor)));
    // The format wants each tensor in memory of its own, without gaps.
    let all: Vec<(String, Tensor)> = all.into_iter().map(|(name, t)| (name, t.contiguous().copy())).collect();
    Ok(Tensor::write_safetensors(&all, file)?)
}

/// What mixers and losses read, the same at every start.
fn inputs() -> Outcome<Tensors> {
    let wave = |shape: &[i64], speed: f64| {
        let count = shape.iter().product::<i64>();
        (Tensor::arange(count, (Kind::Float, Device::Cpu)) * speed).sin().reshape(shape)
    };
    Ok(BTreeMap::from_iter([
        ("images".to_string(), wave(&[6, 3, 16, 16], 0.37)),
        ("saliency".to_string(), wave(&[6, 16, 16], 0.013).abs()),
        ("features".to_string(), wave(&[6, 4, 4, 4], 0.71)),
        ("labels".to_string(), Tensor::from_slice(&[0i64, 3, 1, 4, 2, 3])),
        ("pseudo".to_string(), Tensor::from_slice(&[0i64, 1, 0, 1, 1, 0])),
        ("logits".to_string(), wave(&[6, 5], 1.3) * 3.0),
        ("embedding".to_string(), unit(&wave(&[6, 8], 0.9))?),
        ("keys".to_string(), unit(&wave(&[6, 8], 1.1))?),
        ("queue".to_string(), wave(&[8, 7], 1.7)),
    ]))
}

/// The tensors of a mixer, and its mix.
fn mix(
    driver: &Driver,
    name: &str,
    settings: &Value,
    given: &Tensors,
    turn: &Turn,
) -> Outcome<(Vec<(String, Tensor)>, DrivenMix)> {
    let mut mixer = driver.mixer(name, settings)?;
    let (must, _) = mixer.needs().keys();
    let reads = |name: &str| given.get(name).filter(|_| must.contains(&name));
    let mixed = mixer.mix(&MixInput::named(&given["images"], false, reads), turn)?;
    Ok((mixer.store().tensors(), mixed))
}
