//! Weights that a run starts from: those of another program, or of another run.

use admix_models::{BackboneChoice, Naming};
use admix_torch::Tensor;
use admix_weights::{Located, Match, Matching, NORMALISATION, Normalisation, Own, WeightFile};

use crate::recipe::{HeadStart, InitConfig, InitPart, Prefix, Recipe};
use crate::run::folder::RunFolder;
use crate::run::header::Header;
use crate::run::started_from::StartedFrom;
use crate::session::Session;
use crate::world::{Net, Shape};
use crate::{Error, Result};

/// Means and standard deviations may be rounded.
const ROUNDED: f64 = 2e-3;

/// Puts the weights that a recipe names into the networks of a session at its start; what follows them copies them.
///
/// # Errors
/// No such file, one that is damaged, or one whose network, heads or images are others.
pub(crate) fn apply(
    recipe: &Recipe,
    session: &mut Session,
    here: &Shape,
    progress: &dyn Fn(u64, u64),
) -> Result<Option<StartedFrom>> {
    let mut world = session.world_mut();
    for (name, other) in &recipe.other_nets {
        let Some(config) = &other.init else { continue };
        let own: Vec<&Net> = world.nets.iter().filter(|net| &net.name == name).collect();
        let place = format!("other_nets.{name}.");
        filled(recipe, &place, &other.model, config, &own, here, progress)?;
    }
    let Some(config) = &recipe.init else { return Ok(None) };
    let is_own = |net: &&Net| net.trained && !recipe.other_nets.contains_key(&net.name);
    let own: Vec<&Net> = world.nets.iter().filter(is_own).collect();
    let origin = filled(recipe, "", &recipe.model, config, &own, here, progress)?;
    world.start_followers()?;
    Ok(Some(origin))
}

/// Fills networks of one architecture. `place` is what stands before the fields `init` and `model` in the recipe.
fn filled(
    recipe: &Recipe,
    place: &str,
    model: &BackboneChoice,
    config: &InitConfig,
    nets: &[&Net],
    here: &Shape,
    progress: &dyn Fn(u64, u64),
) -> Result<StartedFrom> {
    let refused = |error| recipe.weights_error(&format!("{place}init.from"), error);
    let from = newest_of_run(&config.from).unwrap_or_else(|| config.from.clone());
    let located = admix_weights::locate(&from, &recipe.folder(), progress).map_err(refused)?;
    let file = WeightFile::open(&located.path).map_err(refused)?;
    Start { recipe, place, model, config, file: &file }.fill(nets, &located, here)
}

/// The newest checkpoint, if this is a run folder.
fn newest_of_run(from: &str) -> Option<String> {
    let folder = RunFolder::existing(from);
    let newest = folder.is_run().then(|| folder.checkpoints().into_iter().next())??;
    newest.to_str().map(str::to_owned)
}

/// A start of networks.
struct Start<'a> {
    recipe: &'a Recipe,
    place: &'a str,
    model: &'a BackboneChoice,
    config: &'a InitConfig,
    file: &'a WeightFile,
}

impl Start<'_> {
    fn refuse(&self, error: admix_weights::Error) -> Error {
        self.recipe.weights_error(&format!("{}init.from", self.place), error)
    }

    fn fill(&self, nets: &[&Net], located: &Located, here: &Shape) -> Result<StartedFrom> {
        let theirs = self.normalisation(located);
        let same = theirs.map(|theirs| self.check_normalisation(&theirs, here)).transpose()?;
        let mut origin = None;
        for net in nets {
            let (found, more) = self.fill_one(net)?;
            let heads = net.network.head_names().into_iter().map(|name| format!("head.{name}"));
            let new = heads.filter(|head| !more.contains(head)).collect();
            origin = Some(StartedFrom {
                from: self.config.from.clone(),
                file: located.path.clone(),
                sha256: admix_weights::sha256(&located.path)?,
                format: self.file.format().to_string(),
                matched: found.names.len(),
                prefix: found.prefix,
                names: found.naming.libraries.join(" and "),
                left_over: found.left_over,
                more,
                new,
                followers: found.followers,
                same_normalisation: same,
            });
        }
        origin.ok_or_else(|| {
            self.recipe.field_error(
                &format!("{}init", self.place),
                "has no network to fill: every one follows another",
            )
        })
    }

    /// Fills a network. Tells what was found, and what was taken beside the backbone: "neck", "head.one".
    fn fill_one(&self, net: &Net) -> Result<(Match, Vec<String>)> {
        let tensors = net.store.tensors();
        let part = |prefix: &str| -> Vec<(String, Tensor)> {
            let of = tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
            of.map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect()
        };
        let backbone = part("backbone.");
        let own: Vec<Own> = backbone.iter().map(|(name, tensor)| (name.clone(), tensor.size())).collect();
        let namings = self.model.config.namings();
        let prefix = match (&self.config.prefix, &self.config.net) {
            (Prefix::Is(prefix), _) => Some(prefix.clone()),
            (Prefix::Auto, Some(net)) => Some(format!("net.{net}.backbone.")),
            (Prefix::Auto, None) => None,
        };
        let misfit = |name: &str, theirs: &[i64], ours: &[i64]| self.model.config.misfit(name, theirs, ours);
        let matching = Matching {
            file: self.file,
            own: &own,
            namings: &namings,
            prefix: prefix.as_deref(),
            misfit: &misfit,
        };
        let mut found = matching.find().map_err(|error| match error {
            admix_weights::Error::Misfit { setting: Some(setting), problem } => self
                .recipe
                .field_error(&format!("{}model.{setting}", self.place), format!("does not fit: {problem}")),
            other => self.refuse(other),
        })?;
        let mut pairs: Vec<(Tensor, String)> = Vec::new();
        for (name, tensor) in backbone {
            pairs.push((tensor, found.names[&name].clone()));
        }
        let mut more = Vec::new();
        if self.config.part == InitPart::All {
            pairs.extend(self.neck(&part("neck."), &found)?);
            more.push("neck".into());
        }
        if self.config.heads == HeadStart::Matching {
            for name in net.network.head_names() {
                let taken = self.head(name, &part(&format!("head.{name}.")), &found);
                more.extend((!taken.is_empty()).then(|| format!("head.{name}")));
                pairs.extend(taken);
            }
        }
        found.left_over.retain(|name| !pairs.iter().any(|(_, theirs)| theirs == name));
        // All is read before anything is changed.
        let values = pairs
            .iter()
            .map(|(tensor, theirs)| self.file.weight(theirs, &tensor.size()))
            .collect::<admix_weights::Result<Vec<_>>>()
            .map_err(|error| self.refuse(error))?;
        let _guard = admix_torch::no_grad();
        for ((mut tensor, _), value) in pairs.into_iter().zip(values) {
            tensor.f_copy_(&value)?;
        }
        Ok((found, more))
    }

    /// The neck and its place in the file: only this program's own files name it as it does.
    fn neck(&self, own: &[(String, Tensor)], found: &Match) -> Result<Vec<(Tensor, String)>> {
        let beside = found.prefix.strip_suffix("backbone.").unwrap_or(&found.prefix);
        let place = |(name, tensor): &(String, Tensor)| {
            let theirs = format!("{beside}neck.{name}");
            if self.file.shape(&theirs) == Some(tensor.size().as_slice()) {
                return Ok((tensor.shallow_clone(), theirs));
            }
            let message = format!(
                "is All, but {} has no `{theirs}` of the shape {:?}: take the backbone alone, or make `neck` what it was there",
                self.file.path().display(),
                tensor.size()
            );
            Err(self.recipe.field_error(&format!("{}init.part", self.place), message))
        };
        own.iter().map(place).collect()
    }

    /// A head and its place in the file; empty if no classifier there has its shape.
    fn head(&self, name: &str, own: &[(String, Tensor)], found: &Match) -> Vec<(Tensor, String)> {
        let at = |place: &str, leaf: &str| format!("{place}.{}", leaf.strip_prefix("fc.").unwrap_or(leaf));
        let fits = |place: &String| {
            own.iter()
                .all(|(leaf, tensor)| self.file.shape(&at(place, leaf)) == Some(tensor.size().as_slice()))
        };
        let place = head_places(name, &found.prefix, &found.naming).into_iter().find(fits);
        let taken = |place: String| {
            own.iter().map(|(leaf, tensor)| (tensor.shallow_clone(), at(&place, leaf))).collect()
        };
        place.map(taken).unwrap_or_default()
    }

    /// What the images of the file's network were normalised by, if anybody says it: who publishes it, an exported file or a
    /// checkpoint.
    fn normalisation(&self, located: &Located) -> Option<Normalisation> {
        let exported = || serde_json::from_str(self.file.metadata().get(NORMALISATION)?).ok();
        let ours = || {
            let images = Header::of_file(self.file.metadata())?.images?;
            Some(Normalisation { mean: images.mean, std: images.std })
        };
        located.normalisation.clone().or_else(exported).or_else(ours)
    }

    /// Features are others where images are normalised in another way.
    fn check_normalisation(&self, theirs: &Normalisation, here: &Shape) -> Result<bool> {
        for (field, theirs, ours) in [("mean", &theirs.mean, &here.mean), ("std", &theirs.std, &here.std)] {
            let alike = theirs.len() == ours.len()
                && theirs.iter().zip(ours).all(|(one, other)| (one - other).abs() <= ROUNDED);
            if !alike {
                let message = format!(
                    "is {ours:?}, but the weights of {} were trained on images normalised by {theirs:?}: write {field}: {theirs:?}",
                    self.config.from
                );
                return Err(self.recipe.field_error(&format!("data.{field}"), message));
            }
        }
        Ok(true)
    }
}

/// Where a classifier may be in a file, best first.
fn head_places(name: &str, prefix: &str, naming: &Naming) -> Vec<String> {
    let above = prefix.strip_suffix("backbone.").unwrap_or(prefix);
    vec![
        format!("{above}head.{name}.fc"),
        format!("{prefix}{}", naming.classifier),
        format!("{above}{}", naming.classifier),
        format!("{above}head.fc"),
    ]
}
