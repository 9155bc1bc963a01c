//! What a plugin author sees: mixers, losses, the values they exchange with the host, and the registry.
//!
//! | file | what it holds |
//! |---|---|
//! | `abi/` | the C ABI: `foreign/` is the host's side, `export/` the library's |
//! | `cluster_aware.rs` | partners by pseudo label |
//! | `contract/` | the promises that every registered entry is held to |
//! | `credit.rs` | how the label of a mix is shared |
//! | `draws.rs` | named random draws, the only source of randomness |
//! | `driver/` | mixers and losses by name and settings, in any loop |
//! | `embedding.rs` | what contrastive methods do to embeddings beside their losses |
//! | `entry.rs` | one entry of the registry; `mixer!`, `loss!`, `describe!` |
//! | `error.rs` | what can go wrong |
//! | `export.rs` | `register!` and `export_plugins!`, the list of a crate |
//! | `field.rs` | random fields made on the device |
//! | `kind.rs` | what a kind of entry is; an entry with its settings |
//! | `kinds.rs` | the kinds *mixer* and *loss* |
//! | `loss.rs` | losses and their inputs |
//! | `mix_input.rs` | the tensors given to one mix |
//! | `mixed.rs` | a mixed batch |
//! | `mixer.rs` | mixers and their settings: the traits |
//! | `names.rs` | names in any spelling, and the nearest one |
//! | `needs.rs` | what a mixer reads beside the images |
//! | `pairing.rs` | the settings that the host serves for every mixer |
//! | `params.rs` | named parameters and buffers |
//! | `plan.rs` | the scalar choices of one mix |
//! | `ranges.rs` | checks of settings |
//! | `read.rs` | reading one entry out of a recipe |
//! | `registry.rs` | all entries, by kind and name |
//! | `section.rs` | sections of a recipe, each field written once |
//! | `served.rs` | settings that the host serves, taken out while an entry is read |
//! | `settings.rs` | settings of an entry, written once and shown in full |
//! | `sinkhorn.rs` | codes of samples that use all prototypes alike |
//! | `spans.rs` | where the time of a step goes |

pub mod abi;
mod cluster_aware;
pub mod contract;
mod credit;
mod draws;
mod driver;
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
mod names;
mod needs;
mod pairing;
mod params;
mod plan;
pub mod ranges;
mod read;
mod registry;
mod section;
mod served;
mod settings;
mod sinkhorn;
pub mod spans;

pub use admix_torch::{Autocast, SyncCounter, duplicate, grad_enabled, rng_fingerprint, threads};
pub use cluster_aware::cluster_aware;
pub use credit::Credit;
pub use draws::{Draws, Streams};
pub use driver::{DrivenLoss, DrivenMix, DrivenMixer, Driver, Operand, Turn};
pub use embedding::{beta22, extend, unit};
pub use entry::{Describe, Entry, Origin};
pub use error::{Error, Result};
pub use field::uniform_field;
pub use kind::{AnyReader, Choice, Kind, ReadConfig, Reader};
pub use kinds::{LossChoice, MixerChoice};
pub use loss::{Argument, Loss, LossConfig, LossInput};
pub use mix_input::MixInput;
pub use mixed::{Hidden, MapMix, Mixed};
pub use mixer::{Mixer, MixerConfig, MixerContext};
pub use names::{did_you_mean, same_name};
pub use needs::Needs;
pub use pairing::{Pairing, Partner, Per, Until};
pub use params::{Buffer, Hints, Init, Parameter, Path, Store};
pub use plan::{Ask, Plan, Planned, Value, over_images};
pub use read::Seed;
pub use registry::{Registry, StaticPlugin};
pub use section::{FromRecipe, Named, OtherFields, With, key as section_key, unknown_among as unknown_field};
pub use served::{Served, ServedSetting};
pub use settings::Settings;
pub use sinkhorn::sinkhorn;

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
