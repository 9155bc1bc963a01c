//! The tensors given to one mix.

use admix_torch::{Tensor, is_channels_last};

use crate::{Error, Result};

/// The tensors given to one mix.
#[derive(Debug)]
pub struct MixInput<'a> {
    /// The own images, `[N, C, H, W]`, normalised. Never modified.
    pub images: &'a Tensor,
    /// The images that partners are taken from, if not the same batch (the other view).
    pub partner_images: Option<&'a Tensor>,
    /// The feature map that the mixer needs, `[N, D, h, w]`, without graph.
    pub features: Option<&'a Tensor>,
    /// The features that partners are taken from, if not the same.
    pub partner_features: Option<&'a Tensor>,
    /// Saliency of the images, `[N, H, W]`.
    pub saliency: Option<&'a Tensor>,
    /// Pseudo labels, `[N]` int64.
    pub pseudo: Option<&'a Tensor>,
    /// The own images as the mix shows them, `[N, C, H, W]`, where they differ from those that it is made for: with noise
    /// on them that is to be learned from, but not to be looked at.
    pub shown: Option<&'a Tensor>,
    /// The images that partners are shown from, in the same way.
    pub partner_shown: Option<&'a Tensor>,
    /// True where the mix trains the encoder only: no graph, and adjusting of lambda applies.
    pub quiet: bool,
}

impl<'a> MixInput<'a> {
    /// Images, and whatever else `lookup` has under the names of the fields.
    pub fn named(images: &'a Tensor, quiet: bool, lookup: impl Fn(&str) -> Option<&'a Tensor>) -> Self {
        Self {
            images,
            partner_images: lookup("partner_images"),
            features: lookup("features"),
            partner_features: lookup("partner_features"),
            saliency: lookup("saliency"),
            pseudo: lookup("pseudo"),
            shown: lookup("shown"),
            partner_shown: lookup("partner_shown"),
            quiet,
        }
    }

    /// Images alone.
    pub fn of(images: &'a Tensor) -> Self {
        Self::named(images, false, |_| None)
    }

    /// Its tensors, by the names of the fields.
    pub(crate) fn named_tensors(&self) -> [(&'static str, Option<&'a Tensor>); 8] {
        [
            ("images", Some(self.images)),
            ("partner_images", self.partner_images),
            ("features", self.features),
            ("partner_features", self.partner_features),
            ("saliency", self.saliency),
            ("pseudo", self.pseudo),
            ("shown", self.shown),
            ("partner_shown", self.partner_shown),
        ]
    }

    /// The partner's image for each sample, `[N, C, H, W]`, in memory as the images lie.
    ///
    /// # Errors
    /// An index out of range.
    pub fn partners(&self, partner: &Tensor) -> Result<Tensor> {
        chosen(self.partner_images.unwrap_or(self.images), partner)
    }

    /// The own images and each sample's partner as the mix shows them, `[N, C, H, W]` both: the images that were given
    /// for it, else those that are mixed.
    ///
    /// # Errors
    /// Images of another shape, or an index out of range.
    pub fn shown(&self, partner: &Tensor) -> Result<(Tensor, Tensor)> {
        let wanted = self.images.size();
        if let Some(other) =
            [self.shown, self.partner_shown].into_iter().flatten().find(|t| t.size() != wanted)
        {
            let wanted = format!("{wanted:?}, that of its images");
            return Err(Error::shape("the images that a mix shows", other.size(), wanted));
        }
        let theirs = match self.partner_shown {
            Some(shown) => chosen(shown, partner)?,
            None => self.partners(partner)?,
        };
        Ok((self.shown.unwrap_or(self.images).shallow_clone(), theirs))
    }

    /// `(N, C, H, W)` of the images.
    ///
    /// # Errors
    /// The images are not of rank 4.
    pub fn nchw(&self) -> Result<(i64, i64, i64, i64)> {
        self.images
            .size4()
            .map_err(|_| Error::shape("the images of a mix", self.images.size(), "[N, C, H, W]"))
    }

    /// The features, or an error that names the mixer.
    ///
    /// # Errors
    /// None were given.
    pub fn features_for(&self, mixer: &str) -> Result<&Tensor> {
        self.features.ok_or_else(|| {
            Error::missing(
                mixer,
                "features",
                format!("pass `features: t.pass(net, x).features(\"{mixer}\")` to the mix"),
            )
        })
    }
}

/// The images `[N, C, H, W]` of these numbers. libtorch's own selection lays channels outermost.
fn chosen(images: &Tensor, numbers: &Tensor) -> Result<Tensor> {
    if images.dim() != 4 || images.is_contiguous() || !is_channels_last(images) {
        return Ok(images.f_index_select(0, numbers)?);
    }
    let innermost = images.f_permute([0i64, 2, 3, 1].as_slice())?.f_index_select(0, numbers)?;
    Ok(innermost.f_permute([0i64, 3, 1, 2].as_slice())?)
}
