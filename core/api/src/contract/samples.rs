//! The batches that plugins are tried on.

use admix_torch::{Device, Kind, Tensor};

use crate::{MixInput, Needs};

/// Numbers between -1 and 1 without a pattern: the same for the same shape and seed.
pub fn wild(shape: &[i64], seed: f64, kind: Kind) -> Tensor {
    let count: i64 = shape.iter().product();
    let field =
        (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 12.9898 + seed * 78.233).sin() * 43758.547;
    ((&field - field.floor()) * 2.0 - 1.0).reshape(shape).to_kind(kind)
}

/// The same of the shape, kind and device of a tensor.
pub(super) fn wild_like(tensor: &Tensor, seed: f64) -> Tensor {
    wild(&tensor.size(), seed, tensor.kind()).to_device(tensor.device())
}

/// Channels of the feature maps.
pub(super) const DEPTH: i64 = 6;

/// (N, C, H, W, h, w): a batch of 1, odd batches, H and W different, one colour, maps of the images' own size.
pub(super) const SHAPES: [[i64; 6]; 5] =
    [[1, 3, 8, 8, 2, 2], [2, 3, 8, 8, 4, 4], [3, 3, 8, 12, 2, 3], [5, 1, 6, 4, 3, 2], [4, 3, 4, 4, 4, 4]];

/// What a mixer is given.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) images: Tensor,
    pub(super) features: Option<Tensor>,
    pub(super) saliency: Option<Tensor>,
    pub(super) pseudo: Option<Tensor>,
    /// The other view: images and features of the partners.
    pub(super) other: Option<(Tensor, Option<Tensor>)>,
    pub(super) quiet: bool,
}

impl Batch {
    pub(super) fn new(
        [n, c, height, width, h, w]: [i64; 6],
        needs: &Needs,
        quiet: bool,
        device: Device,
    ) -> Self {
        let wild = |shape: &[i64], seed| wild(shape, seed, Kind::Float).to_device(device);
        Self {
            images: wild(&[n, c, height, width], 0.1),
            features: needs.features.map(|_| wild(&[n, DEPTH, h, w], 0.2)),
            saliency: needs.saliency.then(|| wild(&[n, height, width], 0.3).abs()),
            pseudo: needs.pseudo.then(|| two_labels(n, device)),
            other: None,
            quiet,
        }
    }

    /// The same values in other memory: what a plugin writes into them changes nothing here.
    pub(super) fn copy(&self) -> Self {
        let copied = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::copy);
        Self {
            images: self.images.copy(),
            features: copied(&self.features),
            saliency: copied(&self.saliency),
            pseudo: copied(&self.pseudo),
            other: self.other.as_ref().map(|(images, features)| (images.copy(), copied(features))),
            quiet: self.quiet,
        }
    }

    /// The same batch with pseudo labels.
    pub(super) fn with_pseudo(&self) -> Self {
        Self { pseudo: Some(two_labels(self.images.size()[0], self.images.device())), ..self.copy() }
    }

    /// The same batch with another view beside it.
    pub(super) fn with_other_view(&self) -> Self {
        let moved = |tensor: &Tensor| wild_like(tensor, 0.55) + 3.0;
        let other = Some((moved(&self.images), self.features.as_ref().map(moved)));
        Self { other, ..self.copy() }
    }

    pub(super) fn input(&self) -> MixInput<'_> {
        MixInput {
            images: &self.images,
            partner_images: self.other.as_ref().map(|(images, _)| images),
            features: self.features.as_ref(),
            partner_features: self.other.as_ref().and_then(|(_, features)| features.as_ref()),
            saliency: self.saliency.as_ref(),
            pseudo: self.pseudo.as_ref(),
            shown: None,
            partner_shown: None,
            quiet: self.quiet,
        }
    }

    /// Every tensor with its name.
    pub(super) fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        let input = self.input();
        [
            ("images", Some(input.images)),
            ("partners' images", input.partner_images),
            ("features", input.features),
            ("partners' features", input.partner_features),
            ("saliency", input.saliency),
            ("pseudo labels", input.pseudo),
        ]
        .into_iter()
        .filter_map(|(name, tensor)| Some((name, tensor?)))
        .collect()
    }
}

fn two_labels(n: i64, device: Device) -> Tensor {
    Tensor::arange(n, (Kind::Int64, device)).remainder(2)
}

/// Whether two tensors are the same in shape, kind, place and every bit that counts (any NaN is any other).
pub(super) fn same(a: &Tensor, b: &Tensor) -> bool {
    if !a.defined() || !b.defined() {
        return a.defined() == b.defined();
    }
    a.size() == b.size()
        && a.kind() == b.kind()
        && a.device() == b.device()
        && a.requires_grad() == b.requires_grad()
        && all(&a.eq_tensor(b).logical_or(&a.isnan().logical_and(&b.isnan())))
}

/// Whether every entry is true; so for no entries.
pub(super) fn all(condition: &Tensor) -> bool {
    condition.all().int64_value(&[]) != 0
}

/// Whether two tensors of one shape are nowhere further apart than this.
pub(super) fn close(a: &Tensor, b: &Tensor, within: f64) -> bool {
    a.size() == b.size() && (a - b).abs().max().double_value(&[]) <= within
}

/// `2x3x8x8`.
pub(super) fn by(shape: &[i64]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

/// "2x3x8x8 Float", or that there is nothing.
pub(super) fn described(tensor: &Tensor) -> String {
    match tensor.defined() {
        false => "undefined".into(),
        true if tensor.dim() == 0 => format!("a scalar {:?}", tensor.kind()),
        true => format!("{} {:?}", by(&tensor.size()), tensor.kind()),
    }
}
