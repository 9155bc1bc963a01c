//! What there is to choose from: the bundled mixers and losses, scripts, and libraries that were loaded.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use admix_api::{AnyReader, Entry, Loss, Mixer, Origin, Registry};
use pyo3::prelude::*;
use serde_json::json;

use crate::error::{Failure, guarded};

/// Libraries that were loaded, in their order.
static LIBRARIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn loaded() -> Vec<PathBuf> {
    LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A registry of its own: what is shared with nobody may go where it likes. With a script under its own name.
pub fn registry(script: Option<&Path>) -> Result<Registry, Failure> {
    let mut registry = admix_engine::registry().map_err(|error| Failure::of_engine(&error))?;
    for library in loaded() {
        admix_api::abi::load(&library, &mut registry).map_err(Failure::of)?;
    }
    if let Some(script) = script {
        let entry = admix_engine::script_entry(script).map_err(|error| Failure::of_engine(&error))?;
        registry.replace(entry);
    }
    Ok(registry)
}

/// Loads a plugin library.
#[pyfunction]
pub fn load_library(py: Python<'_>, path: PathBuf) -> PyResult<Vec<String>> {
    let names = py.detach(|| {
        let mut registry = registry(None)?;
        let full = path.canonicalize().unwrap_or(path);
        let of_library =
            |entry: &&Entry| matches!(&entry.origin, Origin::Library { path, .. } if *path == full);
        if !loaded().contains(&full) {
            guarded(|| admix_api::abi::load(&full, &mut registry))?;
            LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner).push(full.clone());
        }
        Ok::<_, Failure>(registry.entries().filter(of_library).map(|entry| entry.name.clone()).collect())
    })?;
    Ok(names)
}

/// The libraries that were loaded.
#[pyfunction]
pub fn libraries() -> Vec<PathBuf> {
    loaded()
}

/// `mixer` or `loss`, and the name under which the script is found.
#[pyfunction]
pub fn script_kind(path: PathBuf) -> PyResult<(String, String)> {
    let entry = admix_engine::script_entry(&path).map_err(|error| Failure::of_engine(&error))?;
    Ok((entry.kind().to_string(), entry.name))
}

/// All mixers and losses as JSON: a list of objects with `kind`, `name`, `type_name`, `summary`, `source`, `schema` (of
/// their own settings), `served` (those that are there for every mixer), `defaults` and `needs`.
#[pyfunction]
pub fn entries() -> PyResult<String> {
    let registry = registry(None)?;
    let shown = registry.of::<dyn Mixer>().chain(registry.of::<dyn Loss>()).map(|entry| {
        let reader: &dyn AnyReader = entry.reader.as_ref();
        let settings = entry.shown_settings();
        let ignored = reader.ignores(&settings);
        let served = reader.served().into_iter().filter(|one| !ignored.contains(&one.name));
        let served = served.map(|one| {
            json!({ "name": one.name, "default": one.default, "type": one.kind, "description": one.doc })
        });
        let facts = reader.facts(&settings).unwrap_or_default();
        json!({
            "kind": entry.kind(),
            "name": entry.name,
            "type_name": entry.type_name,
            "summary": entry.summary,
            "source": entry.source,
            "origin": entry.origin.to_string(),
            "schema": (entry.schema)(),
            "defaults": (entry.defaults)(),
            "served": served.collect::<Vec<_>>(),
            "needs": facts.into_iter().find(|(word, _)| *word == "needs").map(|(_, needs)| needs),
        })
    });
    Ok(serde_json::Value::from(shown.collect::<Vec<_>>()).to_string())
}
