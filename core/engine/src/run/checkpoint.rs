//! Checkpoints: the whole state of a run in one safetensors file, with a checksum over everything it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use admix_api::Registry;
use admix_torch::{Device, Kind, Tensor};

use crate::method::{Clock, Method};
use crate::recipe::{Recipe, describe};
use crate::run::header::{FORMAT, Header};
use crate::run::metrics::History;
use crate::script::ScriptText;
use crate::session::Session;
use crate::{Error, Result};

/// The one entry of the file's metadata.
const KEY: &str = "admix";
/// How the names of tensors end that hold means of squares: variances of BatchNorm, second moments of AdamW.
const SQUARES: [&str; 2] = ["running_var", "exp_avg_sq"];

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its file.
    pub path: PathBuf,
    /// What it says.
    pub header: Header,
    /// Every tensor of the state, by name.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Header {
    /// The header of a run at this moment.
    pub fn of(
        recipe: &Recipe,
        method: &Method,
        clock: Clock,
        batch_in_epoch: u64,
        history: &History,
    ) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            clock,
            batch_in_epoch,
            recipe: recipe.text.clone(),
            recipe_file: recipe.file.clone(),
            script: method.text().into(),
            script_file: method.file().into(),
            scripts: recipe.scripts.clone(),
            history: history.clone(),
            images: None,
            started_from: None,
            checksum: String::new(),
        }
    }

    /// The header in the text of a safetensors file; `None` where no run wrote it.
    pub(super) fn of_file(metadata: &BTreeMap<String, String>) -> Option<Self> {
        Self::parse(metadata.get(KEY)?).ok()
    }

    fn checksum(&self, tensors: &BTreeMap<String, Tensor>) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        let plain = Self { checksum: String::new(), ..self.clone() };
        hasher.update(serde_json::to_string(&plain).unwrap_or_default().as_bytes());
        for (name, tensor) in tensors {
            hasher.update(name.as_bytes());
            hasher.update(format!("{:?}{:?}", tensor.kind(), tensor.size()).as_bytes());
            let bytes = tensor
                .f_detach()?
                .f_to_device(Device::Cpu)?
                .f_contiguous()?
                .f_reshape([-1])?
                .f_view_dtype(Kind::Uint8)?;
            let mut buffer = vec![0u8; bytes.numel()];
            bytes.f_copy_data_u8(&mut buffer, bytes.numel())?;
            hasher.update(&buffer);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

impl Checkpoint {
    /// Writes a state to `path`: whole or not at all.
    ///
    /// # Errors
    /// A value that is not finite (nothing is written then), or the file cannot be written.
    pub fn write(path: &Path, mut header: Header, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        // Once: all that follows reads the values.
        let on_host =
            admix_torch::all_on_host(&tensors.values().map(Tensor::shallow_clone).collect::<Vec<_>>())?;
        let tensors: &BTreeMap<String, Tensor> = &tensors.keys().cloned().zip(on_host).collect();
        for (name, tensor) in tensors {
            if !is_finite(tensor)? {
                return Err(Error::NotFinite { tensor: name.clone() });
            }
        }
        header.checksum = header.checksum(tensors)?;
        let text = serde_json::to_string(&header)
            .map_err(|e| Error::Checkpoint { path: path.into(), message: e.to_string() })?;
        let list: Vec<(String, Tensor)> =
            tensors.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
        let metadata = BTreeMap::from([(KEY.to_string(), text)]);
        admix_models::save_safetensors(path, &list, &metadata).map_err(|error| match error {
            admix_models::Error::Io { source, .. } => Error::file("write the checkpoint", path, source),
            other => other.into(),
        })
    }

    /// Reads and verifies a checkpoint.
    ///
    /// # Errors
    /// The file is missing, damaged, or of another version.
    pub fn read(path: &Path, device: Device) -> Result<Self> {
        let refuse = |message: String| Error::Checkpoint { path: path.into(), message };
        let of_file = |error: admix_models::Error| match error {
            admix_models::Error::WeightFile { problem, .. } => refuse(problem),
            admix_models::Error::Io { source, .. } => Error::file("read the checkpoint", path, source),
            other => other.into(),
        };
        let metadata = admix_models::safetensors_metadata(path).map_err(of_file)?;
        let text = metadata
            .get(KEY)
            .ok_or_else(|| refuse("is a safetensors file, but not one that a run wrote".into()))?;
        let header = Header::parse(text).map_err(refuse)?;
        let tensors: BTreeMap<String, Tensor> =
            admix_models::load_safetensors(path, Device::Cpu).map_err(of_file)?.into_iter().collect();
        if header.checksum(&tensors)? != header.checksum {
            return Err(refuse("its checksum does not match: the file is damaged".into()));
        }
        if let Some(why) = header.unsound().or(unsound_values(&tensors)?) {
            return Err(refuse(format!("{why}: no run writes that; use another checkpoint")));
        }
        let tensors = tensors
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.f_to_device(device)?)))
            .collect::<Result<_>>()?;
        Ok(Self { path: path.into(), header, tensors })
    }

    /// Puts a session into this state.
    ///
    /// # Errors
    /// A tensor is missing, or of another kind or shape.
    pub fn load_into(&self, session: &mut Session) -> Result<()> {
        for (name, own) in session.tensors() {
            let Some(value) = self.tensors.get(&name).filter(|value| value.kind() != own.kind()) else {
                continue;
            };
            let message = format!(
                "the tensor `{name}` is of the kind {:?}, expected {:?}: use a checkpoint of this version and recipe",
                value.kind(),
                own.kind()
            );
            return Err(Error::Checkpoint { path: self.path.clone(), message });
        }
        session.load(&self.tensors)
    }

    /// Checks that the classes of these names, by number, are those that the heads tell apart. Other names at the same numbers
    /// are told of in the log.
    ///
    /// # Errors
    /// A class has another number.
    pub fn check_classes(&self, data: &str, names: &[String]) -> Result<()> {
        let Some(images) = &self.header.images else { return Ok(()) };
        if let Some(differs) = images.numbered_otherwise(names) {
            return Err(Error::Input(format!(
                "the classes of `{data}` are not those of {}: {differs}; give it the same classes, in folders of the same names",
                self.path.display()
            )));
        }
        if let Some(differs) = images.named_otherwise(names) {
            tracing::warn!(
                "`{data}` names its classes in another way than {}: {differs}; they are taken for the same",
                self.path.display()
            );
        }
        Ok(())
    }

    /// Checks that a recipe and a method may go on from here.
    ///
    /// # Errors
    /// The script or a part of the recipe that decides the run differs.
    pub fn check_fits(
        &self,
        recipe: &Recipe,
        method: &Method,
        registry: &Registry,
        allow_changed_script: bool,
    ) -> Result<()> {
        let mut changed: Vec<&str> = Vec::new();
        changed.extend((method.text() != self.header.script).then(|| method.file()));
        for script in &recipe.scripts {
            // A mixer that was no script then is another recipe, not another script.
            let before = |old: &&ScriptText| (&old.table, &old.name) == (&script.table, &script.name);
            if self.header.scripts.iter().find(before).is_some_and(|old| old.text != script.text) {
                changed.push(&script.file);
            }
        }
        for file in changed {
            if !allow_changed_script {
                return Err(Error::Input(format!(
                    "the script {file} differs from the one that {} was trained with: use that script, or accept the \
                     change with --allow-changed-script",
                    self.path.display()
                )));
            }
            tracing::warn!(
                "the script {file} differs from the one that {} was trained with; going on with the new one",
                self.path.display()
            );
        }
        if recipe.text != self.header.recipe {
            let changed = self.changed(recipe, registry);
            if !changed.is_empty() {
                tracing::warn!(
                    "{} differs from the recipe that {} was trained with: {}; going on with the new one",
                    recipe.place(),
                    self.path.display(),
                    changed.join(", ")
                );
            }
        }
        Ok(())
    }

    /// Why the tensors do not fit to a recipe: the values that are not those which the checkpoint was trained with.
    pub(super) fn misfit(&self, error: Error, recipe: &Recipe, registry: &Registry) -> Error {
        if matches!(error, Error::Checkpoint { .. }) {
            return error;
        }
        let changed = self.changed(recipe, registry);
        let cause = if changed.is_empty() {
            "its recipe is the same, so its data or a plugin have changed since".to_string()
        } else {
            format!("since then {}", changed.join(", "))
        };
        let message = format!(
            "it does not fit to {} ({error}); {cause}. Go on with what it was trained with, or start anew in another \
             folder with --out",
            recipe.place()
        );
        Error::Checkpoint { path: self.path.clone(), message }
    }

    /// The values of a recipe that are not those which the checkpoint was trained with, in words. Names of scripts are none: a
    /// run folder's recipe names its own copies.
    fn changed(&self, recipe: &Recipe, registry: &Registry) -> Vec<String> {
        let header = &self.header;
        let values = |recipe: &Recipe| describe(recipe, &recipe.text).unwrap_or_default();
        let before = Recipe::parse_with(&header.recipe, &header.recipe_file, &[], registry, &header.scripts);
        let before: BTreeMap<String, String> = before
            .map(|before| values(&before).into_iter().map(|(path, value, _)| (path, value)).collect())
            .unwrap_or_default();
        let of_part = |path: &str| path.starts_with("mixers.") || path.starts_with("losses.");
        let is_name = |path: &str| path == "method" || of_part(path) && path.ends_with(".file");
        values(recipe)
            .into_iter()
            .filter(|(path, ..)| !is_name(path))
            .filter_map(|(path, now, _)| match before.get(&path) {
                Some(then) if *then != now => Some(format!("`{path}` was {then} and is {now}")),
                None => Some(format!("`{path}` is new")),
                Some(_) => None,
            })
            .collect()
    }
}

/// What is wrong with the values of a state.
fn unsound_values(tensors: &BTreeMap<String, Tensor>) -> Result<Option<String>> {
    for (name, tensor) in tensors {
        if !is_finite(tensor)? {
            return Ok(Some(format!("the tensor `{name}` holds a value that is not finite")));
        }
        let is_square = SQUARES.iter().any(|end| name.ends_with(end)) && tensor.numel() > 0;
        if is_square && f64::try_from(&tensor.f_min()?)? < 0.0 {
            return Ok(Some(format!("the tensor `{name}` holds a variance below 0")));
        }
    }
    Ok(None)
}

fn is_finite(tensor: &Tensor) -> Result<bool> {
    let is_float = matches!(tensor.kind(), Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16);
    Ok(!is_float || bool::try_from(&tensor.f_isfinite()?.f_all()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_finite_is_named_by_its_tensor() {
        let tensors = |value: f64| {
            let bad = Tensor::full([3], value, (Kind::Float, Device::Cpu));
            BTreeMap::from([
                ("a".to_string(), Tensor::zeros([2], (Kind::Int64, Device::Cpu))),
                ("b".into(), bad),
            ])
        };
        assert_eq!(unsound_values(&tensors(1.0)).expect("values"), None);
        for bad in [f64::NAN, f64::INFINITY] {
            let told = unsound_values(&tensors(bad)).expect("values").expect("unsound");
            assert!(told.contains("`b` holds a value that is not finite"), "{told}");
        }
    }
}
