//! The backbone a recipe asks for.
//!
//! RON, with `unwrap_variant_newtypes`: `ResNet(depth: 18, stem: Small)`, `ConvNet(widths: [8, 16], strides: [2, 2])`.

use admix_api::Path;
use serde::{Deserialize, Serialize};

use crate::{Backbone, ConvNet, Error, ResNet, Result};

/// A backbone and its settings. Fields left out keep the documented defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum BackboneConfig {
    /// `ResNet(depth: 18, stem: Small, width: 1.0)`.
    ResNet(ResNetConfig),
    /// `ResNeXt(depth: 50, stem: Small, width: 1.0)`.
    ResNeXt(ResNeXtConfig),
    /// `ConvNet(widths: [8, 16, 32], strides: [2, 2, 2])`.
    ConvNet(ConvNetConfig),
}

/// How a residual network begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Stem {
    /// 3x3 convolution of stride 1, no pool: for images of 32 to 64 pixels.
    #[default]
    Small,
    /// 7x7 convolution of stride 2, then 3x3 max-pool of stride 2: for images from 96 pixels on.
    Large,
}

/// Settings of a ResNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResNetConfig {
    /// Layers: 18, 34 (basic blocks), 50 or 101 (bottlenecks). Default 18.
    pub depth: u32,
    /// The first layers. Default `Small`.
    pub stem: Stem,
    /// Factor on all channel counts, in (0, 8]; each is rounded to a multiple of 8. Default 1.0.
    pub width: f64,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        Self { depth: 18, stem: Stem::Small, width: 1.0 }
    }
}

impl ResNetConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        check_depth("ResNet", self.depth, &[18, 34, 50, 101])?;
        check_width("ResNet", self.width)
    }
}

/// Settings of a ResNeXt 32x4d.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResNeXtConfig {
    /// Layers: 50. Default 50.
    pub depth: u32,
    /// The first layers. Default `Small`.
    pub stem: Stem,
    /// Factor on all channel counts, in (0, 8]; each is rounded to a multiple of 8, those of the 32-group
    /// convolutions to a multiple of 32. Default 1.0.
    pub width: f64,
}

impl Default for ResNeXtConfig {
    fn default() -> Self {
        Self { depth: 50, stem: Stem::Small, width: 1.0 }
    }
}

impl ResNeXtConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        check_depth("ResNeXt", self.depth, &[50])?;
        check_width("ResNeXt", self.width)
    }
}

/// Settings of a ConvNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConvNetConfig {
    /// Output channels of each stage. Default [8, 16, 32].
    pub widths: Vec<i64>,
    /// Stride of each stage, as many as widths. Default [2, 2, 2].
    pub strides: Vec<i64>,
}

impl Default for ConvNetConfig {
    fn default() -> Self {
        Self { widths: vec![8, 16, 32], strides: vec![2, 2, 2] }
    }
}

impl ConvNetConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        let refuse = |field, values: &[i64], wanted: String| {
            Err(Error::Config { model: "ConvNet", field, got: format!("{values:?}"), wanted })
        };
        if self.widths.is_empty() || self.widths.iter().any(|&width| width < 1) {
            return refuse("widths", &self.widths, "at least one, all positive".into());
        }
        if self.strides.len() != self.widths.len() || self.strides.iter().any(|&stride| stride < 1) {
            let wanted = format!("{} positive numbers, one for each width", self.widths.len());
            return refuse("strides", &self.strides, wanted);
        }
        Ok(())
    }
}

admix_api::plain!(BackboneConfig);

impl BackboneConfig {
    /// Checks ranges and combinations; call it right after parsing.
    ///
    /// # Errors
    /// [`Error::Config`], naming the field and its range.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::ResNet(config) => config.validate(),
            Self::ResNeXt(config) => config.validate(),
            Self::ConvNet(config) => config.validate(),
        }
    }

    /// Makes the backbone's parameters at `path`, for images of `in_channels` channels.
    ///
    /// # Errors
    /// Settings out of range, or a name is taken.
    pub fn build(&self, path: &Path, in_channels: i64) -> Result<Box<dyn Backbone>> {
        Ok(match self {
            Self::ResNet(config) => Box::new(ResNet::new(path, config, in_channels)?),
            Self::ResNeXt(config) => Box::new(ResNet::resnext(path, config, in_channels)?),
            Self::ConvNet(config) => Box::new(ConvNet::new(path, config, in_channels)?),
        })
    }
}

/// One backbone, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackboneInfo {
    /// The name in a recipe.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// How many parameters it has.
    pub parameters_note: &'static str,
    /// Its fields, one a line, with defaults and ranges.
    pub options: &'static str,
}

/// All backbones, in the order of [`BackboneConfig`].
pub fn catalogue() -> Vec<BackboneInfo> {
    vec![
        BackboneInfo {
            name: "ResNet",
            summary: "residual network, post-activation; four stages",
            parameters_note: "with 1000 classes and the large stem: 18: 11,689,512; 34: 21,797,672; \
                              50: 25,557,032; 101: 44,549,160. ResNet-18, small stem, no head: 11,168,832",
            options: "depth: 18 | 34 | 50 | 101 (18)\n\
                      stem: Small (3x3, no pool) | Large (7x7 stride 2, max-pool) (Small)\n\
                      width: factor on all channels, in (0, 8] (1.0)",
        },
        BackboneInfo {
            name: "ResNeXt",
            summary: "ResNeXt-50 32x4d: a ResNet-50 whose 3x3 convolutions have 32 groups; four stages",
            parameters_note: "with 1000 classes and the large stem: 25,028,904",
            options: "depth: 50 (50)\n\
                      stem: Small (3x3, no pool) | Large (7x7 stride 2, max-pool) (Small)\n\
                      width: factor on all channels, in (0, 8] (1.0)",
        },
        BackboneInfo {
            name: "ConvNet",
            summary: "plain 3x3 conv-BatchNorm-ReLU stages, for tests and first steps",
            parameters_note: "with the defaults and three image channels, no head: 6,088",
            options: "widths: output channels of each stage ([8, 16, 32])\n\
                      strides: stride of each stage, as many as widths ([2, 2, 2])",
        },
    ]
}

fn check_depth(model: &'static str, depth: u32, known: &[u32]) -> Result<()> {
    if known.contains(&depth) {
        return Ok(());
    }
    let wanted = known.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let wanted = if known.len() > 1 { format!("one of {wanted}") } else { wanted };
    Err(Error::Config { model, field: "depth", got: depth.to_string(), wanted })
}

fn check_width(model: &'static str, width: f64) -> Result<()> {
    if width > 0.0 && width <= 8.0 {
        return Ok(());
    }
    let wanted = "more than 0, at most 8".into();
    Err(Error::Config { model, field: "width", got: width.to_string(), wanted })
}

#[cfg(test)]
mod tests {
    use admix_api::{Store, Streams};
    use admix_torch::Device;

    use super::*;

    fn options() -> ron::Options {
        ron::Options::default().with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES)
    }

    fn parse(text: &str) -> std::result::Result<BackboneConfig, ron::error::SpannedError> {
        options().from_str(text)
    }

    #[test]
    fn recipes_parse_with_defaults_and_survive_a_round_trip() {
        let wanted = [
            ("ResNet()", BackboneConfig::ResNet(ResNetConfig::default())),
            (
                "ResNet(depth: 50, stem: Large, width: 0.5)",
                BackboneConfig::ResNet(ResNetConfig { depth: 50, stem: Stem::Large, width: 0.5 }),
            ),
            (
                "ResNeXt(stem: Large)",
                BackboneConfig::ResNeXt(ResNeXtConfig { stem: Stem::Large, ..ResNeXtConfig::default() }),
            ),
            (
                "ConvNet(widths: [4, 6], strides: [1, 2])",
                BackboneConfig::ConvNet(ConvNetConfig { widths: vec![4, 6], strides: vec![1, 2] }),
            ),
        ];
        for (text, config) in wanted {
            let parsed = parse(text).expect(text);
            assert_eq!(parsed, config);
            let written = options().to_string(&parsed).expect(text);
            assert_eq!(parse(&written).expect(&written), config, "{written}");
        }
    }

    #[test]
    fn unknown_fields_and_names_are_refused() {
        for text in ["ResNet(dept: 18)", "ConvNet(widths: [1], strides: [1], bias: true)", "ResNot()"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (text, words) in [
            ("ResNet(depth: 20)", "ResNet: `depth` is 20, expected one of 18, 34, 50, 101"),
            ("ResNet(width: 0.0)", "`width` is 0"),
            ("ResNet(width: NaN)", "`width` is NaN"),
            ("ResNeXt(width: 8.5)", "ResNeXt: `width` is 8.5"),
            ("ResNeXt(depth: 101)", "expected 50"),
            ("ConvNet(widths: [], strides: [])", "`widths` is []"),
            ("ConvNet(widths: [8, 0], strides: [1, 1])", "`widths` is [8, 0]"),
            ("ConvNet(widths: [8, 8], strides: [1])", "2 positive numbers"),
            ("ConvNet(widths: [8], strides: [0])", "`strides` is [0]"),
        ] {
            let config = parse(text).expect(text);
            let error = config.validate().expect_err(text).to_string();
            assert!(error.contains(words), "{error}");
            let store = Store::new(Device::Cpu, Streams::new(1));
            assert!(config.build(&store.root(), 3).is_err(), "build validates too");
        }
    }

    #[test]
    fn the_catalogue_lists_every_backbone_and_its_fields() {
        let parsed = catalogue().into_iter().map(|info| (info.clone(), parse(&format!("{}()", info.name))));
        for (info, config) in parsed {
            let written = options().to_string(&config.expect(info.name)).expect(info.name);
            for line in info.options.lines() {
                let field = line.split(':').next().expect("a field");
                assert!(written.contains(&format!("{field}:")), "{written}");
            }
        }
        let store = Store::new(Device::Cpu, Streams::new(1));
        BackboneConfig::ConvNet(ConvNetConfig::default()).build(&store.root(), 3).expect("valid");
        let count: usize = store.parameters().iter().map(|(_, tensor, _)| tensor.numel()).sum();
        assert_eq!(count, 6_088);
    }
}
