//! A run: a recipe carried out into a folder.

mod accuracy;
mod checkpoint;
mod context;
mod evaluate;
mod facts;
mod folder;
mod header;
mod images;
mod init;
mod lock;
mod measure_mixers;
mod metrics;
mod mixer_report;
mod pending;
mod probe;
mod shown;
mod started_from;
mod status;
mod together;
mod train;
mod whole;

use std::path::PathBuf;
use std::rc::Rc;

use admix_api::{Choice, Registry};
use admix_data::{Broken, Dataset, Fit, Info, Split};
use admix_torch::Device;
use admix_torch::trail::{self, Fact};

use crate::loggers::{Event, JsonLines, LoggerConfig, Loggers, Opening};
use crate::method::{Clock, Method, one_part};
use crate::precision::Precision;
use crate::recipe::{Override, Recipe, RecipeText, settings};
use crate::session::Session;
use crate::world::Shape;
use crate::{Error, Result, bundled};

pub use accuracy::{Accuracy, HeadAccuracy};
pub use checkpoint::Checkpoint;
pub use context::RunContext;
pub use evaluate::{evaluate, reestimate, reestimates};
pub use facts::RunFacts;
pub use folder::{FolderState, RunFolder};
pub use header::Header;
pub use images::Images;
pub use measure_mixers::mixer_report;
pub use metrics::{History, Summary};
pub use mixer_report::{ByLambda, LAMBDAS, MixLosses, MixerReport};
pub use probe::{
    AfterEpoch, Features, Knn, Linear, LinearAugment, LinearCached, LinearPreset, Measured, Probe,
    ProbeChoice, TrainPass, measure, probes,
};
pub use started_from::StartedFrom;
pub use status::Status;
pub(crate) use whole::write_whole;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The recipe.
    pub recipe: PathBuf,
    /// `--set path=value`, in order.
    pub overrides: Vec<Override>,
    /// A script instead of the recipe's.
    pub script: Option<PathBuf>,
    /// Go on from the newest good checkpoint of the run folder, or of this file.
    pub resume: Option<Option<PathBuf>>,
    /// Accept another script than the checkpoint's.
    pub allow_changed_script: bool,
    /// Stop after this many steps in all.
    pub max_steps: Option<u64>,
    /// What steps and evaluations compute in.
    pub precision: Precision,
    /// Capture whole steps and replay them, where the device can.
    pub capture: bool,
}

/// Looks at a run between two steps, say to draw a picture, whose file it names. What it changes in the session changes the
/// run.
pub type Look = Box<dyn FnMut(&mut Session, &Dataset, &RunFolder) -> Result<Option<PathBuf>>>;

/// A run that is ready to train.
pub struct Run {
    /// The recipe.
    pub recipe: Recipe,
    /// Networks, mixers, optimiser, method.
    pub session: Session,
    /// The data set on the device.
    pub dataset: Dataset,
    /// Where results go.
    pub folder: RunFolder,
    /// Where its output goes, and who may stop it.
    pub context: RunContext,
    /// Called after each evaluation.
    pub after_evaluation: Option<Look>,
    history: History,
    /// Batches of the current epoch that are done.
    batch_in_epoch: u64,
    /// Where its weights come from, if not from random ones.
    started_from: Option<StartedFrom>,
    max_steps: Option<u64>,
    resumed_from: Option<PathBuf>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("recipe", &self.recipe.place()).field("folder", &self.folder).finish()
    }
}

/// A recipe that was checked: its method compiles and three dry calls of it went through.
pub struct Prepared {
    /// The recipe.
    pub recipe: Recipe,
    /// The state of the run, at its start.
    pub session: Session,
    /// The data set on the device.
    pub dataset: Dataset,
    /// What is odd but not wrong.
    pub warnings: Vec<String>,
    /// Whether the method keeps tensors from one step to the next.
    keeps: bool,
}

impl Prepared {
    /// Puts the weights that the recipe starts from into the networks; `None` where it starts from random ones. `progress`
    /// gets the bytes that are there and the bytes in all (0: unknown) of a download.
    ///
    /// # Errors
    /// No such file, one that is damaged, or one whose network, heads or images are others.
    pub fn start(&mut self, progress: &dyn Fn(u64, u64)) -> Result<Option<StartedFrom>> {
        init::apply(&self.recipe, &mut self.session, &Shape::of(self.dataset.info()), progress)
    }

    /// Makes steps of the parts of so many processes.
    ///
    /// # Errors
    /// A step has more images than there are, or more keys than a queue holds; the method keeps tensors for the next step.
    pub fn share(&mut self, processes: usize) -> Result<()> {
        if self.keeps {
            one_part("keep", self.recipe.accumulate, processes)?;
        }
        self.session.set_clock(clock_of(&self.recipe, self.dataset.info(), processes)?);
        self.recipe.check_queues(processes)
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("recipe", &self.recipe.place()).finish()
    }
}

/// Finds and compiles the method of a recipe.
///
/// # Errors
/// There is no such script, or it does not compile.
pub fn method_of(recipe: &Recipe, script: Option<&PathBuf>) -> Result<Method> {
    let own = [recipe.folder().join(&recipe.method), PathBuf::from(&recipe.method)];
    if let Some(path) = script.or_else(|| own.iter().find(|path| path.is_file())) {
        let refuse =
            |why: String| Error::Input(format!("the script {} cannot be read: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => refuse(format!(
                "there is no such file; to use a bundled one ({}), name it as the recipe's `method`",
                crate::text::list(bundled::script_names())
            )),
            std::io::ErrorKind::InvalidData => refuse("it is not text; expected a script in Rhai".into()),
            std::io::ErrorKind::IsADirectory => refuse("it is a folder; expected a script in Rhai".into()),
            _ => refuse(source.to_string()),
        })?;
        return Method::compile(&text, &path.display().to_string());
    }
    let (text, name) = bundled::script(&recipe.method).ok_or_else(|| {
        recipe.field_error(
            "method",
            format!(
                "is `{}`, neither a file nor one of the bundled {}{}",
                recipe.method,
                crate::text::list(bundled::script_names()),
                admix_api::did_you_mean(&recipe.method, bundled::script_names())
            ),
        )
    })?;
    Method::compile(text, name)
}

/// Builds a session of a recipe for a data set, at the start of the run.
///
/// # Errors
/// Whatever the recipe names wrongly.
pub fn session_of(
    recipe: &Recipe,
    method: Method,
    registry: &Registry,
    info: &Info,
    device: Device,
) -> Result<Session> {
    Session::build(recipe, method, registry, Shape::of(info), clock_of(recipe, info, 1)?, device)
}

/// The clock of a run at its start, whose steps are shared out to so many processes.
fn clock_of(recipe: &Recipe, info: &Info, processes: usize) -> Result<Clock> {
    let per_step = recipe.batch.saturating_mul(recipe.accumulate).saturating_mul(processes);
    if per_step > info.train {
        let shared = if processes > 1 { format!(", times {processes} processes") } else { String::new() };
        return Err(recipe.field_error(
            "batch",
            format!(
                "is {} (times `accumulate` {}{shared}), but `{}` has only {} training images",
                recipe.batch, recipe.accumulate, info.name, info.train
            ),
        ));
    }
    let steps = ((info.train / per_step) as u64).saturating_mul(recipe.epochs);
    Ok(Clock { step: 0, steps, epoch: 0, epochs: recipe.epochs })
}

/// The clock of a run that goes on from a checkpoint: its place, and the length that the recipe gives it now.
fn clock_after(checkpoint: &Checkpoint, planned: Clock, recipe: &Recipe) -> Result<Clock> {
    let done = checkpoint.header.clock;
    let per_epoch = |clock: Clock| clock.steps / clock.epochs.max(1);
    if per_epoch(done) != per_epoch(planned) {
        return Err(Error::Input(format!(
            "{} makes {} steps an epoch, but {} made {}: keep `batch` and `data` as they were, and `accumulate` times the \
             number of processes, or start anew in another folder with --out",
            recipe.place(),
            per_epoch(planned),
            checkpoint.path.display(),
            per_epoch(done)
        )));
    }
    Ok(Clock { steps: planned.steps, epochs: planned.epochs, ..done })
}

/// Reads and checks everything before the first batch: recipe, data, method, and three dry calls of the method on a
/// narrow throw-away copy of the networks.
///
/// # Errors
/// Bad input of any kind.
pub fn prepare(
    recipe: Recipe,
    script: Option<&PathBuf>,
    registry: &Registry,
    device: Device,
    precision: Precision,
) -> Result<Prepared> {
    trail::tell(Fact::Recipe, format_args!("{}", recipe.place()));
    let streams = admix_api::Streams::new(recipe.seed);
    let method = method_of(&recipe, script)?;
    let dataset =
        Dataset::open(&recipe.data, registry, device, streams).map_err(|error| recipe.data_error(error))?;
    prepare_on(dataset, method, recipe, registry, device, precision)
}

/// The same without a run to come: where the files of a known dataset are not there, all else is checked on made-up images
/// of its shape, and the error about them comes second.
///
/// # Errors
/// As [`prepare`].
pub fn check(
    recipe: Recipe,
    script: Option<&PathBuf>,
    registry: &Registry,
    device: Device,
) -> Result<(Prepared, Option<Error>)> {
    trail::tell(Fact::Recipe, format_args!("{}", recipe.place()));
    let streams = admix_api::Streams::new(recipe.seed);
    let method = method_of(&recipe, script)?;
    let (dataset, missing) = match Dataset::open(&recipe.data, registry, device, streams) {
        Ok(dataset) => (dataset, None),
        Err(error) => {
            let stand_in = match error {
                admix_data::Error::Missing { .. } => Dataset::stand_in(&recipe.data, registry, device),
                _ => Ok(None),
            };
            let error = recipe.data_error(error);
            match stand_in.map_err(|error| recipe.data_error(error))? {
                Some(stand_in) => (stand_in, Some(error)),
                None => return Err(error),
            }
        }
    };
    Ok((prepare_on(dataset, method, recipe, registry, device, Precision::default())?, missing))
}

fn prepare_on(
    dataset: Dataset,
    method: Method,
    recipe: Recipe,
    registry: &Registry,
    device: Device,
    precision: Precision,
) -> Result<Prepared> {
    for probe in &recipe.evaluate.probes {
        probe::needs_labels(&dataset, &probe.plugin)?;
    }
    let mut warnings = Vec::new();
    if dataset.is_empty(Split::Test) {
        let name = &dataset.info().name;
        // Without classes it is the heads that cannot be.
        if recipe.evaluates() && dataset.info().classes > 0 {
            let message = format!(
                "are measured on test images, and `{name}` has none: add a test split, such as a folder `val/CLASS/IMAGE` or a \
                 `data.test_list`"
            );
            return Err(recipe.field_error("heads", message));
        }
        warnings.extend((!recipe.evaluates()).then(|| {
            format!(
                "`{name}` has no test images: no accuracy is measured while it trains. Measure the run on data with labels, such as \
                 `admix eval RUN --protocol knn --set 'data.name=\"NAME\"'`"
            )
        }));
    }
    let narrow = {
        // The same recipe at toy width: what is checked is the script, not the arithmetic.
        let config = recipe.model.config.narrowed().unwrap_or_else(|| recipe.model.config.clone());
        let mut narrow = Recipe { model: Choice { config, ..recipe.model.clone() }, ..recipe.clone() };
        for other in narrow.other_nets.values_mut() {
            if let Some(config) = other.model.config.narrowed() {
                other.model.config = config;
            }
        }
        narrow
    };
    let toy_method = Method::compile(method.text(), method.file())?;
    let mut toy = session_of(&narrow, toy_method, registry, dataset.info(), device)?;
    toy.set_precision(precision);
    let info = dataset.info();
    // A multiple of the BatchNorm groups, with two samples in each where the batch has them.
    let samples = (2 * recipe.bn_groups).max(4).min(recipe.batch as i64);
    let dry = toy.dry_run([samples, info.channels], info.classes as i64, &dataset.view_sizes());
    warnings.extend(dry.map_err(|error| match toy.refused_plan() {
        Some((mixer, why)) => recipe.plugin_error(&format!("mixers.{mixer}"), why),
        None => error,
    })?);
    warnings.extend(toy.uncalled(&recipe));
    let keeps = toy.keeps();
    if keeps {
        one_part("keep", recipe.accumulate, 1)?;
    }
    drop(toy);
    trail::tell(Fact::Step, format_args!(""));
    let mut session = session_of(&recipe, method, registry, dataset.info(), device)?;
    session.set_precision(precision);
    Ok(Prepared { recipe, session, dataset, warnings, keeps })
}

impl Run {
    /// Reads, checks and builds everything, and makes or reopens the run folder.
    ///
    /// # Errors
    /// Bad input of any kind, a folder that is in use or cannot be written, no good checkpoint to resume from.
    pub fn open(
        options: &RunOptions,
        registry: &Rc<Registry>,
        device: Device,
        context: RunContext,
    ) -> Result<Self> {
        let missing = || {
            let path = options.recipe.display();
            Error::Input(format!("no recipe at {path}: `admix recipes` lists those that are there"))
        };
        let text = RecipeText::open(&options.recipe)?.ok_or_else(missing)?;
        let recipe = text.read(&options.overrides, registry)?;
        Self::begin(recipe, options, registry, device, context)
    }

    /// The same for a recipe that is read already (`options.recipe` and `options.overrides` are not looked at).
    ///
    /// # Errors
    /// As [`Run::open`].
    pub fn begin(
        recipe: Recipe,
        options: &RunOptions,
        registry: &Rc<Registry>,
        device: Device,
        mut context: RunContext,
    ) -> Result<Self> {
        if let Some(bad) = context.out.as_deref().filter(|out| out.to_str().is_none()) {
            let message = format!(
                "--out {}: the name of the run folder is not UTF-8, but the reports of a run name it; give another name",
                bad.display()
            );
            return Err(Error::Input(message));
        }
        let prepared = prepare(recipe, options.script.as_ref(), registry, device, options.precision)?;
        for warning in &prepared.warnings {
            context.loggers.warn(warning.clone());
        }
        let mut prepared = prepared;
        prepared.share(context.processes())?;
        // Before a folder is made for a run that cannot start.
        let mut started_from = match &options.resume {
            None => prepared.start(&*context.progress)?,
            Some(_) => None,
        };
        let Prepared { recipe, mut session, dataset, .. } = prepared;
        if let Some(group) = &context.group {
            together::same_work(group, &recipe, session.method(), registry, options)?;
            session.share(group);
        }
        let mut history = History::default();
        let (mut batch_in_epoch, mut resumed_from) = (0, None);
        let (out, loggers) = (context.out.as_deref(), &mut context.loggers);
        let group = context.group.as_deref();
        // Process 0 has the folder, the others know of it.
        let opened = |loggers: &mut Loggers, open: &dyn Fn(&mut Loggers) -> Result<RunFolder>| match group {
            None => open(loggers),
            Some(group) => {
                let own = if group.rank() == 0 { Some(open(loggers)?) } else { None };
                let root = own.as_ref().map(|own| own.root.display().to_string()).unwrap_or_default();
                let root = group.gather_text(&root)?.swap_remove(0);
                Ok(own.unwrap_or_else(|| RunFolder::guest(root)))
            }
        };
        let folder = match &options.resume {
            None => opened(loggers, &|loggers| {
                RunFolder::create(out, &recipe, &mut |message| loggers.warn(message))
            })?,
            Some(from) => {
                let folder = opened(loggers, &|loggers| {
                    RunFolder::reopen(out, &recipe, &mut |message| loggers.warn(message))
                })?;
                let found = match from {
                    Some(path) => Some(Checkpoint::read(path, device)?),
                    None => folder.newest_good(device, &mut |message| loggers.warn(message))?,
                };
                match found {
                    Some(checkpoint) => {
                        checkpoint.check_fits(
                            &recipe,
                            session.method(),
                            registry,
                            options.allow_changed_script,
                        )?;
                        checkpoint.check_classes(&dataset.info().name, &dataset.info().class_names)?;
                        checkpoint
                            .load_into(&mut session)
                            .map_err(|error| checkpoint.misfit(error, &recipe, registry))?;
                        session.set_clock(clock_after(&checkpoint, session.clock(), &recipe)?);
                        batch_in_epoch = checkpoint.header.batch_in_epoch;
                        history = checkpoint.header.history.clone();
                        started_from = checkpoint.header.started_from.clone();
                        dataset.go_on_from(&history.broken);
                        loggers.tell(Event::Resumed {
                            path: checkpoint.path.clone(),
                            step: checkpoint.header.clock.step,
                        })?;
                        resumed_from = Some(checkpoint.path);
                    }
                    None => {
                        loggers.warn(format!(
                            "{} holds no checkpoint: starting from the beginning",
                            folder.root.display()
                        ));
                        let shape = Shape::of(dataset.info());
                        started_from = init::apply(&recipe, &mut session, &shape, &*context.progress)?;
                    }
                }
                folder
            }
        };
        if let Some(group) = group {
            together::same_state(group, &session.tensors())?;
        }
        folder.check_room()?;
        let report = recipe.reported();
        let resumed = options.resume.as_ref().map(|_| session.clock().step);
        let opening = Opening {
            folder: &folder.root,
            resumed,
            report: report.as_deref(),
            recipe: &recipe.text_alone(),
            method: session.method().text(),
            settings: &settings(&recipe)?,
        };
        if context.writes() {
            // One that cannot be opened must be known before metrics of later steps are dropped.
            let others = recipe.loggers.iter().map(|logger| logger.config.open(&opening));
            let others = others.collect::<Result<Vec<_>>>()?;
            context.loggers.add(JsonLines::metrics().open(&opening)?)?;
            for logger in others {
                context.loggers.add(logger)?;
            }
        }
        if resumed_from.is_none() {
            let (total, per) = (dataset.len(Split::Train), recipe.evaluate.batch);
            let clean = |start| Ok(dataset.clean_batch(Split::Train, start, per.min(total - start))?.images);
            session.start_clusterers((0..total).step_by(per).map(clean))?;
        }
        folder.write_inputs(&recipe, session.method())?;
        if options.capture {
            session.capture();
        }
        Ok(Self {
            recipe,
            session,
            dataset,
            folder,
            context,
            after_evaluation: None,
            history,
            batch_in_epoch,
            started_from,
            max_steps: options.max_steps,
            resumed_from,
        })
    }

    /// Trains to the end (or to `max_steps`, or to a signal), and writes `run.json` however it ends.
    ///
    /// # Errors
    /// A step fails, a checkpoint cannot be written, too many bad steps, a signal.
    pub fn train(&mut self) -> Result<Summary> {
        train::train(self)
    }

    /// Ends training after so many steps more, as `max_steps` would.
    pub fn stop_after(&mut self, steps: u64) {
        self.max_steps = Some(self.session.clock().step.saturating_add(steps));
    }

    /// Results so far.
    pub fn history(&self) -> &History {
        &self.history
    }
}
