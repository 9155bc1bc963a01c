//! How other libraries name the tensors of a network.

/// The names that a library gives to the tensors of one backbone and its classifier.
///
/// ```
/// use admix_models::{BackboneConfig, ResNetConfig};
///
/// let naming = &ResNetConfig::default().namings()[0];
/// assert_eq!((naming.name)("layer1.0.conv1.weight"), "layer1.0.conv1.weight");
/// assert_eq!(naming.classifier, "fc");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Naming {
    /// The libraries, as `--format` and messages name them: "torchvision", "timm".
    pub libraries: &'static [&'static str],
    /// The name there of a tensor of the backbone, given its name here (without `backbone.`).
    pub name: fn(&str) -> String,
    /// The shape there of a tensor of the backbone, given its name and shape here. The values have the same order.
    pub shape: fn(&str, &[i64]) -> Vec<i64>,
    /// Where the classifier is: "fc" of `fc.weight` and `fc.bias`.
    pub classifier: &'static str,
    /// What the library keeps beside a tensor of the backbone although it follows from it, given the tensor's name and shape
    /// here.
    pub beside: fn(&str, &[i64]) -> Option<Beside>,
}

/// A tensor of whole numbers that a library keeps in its files and nothing here has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// Its name there.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<i64>,
    /// Its values, in the order of the shape.
    pub values: Vec<i64>,
}

impl Naming {
    /// Names that are the same there and here.
    pub const fn same(libraries: &'static [&'static str], classifier: &'static str) -> Self {
        Self { libraries, name: str::to_owned, shape: same_shape, classifier, beside: nothing_beside }
    }

    /// Other names for tensors of the same shapes.
    pub const fn other(
        libraries: &'static [&'static str],
        name: fn(&str) -> String,
        classifier: &'static str,
    ) -> Self {
        Self { libraries, name, shape: same_shape, classifier, beside: nothing_beside }
    }
}

fn same_shape(_name: &str, shape: &[i64]) -> Vec<i64> {
    shape.to_vec()
}

fn nothing_beside(_name: &str, _shape: &[i64]) -> Option<Beside> {
    None
}

/// Whether the first convolutions of two networks differ in the channels of their images alone.
pub(crate) fn is_of_other_images(theirs: &[i64], ours: &[i64]) -> bool {
    theirs.len() == ours.len()
        && theirs.first() == ours.first()
        && theirs.get(1) != ours.get(1)
        && theirs.get(2..) == ours.get(2..)
}
