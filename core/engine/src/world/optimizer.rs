//! The optimiser of a run: a rule over groups of parameters, with all state in named tensors.

use admix_api::{Hints, spans};
use admix_torch::{Device, Kind, Tensor};

use crate::Result;
use crate::optimizers::{Bucket, OptimizerConfig, OptimizerRule};
use crate::recipe::Recipe;
use crate::text::list;
use crate::world::part::Part;

/// Parameters that share a learning rate.
#[derive(Debug)]
pub struct Group {
    /// Its name: "net", or a mixer's.
    pub name: String,
    /// Base learning rate.
    pub lr: f64,
    /// Where the recipe's cosine ends.
    pub min_lr: f64,
    weight_decay: Option<f64>,
    parameters: Vec<Parameter>,
    /// 0-dim float32 on the device, refilled every step.
    slot: Option<Tensor>,
}

impl Group {
    /// An empty group.
    pub fn new(name: &str, lr: f64, min_lr: f64, weight_decay: Option<f64>) -> Self {
        Self { name: name.into(), lr, min_lr, weight_decay, parameters: Vec::new(), slot: None }
    }
}

/// Whether a parameter of this name is what `group` names, or lies in it.
pub(crate) fn is_in(name: &str, group: &str) -> bool {
    name.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[derive(Debug)]
struct Parameter {
    name: String,
    tensor: Tensor,
    weight_decay: f64,
    /// Factor on the learning rate of its group.
    rate: f64,
    /// Whether this step leaves it as it is.
    frozen: bool,
    /// What the rule keeps of it, by name.
    state: Vec<(&'static str, Tensor)>,
}

/// The optimiser and its state.
#[derive(Debug)]
pub struct Optimizer {
    rule: Box<dyn OptimizerRule>,
    /// Weight decay of groups that have none of their own.
    weight_decay: f64,
    groups: Vec<Group>,
    rules: Rules,
}

/// What holds for the parameters of all groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Whether weight decay applies to parameters of one axis: norms and biases.
    pub decay_vectors: bool,
    /// The largest norm of all gradients together.
    pub clip_norm: Option<f64>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { decay_vectors: true, clip_norm: None }
    }
}

/// Parameters that one call of the rule moves.
struct Share {
    group: usize,
    rate: f64,
    bucket: Bucket,
}

impl Optimizer {
    /// An optimiser without parameters.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn new(
        config: &dyn OptimizerConfig,
        mut groups: Vec<Group>,
        rules: Rules,
        device: Device,
    ) -> Result<Self> {
        for group in &mut groups {
            group.slot = Some(Tensor::f_full([0i64; 0], group.lr, (Kind::Float, device))?);
        }
        Ok(Self { rule: config.build(), weight_decay: config.weight_decay(), groups, rules })
    }

    /// That of a recipe: the group "net", and one for each mixer that the recipe gives one.
    ///
    /// # Errors
    /// A group for no mixer.
    pub(crate) fn of(recipe: &Recipe, device: Device) -> Result<Self> {
        let mut groups = vec![Group::new("net", recipe.lr(), recipe.min_lr, None)];
        for (name, group) in &recipe.groups {
            let mixers = || recipe.mixers.iter().map(|(name, _)| name);
            if !mixers().any(|mixer| mixer == name) {
                let message = format!(
                    "is for no mixer; the recipe's `mixers` has {}{}",
                    list(mixers()),
                    admix_api::did_you_mean(name, mixers().map(String::as_str))
                );
                return Err(recipe.field_error(&format!("groups.{name}"), message));
            }
            let lr = group.lr.unwrap_or_else(|| recipe.lr());
            groups.push(Group::new(name, lr, group.min_lr.unwrap_or(recipe.min_lr), group.weight_decay));
        }
        let rules = Rules { decay_vectors: recipe.decay_vectors, clip_norm: recipe.clip_norm };
        Self::new(recipe.optimizer.config.as_ref(), groups, rules, device)
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group of this name.
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|g| g.name == name)
    }

    /// Adds a parameter in the state that the rule gives it. `rate` is a factor on the learning rate of its group.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn add(
        &mut self,
        group: usize,
        name: String,
        tensor: Tensor,
        hints: &Hints,
        rate: f64,
    ) -> Result<()> {
        let state = self.rule.state(&tensor)?;
        let decay = self.groups[group].weight_decay.unwrap_or(self.weight_decay);
        let decays = hints.weight_decay && (self.rules.decay_vectors || tensor.dim() > 1);
        let weight_decay = if decays { decay } else { 0.0 };
        let parameter = Parameter { name, tensor, weight_decay, rate, frozen: false, state };
        self.groups[group].parameters.push(parameter);
        Ok(())
    }

    /// All parameters with their names.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.groups.iter().flat_map(|g| &g.parameters).map(|p| (p.name.as_str(), &p.tensor))
    }

    /// Lets no gradient reach the parameters of a group until [`thaw`](Self::thaw): those whose names are `prefix`, or begin
    /// with it and a dot. A step leaves them as they are, their state included.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn freeze(&mut self, prefix: &str) -> Result<()> {
        let all = self.groups.iter_mut().flat_map(|group| &mut group.parameters);
        for parameter in all.filter(|parameter| is_in(&parameter.name, prefix)) {
            let _ = parameter.tensor.f_set_requires_grad(false)?;
            parameter.frozen = true;
        }
        Ok(())
    }

    /// Ends what [`freeze`](Self::freeze) began.
    pub fn thaw(&mut self) {
        let all = self.groups.iter_mut().flat_map(|group| &mut group.parameters);
        for parameter in all.filter(|parameter| parameter.frozen) {
            let _ = parameter.tensor.set_requires_grad(true);
            parameter.frozen = false;
        }
    }

    /// Puts the learning rate of each group into its slot, in place, for the next [`step`](Self::step).
    ///
    /// # Errors
    /// libtorch refused.
    pub fn set_rates(&self, rates: &[f64]) -> Result<()> {
        for (group, rate) in self.groups.iter().zip(rates) {
            if let Some(slot) = &group.slot {
                let _ = slot.shallow_clone().f_fill_(*rate)?;
            }
        }
        Ok(())
    }

    /// One step with the gradients that are there, at the rates of [`set_rates`](Self::set_rates). Parameters without a
    /// gradient stay as they are. Nothing changes where `found_inf` is not zero; a gradient that is not finite makes it
    /// so. The host gives no number that changes from one step to the next.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn step(&mut self, found_inf: &Tensor) -> Result<()> {
        let _guard = admix_torch::no_grad();
        let mut all = Vec::new();
        let mut shares: Vec<Share> = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            for Parameter { tensor, weight_decay, rate, state, .. } in &group.parameters {
                let Some(gradient) = admix_torch::grad_of(tensor) else { continue };
                all.push(gradient.shallow_clone());
                let fits = |own: &Share| {
                    own.group == index && own.rate == *rate && own.bucket.weight_decay == *weight_decay
                };
                let at = shares.iter().position(fits).unwrap_or_else(|| {
                    let state = state.iter().map(|_| Vec::new()).collect();
                    let (parameters, gradients) = Default::default();
                    let bucket = Bucket { parameters, gradients, state, weight_decay: *weight_decay };
                    shares.push(Share { group: index, rate: *rate, bucket });
                    shares.len() - 1
                });
                let bucket = &mut shares[at].bucket;
                bucket.parameters.push(tensor.shallow_clone());
                bucket.gradients.push(gradient);
                for (slot, (_, own)) in bucket.state.iter_mut().zip(state) {
                    slot.push(own.shallow_clone());
                }
            }
        }
        if all.is_empty() {
            return Ok(());
        }
        admix_torch::nonfinite(&all, found_inf)?;
        if let Some(most) = self.rules.clip_norm {
            admix_torch::clip_grad_norm(&all, most)?;
        }
        for Share { group, rate, bucket } in &shares {
            match &self.groups[*group].slot {
                Some(lr) if *rate == 1.0 => self.rule.step(bucket, lr, found_inf)?,
                Some(lr) => self.rule.step(bucket, &lr.f_mul_scalar(*rate)?, found_inf)?,
                None => {}
            }
        }
        Ok(())
    }

    /// The gradients of the parameters that have one in any process, which `any` knows from who has one here. A parameter that
    /// lacks it here gets one of zeros.
    ///
    /// # Errors
    /// Those of `any`; libtorch refused.
    pub fn gradients_of(&self, any: impl FnOnce(&[bool]) -> Result<Vec<bool>>) -> Result<Vec<Tensor>> {
        let all: Vec<&Tensor> = self.parameters().map(|(_, tensor)| tensor).collect();
        let own: Vec<bool> = all.iter().map(|tensor| admix_torch::grad_of(tensor).is_some()).collect();
        let any = any(&own)?;
        let mut gradients = Vec::new();
        for ((tensor, own), any) in all.into_iter().zip(own).zip(any) {
            if any && !own {
                let _graph = admix_torch::with_grad();
                admix_torch::backward(&tensor.f_mul_scalar(0.0)?.f_sum(None::<Kind>)?)?;
            }
            gradients.extend(admix_torch::grad_of(tensor));
        }
        Ok(gradients)
    }

    /// Takes out the gradient of each parameter, `None` where there is none.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn take_gradients(&self) -> Result<Vec<Option<Tensor>>> {
        let all: Vec<Tensor> = self.parameters().map(|(_, tensor)| tensor.shallow_clone()).collect();
        Ok(admix_torch::take_grads(&all)?)
    }

    /// Puts them back.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn give_gradients(&self, gradients: &[Option<Tensor>]) -> Result<()> {
        for ((_, tensor), gradient) in self.parameters().zip(gradients) {
            if let Some(gradient) = gradient {
                admix_torch::set_grad(tensor, gradient)?;
            }
        }
        Ok(())
    }

    /// Forgets all gradients.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn clear(&self) -> Result<()> {
        let all: Vec<Tensor> = self.parameters().map(|(_, t)| t.shallow_clone()).collect();
        Ok(admix_torch::clear_grads(&all)?)
    }
}

impl Part for Optimizer {
    /// State tensors, as `optimizer.<kind>.<parameter>`.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let all = self.groups.iter().flat_map(|group| &group.parameters);
        let state = all.flat_map(|parameter| {
            let named = |(kind, tensor): &(_, Tensor)| {
                (format!("optimizer.{kind}.{}", parameter.name), tensor.shallow_clone())
            };
            parameter.state.iter().map(named)
        });
        state.collect()
    }

    /// The learning rates, 0-dim float32, one for each group.
    fn slots(&self) -> Vec<(String, Tensor)> {
        let slot =
            |group: &Group| Some((format!("rate.{}", group.name), group.slot.as_ref()?.shallow_clone()));
        self.groups.iter().filter_map(slot).collect()
    }

    fn begin(&mut self) -> Result<()> {
        self.clear()
    }

    fn close(&mut self, found_inf: &Tensor) -> Result<()> {
        let _timed = spans::part(|| "optimiser".into(), 0);
        self.step(found_inf)?;
        self.clear()
    }

    fn forget(&mut self) -> Result<()> {
        self.thaw();
        self.clear()
    }
}

#[cfg(test)]
mod tests;
