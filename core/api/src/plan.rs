//! Plans: every scalar choice of one mix, made on the host in float64, and their values on the device.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use admix_torch::{Device, Kind, Tensor, upload};

use crate::cluster_aware::{SHUFFLE, Shuffle, cluster_aware};
use crate::{Draws, Error, Pairing, Partner, Per, Result};

/// What a plan is wanted for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Samples in the batch.
    pub batch: usize,
    /// Height of the images, in pixels.
    pub height: i64,
    /// Width of the images, in pixels.
    pub width: i64,
    /// The settings served by the host.
    pub pairing: Pairing,
    /// This lambda for every sample instead of a drawn one: pictures and reports at chosen values.
    pub lambda: Option<f64>,
    /// Whether the mix is made without a graph, for the encoder only.
    pub quiet: bool,
    /// Progress of the run, in [0, 1].
    pub progress: f64,
}

/// One named value of a plan, on the host.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number: a 0-dim float32 tensor on the device.
    Float(f64),
    /// Numbers, one for each sample: `[N]` float32.
    Floats(Vec<f64>),
    /// A whole number: 0-dim int64.
    Int(i64),
    /// Whole numbers, one for each sample: `[N]` int64.
    Ints(Vec<i64>),
}

/// Every scalar choice of one mix.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    values: BTreeMap<String, Value>,
    /// Differs between plans that need other shapes or kernels. A captured step is reused only for the same value.
    pub structure: u64,
}

impl Plan {
    /// The usual start of a plan: lambda from Beta(alpha, alpha), then the partners. Those of a cluster-aware pairing are
    /// chosen where the labels are, by [`Planned::paired`]; the plan has its random numbers as `partner_order` and
    /// `partner_inside`, and partners in a random cyclic order until then.
    ///
    /// # Errors
    /// `alpha` out of range.
    pub fn draw(ask: &Ask, draws: &mut Draws) -> Result<Self> {
        let Pairing { alpha, per, fold, partner, .. } = ask.pairing;
        let mut one = || -> Result<f64> {
            let lambda = draws.beta(alpha, alpha)?;
            Ok(if fold { lambda.max(1.0 - lambda) } else { lambda })
        };
        let lambda = match (ask.lambda, per) {
            (Some(given), _) => Value::Float(given),
            (None, Per::Batch) => Value::Float(one()?),
            (None, Per::Sample) => Value::Floats((0..ask.batch).map(|_| one()).collect::<Result<_>>()?),
        };
        let partner = match partner {
            Partner::Permutation => draws.permutation(ask.batch),
            Partner::Derangement => draws.derangement(ask.batch),
            Partner::Flip => (0..ask.batch as i64).rev().collect(),
            Partner::ClusterAware { share } => {
                let shuffle = Shuffle::draw(ask.batch, share, draws);
                let plan = Self::default().with("lambda", lambda);
                let plan = plan.with("partner", Value::Ints(shuffle.cyclic()));
                let [inside, order] = SHUFFLE;
                return Ok(plan
                    .with(inside, Value::Ints(shuffle.inside))
                    .with(order, Value::Ints(shuffle.order)));
            }
        };
        Ok(Self::default().with("lambda", lambda).with("partner", Value::Ints(partner)))
    }

    /// A plan with one given lambda for the batch and given partners.
    pub fn given(lambda: f64, partner: &[i64]) -> Self {
        Self::default().with("lambda", Value::Float(lambda)).with("partner", Value::Ints(partner.to_vec()))
    }

    /// The plan with one more (or another) value. Partners hold as they are given: they take the place of a pairing by
    /// pseudo labels.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        if name == "partner" {
            self.values.retain(|have, _| !SHUFFLE.contains(&have.as_str()));
        }
        self.values.insert(name.to_string(), value);
        self
    }

    /// The plan with this structure.
    #[must_use]
    pub fn structured(mut self, structure: u64) -> Self {
        self.structure = structure;
        self
    }

    /// The values, sorted by name.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Tells plans apart that cannot be written over one another: by structure, and by names, kinds and lengths of
    /// their values.
    pub fn form(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.structure.hash(&mut hasher);
        for (name, value) in &self.values {
            name.hash(&mut hasher);
            value.form().hash(&mut hasher);
        }
        hasher.finish()
    }

    /// A value by name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn value(&self, name: &str) -> Result<&Value> {
        self.values.get(name).ok_or_else(|| Error::MissingPlanValue {
            name: name.to_string(),
            known: self.values.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// lambda of each sample, on the host.
    ///
    /// # Errors
    /// The plan holds no lambda.
    pub fn lambdas(&self, batch: usize) -> Result<Vec<f64>> {
        match self.value("lambda")? {
            Value::Float(one) => Ok(vec![*one; batch]),
            Value::Floats(each) => Ok(each.clone()),
            _ => Err(Error::plugin("plan", "lambda must be a float")),
        }
    }

    /// Whether lambda is drawn per sample.
    pub fn is_per_sample(&self) -> bool {
        matches!(self.values.get("lambda"), Some(Value::Floats(_)))
    }

    /// Copies all values to a device.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn on(&self, device: Device) -> Result<Planned> {
        let mut tensors = BTreeMap::new();
        for (name, value) in &self.values {
            tensors.insert(name.clone(), value.on(device)?);
        }
        Ok(Planned { tensors, structure: self.structure })
    }

    /// Writes the values into the tensors of an earlier plan of the same structure, in place. Does not wait for the
    /// device.
    ///
    /// # Errors
    /// Another structure, another set of names or other lengths.
    pub fn fill(&self, planned: &Planned) -> Result<()> {
        if planned.structure != self.structure {
            let message =
                format!("structure {} cannot take the place of {}", self.structure, planned.structure);
            return Err(Error::plugin("plan", message));
        }
        for (name, value) in &self.values {
            let mut target = planned.get(name)?;
            target.f_copy_(&value.on(target.device())?)?;
        }
        Ok(())
    }
}

impl Value {
    /// Its kind, and its length where it has one.
    fn form(&self) -> (u8, usize) {
        match self {
            Value::Float(_) => (0, 0),
            Value::Floats(values) => (1, values.len()),
            Value::Int(_) => (2, 0),
            Value::Ints(values) => (3, values.len()),
        }
    }

    fn on(&self, device: Device) -> Result<Tensor> {
        let tensor = match self {
            Value::Float(value) => Tensor::f_from_slice(&[*value as f32])?.f_reshape([0i64; 0])?,
            Value::Floats(values) => {
                Tensor::f_from_slice(&values.iter().map(|v| *v as f32).collect::<Vec<_>>())?
            }
            Value::Int(value) => Tensor::f_from_slice(&[*value])?.f_reshape([0i64; 0])?,
            Value::Ints(values) => Tensor::f_from_slice(values)?,
        };
        Ok(upload(&tensor, device)?)
    }
}

/// A plan's values on the device: the slots that a mix reads.
#[derive(Debug)]
pub struct Planned {
    tensors: BTreeMap<String, Tensor>,
    structure: u64,
}

impl Planned {
    /// The plan with the partners that pseudo labels `[N]` int64 call for, or `None` where its partners hold as they are.
    /// The host does this before each mix, so that a mixer always finds its partners in the plan.
    ///
    /// # Errors
    /// The plan's pairing reads pseudo labels and none are given, or labels of another shape.
    pub fn paired(&self, pseudo: Option<&Tensor>) -> Result<Option<Self>> {
        let [inside, order] = SHUFFLE;
        let (Ok(inside), Ok(order)) = (self.get(inside), self.get(order)) else { return Ok(None) };
        let pseudo = pseudo.ok_or_else(|| {
            Error::missing("partner: ClusterAware", "pseudo", "pass `pseudo: labels` to the mix")
        })?;
        let partner = cluster_aware(pseudo, &order, &inside)?;
        let mut tensors = self.tensors();
        tensors.insert("partner".into(), partner);
        Ok(Some(Self::of(tensors, self.structure())))
    }

    /// The plan with these partners, `[N]` int64. They hold as they are: they take the place of a pairing by pseudo labels.
    #[must_use]
    pub fn with_partner(&self, partner: &Tensor) -> Self {
        let mut tensors = self.tensors();
        tensors.retain(|name, _| !SHUFFLE.contains(&name.as_str()));
        tensors.insert("partner".into(), partner.shallow_clone());
        Self::of(tensors, self.structure())
    }

    /// A plan whose values are tensors already, by name, with its structure.
    pub fn of(tensors: BTreeMap<String, Tensor>, structure: u64) -> Self {
        Self { tensors, structure }
    }

    /// The plan's structure, known to the host: a mix may do other work for another one (a stage, a size of blocks)
    /// without reading the device.
    pub fn structure(&self) -> u64 {
        self.structure
    }

    /// Every value, sorted by name: 0-dim or `[N]`, float32 or int64.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    pub(crate) fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.values().map(|(name, tensor)| (name.to_string(), tensor.shallow_clone())).collect()
    }

    /// A value by name: 0-dim or `[N]`, float32 or int64.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        self.tensors.get(name).map(Tensor::shallow_clone).ok_or_else(|| Error::MissingPlanValue {
            name: name.to_string(),
            known: self.tensors.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// lambda, the share of the own image: 0-dim or `[N]`, float32.
    ///
    /// # Errors
    /// The plan holds no lambda.
    pub fn lambda(&self) -> Result<Tensor> {
        self.get("lambda")
    }

    /// The partner of each sample: `[N]` int64.
    ///
    /// # Errors
    /// The plan holds no partners.
    pub fn partner(&self) -> Result<Tensor> {
        self.get("partner")
    }

    /// lambda in a form that broadcasts over `[N, C, H, W]`: 0-dim or `[N, 1, 1, 1]`, of this kind.
    ///
    /// # Errors
    /// The plan holds no lambda.
    pub fn lambda_over_images(&self, kind: Kind) -> Result<Tensor> {
        over_images(&self.lambda()?, kind)
    }
}

/// A 0-dim tensor as it is, `[N]` as `[N, 1, 1, 1]`, of this kind.
///
/// # Errors
/// libtorch refused.
pub fn over_images(value: &Tensor, kind: Kind) -> Result<Tensor> {
    let value = if value.kind() == kind { value.shallow_clone() } else { value.f_to_kind(kind)? };
    Ok(if value.dim() == 0 { value } else { value.f_reshape([-1, 1, 1, 1])? })
}
