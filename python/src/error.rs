//! Errors as Python's exceptions: `ValueError` for what the caller can mend, `RuntimeError` for the rest.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use admix_api::Error;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Runs something that may fail or panic, and words what went wrong.
pub fn guarded<T>(act: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => done.map_err(Failure::of),
        Err(panic) => Err(Failure { bad_input: false, message: said(panic.as_ref()) }),
    }
}

/// What went wrong, ready to be raised. Unlike an error of Rust it may cross threads.
#[derive(Debug)]
pub struct Failure {
    bad_input: bool,
    message: String,
}

impl Failure {
    /// A mistake of the caller.
    pub fn input(message: impl Into<String>) -> Self {
        Self { bad_input: true, message: message.into() }
    }

    /// An error of Rust.
    pub fn of(error: Error) -> Self {
        let bad_input = !matches!(error, Error::Torch(_));
        Self { bad_input, message: error.to_string() }
    }

    /// An error of the engine: scripts.
    pub fn of_engine(error: &admix_engine::Error) -> Self {
        Self::input(error.to_string())
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure { bad_input: true, message } => PyValueError::new_err(message),
            Failure { message, .. } if message.contains("not enough memory") => out_of_memory(message),
            Failure { message, .. } => PyRuntimeError::new_err(message),
        }
    }
}

/// PyTorch's own error for it, a `RuntimeError`.
fn out_of_memory(message: String) -> PyErr {
    Python::attach(|py| {
        let class = py.import("torch").and_then(|torch| torch.getattr("OutOfMemoryError"));
        match class.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
            Ok(class) => PyErr::from_type(class, (message,)),
            Err(error) => error,
        }
    })
}

/// The first line of a panic. libtorch's messages go on with a C++ stack.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    let text = text.split("Exception raised from").next().unwrap_or_default();
    format!("a mixer or loss failed inside: {}", text.lines().next().unwrap_or_default().trim())
}
