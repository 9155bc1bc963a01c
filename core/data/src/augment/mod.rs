//! What training images go through: settings, draws, and their use on a whole batch, on the device.

mod blur;
mod colour;
mod moco;
mod photometric;
mod pipeline;
mod resample;
mod shift;

pub use moco::{Interpolation, Moco, ResizedCrop};
pub use photometric::{Change, Jitter, View};
pub(crate) use pipeline::Pipeline;
pub(crate) use shift::Gather;
pub use shift::Shift;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::config::setting;

/// Which law the views of a training image follow.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub enum Augment {
    /// Crop after a reflected border and flip, as `data.crop` and `data.flip` say: the augmentation of CIFAR.
    #[default]
    Shift,
    /// Crop of random area and shape, resized, and flip: supervised training on photographs, linear evaluation.
    ResizedCrop(ResizedCrop),
    /// That of MoCo v2: resized crop, flip, colour jitter, grey, blur.
    Moco(Moco),
}

impl Augment {
    /// The resized crop and what follows it; `None` where images keep their size.
    pub(crate) fn moco(&self) -> Option<Moco> {
        match self {
            Self::Shift => None,
            Self::ResizedCrop(crop) => Some(crop.into()),
            Self::Moco(moco) => Some(moco.clone()),
        }
    }

    /// Height and width of a view, where they are not the dataset's.
    pub fn size(&self) -> Option<i64> {
        self.moco()?.size
    }

    /// Checks every value that can be checked without the data.
    pub(crate) fn validate(&self) -> Result<()> {
        self.moco().map_or(Ok(()), |moco| moco.validate())
    }
}

/// What happens to each image of a batch, drawn on the host.
#[derive(Debug, Clone, PartialEq)]
pub enum Augmentation {
    /// Under [`Augment::Shift`].
    Shift(Shift),
    /// Under the other laws: one view per image.
    Views(Vec<View>),
}

impl From<Shift> for Augmentation {
    fn from(shift: Shift) -> Self {
        Self::Shift(shift)
    }
}

impl From<Vec<View>> for Augmentation {
    fn from(views: Vec<View>) -> Self {
        Self::Views(views)
    }
}

impl Augmentation {
    /// How many images it is for.
    pub fn len(&self) -> usize {
        match self {
            Self::Shift(shift) => shift.len(),
            Self::Views(views) => views.len(),
        }
    }

    /// True if it is for no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Refuses a crop or flip that the law would not heed.
pub(crate) fn unheeded(field: &'static str, got: impl ToString) -> crate::Error {
    setting(
        field,
        got,
        "its default, as it acts under `augment: Shift` only; give the setting to `augment` itself",
    )
}
