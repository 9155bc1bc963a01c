//! What processes that train together must have in common, checked before they train and whenever they save.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};

use admix_api::{Entry, Origin, Registry};
use admix_data::{Broken, Dataset};
use admix_torch::{Device, Group, Kind, Tensor};

use crate::method::Method;
use crate::recipe::{Recipe, settings};
use crate::run::RunOptions;
use crate::{Error, Result};

/// Checks that all processes carry out the same thing: version, recipe, method, plugins.
///
/// # Errors
/// They do not: says what differs, and in which process.
pub(super) fn same_work(
    group: &Group,
    recipe: &Recipe,
    method: &Method,
    registry: &Registry,
    options: &RunOptions,
) -> Result<()> {
    let scripts: Vec<_> =
        recipe.scripts.iter().map(|script| (&script.table, &script.name, &script.text)).collect();
    let plugins = registry.entries().map(plugin).collect::<Result<Vec<_>>>()?;
    let settings = settings(recipe)?;
    let own = [
        ("the version of Admix", env!("CARGO_PKG_VERSION").to_string()),
        ("the recipe's settings", hashed(&serde_json::to_string(&settings).unwrap_or_default())),
        ("the method", hashed(&method.text())),
        ("the scripts of mixers and losses", hashed(&scripts)),
        ("the plugins", hashed(&plugins)),
        ("--precision", format!("{:?}", options.precision)),
        ("--max-steps", format!("{:?}", options.max_steps)),
        ("--resume", options.resume.is_some().to_string()),
    ];
    let told: Vec<&str> = own.iter().map(|(_, value)| value.as_str()).collect();
    let all = group.gather_text(&told.join("\n"))?;
    let others = all.iter().enumerate().skip(1);
    for (rank, text) in others {
        let differing = all[0].lines().zip(text.lines()).zip(&own).find(|((first, other), _)| first != other);
        if let Some((_, (what, _))) = differing {
            return Err(Error::Input(format!(
                "{what} of process {rank} and of process 0 differ: start all processes with the same program, recipe and flags"
            )));
        }
    }
    Ok(())
}

/// What tells a plugin from others of its name. A library may lie somewhere else on each machine: its bytes count.
fn plugin(entry: &Entry) -> Result<String> {
    let bytes = match &entry.origin {
        Origin::Library { path, .. } => {
            hashed(&fs::read(path).map_err(|error| Error::file("read", path, error))?)
        }
        Origin::Linked { .. } | Origin::Script { .. } => String::new(),
    };
    Ok(format!("{} {} {} {bytes}", entry.kind(), entry.name, entry.origin.version()))
}

/// The broken files that the processes have found. Each counts those of the others for `data.broken` from here on.
///
/// # Errors
/// A process is gone.
pub(super) fn all_broken(group: &Group, dataset: &Dataset) -> Result<Broken> {
    let own = serde_json::to_string(&dataset.broken()).unwrap_or_default();
    let mut all = Broken::default();
    for text in group.gather_text(&own)? {
        all.extend(serde_json::from_str(&text).unwrap_or_default());
    }
    dataset.go_on_from(&all);
    Ok(all)
}

/// Checks that all processes have the same state, bit for bit.
///
/// # Errors
/// They do not: names the first tensor that differs, and the process.
pub(super) fn same_state(group: &Group, state: &BTreeMap<String, Tensor>) -> Result<()> {
    let own = state.values().map(bits_of).collect::<Result<Vec<_>>>()?.join("\n");
    let all = group.gather_text(&own)?;
    for (rank, text) in all.iter().enumerate().skip(1) {
        let mut pairs = all[0].lines().zip(text.lines()).zip(state.keys());
        if let Some((_, name)) = pairs.find(|((first, other), _)| first != other) {
            return Err(Error::Input(format!(
                "`{name}` of process {rank} differs from that of process 0: the processes do not train the same networks any \
                 more. The newest checkpoint is from before; a device or driver that computes other numbers is the likeliest cause"
            )));
        }
    }
    Ok(())
}

/// A number for all bits of a tensor.
fn bits_of(tensor: &Tensor) -> Result<String> {
    let flat = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?.f_reshape([-1])?;
    Ok(hashed(&Vec::<u8>::try_from(flat.f_view_dtype(Kind::Uint8)?)?))
}

fn hashed(value: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    format!("{:x}", hasher.finish())
}
