//! The tensors of a trained network, by the names of a library.

use std::collections::BTreeMap;

use admix_models::Naming;
use admix_torch::Tensor;
use admix_weights::{NORMALISATION, Normalisation, detectron2, detectron2_name, torch_save};

use super::pick::Pick;
use super::target::Target;
use crate::recipe::Recipe;
use crate::run::Images;
use crate::session::Session;
use crate::text::list;
use crate::world::Net;
use crate::{Error, Result};

/// This program's own names.
const OWN: &str = "admix";
/// Another word for them, which also says how the file is written.
const SAFETENSORS: &str = "safetensors";
const DETECTRON2: &str = "detectron2";
const TORCHVISION: &str = "torchvision";

/// A trained network, named for others.
#[derive(Debug)]
pub struct Export {
    /// Whose names its tensors have: "torchvision".
    pub format: String,
    /// By name, backbone first.
    pub tensors: Vec<(String, Tensor)>,
    /// Values that are learned.
    pub parameters: usize,
    /// The classifier that is among them: "fc".
    pub classifier: Option<String>,
    /// Parts of the network that the format has no place for: "neck", "head.one".
    pub left_out: Vec<String>,
}

impl Export {
    /// A network of a session. Without a format: torchvision's, or that of the first library which has the backbone.
    ///
    /// # Errors
    /// No library of this name has the backbone.
    pub fn of(session: &Session, recipe: &Recipe, pick: &Pick, format: Option<&str>) -> Result<Self> {
        let world = session.world();
        let net = world.nets.iter().find(|net| net.name == pick.net);
        let net = net.ok_or_else(|| Error::Input(format!("there is no network `{}`", pick.net)))?;
        let model = recipe.model_of(&pick.net);
        let namings = model.config.namings();
        let known: Vec<&str> = namings.iter().flat_map(|naming| naming.libraries).copied().collect();
        let chosen = match format {
            Some(format) => format,
            None => known.iter().find(|one| **one == TORCHVISION).or(known.first()).copied().unwrap_or(OWN),
        };
        let of = |library: &str| namings.iter().find(|naming| naming.libraries.contains(&library));
        let mut export = match (chosen, of(chosen)) {
            (OWN | SAFETENSORS, _) => Self::named(net, OWN, |name, tensor| Ok(Some((name.into(), tensor))))?,
            (DETECTRON2, _) => Self::for_detector(net, of(TORCHVISION), &model.plugin)?,
            (_, Some(naming)) => Self::for_library(net, chosen, naming, pick)?,
            (_, None) => {
                return Err(Error::Input(format!(
                    "--format {chosen}: no {} is known by that name; expected {}, admix (its own names) or detectron2 (ResNet \
                     and ResNeXt)",
                    model.plugin,
                    list(&known)
                )));
            }
        };
        let is_learned = |name: &str| !name.contains("running_");
        let learned =
            export.tensors.iter().filter(|(name, tensor)| is_learned(name) && tensor.is_floating_point());
        export.parameters = learned.map(|(_, tensor)| tensor.numel()).sum();
        Ok(export)
    }

    /// The tensors that `name` names; those that it does not are left out.
    fn named(
        net: &Net,
        format: &str,
        name: impl Fn(&str, Tensor) -> Result<Option<(String, Tensor)>>,
    ) -> Result<Self> {
        let _guard = admix_torch::no_grad();
        let (mut tensors, mut left_out): (Vec<(String, Tensor)>, Vec<String>) = Default::default();
        for (own, tensor) in net.store.tensors() {
            match name(&own, tensor.f_detach()?)? {
                Some(named) => tensors.push(named),
                None => {
                    // "neck", "head.one"
                    let parts = if own.starts_with("head.") { 2 } else { 1 };
                    left_out.push(own.split('.').take(parts).collect::<Vec<_>>().join("."));
                }
            }
        }
        left_out.dedup();
        let classifier = None;
        Ok(Self { format: format.into(), tensors, parameters: 0, classifier, left_out })
    }

    fn for_library(net: &Net, library: &str, naming: &Naming, pick: &Pick) -> Result<Self> {
        let head = pick.head.as_ref().map(|head| format!("head.{head}.fc."));
        let mut export = Self::named(net, library, |own, tensor| {
            if let Some(own) = own.strip_prefix("backbone.") {
                let shape = (naming.shape)(own, &tensor.size());
                return Ok(Some(((naming.name)(own), tensor.f_reshape(&shape)?)));
            }
            let leaf = head.as_ref().and_then(|head| own.strip_prefix(head.as_str()));
            Ok(leaf.map(|leaf| (format!("{}.{leaf}", naming.classifier), tensor)))
        })?;
        for (own, tensor) in net.store.tensors() {
            let own = own.strip_prefix("backbone.").unwrap_or_default();
            if let Some(beside) = (naming.beside)(own, &tensor.size()) {
                let values = Tensor::f_from_slice(&beside.values)?.f_reshape(&beside.shape)?;
                export.tensors.push((beside.name, values));
            }
        }
        export.classifier = pick.head.as_ref().map(|_| naming.classifier.to_owned());
        Ok(export)
    }

    fn for_detector(net: &Net, naming: Option<&Naming>, model: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Error::Input(format!(
                "--format {DETECTRON2}: it takes a ResNet or ResNeXt with the large stem; {why}"
            ))
        };
        let naming = naming.ok_or_else(|| refuse(&format!("this is a {model}")))?;
        let stem = net.store.tensors().into_iter().find(|(name, _)| name == "backbone.conv1.weight");
        match stem.map(|(_, tensor)| tensor.size()).as_deref() {
            Some([64, 3, 7, 7]) => {}
            Some(size) => {
                return Err(refuse(&format!("this one's has the shape {size:?}, expected [64, 3, 7, 7]")));
            }
            None => return Err(refuse(&format!("this is a {model}"))),
        }
        Self::named(net, DETECTRON2, |own, tensor| {
            let Some(own) = own.strip_prefix("backbone.") else { return Ok(None) };
            let name = detectron2_name(&(naming.name)(own));
            let name = name.ok_or_else(|| refuse(&format!("it has no place for the tensor `{own}`")))?;
            Ok(Some((name, tensor)))
        })
    }

    /// The bytes of the file. Into safetensors goes what images are normalised by.
    ///
    /// # Errors
    /// A tensor that the format has no kind for.
    pub fn content(&self, target: Target, images: &Images) -> Result<Vec<u8>> {
        let content = match target {
            Target::Safetensors => {
                let normalisation = Normalisation { mean: images.mean.clone(), std: images.std.clone() };
                let text = serde_json::to_string(&normalisation).unwrap_or_default();
                let metadata = BTreeMap::from([(NORMALISATION.to_string(), text)]);
                return admix_models::safetensors_bytes(&self.tensors, &metadata).map_err(Error::Input);
            }
            Target::PyTorch => torch_save(&self.tensors),
            Target::Pickle => detectron2(&self.tensors),
        };
        content.map_err(|error| Error::Input(error.to_string()))
    }
}
