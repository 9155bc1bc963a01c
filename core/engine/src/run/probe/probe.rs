//! What a probe is: an evaluation protocol that puts something on top of features.

use std::fmt::Debug;

use admix_api::{Choice, Streams};
use admix_data::Split;
use admix_torch::Tensor;
use serde_json::{Map, Value as Json};

use crate::Result;
use crate::run::accuracy::Accuracy;

/// The features that a probe measures. None has a graph, and a probe changes none.
///
/// ```
/// use admix_api::Streams;
/// use admix_data::Split;
/// use admix_engine::{Features, Knn, Probe, Result, TrainPass};
/// use admix_torch::{Device, Kind, Tensor};
///
/// /// Four images, two classes.
/// struct Four;
///
/// impl Features for Four {
///     fn classes(&self) -> i64 {
///         2
///     }
///     fn width(&self) -> i64 {
///         2
///     }
///     fn samples(&self) -> usize {
///         4
///     }
///     fn batch(&self) -> usize {
///         4
///     }
///     fn streams(&self) -> Streams {
///         Streams::new(0)
///     }
///     fn whole(&self, _: Split) -> Result<(Tensor, Tensor)> {
///         Ok((Tensor::eye(2, (Kind::Float, Device::Cpu)).repeat([2, 1]), Tensor::from_slice(&[0i64, 1, 0, 1])))
///     }
///     fn pass(&self, _: TrainPass, each: &mut dyn FnMut(&Tensor, &Tensor) -> Result<()>) -> Result<()> {
///         let (features, labels) = self.whole(Split::Labelled)?;
///         each(&features, &labels)
///     }
///     fn unchanged(&self) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// let measured = Knn { k: 1, ..Knn::default() }.measure(&Four, &mut |_, _| {})?;
/// assert_eq!(measured.accuracy.top1, 100.0);
/// # Ok::<(), admix_engine::Error>(())
/// ```
pub trait Features {
    /// Number of classes.
    fn classes(&self) -> i64;

    /// Numbers in the features of one image.
    fn width(&self) -> i64;

    /// How many labelled training images there are.
    fn samples(&self) -> usize;

    /// How many images are measured at once.
    fn batch(&self) -> usize;

    /// Where a probe's draws come from.
    fn streams(&self) -> Streams;

    /// Features `[n, C]` float32 of all images of a split as they are, and their labels `[n]` int64: `Labelled` for the
    /// training images, or `Test`.
    ///
    /// # Errors
    /// libtorch or the data refused.
    fn whole(&self, split: Split) -> Result<(Tensor, Tensor)>;

    /// One pass over the augmented training images: calls `each` with features `[N, C]` and labels `[N]`.
    ///
    /// # Errors
    /// `each` fails, or the data refused.
    fn pass(&self, pass: TrainPass, each: &mut dyn FnMut(&Tensor, &Tensor) -> Result<()>) -> Result<()>;

    /// Checks that what makes the features is what it was when the measurement began.
    ///
    /// # Errors
    /// A tensor has changed.
    fn unchanged(&self) -> Result<()>;
}

/// How the training images of one pass are prepared.
#[derive(Debug)]
pub struct TrainPass {
    /// Area of the smallest crop, as a share of the image. Crops are resized by a cubic filter and flipped. `None`: what
    /// the recipe says of augmentation.
    pub least_area: Option<f64>,
    /// The order of the images.
    pub order: Vec<i64>,
    /// Images in each call.
    pub batch: usize,
    /// The pass, from 0.
    pub epoch: u64,
    /// Where the augmentation is drawn from.
    pub streams: Streams,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// On the test set.
    pub accuracy: Accuracy,
    /// The best top-1 of any epoch, in percent, of a probe that trains. Not a number if there is none.
    pub best_top1: Option<f64>,
    /// The values of settings that the data decide.
    pub decided: Map<String, Json>,
}

/// Called after each epoch of a probe that trains: the epoch, from 1, and the accuracy on the test set.
pub type AfterEpoch<'a> = &'a mut dyn FnMut(u64, &Accuracy);

/// An evaluation protocol with its settings.
///
/// ```
/// use admix_engine::{Knn, Linear, Probe};
///
/// assert!(Knn { k: 0, ..Knn::default() }.validate().is_err());
/// assert_eq!(Knn::default().epochs(), None);
/// assert!(Linear::default().epochs().is_some());
/// ```
pub trait Probe: Debug {
    /// Checks the ranges, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    fn validate(&self) -> admix_api::Result<()>;

    /// Measures features on the test set.
    ///
    /// # Errors
    /// libtorch or the data refused.
    fn measure(&self, features: &dyn Features, after: AfterEpoch<'_>) -> Result<Measured>;

    /// How many epochs it trains; `None` if it does not.
    fn epochs(&self) -> Option<u64> {
        None
    }

    /// The settings in full, defaults included.
    fn resolved(&self) -> Json;
}

/// A probe as a recipe chooses it.
pub type ProbeChoice = Choice<dyn Probe>;

/// Describes a probe for the registry: type of its settings, name in recipes, name on the command line, summary, source.
macro_rules! probe {
    ($config:ident, $type_name:literal, $name:literal, $summary:literal, source: $source:literal) => {
        admix_api::describe! {
            dyn $crate::run::probe::Probe, dyn $crate::run::probe::Probe: $config, $type_name, $name, $summary,
            source: $source, served: ()
        }
    };
}

pub(super) use probe;
