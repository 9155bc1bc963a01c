//! Queries and keys: what is projected, and by which weights.
//!
//! The projections are linear, so the batch is projected once and unpermuted, and partners and lambda act on the result:
//! W [z_i; z_j] = (1 + gamma l) W_1 x_i + (1 + gamma (1 - l)) W_2 x_j. The gradient of gamma then needs no gradient of
//! the wide maps, and no map is ever gathered or concatenated at its full width.

use std::ops::Range;

use admix_api::prelude::*;

use super::conv::{Biased, Conv};
use super::initial::Initial;

/// What a position attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Attention {
    /// Query and key both see both maps, concatenated (AMix).
    Global,
    /// The query sees the own map, the key the partner's (AutoMix).
    Cross,
}

/// The weights of query and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Projection {
    /// One projection is both (the paper's W_P).
    Shared,
    /// Two projections (the authors' code of AMix).
    Separate,
}

/// One or two projections to `width` channels each.
#[derive(Debug)]
pub(super) struct Projections {
    attention: Attention,
    convs: Vec<Conv>,
    /// Channels of one map.
    channels: i64,
    /// Channels of a query.
    pub(super) width: i64,
}

/// Kernels `[out, C, 1, 1]` over unpermuted maps, and which of their outputs belong to whom. The ranges overlap where
/// own and partner are projected alike.
pub(super) struct Kernels {
    pub(super) all: Vec<Tensor>,
    pub(super) own: Range<i64>,
    pub(super) partner: Range<i64>,
}

/// What lambda does to one map.
pub(super) struct Side<'a> {
    /// The outputs of this map's kernels, `[N, *, h, w]`.
    pub(super) maps: Tensor,
    pub(super) factor: Option<&'a Tensor>,
    pub(super) plane: Option<&'a Tensor>,
}

impl Projections {
    /// `names` of the shared projection, or of query and key; `planes` constant channels are seen beside each map.
    pub(super) fn new(
        path: &Path,
        names: &[&str],
        attention: Attention,
        (channels, planes): (i64, i64),
        initial: Initial,
    ) -> Result<Self> {
        let width = channels / 2;
        let seen = match attention {
            Attention::Global => 2 * (channels + planes),
            Attention::Cross => channels + planes,
        };
        let convs = names
            .iter()
            .map(|name| Conv::new(&path.sub(name), width, seen, Biased::Yes, initial))
            .collect::<Result<_>>()?;
        Ok(Self { attention, convs, channels, width })
    }

    /// The kernels over the own and the partner's map.
    pub(super) fn kernels(&self) -> Result<Kernels> {
        let part = |conv: &Conv, first: i64| conv.weight.f_narrow(1, first, self.channels);
        let wide = self.width * self.convs.len() as i64;
        Ok(match (self.attention, self.convs.as_slice()) {
            (Attention::Global, convs) => {
                let mut all = Vec::new();
                for first in [0, self.channels] {
                    for conv in convs {
                        all.push(part(conv, first)?);
                    }
                }
                Kernels { all, own: 0..wide, partner: wide..2 * wide }
            }
            (Attention::Cross, convs) => {
                let all = convs.iter().map(|conv| part(conv, 0)).collect::<Result<_, _>>()?;
                Kernels { all, own: 0..self.width, partner: wide - self.width..wide }
            }
        })
    }

    /// Query and key, `[N, width, h, w]` each, from the projected maps.
    pub(super) fn query_and_key(&self, own: &Side<'_>, partner: &Side<'_>) -> Result<(Tensor, Tensor)> {
        let split = |both: &Tensor| -> Result<(Tensor, Tensor)> {
            if self.convs.len() == 1 {
                return Ok((both.shallow_clone(), both.shallow_clone()));
            }
            Ok((both.f_narrow(1, 0, self.width)?, both.f_narrow(1, self.width, self.width)?))
        };
        match self.attention {
            Attention::Global => {
                let biases: Vec<Tensor> = self
                    .convs
                    .iter()
                    .filter_map(|c| c.bias_over_images().transpose())
                    .collect::<Result<_>>()?;
                let bias = Tensor::f_cat(&biases, 1)?;
                split(&plus_scaled(
                    &plus_scaled(&bias, &own.maps, own.factor)?,
                    &partner.maps,
                    partner.factor,
                )?)
            }
            Attention::Cross => {
                let query = self.convs.first().map(|conv| side(conv, own, self.channels));
                let key = self.convs.last().map(|conv| side(conv, partner, self.channels));
                match (query, key) {
                    (Some(query), Some(key)) => Ok((query?, key?)),
                    _ => Err(Error::plugin("mix block", "no projection")),
                }
            }
        }
    }
}

/// One side's projected maps with bias, factor and constant channel.
pub(super) fn side(conv: &Conv, of: &Side<'_>, channels: i64) -> Result<Tensor> {
    let mut constant = conv.bias_over_images()?;
    if let Some(plane) = of.plane {
        // A constant channel adds its weight times its value to every pixel: `[1 or N, out, 1, 1]`.
        let column = conv.weight.f_narrow(1, channels, 1)?.f_reshape([1, -1, 1, 1])?.f_mul(plane)?;
        constant = Some(match constant {
            Some(bias) => bias.f_add(&column)?,
            None => column,
        });
    }
    match (constant, of.factor) {
        (Some(constant), factor) => plus_scaled(&constant, &of.maps, factor),
        (None, Some(factor)) => Ok(of.maps.f_mul(&factor.f_to_kind(of.maps.kind())?)?),
        (None, None) => Ok(of.maps.shallow_clone()),
    }
}

/// `constant + factor * maps`, in one kernel.
fn plus_scaled(constant: &Tensor, maps: &Tensor, factor: Option<&Tensor>) -> Result<Tensor> {
    Ok(match factor {
        Some(factor) => constant.f_addcmul(maps, &factor.f_to_kind(maps.kind())?)?,
        None => constant.f_add(maps)?,
    })
}
