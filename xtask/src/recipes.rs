//! The recipes that come with the program.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Adds the text of every file of one recipe below a folder by its name, which begins with `prefix`: "cifar10/r18/amix".
///
/// # Errors
/// A file cannot be read.
pub fn collect(folder: &Path, prefix: &str, recipes: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), recipes)?;
        } else if path.extension().is_some_and(|end| end == "ron") {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            // The recipes of a file of several are policies and networks that others have too.
            if !text.lines().any(|line| line.trim_start().starts_with("variants:")) {
                recipes.insert(format!("{prefix}{name}"), text);
            }
        }
    }
    Ok(())
}
