//! Values of a recipe that are set from outside.

use serde::Serialize;

/// A value set from outside: `--set path=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Dotted path: `optimizer.lr`.
    pub path: String,
    /// The value as a recipe writes it.
    pub value: String,
}

impl std::str::FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not path=value, such as optimizer.lr=0.05"))?;
        let valid =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
        if value.trim().is_empty() || !path.split('.').all(valid) {
            return Err(format!("`{text}` is not path=value, such as optimizer.lr=0.05"));
        }
        Ok(Self { path: path.to_string(), value: value.trim().to_string() })
    }
}

impl Serialize for Override {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}={}", self.path, self.value))
    }
}
