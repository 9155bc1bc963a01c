//! The learned mask of AutoMix and AMix, in parts.

mod adjust;
mod attention;
mod conv;
mod encoding;
mod initial;
mod mix_block;
mod projection;
mod upsample;
mod value;

pub use adjust::{Adjust, SameCluster};
pub use encoding::{Encoding, Gamma, Rescale};
pub use initial::Initial;
pub use mix_block::{Block, MixBlock, Order};
pub use projection::{Attention, Projection};
pub use upsample::Upsample;
pub use value::{Activation, Content, ContentOf};
