//! A mixer.

use std::path::PathBuf;
use std::sync::Arc;

use admix_api::{Driver, MixInput, MixerContext, Turn};
use admix_torch::{Device, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Value as Json, json};

use crate::entries::registry;
use crate::error::{Failure, guarded};
use crate::handles::{borrow, refuse_modes, wrap, wrap_parameter};
use crate::island::Island;
use crate::mix::Mix;
use crate::mixing::{KeptMap, Mixing};

/// The tensors of a mix beside its images.
const INPUTS: [&str; 7] =
    ["partner_images", "features", "partner_features", "saliency", "pseudo", "shown", "partner_shown"];

/// A mixer.
#[pyclass(frozen, module = "admix._admix")]
pub struct Mixer {
    island: Arc<Island<Mixing>>,
}

/// Settings as the package hands them over.
pub fn parsed(settings: &str) -> Result<Json, Failure> {
    serde_json::from_str(settings)
        .map_err(|error| Failure::input(format!("the settings are no JSON: {error}")))
}

#[pymethods]
impl Mixer {
    /// The mixer of this name, or of a script, with settings as JSON.
    #[new]
    #[pyo3(signature = (name, settings, seed, channels=None, classes=0, mean=vec![], std=vec![], script=None))]
    #[allow(clippy::too_many_arguments, reason = "keywords of Python")]
    fn new(
        py: Python<'_>,
        name: String,
        settings: &str,
        seed: u64,
        channels: Option<i64>,
        classes: i64,
        mean: Vec<f64>,
        std: Vec<f64>,
        script: Option<PathBuf>,
    ) -> PyResult<Self> {
        let settings = parsed(settings)?;
        let context = MixerContext { feature_channels: channels, mean, std, classes };
        let island = py.detach(|| {
            Island::make(move || {
                let registry = registry(script.as_deref())?;
                guarded(|| {
                    Driver::new(registry, seed).knowing(context).mixer(&name, &settings).map(Mixing::of)
                })
            })
        })?;
        Ok(Self { island: Arc::new(island) })
    }

    /// Its settings in full, as JSON.
    #[getter]
    fn settings(&self) -> String {
        self.island.visit(|mixer| mixer.settings().to_string())
    }

    /// What it reads, as JSON.
    #[getter]
    fn needs(&self) -> String {
        self.island.visit(|mixer| {
            let needs = mixer.needs();
            let (must, may) = needs.keys();
            json!({ "must": must, "may": may, "stage": needs.features, "hidden": needs.hidden }).to_string()
        })
    }

    /// Parameters (as `torch.nn.Parameter`) and buffers: name, tensor, whether it is trained.
    fn tensors<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyAny>, bool)>> {
        let (parameters, buffers) = self.island.visit(|mixer| {
            let parameters = mixer.store().parameters().into_iter().map(|(name, tensor, _)| (name, tensor));
            (parameters.collect::<Vec<_>>(), mixer.store().buffers())
        });
        let mut all = Vec::new();
        for (name, tensor) in parameters {
            all.push((name, wrap_parameter(py, &tensor)?, true));
        }
        for (name, tensor) in buffers {
            all.push((name, wrap(py, &tensor)?, false));
        }
        Ok(all)
    }

    /// Trains these tensors by name from now on.
    fn bind(&self, py: Python<'_>, tensors: Vec<(String, Bound<'_, PyAny>)>) -> PyResult<()> {
        refuse_modes(py)?;
        let mut all = Vec::new();
        for (name, tensor) in tensors {
            let tensor = borrow(&tensor, &name)?;
            all.push((name, tensor));
        }
        let device = all.first().map_or(Device::Cpu, |(_, tensor)| tensor.device());
        py.detach(|| self.island.visit(move |mixer| guarded(|| mixer.bind(device, all))))?;
        Ok(())
    }

    /// Another seed from now on.
    fn reseed(&self, seed: u64) {
        self.island.visit(|mixer| mixer.reseed(seed));
    }

    /// Train or evaluation mode.
    fn train(&self, on: bool) {
        self.island.visit(|mixer| mixer.train(on));
    }

    /// After an optimiser step.
    fn after_step(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.island.visit(|mixer| guarded(|| mixer.after_step())))?)
    }

    /// Mixes a batch.
    #[pyo3(signature = (images, inputs, quiet, draw, epoch, step, progress, worker, lam=None, partner=None))]
    #[allow(clippy::too_many_arguments, reason = "called from one place of the package")]
    fn mix(
        &self,
        py: Python<'_>,
        images: &Bound<'_, PyAny>,
        inputs: &Bound<'_, PyDict>,
        quiet: bool,
        draw: String,
        epoch: u64,
        step: u64,
        progress: f64,
        worker: String,
        lam: Option<f64>,
        partner: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Mix> {
        refuse_modes(py)?;
        let images = borrow(images, "images")?;
        let mut given: [Option<Tensor>; INPUTS.len()] = Default::default();
        for (name, value) in inputs.iter() {
            let name: String = name.extract()?;
            let Some(place) = INPUTS.iter().position(|known| *known == name) else { continue };
            given[place] = Some(borrow(&value, &name)?);
        }
        let partner = partner.map(|partner| borrow(partner, "partner")).transpose()?;
        let turn = Turn { draw, epoch, step, progress, worker, lambda: lam, partner };
        let (mix, key) = py.detach(|| {
            self.island.visit(move |mixer| {
                guarded(|| {
                    let known = |name: &str| {
                        INPUTS.iter().position(|own| *own == name).and_then(|place| given[place].as_ref())
                    };
                    mixer.mix(&MixInput::named(&images, quiet, known), &turn)
                })
            })
        })?;
        Ok(Mix::new(mix, key.map(|key| KeptMap { island: self.island.clone(), key })))
    }
}
