//! What a plugin author sees: mixers, losses, the values they exchange with the host, and the registry.

pub mod abi;
mod cluster_aware;
pub mod contract;
mod credit;
mod draws;
mod embedding;
mod entry;
mod error;
mod export;
mod field;
mod kind;
mod kinds;
mod loss;
mod mix_input;
mod mixed;
mod mixer;
mod needs;
mod pairing;
mod params;
mod plan;
mod read;
mod registry;
mod section;
mod served;
mod settings;
pub mod spans;

pub use admix_torch::{Autocast, SyncCounter, rng_fingerprint, threads};
pub use cluster_aware::cluster_aware;
pub use credit::Credit;
pub use draws::{Draws, Streams};
pub use embedding::{beta22, extend, unit};
pub use entry::{Describe, Entry, Origin};
pub use error::{Error, Result};
pub use field::uniform_field;
pub use kind::{AnyReader, Choice, Kind, ReadConfig, Reader};
pub use kinds::{LossChoice, MixerChoice};
pub use loss::{Argument, Loss, LossConfig, LossInput};
pub use mix_input::MixInput;
pub use mixed::{Hidden, Mixed};
pub use mixer::{Mixer, MixerConfig, MixerContext};
pub use needs::Needs;
pub use pairing::{Pairing, Partner, Per, Until};
pub use params::{Buffer, Hints, Init, Parameter, Path, Store};
pub use plan::{Ask, Plan, Planned, Value, over_images};
pub use read::Seed;
pub use registry::{Registry, StaticPlugin, did_you_mean, same_name};
pub use section::{FromRecipe, Named, With, key as section_key};
pub use served::{Served, ServedSetting};
pub use settings::Settings;

#[doc(hidden)]
pub use {erased_serde, inventory, schemars, serde, serde_json};

/// Everything that a plugin file usually needs.
pub mod prelude {
    pub use crate::{
        Argument, Ask, Credit, Describe, Draws, Error, Hidden, Hints, Init, Loss, LossConfig, LossInput,
        MixInput, Mixed, Mixer, MixerConfig, MixerContext, Needs, Pairing, Partner, Path, Per, Plan, Planned,
        Result, Value, over_images, uniform_field,
    };
    pub use admix_torch::{Device, Kind, Tensor, no_grad};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}
