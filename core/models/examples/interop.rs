//! Holds networks of ours against those of PyTorch libraries: `cargo xtask interop` writes the files that it reads.
//!
//! For each line of `FOLDER/networks.json` it builds the backbone, fills it from the library's weights by the names of
//! [`BackboneConfig::namings`], and compares the logits in evaluation mode with the stored ones.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to its user")]

use std::path::Path;
use std::process::ExitCode;

use admix_api::{Registry, Store, Streams, erased_serde};
use admix_models::{Backbone, BackboneConfig, Naming, Network, load_safetensors};
use admix_torch::{Device, Tensor};
use serde::Deserialize;

/// The largest difference of logits, relative to the largest logit.
const LIMIT: f64 = 1e-5;

/// A network of a library's.
#[derive(Debug, Deserialize)]
struct Case {
    /// Its name there, which its files have.
    name: String,
    /// "torchvision" or "timm"; "none" for code whose names are ours.
    library: String,
    /// The backbone here.
    backbone: String,
    /// Its settings.
    settings: serde_json::Value,
    /// Where the classifier is, for code of no library.
    classifier: Option<String>,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("error: expected the folder that `cargo xtask interop` wrote");
        return ExitCode::from(2);
    };
    match run(Path::new(&folder)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("error: {failed} networks give other logits than {LIMIT:e} allows");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path) -> Outcome<usize> {
    let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(folder.join("networks.json"))?)?;
    println!("| network | library | here | largest difference |\n|---|---|---|---|");
    let mut failed = 0;
    for case in &cases {
        let gap = compare(case, folder).map_err(|error| format!("{}: {error}", case.name))?;
        // A difference that is no number fails too.
        let fits = gap <= LIMIT;
        failed += usize::from(!fits);
        let Case { name, library, backbone, settings, .. } = case;
        println!(
            "| {name} | {library} | {backbone} {settings} | {gap:.1e}{} |",
            if fits { "" } else { " FAILED" }
        );
    }
    Ok(failed)
}

fn compare(case: &Case, folder: &Path) -> Outcome<f64> {
    let registry = Registry::linked()?;
    let (_, reader) = registry.find::<dyn Backbone>(&case.backbone)?;
    let mut settings = <dyn erased_serde::Deserializer<'_>>::erase(case.settings.clone());
    let config = (reader.read)(&mut settings)?;
    let weights = load_safetensors(folder.join(format!("{}.safetensors", case.name)), Device::Cpu)?;
    let stored = load_safetensors(folder.join(format!("{}.io.safetensors", case.name)), Device::Cpu)?;
    let stored = |name: &str| -> Outcome<Tensor> {
        let found = stored.iter().find(|(own, _)| own == name);
        Ok(found.ok_or_else(|| format!("no `{name}` is stored"))?.1.shallow_clone())
    };
    let (images, wanted) = (stored("images")?, stored("logits")?);
    let store = Store::new(Device::Cpu, Streams::new(1));
    let heads = ["one".to_string()];
    let network = Network::build(&store.root(), config.as_ref(), &heads, wanted.size()[1], images.size()[1])?;
    fill(&store, &weights, &naming(case, config.as_ref())?, case.classifier.as_deref())?;
    let logits = network.forward_eval(&images)?.remove(0).1;
    let largest = |t: &Tensor| -> Outcome<f64> { Ok(t.f_abs()?.f_max()?.f_double_value(&[])?) };
    Ok(largest(&logits.f_sub(&wanted)?)? / largest(&wanted)?)
}

fn naming(case: &Case, config: &dyn BackboneConfig) -> Outcome<Naming> {
    if case.library == "none" {
        return Ok(Naming::same(&[], ""));
    }
    let found = config.namings().into_iter().find(|one| one.libraries.contains(&case.library.as_str()));
    Ok(found.ok_or_else(|| format!("{} does not know the names of {}", case.backbone, case.library))?)
}

/// Fills every tensor here; every tensor there must have been used.
fn fill(
    store: &Store,
    weights: &[(String, Tensor)],
    naming: &Naming,
    classifier: Option<&str>,
) -> Outcome<()> {
    let classifier = classifier.unwrap_or(naming.classifier);
    let of_backbone = |name: &str| name.strip_prefix("backbone.").map(|own| (naming.name)(own));
    let of_head = |name: &str| name.strip_prefix("head.one.fc.").map(|leaf| format!("{classifier}.{leaf}"));
    let mut used = 0;
    let _guard = admix_torch::no_grad();
    for (name, mut tensor) in store.tensors() {
        let theirs = of_backbone(&name).or_else(|| of_head(&name)).unwrap_or_default();
        let found = weights.iter().find(|(own, _)| *own == theirs);
        let (_, value) = found.ok_or_else(|| format!("`{name}` would be `{theirs}`, which is not there"))?;
        let size = tensor.size();
        let there = name.strip_prefix("backbone.").map_or(size.clone(), |own| (naming.shape)(own, &size));
        if value.size() != there {
            return Err(format!("`{theirs}` is {:?}, expected {there:?}", value.size()).into());
        }
        tensor.f_copy_(&value.f_reshape(&size)?)?;
        used += 1;
    }
    let rest = weights.iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")).count();
    if rest != used { Err(format!("{used} of its {rest} tensors were used").into()) } else { Ok(()) }
}
