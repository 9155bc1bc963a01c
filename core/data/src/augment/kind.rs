//! What an augmentation draws on the host, and what it does on the device.

use std::fmt;
use std::sync::Arc;

use admix_api::{Choice, Draws};
use admix_torch::{Device, Tensor};
use serde_json::Value as Json;

use super::resample::Interpolation;
use super::views::Views;
use crate::{Info, Result};

/// An augmentation as a recipe chooses it.
pub type AugmentChoice = Choice<dyn Augmentation>;

/// Makes views of the training images of one dataset on one device.
///
/// All randomness is drawn on the host, for each image of each view; nothing on the device waits.
///
/// ```
/// use admix_api::{Draws, Streams};
/// use admix_data::{Augmentation, Result, Views};
/// use admix_torch::Tensor;
///
/// /// Shows the images as they are.
/// #[derive(Debug)]
/// struct Plain;
///
/// impl Augmentation for Plain {
///     fn size(&self) -> (i64, i64) {
///         (2, 2)
///     }
///
///     fn draw(&self, sizes: &[(i64, i64)], _: &mut Draws) -> Views {
///         vec![(); sizes.len()].into()
///     }
///
///     fn apply(&self, images: &Tensor, index: &Tensor, views: &[Views]) -> Result<Vec<Tensor>> {
///         views.iter().map(|_| Ok(images.f_index_select(0, index)?)).collect()
///     }
/// }
///
/// let images = Tensor::from_slice(&[1u8, 2, 3, 4, 5, 6, 7, 8]).reshape([2, 1, 2, 2]);
/// let views = Plain.draw(&[(2, 2)], &mut Streams::new(0).draws("data", "", 0, 0));
/// let shown = Plain.apply(&images, &Tensor::from_slice(&[1i64]), &[views])?;
/// assert!(shown[0].equal(&images.narrow(0, 1, 1)));
/// # Ok::<(), admix_data::Error>(())
/// ```
pub trait Augmentation: fmt::Debug {
    /// Height and width of a view.
    fn size(&self) -> (i64, i64);

    /// Draws one view of images of these heights and widths.
    fn draw(&self, sizes: &[(i64, i64)], draws: &mut Draws) -> Views;

    /// The views of images at `index` `[N]` among `images` `[n, C, H, W]` (bytes on the device): each `[N, C, h, w]`, whole
    /// numbers 0 to 255 unless [`whole`](Augmentation::whole) says otherwise, as bytes or as f32. Floats are normalised in place: nobody else may have them.
    ///
    /// # Errors
    /// Views that another augmentation drew, or that do not fit the images; libtorch's own.
    fn apply(&self, images: &Tensor, index: &Tensor, views: &[Views]) -> Result<Vec<Tensor>>;

    /// Whether the numbers of views are whole ones.
    fn whole(&self) -> bool {
        true
    }

    /// For views that are resized crops: the threads of a streamed set make the crops. `None`: they hand on whole images of
    /// one size, and all is done by [`apply`](Augmentation::apply).
    fn cropped(&self) -> Option<&dyn Cropped> {
        None
    }
}

/// An augmentation whose crops are made by threads, image by image.
///
/// ```
/// use admix_data::{AugmentationConfig, DatasetSource, ResizedCrop, Setup, Toy};
/// use admix_torch::Device;
///
/// let info = Toy::default().about().info("toy", (8, 8), "an example".into());
/// let setup = Setup { info: &info, device: Device::Cpu, flip: true, crop: None };
/// let augmentation = ResizedCrop::default().build(&setup)?;
/// assert!(augmentation.cropped().is_some());
/// # Ok::<(), admix_data::Error>(())
/// ```
pub trait Cropped {
    /// What the threads know of it.
    fn cutter(&self) -> Arc<dyn Cutter>;

    /// What is left to do on the device to crops `[V * N, C, h, w]` (bytes, all images of the first view, then of the next):
    /// the views as [`Augmentation::apply`] hands them back.
    ///
    /// # Errors
    /// As [`Augmentation::apply`].
    fn finish(&self, crops: &Tensor, views: &[Views]) -> Result<Vec<Tensor>>;
}

/// Draws views and cuts their crops out of images, on any thread.
///
/// ```
/// use admix_api::Streams;
/// use admix_data::{AugmentationConfig, DatasetSource, ResizedCrop, Setup, Toy};
/// use admix_torch::Device;
///
/// let info = Toy::default().about().info("toy", (8, 8), "an example".into());
/// let setup = Setup { info: &info, device: Device::Cpu, flip: true, crop: None };
/// let augmentation = ResizedCrop::default().build(&setup)?;
/// let cutter = augmentation.cropped().expect("crops").cutter();
/// let views = cutter.draw(&[(40, 30)], &mut Streams::new(0).draws("data", "", 0, 0));
/// let crop = cutter.crop(&views, 0)?;
/// assert!(crop.top + crop.height <= 40 && crop.left + crop.width <= 30);
/// # Ok::<(), admix_data::Error>(())
/// ```
pub trait Cutter: Send + Sync {
    /// As [`Augmentation::draw`].
    fn draw(&self, sizes: &[(i64, i64)], draws: &mut Draws) -> Views;

    /// The part of the image that its view at position `at` shows.
    ///
    /// # Errors
    /// Views that another augmentation drew.
    fn crop(&self, views: &Views, at: usize) -> Result<Crop>;

    /// The filter that brings a crop to the size of a view.
    fn filter(&self) -> Interpolation;
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// First row.
    pub top: i64,
    /// First column.
    pub left: i64,
    /// Rows.
    pub height: i64,
    /// Columns.
    pub width: i64,
}

/// What an augmentation is built for.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The dataset.
    pub info: &'a Info,
    /// Where its batches are.
    pub device: Device,
    /// `data.flip`; its default where the augmentation does not [heed](AugmentationConfig::heeds) it.
    pub flip: bool,
    /// `data.crop`; its default where the augmentation does not heed it.
    pub crop: Option<i64>,
}

/// The settings of an augmentation.
///
/// ```
/// use admix_data::{AugmentationConfig, ResizedCrop};
///
/// let crop = ResizedCrop { size: Some(32), ..ResizedCrop::default() };
/// crop.validate()?;
/// assert_eq!(crop.size(), Some(32));
/// assert!(crop.takes_any_size() && crop.heeds().is_empty());
/// # Ok::<(), admix_api::Error>(())
/// ```
pub trait AugmentationConfig: fmt::Debug {
    /// Checks ranges, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    fn validate(&self) -> admix_api::Result<()> {
        Ok(())
    }

    /// Height and width of a view, where they are not the dataset's.
    fn size(&self) -> Option<i64> {
        None
    }

    /// Whether the images may differ in size: the views are crops that are resized. [`Augmentation::cropped`] is given then.
    fn takes_any_size(&self) -> bool {
        false
    }

    /// Which of the fields `flip` and `crop` of `data` it heeds.
    fn heeds(&self) -> &'static [&'static str] {
        &[]
    }

    /// Builds the augmentation.
    ///
    /// # Errors
    /// Settings that do not fit the dataset; libtorch's own.
    fn build(&self, setup: &Setup<'_>) -> Result<Box<dyn Augmentation>>;

    /// The settings in full, defaults included: none where there are none.
    fn resolved(&self) -> Json {
        Json::Object(serde_json::Map::new())
    }
}

/// Describes an augmentation for the registry: type of its settings, name, summary, source. In place of a type without settings
/// its declaration may stand: `pub struct Name {}`.
#[macro_export]
macro_rules! augmentation {
    (
        $(#[$about:meta])* pub struct $config:ident {}, $name:literal, $summary:literal, source: $source:literal
    ) => {
        ::admix_api::settings! { $(#[$about])* pub struct $config {} }

        $crate::augmentation! { $config, $name, $summary, source: $source }
    };
    ($config:ident, $name:literal, $summary:literal, source: $source:literal) => {
        ::admix_api::describe! {
            dyn $crate::Augmentation, dyn $crate::AugmentationConfig: $config, stringify!($config), $name, $summary,
            source: $source, served: ()
        }

        impl From<$config> for $crate::AugmentChoice {
            fn from(config: $config) -> Self {
                Self::new($name, (), ::std::rc::Rc::new(config))
            }
        }
    };
}
