//! A mixed batch. Its tensors become objects of Python when they are asked for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use admix_api::{Credit, DrivenLoss, DrivenMix, Driver, Error, Hidden, Mixed, Operand};
use admix_torch::{Device, Kind, Tensor};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::json;

use crate::entries::registry;
use crate::error::{Failure, guarded};
use crate::handles::{borrow, refuse_modes, wrap};
use crate::island::Island;
use crate::loss::Shared;
use crate::mixing::KeptMap;

/// What a mix consists of, but for a way to mix maps: all of it may cross threads.
pub struct Parts {
    images: Tensor,
    mask: Option<Tensor>,
    hidden: Option<Hidden>,
    credit: Credit,
    extras: BTreeMap<String, Tensor>,
    lambda: Tensor,
    mixer: String,
}

impl From<DrivenMix> for Parts {
    fn from(mix: DrivenMix) -> Self {
        let DrivenMix { mixed: Mixed { images, mask, hidden, credit, extras, .. }, lambda, mixer } = mix;
        Self { images, mask, hidden, credit, extras, lambda, mixer }
    }
}

/// A mixed batch of N samples.
#[pyclass(frozen, module = "admix")]
pub struct Mix {
    parts: Mutex<Parts>,
    map: Option<KeptMap>,
}

impl Mix {
    /// A mix of Rust, and how it mixes maps if not by its mask.
    pub fn new(parts: Parts, map: Option<KeptMap>) -> Self {
        Self { parts: Mutex::new(parts), map }
    }

    fn inside(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a loss of masks reads.
    pub fn mask_operand(&self) -> Operand {
        let parts = self.inside();
        Operand::Mask(parts.mask.as_ref().map(Tensor::shallow_clone), parts.lambda.shallow_clone())
    }

    /// Refuses labels that are not those of the images.
    fn check_labels(&self, labels: &Tensor) -> Result<(), Failure> {
        let (n, device) = {
            let parts = self.inside();
            (parts.images.size()[0], parts.images.device())
        };
        let check = || {
            if labels.dim() != 1 || labels.kind() != Kind::Int64 || labels.size()[0] < n {
                let got = format!("{:?} of {:?}", labels.size(), labels.kind());
                let wanted = format!("[{n}] of Int64: the class of each image before it was mixed");
                return Err(Error::range("`labels`", got, wanted));
            }
            beside(device, labels, "labels")
        };
        check().map_err(Failure::of)
    }

    /// Does something with a handle on the credit: Python may run meanwhile.
    fn away<T: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(Credit) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let credit = self.inside().credit.shallow_clone();
        Ok(py.detach(move || guarded(move || act(credit)))?)
    }
}

/// The mixup cross-entropy that `Mix.loss` computes.
fn cross_entropy() -> Result<&'static Island<DrivenLoss>, Failure> {
    static LOSS: OnceLock<Island<DrivenLoss>> = OnceLock::new();
    if let Some(made) = LOSS.get() {
        return Ok(made);
    }
    let made = Island::make(|| {
        let registry = registry(None)?;
        guarded(|| Driver::new(registry, 0).loss("mixup_cross_entropy", &json!({})))
    })?;
    Ok(LOSS.get_or_init(|| made))
}

/// Where a tensor of the caller's has to be: beside the images of the mix.
fn beside(images: Device, tensor: &Tensor, name: &str) -> Result<(), Error> {
    if tensor.device() == images {
        return Ok(());
    }
    let wanted = format!("a tensor on {images:?}, as the images of the mix");
    Err(Error::range(format!("`{name}`"), format!("on {:?}", tensor.device()), wanted))
}

#[pymethods]
impl Mix {
    /// The mixed images [N, C, H, W], of the kind and on the device of those that were given. Of a hidden mix: those.
    #[getter]
    fn images<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        wrap(py, &self.inside().images)
    }

    /// The own image's mask [N, 1, H, W] in [0, 1], or None. A hidden mix has one that broadcasts.
    #[getter]
    fn mask<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.inside().mask.as_ref().map(|mask| wrap(py, mask)).transpose()
    }

    /// lambda, the share of the own image, as it was drawn: 0-dim or [N], float32. `shares` has what labels get.
    #[getter]
    fn lam<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        wrap(py, &self.inside().lambda)
    }

    /// Which sample each one is mixed with: [N] int64, or None where more than two are mixed.
    #[getter]
    fn partner<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match &self.inside().credit {
            Credit::Pair { partner, .. } => wrap(py, partner).map(Some),
            Credit::Shares { .. } | Credit::Weights { .. } => Ok(None),
        }
    }

    /// The samples in each image: [N, S] int64; S is 2 for pairs.
    #[getter]
    fn sources<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        wrap(py, &self.away(py, |credit| Ok(credit.shares()?.0))?)
    }

    /// What share of the label each of them gets: [N, S] float32; rows sum to 1, but for mixers that weigh them freely.
    #[getter]
    fn shares<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        wrap(py, &self.away(py, |credit| Ok(credit.shares()?.1))?)
    }

    /// Where the mix happens: 0 for images, else the stage of the network, from 1, whose output `blend` mixes.
    #[getter]
    fn stage(&self) -> usize {
        self.inside().hidden.map_or(0, |hidden| hidden.stage)
    }

    /// Anything else that the mixer shows, by name.
    #[getter]
    fn extras<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for (name, tensor) in &self.inside().extras {
            all.set_item(name, wrap(py, tensor)?)?;
        }
        Ok(all)
    }

    /// The name of the mixer; of a choice, that of the one it picked.
    #[getter]
    fn mixer(&self) -> String {
        self.inside().mixer.clone()
    }

    /// Soft labels [N, classes] float32 for labels [N] int64: the shares of a mix at the classes of its sources.
    fn target<'py>(
        &self,
        py: Python<'py>,
        labels: &Bound<'_, PyAny>,
        classes: i64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let labels = borrow(labels, "labels")?;
        if classes < 1 {
            return Err(PyValueError::new_err(format!(
                "`classes` is {classes}, expected the number of classes, from 1"
            )));
        }
        self.check_labels(&labels)?;
        let soft = self.away(py, move |credit| {
            // On a device, to look at them would wait for it.
            if labels.device() == Device::Cpu {
                let bad = labels.f_lt(0)?.f_logical_or(&labels.f_ge(classes)?)?;
                if bool::try_from(bad.f_any()?).map_err(admix_torch::Error::from)? {
                    return Err(Error::range(
                        "`labels`",
                        "out of range",
                        format!("classes 0 to {}", classes - 1),
                    ));
                }
            }
            let (sources, shares) = credit.shares()?;
            let each = labels.f_index_select(0, &sources.f_reshape([-1])?)?.f_reshape(sources.size())?;
            let soft = Tensor::f_zeros([sources.size()[0], classes], (shares.kind(), shares.device()))?;
            Ok(soft.f_scatter_add(1, &each, &shares)?)
        })?;
        wrap(py, &soft)
    }

    /// The mixup cross-entropy of logits [N, K] for labels [N] int64, a scalar in float32 or better: that of the loss
    /// `mixup_cross_entropy` with its defaults.
    fn loss<'py>(
        &self,
        py: Python<'py>,
        logits: &Bound<'_, PyAny>,
        labels: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        refuse_modes(py)?;
        let (logits, labels) = (borrow(logits, "logits")?, borrow(labels, "labels")?);
        self.check_labels(&labels)?;
        let operand = self.away(py, move |credit| Operand::shared(&credit, &labels))?;
        let loss = cross_entropy()?;
        let value = py.detach(|| {
            loss.visit(move |loss| guarded(|| loss.loss(vec![Operand::Tensor(logits), operand])))
        })?;
        wrap(py, &value)
    }

    /// What the mix stands for, as an argument of a loss: for labels [N] int64 those of its sources [N, S], for keys
    /// [N, D] theirs [N, S, D], with their shares.
    fn of(&self, py: Python<'_>, values: &Bound<'_, PyAny>) -> PyResult<Shared> {
        let values = borrow(values, "values")?;
        beside(self.inside().images.device(), &values, "values").map_err(Failure::of)?;
        let (values, shares) = self.away(py, move |credit| match Operand::shared(&credit, &values)? {
            Operand::Shared(values, shares) => Ok((values, shares)),
            _ => Err(Error::plugin("the mix", "has no shares")),
        })?;
        Ok(Shared::new(values, shares))
    }

    /// The maps [N, D, h, w] mixed by the mask of this mix or in its own way, with gradients: what a hook at the stage
    /// of a hidden mix returns. `theirs` are the maps that partners are taken from, if they are not the same.
    #[pyo3(signature = (maps, theirs=None))]
    fn blend<'py>(
        &self,
        py: Python<'py>,
        maps: &Bound<'_, PyAny>,
        theirs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        refuse_modes(py)?;
        let maps = borrow(maps, "maps")?;
        let theirs = theirs.map(|theirs| borrow(theirs, "theirs")).transpose()?;
        let device = self.inside().images.device();
        for maps in [Some(&maps), theirs.as_ref()].into_iter().flatten() {
            beside(device, maps, "maps").map_err(Failure::of)?;
            if maps.dim() != 4 || !maps.is_floating_point() {
                return Err(Failure::of(Error::shape("`maps`", maps.size(), "[N, D, h, w], floats")).into());
            }
        }
        let theirs = theirs.unwrap_or_else(|| maps.shallow_clone());
        let (credit, mask) = {
            let parts = self.inside();
            (parts.credit.shallow_clone(), parts.mask.as_ref().map(Tensor::shallow_clone))
        };
        let blended = py.detach(move || match (&self.map, credit) {
            (Some(map), Credit::Pair { partner, .. }) => {
                let partners = guarded(|| Ok(theirs.f_index_select(0, &partner)?))?;
                map.mix(maps, partners)
            }
            (_, credit) => guarded(move || {
                let images = maps.shallow_clone();
                let (map, hidden, extras) = (None, None, BTreeMap::new());
                Mixed { images, mask, map, hidden, credit, extras }.blended(&maps, &theirs)
            }),
        })?;
        wrap(py, &blended)
    }

    fn __repr__(&self) -> String {
        let mix = self.inside();
        let hidden = mix.hidden.map(|hidden| format!(", stage={}", hidden.stage)).unwrap_or_default();
        format!("<mix of {:?} by {}{hidden}>", mix.images.size(), mix.mixer)
    }
}
