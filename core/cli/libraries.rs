//! Plugin libraries: which ones are loaded, from where, and the registry with them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use admix_api::{Registry, abi};
use anyhow::{Context, Result};
use clap::Args;

use crate::output;
use crate::trust::distrust;

/// Flags that every command has.
#[derive(Args, Debug, Clone, Default)]
pub struct LibraryArgs {
    /// Load the mixers and losses of this library; may be given several times. Libraries in the plugin folder
    /// (ADMIX_PLUGINS, or admix/plugins in the user's data folder) are loaded by themselves, if nobody else can change
    /// them.
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

/// The flags of this process, for another one of this program.
pub fn flags() -> Vec<String> {
    let all = WANTED.get().into_iter().flat_map(|args| &args.plugin);
    all.flat_map(|path| ["--plugin".into(), path.display().to_string()]).collect()
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
    for path in trusted_libraries() {
        if !loaded.contains(&full(&path))
            && let Err(error) = abi::load(&path, &mut registry)
        {
            output::note(&format!("warning: passed over in the plugin folder: {error}"));
        }
    }
    Ok(registry)
}

/// The libraries of the plugin folder, without those that others could change. What is left out is said.
fn trusted_libraries() -> Vec<PathBuf> {
    let folder = match plugin_folder() {
        Ok(Some(folder)) => folder,
        Ok(None) => return Vec::new(),
        Err(reason) => {
            output::note(&format!("warning: no plugin folder is used: {reason}"));
            return Vec::new();
        }
    };
    let mut found = libraries_in(&folder);
    if found.is_empty() {
        return found;
    }
    // Why this is not to be loaded, if so.
    let refused =
        |path: &Path| distrust(path).unwrap_or_else(|error| Some(format!("{}: {error}", path.display())));
    if let Some(reason) = refused(&folder) {
        output::note(&format!("warning: the plugin folder {} is not used: {reason}", folder.display()));
        return Vec::new();
    }
    found.retain(|path| match refused(path) {
        None => true,
        Some(reason) => {
            output::note(&format!("warning: passed over in the plugin folder: {reason}"));
            false
        }
    });
    found
}

/// Where libraries are loaded from by themselves: the folder in `ADMIX_PLUGINS`, or `admix/plugins` in the user's data
/// folder. An empty `ADMIX_PLUGINS` is no folder.
///
/// # Errors
/// The variable holds no absolute path. A relative one is not taken: it would run the code of whatever folder the program
/// is started in, such as a repository that somebody else wrote.
fn plugin_folder() -> Result<Option<PathBuf>, String> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let is_set = |value: &PathBuf| !value.as_os_str().is_empty();
    let (name, value, below) = match (of("ADMIX_PLUGINS"), of("XDG_DATA_HOME").filter(is_set), of("HOME")) {
        (Some(folder), ..) if !is_set(&folder) => return Ok(None),
        (Some(folder), ..) => ("ADMIX_PLUGINS", folder, ""),
        (None, Some(data), _) => ("XDG_DATA_HOME", data, "admix/plugins"),
        (None, None, Some(home)) => ("HOME", home, ".local/share/admix/plugins"),
        (None, None, None) => return Ok(None),
    };
    if !value.is_absolute() {
        return Err(format!(
            "{name} is `{}`, expected an absolute path; to use none, set ADMIX_PLUGINS to nothing",
            value.display()
        ));
    }
    Ok(Some(value.join(below)))
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
