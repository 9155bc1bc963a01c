//! The mix that a library returns: taken over, checked, and looked at once.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::rc::Rc;

use admix_torch::{Device, Kind, Tensor, handles};

use super::call::Foreign;
use super::map::ForeignMap;
use crate::abi::{raw, text};
use crate::{Credit, Hidden, MapMix, MixInput, Mixed, Planned, Result};

/// How far masks and shares may be from their range: what half precision rounds.
const SLACK: f64 = 2e-3;

/// Takes a tensor by name from the library, with its extras.
pub(super) unsafe extern "C" fn extra(host: *mut c_void, name: raw::Text, tensor: raw::TensorPtr) {
    // SAFETY: the map of the `mix` that is going on; the tensor is owned by the host from here on.
    let (extras, tensor) = unsafe { (&mut *host.cast::<BTreeMap<String, Tensor>>(), handles::take(tensor)) };
    if let Some(tensor) = tensor {
        extras.insert(text(name).into_owned(), tensor);
    }
}

/// The tensors of a mix, owned by the host; what the library left out is `None`.
pub(super) struct Returned {
    kind: u32,
    stage: u32,
    images: Option<Tensor>,
    mask: Option<Tensor>,
    partner: Option<Tensor>,
    lambda: Option<Tensor>,
    sources: Option<Tensor>,
    shares: Option<Tensor>,
    /// Whether the shares are weights, which need not sum to 1.
    weights: bool,
    map: Option<ForeignMap>,
}

impl Returned {
    /// Takes over the tensors, so that nothing leaks whatever is wrong with the mix.
    ///
    /// # Safety
    /// Each is an owned tensor of the library, or null, and is in no other hands; so is the map.
    pub(super) unsafe fn take(foreign: &Rc<Foreign>, out: &raw::Mixed) -> Self {
        // SAFETY: by the contract of this function.
        let [images, mask, partner, lambda, sources, shares] =
            [out.images, out.mask, out.partner, out.lambda, out.sources, out.shares]
                .map(|tensor| unsafe { handles::take(tensor) });
        // SAFETY: as above.
        let map = unsafe { ForeignMap::take(foreign, out) };
        let (kind, stage, weights) = (out.kind, out.stage, out.weights != 0);
        Self { kind, stage, images, mask, partner, lambda, sources, shares, weights, map }
    }
}

impl Foreign {
    /// The mix of `input` by `plan`, if what was returned has the right shapes, kinds and device.
    pub(super) fn mixed(
        &self,
        returned: Returned,
        extras: BTreeMap<String, Tensor>,
        (input, plan, device): (&MixInput<'_>, &Planned, Device),
    ) -> Result<Mixed> {
        let Returned { kind, stage, images, mask, partner, lambda, sources, shares, weights, map } = returned;
        let (n, channels, height, width) = input.nchw()?;
        let hidden = match (kind, stage) {
            (raw::IMAGES, _) => None,
            (raw::HIDDEN, stage) => Some(Hidden { stage: stage as usize }),
            (kind, _) => {
                let wanted = "expected 0 (images) or 1 (hidden)";
                return Err(self.error(format!("`mix` returned a mix of kind {kind}, {wanted}")));
            }
        };
        let images = match images {
            // Those of a hidden mix are the input's own.
            None if hidden.is_some() => input.images.shallow_clone(),
            images => images.ok_or_else(|| self.error("`mix` returned no images"))?,
        };
        let images = self.result(device, "images", images, &[&input.images.size()], false)?;
        let whole: &[&[i64]] = &[&[n, 1, height, width]];
        // How many channels the map has shows when it is mixed.
        let depth = mask.as_ref().and_then(|mask| mask.size().get(1).copied()).unwrap_or(1);
        let of_hidden: &[&[i64]] =
            &[&[1, depth, 1, 1], &[n, depth, 1, 1], &[1, 1, height, width], &[n, 1, height, width]];
        let shapes = if hidden.is_some() { of_hidden } else { whole };
        let mask = mask.map(|mask| self.result(device, "a mask", mask, shapes, false)).transpose()?;
        let credit = match (sources, shares, partner, lambda) {
            (Some(sources), Some(shares), _, _) => {
                let count = sources.size().get(1).copied().unwrap_or(0);
                let sources = self.result(device, "sources", sources, &[&[n, count]], true)?;
                let shares = self.result(device, "shares", shares, &[&[n, count]], false)?;
                if weights {
                    Credit::Weights { sources, weights: shares }
                } else {
                    Credit::Shares { sources, shares }
                }
            }
            (None, None, partner, lambda) => {
                // What was planned holds where the library says nothing else.
                let missing = |_| {
                    self.error(
                        "`mix` gave neither a pair nor sources and shares, and `plan` no `lambda` and `partner`",
                    )
                };
                let partner = partner.map_or_else(|| plan.partner(), Ok).map_err(missing)?;
                let lambda = lambda.map_or_else(|| plan.lambda(), Ok).map_err(missing)?;
                Credit::Pair {
                    partner: self.result(device, "partner", partner, &[&[n]], true)?,
                    lambda: self.result(device, "lambda", lambda, &[&[], &[n]], false)?,
                }
            }
            _ => return Err(self.error("`mix` returned only one of `sources` and `shares`")),
        };
        let map = map.map(|map| MapMix::new(move |own, partners| map.mix(device, own, partners)));
        let mixed = Mixed { images, mask, map, hidden, credit, extras };
        mixed
            .check_hidden([n, channels, height, width])
            .map_err(|error| self.error(format!("`mix` is refused: {error}")))?;
        Ok(mixed)
    }

    /// A result of the library, if it has the shape, kind and device that are wanted.
    fn result(
        &self,
        device: Device,
        what: &str,
        tensor: Tensor,
        shapes: &[&[i64]],
        whole: bool,
    ) -> Result<Tensor> {
        let size = tensor.size();
        if !shapes.contains(&size.as_slice()) {
            let wanted: Vec<String> = shapes.iter().map(|shape| format!("{shape:?}")).collect();
            let wanted = wanted.join(" or ");
            return Err(self.error(format!("`mix` returned {what} of shape {size:?}, expected {wanted}")));
        }
        // Kinds that the binding has no name for are an error there, and a panic in `kind`.
        let kind = tensor.f_kind().map_err(|error| self.error(format!("`mix` returned {what}: {error}")))?;
        if (kind == Kind::Int64) != whole || !(whole || tensor.is_floating_point()) {
            let wanted = if whole { "int64" } else { "a floating kind" };
            return Err(self.error(format!("`mix` returned {what} of kind {kind:?}, expected {wanted}")));
        }
        if tensor.device() != device {
            let (got, wanted) = (tensor.device(), device);
            return Err(self.error(format!("`mix` returned {what} on {got:?}, expected {wanted:?}")));
        }
        Ok(tensor)
    }

    /// Looks at the values of a mix. To read them back stops the device, so it is done for the first mix of an
    /// instance alone: the one before training starts.
    pub(super) fn look_at(&self, given: &Tensor, mixed: &Mixed) -> Result<()> {
        // It is not part of a step, so a run that forbids waits goes on.
        let _apart = admix_torch::apart();
        let all = |is: Tensor| -> Result<bool> { Ok(bool::try_from(&is.f_all()?)?) };
        let within = |tensor: &Tensor, least: f64, most: f64| -> Result<bool> {
            let above = tensor.f_ge(least)?;
            all(above.f_logical_and(&tensor.f_le(most)?)?)
        };
        let refuse = |what: &str| Err(self.error(format!("`mix` returned {what}")));
        if all(given.f_isfinite()?)? && !all(mixed.images.f_isfinite()?)? {
            return refuse("images that are not finite, from finite ones");
        }
        if mixed.hidden.is_some()
            && !all(mixed.images.f_eq_tensor(given)?.f_logical_or(&given.f_isnan()?)?)?
        {
            return refuse("a hidden mix with images that are not those it was given");
        }
        if let Some(mask) = &mixed.mask
            && !within(mask, -SLACK, 1.0 + SLACK)?
        {
            return refuse("a mask with values outside of 0 to 1");
        }
        if let Credit::Pair { lambda, .. } = &mixed.credit
            && !within(lambda, -SLACK, 1.0 + SLACK)?
        {
            return refuse("a lambda outside of 0 to 1");
        }
        let (sources, shares) = mixed.credit.shares()?;
        let last = given.size().first().map_or(0, |n| n - 1);
        if !within(&sources, 0.0, last as f64)? {
            return refuse(&format!(
                "a partner or source that is no sample of the batch, expected 0 to {last}"
            ));
        }
        if matches!(mixed.credit, Credit::Weights { .. }) {
            let good = within(&shares, 0.0, f64::from(f32::MAX))?;
            return if good {
                Ok(())
            } else {
                refuse("weights of the label that are negative or not finite")
            };
        }
        let sums = shares.f_to_kind(Kind::Double)?.f_sum_dim_intlist([1i64].as_slice(), false, None)?;
        if !within(&sums, 1.0 - SLACK, 1.0 + SLACK)? || !within(&shares, -SLACK, 1.0 + SLACK)? {
            return refuse("shares of the label that do not sum to 1 for each sample");
        }
        Ok(())
    }
}
