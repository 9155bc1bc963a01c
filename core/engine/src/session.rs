//! A session: the state of a run and the one function that moves it, `step_with`.

mod execution;

use std::cell::{Ref, RefCell, RefMut};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use admix_api::{Plan, Registry};
use admix_data::Batch;
use admix_torch::{Device, Tensor};

use crate::Result;
use crate::method::{
    CaptureReport, Clock, CudaRecorder, Frame, GraphRecorder, Guesses, Method, Scheduled, Slots, StepGraphs,
    StepReport, tally,
};
use crate::param::Param;
use crate::precision::Precision;
use crate::recipe::{Recipe, When};
use crate::schedule;
use crate::text::list;
use crate::world::{Shape, World};

/// How a step is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Execution {
    /// Every verb executes as the script reaches it.
    #[default]
    Direct,
    /// The script only records; then slots are filled and the trace is executed. What a captured graph does.
    Recorded,
    /// As recorded; where the session captures steps and nothing speaks against it, a trace that was executed twice is
    /// captured, and from then on replayed.
    Captured,
}

/// What a caller may fix or ask for in one step.
#[derive(Debug, Clone, Default)]
pub struct StepOptions {
    /// Plans by draw name, instead of drawn ones.
    pub plans: BTreeMap<String, Plan>,
    /// Rates and momentum, instead of the script's and the recipe's.
    pub schedule: Option<Scheduled>,
    /// Report mixes and gradients too.
    pub detail: bool,
    /// Direct, recorded or captured.
    pub execution: Execution,
}

/// The state of a run.
pub struct Session {
    pub(crate) frame: Rc<RefCell<Frame>>,
    method: Method,
    clock: Clock,
    groups: Vec<String>,
    /// Epochs over which learning rates rise.
    warmup: u64,
    weight_overrides: BTreeMap<String, f64>,
    /// By structure and number of the part.
    recorded: HashMap<(u64, usize), Slots>,
    /// Where steps are captured.
    graphs: Option<StepGraphs>,
    /// Where they are not: why.
    uncaptured: CaptureReport,
    /// Whether the optimiser of the newest step has moved.
    moved: bool,
    clustering: Duration,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("method", &self.method.file()).field("clock", &self.clock).finish()
    }
}

impl Session {
    /// Builds the state that a recipe describes, with its method.
    ///
    /// # Errors
    /// Names that nothing answers to, parameters or weights that the method does not have.
    pub fn build(
        recipe: &Recipe,
        method: Method,
        registry: &Registry,
        shape: Shape,
        clock: Clock,
        device: Device,
    ) -> Result<Self> {
        if shape.classes == 0 && !recipe.heads.is_empty() {
            let message = format!(
                "need classes, and the images of `{}` have no labels: choose a method that needs none, such as \"moco\", with \
                 `heads: []`, or give the images class folders, `train/CLASS/IMAGE`, or a list with labels",
                recipe.data.name
            );
            return Err(recipe.field_error("heads", message));
        }
        let world = World::build(recipe, registry, shape, device)?;
        let groups = world.optimizer.groups().iter().map(|g| g.name.clone()).collect();
        let mut frame = Frame::new(world, recipe.lr(), recipe.base_ema());
        frame.clock = clock;
        frame.params = parameters(recipe, &method)?;
        let frame = Rc::new(RefCell::new(frame));
        let mut session = Self {
            frame,
            method,
            clock,
            groups,
            warmup: recipe.warmup,
            weight_overrides: recipe.weights.clone(),
            recorded: HashMap::new(),
            graphs: None,
            uncaptured: CaptureReport {
                reasons: vec!["it was not asked for".into()],
                ..CaptureReport::default()
            },
            moved: false,
            clustering: Duration::ZERO,
        };
        session.set_channels_last(true)?;
        let known = session.method.weights(&session.frame)?;
        if let Some(unknown) = recipe.weights.keys().find(|name| !known.contains_key(*name)) {
            return Err(recipe.field_error(
                &format!("weights.{unknown}"),
                format!(
                    "is no term of {}, which has {}{}",
                    session.method.file(),
                    list(known.keys()),
                    admix_api::did_you_mean(unknown, known.keys().map(String::as_str))
                ),
            ));
        }
        Ok(session)
    }

    /// The networks, mixers, optimiser. While this is held, no script of the session can run.
    pub fn world(&self) -> Ref<'_, World> {
        Ref::map(self.frame.borrow(), Frame::world)
    }

    /// The same, to change.
    pub fn world_mut(&mut self) -> RefMut<'_, World> {
        RefMut::map(self.frame.borrow_mut(), Frame::world_mut)
    }

    /// Where the run stands.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Sets where the run stands (resume, tests, dry calls).
    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        self.frame.borrow_mut().clock = clock;
    }

    /// Sets what steps and evaluations compute in from now on; float32 until then.
    pub fn set_precision(&mut self, precision: Precision) {
        self.world_mut().precision = precision;
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// How many different traces recorded steps have had so far.
    pub fn recorded_variants(&self) -> usize {
        self.recorded.keys().map(|(structure, _)| structure).collect::<HashSet<_>>().len()
    }

    /// Captures steps from now on, those of [`Execution::Captured`], where the device can: on CUDA, with the library for
    /// graphs. Elsewhere [`captures`](Self::captures) tells the reason, and such steps are executed directly.
    pub fn capture(&mut self) {
        let device = self.world().device;
        let reason = match device {
            Device::Cuda(index) => match CudaRecorder::open(index) {
                Ok(recorder) => return self.capture_with(Box::new(recorder)),
                Err(error) => error.to_string(),
            },
            _ => "steps are captured on GPUs alone".to_string(),
        };
        self.uncaptured = CaptureReport::default();
        self.uncaptured.refuse(reason);
    }

    /// Captures steps from now on, those of [`Execution::Captured`], by this recorder. What was captured before is
    /// forgotten.
    pub fn capture_with(&mut self, recorder: Box<dyn GraphRecorder>) {
        self.graphs = Some(StepGraphs::new(recorder));
    }

    /// Whether steps are captured, as far as nothing speaks against it.
    pub fn is_capturing(&self) -> bool {
        self.graphs.is_some()
    }

    /// What became of capturing so far.
    pub fn captures(&self) -> CaptureReport {
        self.graphs.as_ref().map_or(&self.uncaptured, StepGraphs::report).clone()
    }

    /// The method's parameters, resolved.
    pub fn params(&self) -> BTreeMap<String, Param> {
        self.frame.borrow().params.clone()
    }

    /// The weight of every term now, resolved. Nobody may hold [`world`](Self::world).
    ///
    /// # Errors
    /// The script fails.
    pub fn weights(&self) -> Result<BTreeMap<String, f64>> {
        let mut weights = self.method.weights(&self.frame)?;
        weights.extend(self.weight_overrides.clone());
        Ok(weights)
    }

    /// Shares out the parts of each step to the processes of a group, of which this is one.
    pub fn share(&mut self, group: &Rc<admix_torch::Group>) {
        self.world_mut().share(group);
    }

    /// One training step on one batch: what the loop calls, with nothing fixed and no details.
    ///
    /// # Errors
    /// The script, a plugin or libtorch fails.
    pub fn step(&mut self, batch: Batch) -> Result<StepReport> {
        self.step_with(vec![batch], &StepOptions::default())
    }

    /// One training step: the method on each batch (one, or as many as `accumulate` says), then optimiser, pairs
    /// and clock move once.
    ///
    /// A step that fails before its optimiser moves leaves the state as it was. So does one with a value that is not finite
    /// among its learned terms, its gradients or the running values of its networks: it is no failure but skipped, and
    /// the clock alone goes on, with what clusterers do between steps.
    ///
    /// # Errors
    /// The script, a plugin or libtorch fails.
    pub fn step_with(&mut self, batches: Vec<Batch>, options: &StepOptions) -> Result<StepReport> {
        self.moved = false;
        let result = self.try_step(batches, options);
        if result.is_err() {
            self.frame.borrow_mut().end();
            self.world_mut().undo_step()?;
        }
        result
    }

    /// Whether the newest step, if it failed, left the state as it was before.
    pub fn undid_failed_step(&self) -> bool {
        !self.moved
    }

    fn try_step(&mut self, batches: Vec<Batch>, options: &StepOptions) -> Result<StepReport> {
        let weights = self.weights()?;
        let scheduled = match &options.schedule {
            Some(given) => given.clone(),
            None => self.method.schedule(&self.frame, &self.groups)?,
        };
        let rates = self.rates(&scheduled);
        {
            let mut frame = self.frame.borrow_mut();
            frame.weights.clone_from(&weights);
            frame.given = options.plans.clone();
            frame.choices = scheduled.choices.clone();
        }
        self.world_mut().expect_parts(batches.len())?;
        let format = |batch| self.world().formatted(batch);
        let batches = batches.into_iter().map(format).collect::<Result<Vec<_>>>()?;
        self.world().optimizer.set_rates(&rates)?;
        let momentum = self.set_momenta(&scheduled)?;
        let mut report = match options.execution {
            Execution::Direct => self.directly(batches, options.detail)?,
            Execution::Recorded => {
                let traced = self.record(batches, options.detail)?;
                self.as_recorded(&traced, options.detail)?
            }
            Execution::Captured => match self.graphs.take() {
                None => self.directly(batches, options.detail)?,
                Some(mut graphs) => {
                    let report = self.captured(&mut graphs, batches, options);
                    self.graphs = Some(graphs);
                    report?
                }
            },
        };
        self.world_mut().finish_step()?;
        report.learned = report.losses.iter().any(|(name, _)| weights.get(name) != Some(&0.0));
        report.momentum = momentum;
        report.rates = rates;
        let mut clock = self.clock;
        clock.step += 1;
        self.set_clock(clock);
        let begin = Instant::now();
        let apart = admix_torch::apart();
        self.world_mut().between_steps(clock)?;
        drop(apart);
        self.clustering += begin.elapsed();
        Ok(report)
    }

    /// Time that clusterers took between steps so far. On a GPU it includes waiting for the step before.
    pub fn clustering_time(&self) -> Duration {
        self.clustering
    }

    /// Starts the clusterers anew from the training images as they are, by the first network in evaluation mode.
    /// `clean` gives the images `[N, C, H, W]` batch by batch, in the order of the data set.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn start_clusterers(&mut self, clean: impl IntoIterator<Item = Result<Tensor>>) -> Result<()> {
        let world = &mut *self.world_mut();
        let Some(net) = world.nets.first().filter(|_| !world.clusterers.is_empty()) else { return Ok(()) };
        let parts = clean.into_iter().map(|images| net.embed(&images?)).collect::<Result<Vec<_>>>()?;
        let features = Tensor::f_cat(&parts, 0)?;
        for unit in &mut world.clusterers {
            unit.clusterer.initialise(&features, &mut world.streams.draws("cluster", &unit.name, 0, 0))?;
        }
        world.share_clusters(true)
    }

    /// Fills the clusterers with made-up features: timed steps then do all that those of a run do.
    ///
    /// # Errors
    /// libtorch refused.
    pub fn rehearse_clusterers(&mut self) -> Result<()> {
        self.world_mut().clusterers.iter_mut().try_for_each(|unit| unit.clusterer.rehearse())
    }

    /// Counts what every head guesses on images `[N, C, H, W]` with labels `[N]`: captured, if steps are.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn tally(&mut self, images: &Tensor, labels: &Tensor) -> Result<Guesses> {
        match &mut self.graphs {
            Some(graphs) => graphs.tally(self.frame.borrow().world(), images, labels),
            None => tally(&self.world(), images, labels),
        }
    }

    /// What follows the last backward pass.
    fn close(&mut self, mut report: StepReport, detail: bool) -> Result<StepReport> {
        let frame = &mut *self.frame.borrow_mut();
        let world = frame.world_mut();
        if detail {
            for (name, tensor) in world.optimizer.parameters() {
                if let Some(gradient) = admix_torch::grad_of(tensor) {
                    report.gradients.insert(name.to_string(), gradient.f_detach_copy()?);
                }
            }
        }
        world.unite()?;
        self.moved = true;
        world.close_step()?;
        report.found_inf = Some(world.found_inf.f_detach_copy()?);
        Ok(report)
    }

    fn rates(&self, scheduled: &Scheduled) -> Vec<f64> {
        let world = self.world();
        let groups = world.optimizer.groups();
        let warm = self.warmup as f64 / self.clock.epochs.max(1) as f64;
        let risen = schedule::warmup(1.0, warm, self.clock.progress());
        groups
            .iter()
            .map(|group| {
                scheduled
                    .rates
                    .get(&group.name)
                    .copied()
                    .unwrap_or_else(|| schedule::cosine(group.lr, group.min_lr, self.clock.epoch_progress()))
                    * risen
            })
            .collect()
    }

    /// Puts the momentum of each pair into its slot. Returns that of the first pair which is not copied, those before the
    /// step first.
    fn set_momenta(&mut self, scheduled: &Scheduled) -> Result<Option<f64>> {
        let (mut before, mut after) = (None, None);
        for pair in &mut self.world_mut().pairs {
            let momentum = scheduled.ema.unwrap_or(pair.momentum);
            pair.set_momentum(momentum)?;
            let first = if pair.when == When::BeforeStep { &mut before } else { &mut after };
            if !pair.copy {
                first.get_or_insert(momentum);
            }
        }
        Ok(before.or(after))
    }

    /// Every tensor of the state, by name.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.world().tensors()
    }

    /// Fills the state.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn load(&mut self, values: &BTreeMap<String, Tensor>) -> Result<()> {
        self.world_mut().load(values)
    }
}

/// The method's parameters with the recipe's values.
fn parameters(recipe: &Recipe, method: &Method) -> Result<BTreeMap<String, Param>> {
    let mut params = method.params()?;
    for (name, value) in &recipe.params {
        let field = format!("params.{name}");
        let Some(own) = params.get_mut(name) else {
            return Err(recipe.field_error(
                &field,
                format!(
                    "is no parameter of {}, which has {}{}",
                    method.file(),
                    list(params.keys()),
                    admix_api::did_you_mean(name, params.keys().map(String::as_str))
                ),
            ));
        };
        if std::mem::discriminant(own) != std::mem::discriminant(value) {
            return Err(
                recipe.field_error(&field, format!("is {value}, expected {} such as {own}", own.kind()))
            );
        }
        *own = value.clone();
    }
    Ok(params)
}
