//! Recipes: what to train, on what, with which method, for how long.

mod choices;
mod complaint;
pub(crate) mod locate;
mod log_to;
mod overrides;
mod read;
#[allow(clippy::module_inception, reason = "the file of the struct of this name")]
mod recipe;
mod sections;
mod show;
mod validate;
mod variants;

pub use overrides::Override;
pub use recipe::Recipe;
pub use sections::{
    CheckpointConfig, EmbeddingHeadConfig, EvaluateConfig, GroupConfig, HeadStart, InitConfig, InitPart,
    PairConfig, Prefix, When,
};
pub(crate) use show::settings;
pub use show::{Origin, describe};
pub use variants::{RecipeText, Variant, tidy, variants};
