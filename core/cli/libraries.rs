//! Plugin libraries: which ones are loaded, from where, and the registry with them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use admix_api::{Registry, abi};
use anyhow::{Context, Result};
use clap::Args;

use crate::output;

/// Flags that every command has.
#[derive(Args, Debug, Clone, Default)]
pub struct LibraryArgs {
    /// Load the mixers and losses of this library; may be given several times. Libraries in the plugin folder
    /// (ADMIX_PLUGINS, or admix/plugins in the user's data folder) are loaded by themselves.
    #[arg(long, global = true, value_name = "LIBRARY")]
    plugin: Vec<PathBuf>,
}

static WANTED: OnceLock<LibraryArgs> = OnceLock::new();
/// Whether the bundled plugins are left out.
static BARE: AtomicBool = AtomicBool::new(false);

/// Leaves out the bundled plugins from here on.
pub fn leave_out_bundled() {
    BARE.store(true, Ordering::Relaxed);
}

/// Notes the flags of this process for [`registry`].
pub fn remember(args: &LibraryArgs) {
    // The first call counts: the program parses its arguments once.
    let _ = WANTED.set(args.clone());
}

/// Every plugin there is: linked ones, those of the plugin folder, and those of `--plugin`.
///
/// Must not run before the device is opened: a library may use libtorch while it loads.
///
/// # Errors
/// A library that was asked for cannot be used. One in the plugin folder is passed over with a warning.
pub fn registry() -> Result<Registry> {
    let mut registry = admix_engine::registry()?;
    if BARE.load(Ordering::Relaxed) {
        registry = registry.without("admix-plugins");
    }
    let mut loaded: Vec<PathBuf> = Vec::new();
    let full = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    for path in WANTED.get().into_iter().flat_map(|args| &args.plugin) {
        // The same library twice is no clash.
        if !loaded.contains(&full(path)) {
            abi::load(path, &mut registry).context("--plugin")?;
            loaded.push(full(path));
        }
    }
    let Some(folder) = plugin_folder() else { return Ok(registry) };
    for path in libraries_in(&folder) {
        if !loaded.contains(&full(&path))
            && let Err(error) = abi::load(&path, &mut registry)
        {
            output::note(&format!("warning: passed over in the plugin folder: {error}"));
        }
    }
    Ok(registry)
}

/// Where libraries are loaded from by themselves: the folder in `ADMIX_PLUGINS`, or `admix/plugins` in the user's data
/// folder. An empty `ADMIX_PLUGINS` is no folder.
pub fn plugin_folder() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    match of("ADMIX_PLUGINS") {
        Some(folder) if folder.as_os_str().is_empty() => None,
        Some(folder) => Some(folder),
        None => {
            let data = of("XDG_DATA_HOME").filter(|path| path.is_absolute());
            let data = data.or_else(|| Some(of("HOME")?.join(".local/share")))?;
            Some(data.join("admix/plugins"))
        }
    }
}

/// The shared objects of a folder, sorted; none if there is no such folder.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = folder
        .read_dir()
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "so"))
        .collect();
    found.sort();
    found
}
