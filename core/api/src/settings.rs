//! Settings of an entry in full, for `show`, recipes in run folders and comparisons.

use serde_json::Value as Json;

/// Settings that can be shown. Everything that serde can write has this trait; other settings implement it.
///
/// ```
/// use admix_api::Settings;
///
/// #[derive(serde::Serialize)]
/// struct Blur {
///     sigma: f64,
/// }
///
/// assert_eq!(Blur { sigma: 0.5 }.resolved(), serde_json::json!({ "sigma": 0.5 }));
/// ```
pub trait Settings {
    /// The settings in full, defaults included.
    fn resolved(&self) -> Json;
}

impl<T: serde::Serialize> Settings for T {
    fn resolved(&self) -> Json {
        serde_json::json!(self)
    }
}
