//! What an entry says of its dataset, and how it reads it.

use std::fmt;
use std::path::{Path, PathBuf};

use admix_api::Streams;
use serde_json::Value as Json;

use crate::import::layout::Layout;
use crate::source::Contents;
use crate::{Info, Result, TrainSplit};

/// The facts of a dataset that are known without its files.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// Number of classes.
    pub classes: usize,
    /// Their names, by label; empty where only the files name them.
    pub class_names: Vec<String>,
    /// Channels, height and width of an image.
    pub shape: [i64; 3],
    /// Mean of each channel, pixels in [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, pixels in [0, 1].
    pub std: Vec<f32>,
    /// Training images that have labels.
    pub train: usize,
    /// Test images.
    pub test: usize,
    /// Images without labels (`data.split`).
    pub unlabelled: usize,
    /// Predefined folds of the training images (`data.fold`).
    pub folds: usize,
}

impl About {
    /// What is known of the set after it was read from `source`: so many training and test images were there.
    pub fn info(self, name: &str, (train, test): (usize, usize), source: String) -> Info {
        let [channels, height, width] = self.shape;
        Info {
            name: name.into(),
            classes: self.classes,
            class_names: self.class_names,
            channels,
            height,
            width,
            mean: self.mean,
            std: self.std,
            train,
            test,
            unlabelled: 0,
            split: TrainSplit::Train,
            source,
        }
    }
}

/// Files of a dataset that are not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The folder that they are looked for in.
    pub folder: PathBuf,
    /// Their names.
    pub expected: String,
}

impl Absent {
    /// Those of these files and folders that a folder lacks; `None` if it has all.
    pub fn of(folder: PathBuf, names: &[&str]) -> Option<Self> {
        let missing = names.iter().copied().filter(|name| !folder.join(name).exists());
        let expected = missing.collect::<Vec<_>>().join(", ");
        (!expected.is_empty()).then_some(Self { folder, expected })
    }
}

/// A set as it is published.
#[derive(Debug, Clone, Copy)]
pub struct Published<'a> {
    /// Address of the folder that holds its files.
    pub base: &'a str,
    /// Names of the files and their MD5, in hexadecimal.
    pub files: &'a [(&'a str, &'a str)],
    /// What each file becomes.
    pub then: Then<'a>,
}

/// What a published file becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then<'a> {
    /// It is a tar.gz that holds this folder, which is unpacked.
    Unpack(&'a str),
    /// It is an archive of images, which is imported.
    Import,
    /// It is used as it is, in this folder.
    Keep(&'a str),
}

/// What a run wants of a dataset.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The folder that holds the datasets.
    pub root: &'a Path,
    /// Which images are trained on.
    pub split: TrainSplit,
    /// Which of the predefined folds of the training images; all of them without.
    pub fold: Option<usize>,
    /// What a generated set is drawn from.
    pub streams: Streams,
}

/// A dataset that recipes use by its name: the settings of an entry.
///
/// ```
/// use admix_data::{About, Contents, DatasetSource, Images, Part, Source, Wanted, dataset};
///
/// dataset! {
///     /// Black and white squares.
///     pub struct Squares {}, "squares", "black and white squares", source: "this example"
/// }
///
/// impl DatasetSource for Squares {
///     fn about(&self) -> About {
///         About {
///             classes: 2,
///             class_names: vec!["black".into(), "white".into()],
///             shape: [1, 4, 4],
///             mean: vec![0.5],
///             std: vec![0.5],
///             train: 20,
///             test: 10,
///             unlabelled: 0,
///             folds: 0,
///         }
///     }
///
///     fn load(&self, _: Wanted<'_>) -> admix_data::Result<Contents> {
///         let split = |n: u16| {
///             let labels: Vec<u16> = (0..n).map(|i| i % 2).collect();
///             let pixels = labels.iter().flat_map(|label| [255 * *label as u8; 16]).collect();
///             Part::new(&Images { labels, pixels }, 1, 4, 4)
///         };
///         let info = self.about().info("squares", (20, 10), "made on the spot".into());
///         Ok(Source { info, train: split(20)?, test: split(10)?, unlabelled: None }.into())
///     }
/// }
///
/// let entry = <Squares as admix_api::Describe>::entry();
/// let verdicts = admix_api::contract::check(&entry, &[serde_json::json!({})]);
/// assert!(verdicts.iter().all(|verdict| !verdict.is_broken()));
/// ```
pub trait DatasetSource: fmt::Debug {
    /// Checks the settings' ranges, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    fn validate(&self) -> admix_api::Result<()> {
        Ok(())
    }

    /// The facts that are known without the files.
    fn about(&self) -> About;

    /// Whether it is read from files. The name of a set without files can stand for nothing else.
    fn needs_files(&self) -> bool {
        false
    }

    /// The files that are not there, if any.
    fn absent(&self, root: &Path) -> Option<Absent> {
        let _ = root;
        None
    }

    /// Whether every file is there, those included that only some recipes need.
    fn is_whole(&self, root: &Path) -> bool {
        self.absent(root).is_none()
    }

    /// What to do if files are missing.
    fn how_to_get(&self) -> &'static str {
        "nothing to do"
    }

    /// Where it can be downloaded.
    fn published(&self) -> Option<Published<'static>> {
        None
    }

    /// A layout of its archive that an import should know.
    fn layout(&self) -> Option<&'static dyn Layout> {
        None
    }

    /// Whether its pictures differ in size: [`load`](DatasetSource::load) lists their files, which are read as they are needed.
    /// The height and width in [`about`](DatasetSource::about) are those of a view, then.
    fn is_streamed(&self) -> bool {
        false
    }

    /// Reads the set, or lists its files. They are there, and the name and sizes in [`Source::info`](crate::Source::info) are those
    /// that were read.
    ///
    /// # Errors
    /// A file that is damaged or cannot be read.
    fn load(&self, wanted: Wanted<'_>) -> Result<Contents>;

    /// Reads every byte of all files and counts them, where [`load`](DatasetSource::load) reads only those that are asked for;
    /// `None` where it reads all of them.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn read_through(&self, root: &Path) -> Result<Option<u64>> {
        let _ = root;
        Ok(None)
    }

    /// The settings in full, defaults included: none where there are none.
    fn resolved(&self) -> Json {
        Json::Object(serde_json::Map::new())
    }
}

/// Describes a dataset for the registry: type of its settings, name, summary, source. In place of a type without settings
/// its declaration may stand: `pub struct Name {}`.
#[macro_export]
macro_rules! dataset {
    (
        $(#[$about:meta])* pub struct $config:ident {}, $name:literal, $summary:literal, source: $source:literal
    ) => {
        ::admix_api::settings! { $(#[$about])* pub struct $config {} }

        $crate::dataset! { $config, $name, $summary, source: $source }
    };
    ($config:ident, $name:literal, $summary:literal, source: $source:literal) => {
        ::admix_api::describe! {
            dyn $crate::DatasetSource, dyn $crate::DatasetSource: $config, stringify!($config), $name, $summary,
            source: $source, served: ()
        }

        impl From<$config> for $crate::SetSettings {
            fn from(config: $config) -> Self {
                Self::of($name, ::std::rc::Rc::new(config))
            }
        }
    };
}
