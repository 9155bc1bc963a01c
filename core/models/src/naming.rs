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
}

impl Naming {
    /// Names that are the same there and here.
    pub const fn same(libraries: &'static [&'static str], classifier: &'static str) -> Self {
        Self { libraries, name: str::to_owned, shape: same_shape, classifier }
    }

    /// Other names for tensors of the same shapes.
    pub const fn other(
        libraries: &'static [&'static str],
        name: fn(&str) -> String,
        classifier: &'static str,
    ) -> Self {
        Self { libraries, name, shape: same_shape, classifier }
    }
}

fn same_shape(_name: &str, shape: &[i64]) -> Vec<i64> {
    shape.to_vec()
}
