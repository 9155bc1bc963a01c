//! A store whose tensors are somebody else's: those of a module in another language.

use std::collections::BTreeMap;

use admix_torch::{Device, Tensor, no_grad};

use crate::params::HostStore;
use crate::{Error, Hints, Init, Result, Store};
use std::rc::Rc;

/// Tensors by name, in place of those that a mixer would make.
#[derive(Debug)]
struct Given(BTreeMap<String, Tensor>);

/// A store that hands out these tensors. A plugin that makes its own gets their values.
pub(super) fn store(device: Device, tensors: Vec<(String, Tensor)>) -> Store {
    Store::hosted(device, Rc::new(Given(tensors.into_iter().collect())))
}

impl Given {
    fn get(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let tensor = self.0.get(name).ok_or_else(|| Error::MissingTensor { name: name.into() })?;
        if tensor.size() != shape {
            return Err(Error::shape(format!("tensor `{name}`"), tensor.size(), format!("{shape:?}")));
        }
        Ok(tensor.shallow_clone())
    }
}

impl HostStore for Given {
    fn parameter(&self, name: &str, shape: &[i64], _: Init, _: &Hints) -> Result<Tensor> {
        self.get(name, shape)
    }

    fn buffer(&self, name: &str, shape: &[i64], _: f64) -> Result<Tensor> {
        self.get(name, shape)
    }

    fn adopt(&self, name: &str, tensor: &Tensor, _: Option<&Hints>) -> Result<()> {
        let values = self.get(name, &tensor.size())?;
        let _guard = no_grad();
        tensor.shallow_clone().f_copy_(&values)?;
        Ok(())
    }
}
