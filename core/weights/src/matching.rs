//! Which tensor of a file belongs to which of a network.

use std::collections::{BTreeMap, BTreeSet};

use admix_models::Naming;

use crate::file::WeightFile;
use crate::{Error, Result};

/// Words in the names of networks that only follow others: never taken where a trained one is there too.
const FOLLOWERS: [&str; 6] = ["k", "key", "momentum", "target", "teacher", "ema"];
/// Tensors that no network here has: PyTorch counts batches in its BatchNorms, and Swin keeps tables that follow from its
/// settings.
const UNNEEDED: [&str; 3] = ["num_batches_tracked", "relative_position_index", "attn_mask"];
/// The text that this program's checkpoints have. Their networks are under `net.`; the optimiser's state has like names.
const CHECKPOINT: (&str, &str) = ("admix", "net.");
/// Names shown in a message.
const SHOWN: usize = 3;

/// A tensor of a network: its name and its shape.
pub type Own = (String, Vec<i64>);

/// The setting to change for a tensor of another shape, given its name, its shape there and its shape here.
pub type Misfit<'a> = dyn Fn(&str, &[i64], &[i64]) -> Option<&'static str> + 'a;

/// What a network needs, and how it is looked for in a file.
pub struct Matching<'a> {
    /// The file.
    pub file: &'a WeightFile,
    /// The tensors of the backbone.
    pub own: &'a [Own],
    /// How other libraries name them.
    pub namings: &'a [Naming],
    /// What stands before each name in the file; `None` to look for it.
    pub prefix: Option<&'a str>,
    /// The setting to change for a tensor of another shape.
    pub misfit: &'a Misfit<'a>,
}

/// The tensors of a file that are a network's backbone.
#[derive(Debug, Clone)]
pub struct Match {
    /// What stands before their names there: "state_dict.module.encoder_q.".
    pub prefix: String,
    /// How they are named.
    pub naming: Naming,
    /// Name there by name here.
    pub names: BTreeMap<String, String>,
    /// Other prefixes of whole networks of this kind, which follow this one.
    pub followers: Vec<String>,
    /// Tensors of the file that are not used.
    pub left_over: Vec<String>,
}

impl Matching<'_> {
    /// Finds the one place in the file where all tensors of the backbone are.
    ///
    /// # Errors
    /// There is none, there are several, a tensor has another shape, or the network there has more layers.
    pub fn find(&self) -> Result<Match> {
        let mut whole: Vec<Match> = Vec::new();
        let mut nearest: Option<(usize, String, Naming)> = None;
        for naming in self.namings.iter().copied().chain([Naming::same(&["admix"], "head")]) {
            for (prefix, names) in self.places(naming) {
                if self
                    .prefix
                    .is_some_and(|given| given.trim_end_matches('.') != prefix.trim_end_matches('.'))
                {
                    continue;
                }
                if names.len() < self.own.len() {
                    let is_nearer = nearest.as_ref().is_none_or(|(most, ..)| names.len() > *most);
                    if is_nearer {
                        nearest = Some((names.len(), prefix, naming));
                    }
                } else if whole.iter().all(|found| found.names != names) {
                    let (followers, left_over) = (Vec::new(), Vec::new());
                    whole.push(Match { prefix, naming, names, followers, left_over });
                }
            }
        }
        let mut found = self.only(whole, nearest)?;
        self.check_shapes(&found)?;
        let used: BTreeSet<&String> = found.names.values().collect();
        let unused = self.file.names().filter(|name| {
            !used.contains(&name.to_string()) && !UNNEEDED.iter().any(|end| name.ends_with(end))
        });
        found.left_over = unused.map(str::to_owned).collect();
        self.check_depth(&found)?;
        Ok(found)
    }

    /// The prefixes under which some tensor is, with all that are there.
    fn places(&self, naming: Naming) -> BTreeMap<String, BTreeMap<String, String>> {
        let theirs: BTreeMap<String, &str> =
            self.own.iter().map(|(own, _)| ((naming.name)(own), own.as_str())).collect();
        let mut places: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let (text, networks) = CHECKPOINT;
        let is_ours = self.file.metadata().contains_key(text);
        for name in self.file.names().filter(|name| !is_ours || name.starts_with(networks)) {
            let starts = std::iter::once(0).chain(name.match_indices('.').map(|(dot, _)| dot + 1));
            for start in starts {
                if let Some(own) = theirs.get(&name[start..]) {
                    let place = places.entry(name[..start].to_owned()).or_default();
                    place.insert((*own).to_owned(), name.to_owned());
                }
            }
        }
        places
    }

    /// The one place that counts.
    fn only(&self, whole: Vec<Match>, nearest: Option<(usize, String, Naming)>) -> Result<Match> {
        if whole.is_empty() {
            return Err(self.nothing(nearest));
        }
        let (following, mut leading): (Vec<Match>, Vec<Match>) =
            whole.into_iter().partition(|found| follows(&found.prefix));
        let places = |all: &[Match]| all.iter().map(|found| found.prefix.clone()).collect::<Vec<_>>();
        let followers = places(&following);
        if leading.is_empty() {
            leading = following;
        }
        match (leading.len(), leading.pop()) {
            (1, Some(one)) => {
                let followers = followers.into_iter().filter(|prefix| *prefix != one.prefix).collect();
                Ok(Match { followers, ..one })
            }
            (_, last) => {
                leading.extend(last);
                let prefixes = places(&leading);
                let all = prefixes.iter().map(|prefix| format!("`{prefix}`")).collect::<Vec<_>>();
                let (text, networks) = CHECKPOINT;
                // "q" of `net.q.backbone.`
                let own =
                    prefixes.first().and_then(|prefix| prefix.strip_prefix(networks)?.split('.').next());
                let remedy = match own.filter(|_| self.file.metadata().contains_key(text)) {
                    Some(net) => {
                        format!("say which with `init.net`, such as `net: \"{net}\"` (or `init.prefix`)")
                    }
                    None => "say which with `init.prefix`".into(),
                };
                let count = all.len();
                Err(self.misfit(
                    None,
                    format!("holds {count} networks of this kind, under {}: {remedy}", all.join(", ")),
                ))
            }
        }
    }

    fn misfit(&self, setting: Option<&'static str>, problem: String) -> Error {
        Error::Misfit { setting, problem: format!("weight file {}: {problem}", self.file.path().display()) }
    }

    /// Why no place is whole.
    fn nothing(&self, nearest: Option<(usize, String, Naming)>) -> Error {
        let names: Vec<&str> = self.file.names().collect();
        let Some((there, prefix, naming)) = nearest else {
            let first: Vec<String> =
                self.own.iter().take(SHOWN).map(|(name, _)| format!("`{name}`")).collect();
            let place = self.prefix.map(|prefix| format!(" under `{prefix}`")).unwrap_or_default();
            return self.misfit(None, format!(
                "none of its {} tensors{place} belongs to this backbone. It has {}; the backbone has {} and so on: choose the \
                 `model` that the file was trained with",
                names.len(),
                shown(&names),
                first.join(", ")
            ));
        };
        let has: BTreeSet<&str> = names.iter().copied().collect();
        let missing: Vec<String> = self
            .own
            .iter()
            .map(|(own, _)| format!("{prefix}{}", (naming.name)(own)))
            .filter(|theirs| !has.contains(theirs.as_str()))
            .collect();
        let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
        self.misfit(None, format!(
            "has {there} of the {} tensors of this backbone{}; missing: {}. Choose the `model` that the file was trained with",
            self.own.len(),
            if prefix.is_empty() { String::new() } else { format!(" under `{prefix}`") },
            shown(&missing)
        ))
    }

    fn check_shapes(&self, found: &Match) -> Result<()> {
        for (own, ours) in self.own {
            let name = &found.names[own];
            let theirs = self.file.shape(name).unwrap_or_default();
            if theirs == (found.naming.shape)(own, ours) {
                continue;
            }
            let setting = (self.misfit)(own, theirs, ours);
            let remedy = match setting {
                Some(setting) => format!("change `model.{setting}`"),
                None => "take weights of a network that fits the `model` and the images".into(),
            };
            return Err(self.misfit(
                setting,
                format!("its tensor `{name}` has the shape {theirs:?}, this network's {ours:?}: {remedy}"),
            ));
        }
        Ok(())
    }

    /// Layers that this network lacks are as bad as ones that the file lacks: the features would be others.
    fn check_depth(&self, found: &Match) -> Result<()> {
        fn group(name: &str) -> &str {
            // `conv3` is one more of `conv1` and `conv2`.
            name.split('.').next().unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit())
        }
        let classifier = format!("{}{}.", found.prefix, found.naming.classifier);
        let groups: BTreeSet<String> = self
            .own
            .iter()
            .map(|(own, _)| (found.naming.name)(own))
            .filter(|name| name.contains('.'))
            .map(|name| group(&name).to_owned())
            .collect();
        let more: Vec<&str> = found
            .left_over
            .iter()
            .map(String::as_str)
            .filter(|name| !name.starts_with(&classifier))
            .filter(|name| name.strip_prefix(&found.prefix).is_some_and(|rest| groups.contains(group(rest))))
            .collect();
        if more.is_empty() {
            return Ok(());
        }
        Err(self.misfit(
            None,
            format!(
                "has layers that this network has not: {}. Choose the `model` that the file was trained with",
                shown(&more)
            ),
        ))
    }
}

/// Whether a prefix is that of a network that follows another one.
fn follows(prefix: &str) -> bool {
    prefix.split(['.', '_']).any(|word| FOLLOWERS.contains(&word))
}

/// The first names, and how many more there are.
fn shown(names: &[&str]) -> String {
    let first: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
