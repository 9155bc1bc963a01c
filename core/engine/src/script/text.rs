//! The text of a script that a recipe names.

use serde::{Deserialize, Serialize};

/// The script of one mixer or loss of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptText {
    /// "mixers" or "losses".
    pub table: String,
    /// The name that the recipe gives it.
    pub name: String,
    /// The file as the recipe writes it.
    pub written: String,
    /// Its name in messages.
    pub file: String,
    /// The script itself.
    pub text: String,
}
