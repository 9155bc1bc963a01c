//! Losses: named tensors to a scalar.

use std::collections::BTreeMap;

use admix_torch::{Kind, Tensor};

use crate::{Credit, Error, Mixed, Result, Settings};

/// What one argument of a loss is, in the order a script passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// A tensor, available under this name.
    Tensor(&'static str),
    /// Labels `[N]` int64 or a mixed target: available as `target.labels` `[N, S]` and `target.shares` `[N, S]`.
    Target,
    /// Keys `[N, D]`, the own for each embedding, or those that a mix stands for: available as `contrast.keys`
    /// `[N, S, D]` and `contrast.shares` `[N, S]`.
    Contrast,
    /// A mix: available as `mask` `[N, 1, H, W]` (the own image's) and `lambda` (0-dim or `[N]`, as planned).
    Mix,
}

impl Argument {
    /// The argument in words, for messages.
    pub fn describe(self) -> String {
        match self {
            Argument::Tensor(name) => format!("the tensor `{name}`"),
            Argument::Target => "labels or a mix's target".into(),
            Argument::Contrast => "keys or those of a mix's sources".into(),
            Argument::Mix => "a mix that has a mask".into(),
        }
    }
}

/// The named tensors given to one loss.
#[derive(Debug, Default)]
pub struct LossInput {
    tensors: BTreeMap<String, Tensor>,
}

impl LossInput {
    /// Adds a tensor.
    #[must_use]
    pub fn with(mut self, name: &str, tensor: Tensor) -> Self {
        self.tensors.insert(name.to_string(), tensor);
        self
    }

    /// Adds hard labels `[N]`: one source with the whole share.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn with_labels(self, labels: &Tensor) -> Result<Self> {
        let column = labels.f_unsqueeze(1)?;
        let shares = column.f_ones_like()?.f_to_kind(Kind::Float)?;
        Ok(self.with("target.labels", column).with("target.shares", shares))
    }

    /// Adds the target of a mix of samples with these labels `[N]`.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn with_target(self, credit: &Credit, labels: &Tensor) -> Result<Self> {
        let (sources, shares) = credit.shares()?;
        let each = labels.f_index_select(0, &sources.f_reshape([-1])?)?.f_reshape(sources.size())?;
        Ok(self.with("target.labels", each).with("target.shares", shares))
    }

    /// Adds keys `[N, D]`: the own one for each embedding, with the whole share.
    ///
    /// # Errors
    /// Keys that are not `[N, D]`.
    pub fn with_keys(self, keys: &Tensor) -> Result<Self> {
        let (n, _) =
            keys.size2().map_err(|_| Error::shape("the keys of a contrast", keys.size(), "[N, D]"))?;
        let shares = Tensor::f_ones([n, 1], (Kind::Float, keys.device()))?;
        Ok(self.with("contrast.keys", keys.f_unsqueeze(1)?).with("contrast.shares", shares))
    }

    /// Adds what a mix of samples with these keys `[N, D]` stands for: the key of each source, with its share.
    ///
    /// # Errors
    /// Keys that are not `[N, D]`.
    pub fn with_contrast(self, credit: &Credit, keys: &Tensor) -> Result<Self> {
        let (each, shares) = credit.contrast(keys)?;
        Ok(self.with("contrast.keys", each).with("contrast.shares", shares))
    }

    /// Adds the mask of a mix and the lambda that it was planned with.
    ///
    /// # Errors
    /// The mix has no mask.
    pub fn with_mix(self, mixed: &Mixed, lambda: &Tensor) -> Result<Self> {
        let mask = mixed.mask.as_ref().ok_or_else(|| {
            Error::missing("the loss", "mask", "only mixers with a mask can be given to a mask loss")
        })?;
        Ok(self.with("mask", mask.shallow_clone()).with("lambda", lambda.shallow_clone()))
    }

    /// The same, floats of 16 bits as float32: losses are computed in that or better.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn float32_or_better(mut self) -> Result<Self> {
        for tensor in self.tensors.values_mut() {
            if matches!(tensor.kind(), Kind::Half | Kind::BFloat16) {
                *tensor = tensor.f_to_kind(Kind::Float)?;
            }
        }
        Ok(self)
    }

    /// A tensor that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::missing("the loss", name, "see `admix plugins NAME` for the arguments"))
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// A tensor that may be there.
    pub fn optional(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }
}

/// A loss: finite for every finite input.
///
/// ```
/// use admix_api::{Argument, Loss, LossInput, Result};
/// use admix_torch::Tensor;
///
/// #[derive(Debug)]
/// struct Size;
///
/// impl Loss for Size {
///     fn arguments(&self) -> Vec<Argument> {
///         vec![Argument::Tensor("x")]
///     }
///
///     fn loss(&self, input: &LossInput) -> Result<Tensor> {
///         Ok(input.get("x")?.f_square()?.f_mean(None)?)
///     }
/// }
///
/// let input = LossInput::default().with("x", Tensor::from_slice(&[1f32, 3.0]));
/// assert_eq!(Size.loss(&input)?.double_value(&[]), 5.0);
/// # Ok::<(), admix_api::Error>(())
/// ```
pub trait Loss: std::fmt::Debug {
    /// The arguments, in the order in which a script passes them.
    fn arguments(&self) -> Vec<Argument>;

    /// The value, a scalar with a graph where the input has one.
    ///
    /// # Errors
    /// A missing input or a shape that does not fit.
    fn loss(&self, input: &LossInput) -> Result<Tensor>;
}

/// The settings of a loss.
///
/// ```
/// use admix_api::prelude::*;
///
/// admix_api::settings! {
///     /// Recipe: `Scaled(by: 2.0)`.
///     pub struct Scaled {
///         /// The factor.
///         pub by: f64 = 2.0,
///     }
/// }
///
/// impl LossConfig for Scaled {
///     fn build(&self) -> Result<Box<dyn Loss>> {
///         Ok(Box::new(self.clone()))
///     }
/// }
///
/// impl Loss for Scaled {
///     fn arguments(&self) -> Vec<Argument> {
///         vec![Argument::Tensor("x")]
///     }
///
///     fn loss(&self, input: &LossInput) -> Result<Tensor> {
///         Ok(input.get("x")?.f_mean(None)?.f_mul_scalar(self.by)?)
///     }
/// }
///
/// let input = LossInput::default().with("x", Tensor::from_slice(&[1f32, 3.0]));
/// assert_eq!(Scaled::default().build()?.loss(&input)?.double_value(&[]), 4.0);
/// # Ok::<(), Error>(())
/// ```
pub trait LossConfig: std::fmt::Debug + Settings {
    /// Checks ranges, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Builds the loss.
    ///
    /// # Errors
    /// Invalid settings.
    fn build(&self) -> Result<Box<dyn Loss>>;
}
