//! The extension module of the Python package `admix`: mixers and losses on the tensors of a PyTorch program, shared and
//! never copied. The package (`admix/`) is what a user sees; here is what it stands on.
//!
//! | file | what it holds |
//! |---|---|
//! | `entries.rs` | what there is to choose from, as JSON |
//! | `error.rs` | errors as Python's exceptions |
//! | `handles.rs` | tensors of Python as tensors of Rust, and back: the `unsafe` of this crate |
//! | `island.rs` | an object that is not `Send`, alone on an island that is |
//! | `loss.rs` | a loss |
//! | `mix.rs` | a mixed batch |
//! | `mixer.rs` | a mixer |
//! | `mixing.rs` | a mixer with the maps of its mixes |

// Linked, or the registry is empty.
use admix_plugins as _;

mod entries;
mod error;
mod handles;
mod island;
mod loss;
mod mix;
mod mixer;
mod mixing;

use pyo3::prelude::*;

/// The module `admix._admix`.
#[pymodule]
fn _admix(module: &Bound<'_, PyModule>) -> PyResult<()> {
    handles::connect(module.py())?;
    module.add_class::<mixer::Mixer>()?;
    module.add_class::<mix::Mix>()?;
    module.add_class::<loss::Shared>()?;
    module.add_class::<loss::Loss>()?;
    module.add_function(wrap_pyfunction!(entries::entries, module)?)?;
    module.add_function(wrap_pyfunction!(entries::script_kind, module)?)?;
    module.add_function(wrap_pyfunction!(entries::load_library, module)?)?;
    module.add_function(wrap_pyfunction!(entries::libraries, module)?)?;
    module.add("torch_version", admix_torch::handles::libtorch_version())
}
