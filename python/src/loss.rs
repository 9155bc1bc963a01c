//! A loss.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use admix_api::{DrivenLoss, Driver, Operand};
use admix_torch::Tensor;
use pyo3::prelude::*;

use crate::entries::registry;
use crate::error::guarded;
use crate::handles::{borrow, refuse_modes, wrap};
use crate::island::Island;
use crate::mix::Mix;
use crate::mixer::parsed;

/// What a mix stands for, as an argument of a loss.
#[pyclass(frozen, module = "admix")]
pub struct Shared(Mutex<(Tensor, Tensor)>);

impl Shared {
    /// Values `[N, S]` or `[N, S, D]` of the sources, and shares `[N, S]`.
    pub fn new(values: Tensor, shares: Tensor) -> Self {
        Self(Mutex::new((values, shares)))
    }

    fn both(&self) -> (Tensor, Tensor) {
        let both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (both.0.shallow_clone(), both.1.shallow_clone())
    }
}

#[pymethods]
impl Shared {
    /// The labels [N, S] int64 or keys [N, S, D] of the sources of each sample.
    #[getter]
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        wrap(py, &self.both().0)
    }

    /// Their shares [N, S] float32; rows sum to 1.
    #[getter]
    fn shares<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        wrap(py, &self.both().1)
    }
}

/// A loss.
#[pyclass(frozen, module = "admix._admix")]
pub struct Loss {
    island: Island<DrivenLoss>,
}

#[pymethods]
impl Loss {
    /// The loss of this name, or of a script, with settings as JSON.
    #[new]
    #[pyo3(signature = (name, settings, script=None))]
    fn new(py: Python<'_>, name: String, settings: &str, script: Option<PathBuf>) -> PyResult<Self> {
        let settings = parsed(settings)?;
        let island = py.detach(|| {
            Island::make(move || {
                let registry = registry(script.as_deref())?;
                guarded(|| Driver::new(registry, 0).loss(&name, &settings))
            })
        })?;
        Ok(Self { island })
    }

    /// Its settings in full, as JSON.
    #[getter]
    fn settings(&self) -> String {
        self.island.visit(|loss| loss.settings().to_string())
    }

    /// What it takes, in words.
    #[getter]
    fn arguments(&self) -> Vec<String> {
        self.island.visit(|loss| loss.arguments().iter().map(|argument| argument.describe()).collect())
    }

    /// The value.
    fn loss<'py>(&self, py: Python<'py>, operands: Vec<Bound<'_, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        refuse_modes(py)?;
        let mut all = Vec::new();
        for (place, operand) in operands.iter().enumerate() {
            all.push(if let Ok(mix) = operand.cast::<Mix>() {
                mix.get().mask_operand()
            } else if let Ok(shared) = operand.cast::<Shared>() {
                let (values, shares) = shared.get().both();
                Operand::Shared(values, shares)
            } else {
                Operand::Tensor(borrow(operand, &format!("argument {}", place + 1))?)
            });
        }
        let value = py.detach(|| self.island.visit(move |loss| guarded(|| loss.loss(all))))?;
        wrap(py, &value)
    }
}
