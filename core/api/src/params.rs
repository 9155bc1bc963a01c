//! Named parameters and buffers, made at a path and owned by a store.
//!
//! Construction and checkpoint keys are one act: the name of a tensor is the path it was made at, with dots.

use std::cell::RefCell;
use std::rc::Rc;

use admix_torch::{Device, Kind, Tensor};

use crate::{Error, Result, Streams};

/// How a new parameter is filled. Values are drawn on the host from the parameter's own stream, so they do not
/// depend on the device or on the order of construction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// The same value everywhere.
    Constant(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// He et al. 2015, normal, fan-out, ReLU gain: std = sqrt(2 / (out channels * kernel area)).
    HeFanOut,
    /// Uniform in [-bound, bound].
    Uniform(f64),
}

/// What the optimiser should know about a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Hints {
    /// Whether weight decay applies. Default true: the paper's recipes decay BatchNorm and biases too.
    pub weight_decay: bool,
}

impl Default for Hints {
    fn default() -> Self {
        Self { weight_decay: true }
    }
}

/// A trained tensor.
#[derive(Debug)]
pub struct Parameter {
    /// Full dotted name.
    pub name: String,
    /// The leaf tensor; it requires a gradient unless its store was frozen.
    pub tensor: Tensor,
    /// For the optimiser.
    pub hints: Hints,
}

/// A tensor that is saved but not trained, such as a running mean.
#[derive(Debug)]
pub struct Buffer {
    /// Full dotted name.
    pub name: String,
    /// The values.
    pub tensor: Tensor,
}

#[derive(Debug)]
struct Contents {
    device: Device,
    kind: Kind,
    streams: Streams,
    parameters: Vec<Parameter>,
    buffers: Vec<Buffer>,
    /// In a library: who really makes and owns the tensors.
    host: Option<Rc<dyn HostStore>>,
}

/// The store of a host, seen from a library. Names are full; each call gives a handle on the host's own tensor.
pub(crate) trait HostStore: std::fmt::Debug {
    fn parameter(&self, name: &str, shape: &[i64], init: Init, hints: &Hints) -> Result<Tensor>;
    fn buffer(&self, name: &str, shape: &[i64], value: f64) -> Result<Tensor>;
    fn adopt(&self, name: &str, tensor: &Tensor, hints: Option<&Hints>) -> Result<()>;
}

/// A set of named parameters and buffers. Clones share the contents.
#[derive(Debug, Clone)]
pub struct Store(Rc<RefCell<Contents>>);

impl Store {
    /// An empty float32 store; initial values come from the streams' purpose "init".
    pub fn new(device: Device, streams: Streams) -> Self {
        Self::with_kind(device, Kind::Float, streams)
    }

    /// An empty store of another floating kind (float64 for gradient checks).
    pub fn with_kind(device: Device, kind: Kind, streams: Streams) -> Self {
        Self(Rc::new(RefCell::new(Contents {
            device,
            kind,
            streams,
            parameters: Vec::new(),
            buffers: Vec::new(),
            host: None,
        })))
    }

    /// A store in a library, whose tensors the host makes.
    pub(crate) fn hosted(device: Device, host: Rc<dyn HostStore>) -> Self {
        let store = Self::new(device, Streams::new(0));
        store.0.borrow_mut().host = Some(host);
        store
    }

    /// The path at the root: names carry no prefix.
    pub fn root(&self) -> Path {
        Path { store: self.clone(), prefix: String::new() }
    }

    /// Where the tensors live.
    pub fn device(&self) -> Device {
        self.0.borrow().device
    }

    /// All parameters, in order of construction: (name, leaf, hints).
    pub fn parameters(&self) -> Vec<(String, Tensor, Hints)> {
        let contents = self.0.borrow();
        contents
            .parameters
            .iter()
            .map(|p| (p.name.clone(), p.tensor.shallow_clone(), p.hints.clone()))
            .collect()
    }

    /// All buffers, in order of construction.
    pub fn buffers(&self) -> Vec<(String, Tensor)> {
        self.0.borrow().buffers.iter().map(|b| (b.name.clone(), b.tensor.shallow_clone())).collect()
    }

    /// Parameters and buffers, by name.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut all: Vec<_> = self.parameters().into_iter().map(|(name, tensor, _)| (name, tensor)).collect();
        all.extend(self.buffers());
        all
    }

    /// Stops (or starts) gradients to every parameter. Momentum networks are frozen for good.
    pub fn set_requires_grad(&self, on: bool) {
        for parameter in &self.0.borrow().parameters {
            let _ = parameter.tensor.set_requires_grad(on);
        }
    }

    /// Copies values by name from another store with the same names and shapes.
    ///
    /// # Errors
    /// A tensor is missing there or has another shape.
    pub fn copy_from(&self, other: &Store) -> Result<()> {
        let values = other.tensors();
        self.load(|name| values.iter().find(|(n, _)| n == name).map(|(_, t)| t.shallow_clone()))
    }

    /// Fills every tensor in place from `lookup`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape; nothing is changed then.
    pub fn load(&self, lookup: impl Fn(&str) -> Option<Tensor>) -> Result<()> {
        let mut pairs = Vec::new();
        for (name, tensor) in self.tensors() {
            let value = lookup(&name).ok_or_else(|| Error::MissingTensor { name: name.clone() })?;
            if value.size() != tensor.size() {
                return Err(Error::shape(
                    format!("tensor `{name}`"),
                    value.size(),
                    format!("{:?}", tensor.size()),
                ));
            }
            pairs.push((tensor, value));
        }
        let _guard = admix_torch::no_grad();
        for (mut tensor, value) in pairs {
            tensor.f_copy_(&value).map_err(admix_torch::Error::from)?;
        }
        Ok(())
    }
}

/// A place in a store, into which layers push their names.
#[derive(Debug, Clone)]
pub struct Path {
    store: Store,
    prefix: String,
}

impl Path {
    /// The path one name deeper. Names may hold dots ("layer1.0").
    pub fn sub(&self, name: impl std::fmt::Display) -> Path {
        Path { store: self.store.clone(), prefix: self.full(&name.to_string()) }
    }

    /// Where tensors made here live.
    pub fn device(&self) -> Device {
        self.store.device()
    }

    /// The dotted prefix of names made here.
    pub fn name(&self) -> &str {
        &self.prefix
    }

    /// Makes a trained parameter of this shape.
    ///
    /// # Errors
    /// The name is taken, or the shape is not valid.
    pub fn parameter(&self, name: &str, shape: &[i64], init: Init, hints: Hints) -> Result<Tensor> {
        let name = self.full(name);
        self.refuse_duplicate(&name)?;
        let (device, kind, streams, host) = {
            let contents = self.store.0.borrow();
            (contents.device, contents.kind, contents.streams, contents.host.clone())
        };
        if let Some(host) = host {
            let tensor = host.parameter(&name, shape, init, &hints)?;
            let handle = tensor.shallow_clone();
            self.store.0.borrow_mut().parameters.push(Parameter { name, tensor, hints });
            return Ok(handle);
        }
        let (mut values, count) = room(&name, shape)?;
        let mut draws = streams.draws("init", &name, 0, 0);
        let mut fill = |draw: &mut dyn FnMut(&mut crate::Draws) -> f64| {
            values.extend((0..count).map(|_| draw(&mut draws) as f32));
        };
        match init {
            Init::Constant(value) => fill(&mut |_| value),
            Init::Normal(std) => fill(&mut |draws| std * draws.normal()),
            Init::HeFanOut => {
                let fan_out = shape[0] * shape[2..].iter().product::<i64>();
                let std = (2.0 / fan_out as f64).sqrt();
                fill(&mut |draws| std * draws.normal());
            }
            Init::Uniform(bound) => fill(&mut |draws| bound * (2.0 * draws.uniform() - 1.0)),
        }
        let tensor = Tensor::f_from_slice(&values)
            .and_then(|t| t.f_reshape(shape))
            .and_then(|t| t.f_to_device(device))
            .and_then(|t| t.f_to_kind(kind))
            .map_err(admix_torch::Error::from)?
            .set_requires_grad(true);
        let handle = tensor.shallow_clone();
        self.store.0.borrow_mut().parameters.push(Parameter { name, tensor, hints });
        Ok(handle)
    }

    /// Makes a buffer filled with one value.
    ///
    /// # Errors
    /// The name is taken.
    pub fn buffer(&self, name: &str, shape: &[i64], value: f64) -> Result<Tensor> {
        let name = self.full(name);
        self.refuse_duplicate(&name)?;
        let (device, kind, host) = {
            let contents = self.store.0.borrow();
            (contents.device, contents.kind, contents.host.clone())
        };
        let tensor = match host {
            Some(host) => host.buffer(&name, shape, value)?,
            None => Tensor::f_full(shape, value, (kind, device)).map_err(admix_torch::Error::from)?,
        };
        let handle = tensor.shallow_clone();
        self.store.0.borrow_mut().buffers.push(Buffer { name, tensor });
        Ok(handle)
    }

    /// Takes in a tensor that was made elsewhere, sharing its values: as a trained parameter where there are hints,
    /// else as a buffer.
    ///
    /// # Errors
    /// The name is taken, the tensor is on another device, or a parameter is not floating or no leaf.
    pub fn adopt(&self, name: &str, tensor: &Tensor, hints: Option<Hints>) -> Result<()> {
        let name = self.full(name);
        self.refuse_duplicate(&name)?;
        let host = self.store.0.borrow().host.clone();
        if let Some(host) = host {
            host.adopt(&name, tensor, hints.as_ref())?;
        }
        let refuse = |got: String, wanted: String| Err(Error::range(format!("tensor `{name}`"), got, wanted));
        if tensor.device() != self.device() {
            return refuse(format!("on {:?}", tensor.device()), format!("a tensor on {:?}", self.device()));
        }
        let handle = tensor.shallow_clone();
        let mut contents = self.store.0.borrow_mut();
        match hints {
            Some(hints) => {
                if !matches!(tensor.kind(), Kind::Float | Kind::Double) || !tensor.is_leaf() {
                    return refuse(
                        format!("{:?}, leaf: {}", tensor.kind(), tensor.is_leaf()),
                        "a float32 leaf, such as a layer's parameter".into(),
                    );
                }
                contents.parameters.push(Parameter { name, tensor: handle.set_requires_grad(true), hints });
            }
            None => contents.buffers.push(Buffer { name, tensor: handle }),
        }
        Ok(())
    }

    fn full(&self, name: &str) -> String {
        match (self.prefix.is_empty(), name.is_empty()) {
            (true, _) => name.to_string(),
            (_, true) => self.prefix.clone(),
            _ => format!("{}.{name}", self.prefix),
        }
    }

    fn refuse_duplicate(&self, name: &str) -> Result<()> {
        let contents = self.store.0.borrow();
        let taken = contents.parameters.iter().any(|p| p.name == name)
            || contents.buffers.iter().any(|b| b.name == name);
        if taken { Err(Error::DuplicateTensor { name: name.to_string() }) } else { Ok(()) }
    }
}

/// An empty list with room for the values of a parameter, and how many these are.
///
/// # Errors
/// There is no memory for so many.
fn room(name: &str, shape: &[i64]) -> Result<(Vec<f32>, usize)> {
    let count = shape.iter().try_fold(1_usize, |all, size| all.checked_mul(usize::try_from(*size).ok()?));
    // The values and the tensor of them are there at once. Systems promise more than they have.
    let total = admix_torch::total_memory_bytes().unwrap_or(u64::MAX);
    let fits = |count: &usize| (*count as u64).checked_mul(8).is_some_and(|bytes| bytes <= total);
    let mut values = Vec::new();
    match count.filter(fits) {
        Some(count) if values.try_reserve_exact(count).is_ok() => Ok((values, count)),
        _ => Err(Error::Range {
            what: format!("the parameter `{name}`"),
            got: format!("of the shape {shape:?}, which needs more memory than there is"),
            wanted: "a smaller network".into(),
        }),
    }
}
