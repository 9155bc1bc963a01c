//! Settings of an entry: written once, and shown in full by `show`, recipes in run folders and comparisons.

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

/// Declares the settings of an entry: each field with its documentation, type and default. Recipes read them by serde,
/// and an unknown field is refused.
///
/// ```
/// admix_api::settings! {
///     /// Recipe: `Blur(sigma: 0.5)`.
///     pub struct Blur {
///         /// Width of the blur in pixels, above 0.
///         pub sigma: f64 = 1.0,
///     }
/// }
///
/// assert_eq!(Blur::default(), serde_json::from_str("{}")?);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$about:meta])*
        pub struct $config:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty = $default:expr,)* }
    ) => {
        $(#[$about])*
        #[derive(
            Debug, Clone, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize, $crate::schemars::JsonSchema,
        )]
        #[serde(crate = "::admix_api::serde", deny_unknown_fields, default)]
        #[schemars(crate = "::admix_api::schemars")]
        pub struct $config { $($(#[$doc])* pub $field: $type,)* }

        impl ::std::default::Default for $config {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}
