//! Holds networks of ours against those of PyTorch libraries: `cargo xtask interop` writes the files that it reads, and loads
//! those that it writes.
//!
//! For each entry of `FOLDER/networks.json` it builds the backbone, fills it from each kind of file of the library's, and compares
//! the logits in evaluation mode with the stored ones. Then it moves all weights and exports them in each kind of file,
//! with the logits that the library must give.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to its user")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use admix_api::{Choice, Registry, erased_serde};
use admix_engine::{Clock, Export, Images, Method, Pick, Recipe, Session, Shape, Target, bundled};
use admix_models::{Backbone, Network, load_safetensors, save_safetensors};
use admix_torch::{Device, Kind, Tensor};
use admix_weights::{Matching, WeightFile};
use serde::Deserialize;

/// The largest difference of logits, relative to the largest logit.
const LIMIT: f64 = 1e-5;
/// The ends of the names of the library's files.
const KINDS: [&str; 2] = ["safetensors", "pth"];

/// A network of a library's.
#[derive(Debug, Deserialize)]
struct Case {
    /// Its name there, which its files have.
    name: String,
    /// "torchvision" or "timm", or the code that the names are from.
    library: String,
    /// The backbone here.
    backbone: String,
    /// Its settings.
    settings: serde_json::Value,
    /// Values that are learned there.
    parameters: usize,
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
    println!(
        "read here:\n| network | library | here | learned values | largest difference |\n|---|---|---|---|---|"
    );
    let mut failed = 0;
    for case in &cases {
        let (gap, parameters) = hold(case, folder).map_err(|error| format!("{}: {error}", case.name))?;
        // A difference that is no number fails too.
        let fits = gap <= LIMIT && parameters == case.parameters;
        failed += usize::from(!fits);
        let Case { name, library, backbone, settings, .. } = case;
        let verdict = if fits { "" } else { " FAILED" };
        println!("| {name} | {library} | {backbone} {settings} | {parameters} | {gap:.1e}{verdict} |");
    }
    Ok(failed)
}

/// Reads the library's files, and writes files for it. Gives the largest difference of logits and the number of learned values.
fn hold(case: &Case, folder: &Path) -> Outcome<(f64, usize)> {
    let stored = load_safetensors(folder.join(format!("{}.io.safetensors", case.name)), Device::Cpu)?;
    let stored = |name: &str| -> Outcome<Tensor> {
        let found = stored.iter().find(|(own, _)| own == name);
        Ok(found.ok_or_else(|| format!("no `{name}` is stored"))?.1.shallow_clone())
    };
    let (images, wanted) = (stored("images")?, stored("logits")?);
    let (recipe, session) = built(case, images.size()[1], wanted.size()[1])?;
    let mut gap: f64 = 0.0;
    for kind in KINDS {
        fill(&recipe, &session, &folder.join(format!("{}.{kind}", case.name)))?;
        let logits = forward(&session, &images)?;
        let largest = |t: &Tensor| -> Outcome<f64> { Ok(t.f_abs()?.f_max()?.f_double_value(&[])?) };
        let now = largest(&logits.f_sub(&wanted)?)? / largest(&wanted)?;
        // Not `max`, which passes over what is no number.
        gap = if now <= gap { gap } else { now };
    }
    move_all(&session)?;
    let pick = Pick::of(&recipe, &session, None, None)?;
    let export = Export::of(&session, &recipe, &pick, Some(&case.library))?;
    let (mean, std) = (vec![0.0; 3], vec![1.0; 3]);
    let (data, classes) = ("made up".to_owned(), Vec::new());
    let [_, channels, height, width] = images.size()[..] else { return Err("images of four axes".into()) };
    let about = Images { data, channels, height, width, mean, std, classes, fit: None };
    for kind in KINDS {
        let path = folder.join(format!("{}.ours.{kind}", case.name));
        std::fs::write(&path, export.content(Target::of(&path, Some(&case.library))?, &about)?)?;
    }
    let answers =
        [("images".to_owned(), images.shallow_clone()), ("logits".into(), forward(&session, &images)?)];
    save_safetensors(folder.join(format!("{}.ours.io.safetensors", case.name)), &answers, &BTreeMap::new())?;
    Ok((gap, export.parameters))
}

/// A session of this backbone with one head.
fn built(case: &Case, channels: i64, classes: i64) -> Outcome<(Recipe, Session)> {
    let registry: Registry = admix_engine::registry()?;
    let (entry, reader) = registry.find::<dyn Backbone>(&case.backbone)?;
    let mut settings = <dyn erased_serde::Deserializer<'_>>::erase(case.settings.clone());
    let config = (reader.read)(&mut settings)?;
    let mut recipe = Recipe::parse(r#"(epochs: 1, method: "mixup")"#, "interop", &[], &registry)?;
    recipe.model = Choice::new(&entry.name, (), Rc::from(config));
    let method = Method::compile(bundled::script("mixup").ok_or("no script")?.0, "mixup")?;
    let clock = Clock { step: 0, steps: 1, epoch: 0, epochs: 1 };
    let session =
        Session::build(&recipe, method, &registry, Shape::new(channels, classes), clock, Device::Cpu)?;
    Ok((recipe, session))
}

fn forward(session: &Session, images: &Tensor) -> Outcome<Tensor> {
    let world = session.world();
    let network: &Network = &world.nets[0].network;
    Ok(network.forward_eval(images)?.remove(0).1)
}

/// Fills every tensor from a file.
fn fill(recipe: &Recipe, session: &Session, path: &Path) -> Outcome<()> {
    let file = WeightFile::open(path)?;
    let world = session.world();
    let tensors = world.nets[0].store.tensors();
    let of_backbone = |(name, tensor): &(String, Tensor)| {
        name.strip_prefix("backbone.").map(|own| (own.to_owned(), tensor.size()))
    };
    let own: Vec<_> = tensors.iter().filter_map(of_backbone).collect();
    let namings = recipe.model.config.namings();
    let matching =
        Matching { file: &file, own: &own, namings: &namings, prefix: None, misfit: &|_, _, _| None };
    let found = matching.find()?;
    let _guard = admix_torch::no_grad();
    for (name, mut tensor) in tensors {
        let theirs = match (name.strip_prefix("backbone."), name.strip_prefix("head.one.fc.")) {
            (Some(own), _) => found.names[own].clone(),
            (_, Some(leaf)) => format!("{}.{leaf}", found.naming.classifier),
            _ => return Err(format!("`{name}` is in no library").into()),
        };
        // Else what the file before it left would do.
        let _ = tensor.f_fill_(f64::NAN)?;
        tensor.f_copy_(&file.weight(&theirs, &tensor.size())?)?;
    }
    Ok(())
}

/// Moves every weight and running value a little; variances stay above 0.
fn move_all(session: &Session) -> Outcome<()> {
    let _guard = admix_torch::no_grad();
    for (_, mut tensor) in session.world().nets[0].store.tensors() {
        let wave = Tensor::f_arange(tensor.numel() as i64, (Kind::Float, Device::Cpu))?
            .f_mul_scalar(0.37)?
            .f_sin()?;
        let factor = wave.f_mul_scalar(0.1)?.f_exp()?.f_reshape(tensor.size())?;
        let _ = tensor.f_mul_(&factor)?;
    }
    Ok(())
}
