//! The host's side: plugins of libraries, as mixers and losses like any other.
//!
//! Around each call the host keeps what a library could spoil: gradient mode and autocast are restored, and draws from
//! libtorch's generators and writes into inputs are found out. Results are taken over and checked before they go on.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::rc::Rc;

use admix_torch::{Device, Kind, Tensor, ThreadState, handles, rng_fingerprint, trail};
use serde_json::Value as Json;

use super::manifest::{Functions, Plugin};
use super::{raw, text};
use crate::{
    Argument, Ask, Credit, Draws, Error, Hidden, Hints, Init, Loss, LossConfig, LossInput, MixInput, Mixed,
    Mixer, MixerConfig, MixerContext, Needs, Path, Plan, Planned, Result, Value,
};

/// A plugin of a library.
#[derive(Debug)]
pub(super) struct Foreign {
    /// For messages: mixer `grid_mix` (plugins/libgrid.so).
    pub label: String,
    /// What the manifest says.
    pub plugin: Plugin,
}

/// How far masks and shares may be from their range: what half precision rounds.
const SLACK: f64 = 2e-3;

/// What `check` said of some settings.
#[derive(Debug)]
struct Checked {
    settings: String,
    resolved: Json,
    needs: Needs,
    arguments: Vec<Argument>,
    /// Why they were refused: setting (or empty) and message.
    refused: Option<(String, String)>,
}

/// A sink for errors: the last one counts.
#[derive(Debug, Default)]
struct Said {
    setting: String,
    message: String,
}

unsafe extern "C" fn report(host: *mut c_void, setting: raw::Text, message: raw::Text) {
    // SAFETY: the `Said` of the call that is going on.
    let said = unsafe { &mut *host.cast::<Said>() };
    said.setting = text(setting).into_owned();
    // One line, whatever the library says.
    said.message = text(message).lines().next().unwrap_or_default().trim().to_string();
}

unsafe extern "C" fn collect(host: *mut c_void, one: raw::Text) {
    // SAFETY: the list of the call that is going on.
    unsafe { &mut *host.cast::<Vec<String>>() }.push(text(one).into_owned());
}

unsafe extern "C" fn say(_: *mut c_void, level: i32, message: raw::Text) {
    let message = text(message);
    match level {
        1 => tracing::error!(target: "plugin", "{message}"),
        2 => tracing::warn!(target: "plugin", "{message}"),
        3 => tracing::info!(target: "plugin", "{message}"),
        _ => tracing::debug!(target: "plugin", "{message}"),
    }
}

impl Foreign {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::Plugin { plugin: self.label.clone(), message: message.into() }
    }

    /// Calls a function of the library. `inputs` are the tensors that it is given.
    fn call(
        &self,
        what: &str,
        device: Device,
        inputs: &[&Tensor],
        body: impl FnOnce(*const raw::Errors) -> i32,
    ) -> Result<()> {
        let mut said = Said::default();
        let errors = raw::Errors { host: std::ptr::from_mut(&mut said).cast(), report: Some(report) };
        let generators = || -> Result<(u64, u64)> {
            // A GPU's generator tells nothing while a step is captured; the steps before told whether the library draws.
            let own = if device == Device::Cpu { 0 } else { rng_fingerprint(device).unwrap_or(0) };
            Ok((rng_fingerprint(Device::Cpu)?, own))
        };
        let before = generators()?;
        let writes: Vec<i64> = inputs.iter().map(|tensor| handles::writes(tensor)).collect();
        let status = {
            let _here = trail::enter(format_args!("`{what}` of {}", self.label));
            let _state = ThreadState::save();
            body(&errors)
        };
        let Said { setting, message } = said;
        let message = if message.is_empty() { format!("`{what}` failed without a message") } else { message };
        match status {
            raw::OK => {}
            raw::BAD_SETTING if !setting.is_empty() => return Err(Error::Setting { setting, message }),
            _ => return Err(self.error(message)),
        }
        if generators()? != before {
            let remedy = match what {
                "create" => "let the host make and fill parameters",
                _ => "draw in `plan`, from the draws it is given",
            };
            return Err(self.error(format!(
                "`{what}` drew from libtorch's global generator, which no seed of a recipe reaches; {remedy}"
            )));
        }
        if inputs.iter().zip(writes).any(|(tensor, before)| handles::writes(tensor) != before) {
            return Err(
                self.error(format!("`{what}` wrote into a tensor that it was given; work on a copy of it"))
            );
        }
        Ok(())
    }

    fn check(&self, settings: &Json) -> Result<Checked> {
        let settings = settings.to_string();
        let (mut resolved, mut arguments): (Vec<String>, Vec<String>) = Default::default();
        let sink =
            |list: &mut Vec<String>| raw::Texts { host: std::ptr::from_mut(list).cast(), put: Some(collect) };
        let (into_resolved, into_arguments) = (sink(&mut resolved), sink(&mut arguments));
        let mut needs = raw::Needs {
            size: size_of::<raw::Needs>(),
            features: 0,
            saliency: 0,
            pseudo: 0,
            capturable: 0,
            host_solver: 0,
            hidden: 0,
            shown: 0,
            reserved: 0,
        };
        let (data, text) = (self.plugin.data, raw::Text::of(&settings));
        let outcome = self.call("check", Device::Cpu, &[], |errors| {
            // SAFETY: the library's functions with its own data; sinks and texts live for the call.
            unsafe {
                match &self.plugin.functions {
                    Functions::Mixer(mixer) => mixer
                        .check
                        .map_or(raw::OK, |check| check(data, text, &into_resolved, &mut needs, errors)),
                    Functions::Loss(loss) => loss
                        .check
                        .map_or(raw::OK, |check| check(data, text, &into_resolved, &into_arguments, errors)),
                }
            }
        });
        let refused = match outcome {
            Ok(()) => None,
            Err(Error::Setting { setting, message }) => Some((setting, message)),
            Err(error) => return Err(error),
        };
        let resolved = match resolved.first().map(|text| serde_json::from_str(text)) {
            Some(Ok(resolved)) => resolved,
            Some(Err(error)) => return Err(self.error(format!("its settings come back as no JSON: {error}"))),
            None => self.plugin.defaults.clone(),
        };
        if needs.features < 0 {
            return Err(self.error(format!("it wants the features of stage {}", needs.features)));
        }
        if needs.hidden < 0 {
            return Err(self.error(format!("it wants to mix at stage {}", needs.hidden)));
        }
        Ok(Checked {
            settings,
            resolved,
            needs: Needs {
                features: (needs.features > 0).then_some(needs.features as usize),
                saliency: needs.saliency != 0,
                pseudo: needs.pseudo != 0,
                hidden: (needs.hidden > 0).then_some(needs.hidden as usize),
                shown: needs.shown != 0,
                capturable: needs.capturable != 0,
                host_solver: needs.host_solver != 0,
            },
            arguments: arguments
                .into_iter()
                .map(|name| match name.as_str() {
                    "target" => Argument::Target,
                    "contrast" => Argument::Contrast,
                    "mix" => Argument::Mix,
                    // A name for each argument of each loss of a library: few, and libraries stay for good.
                    _ => Argument::Tensor(name.leak()),
                })
                .collect(),
            refused,
        })
    }

    fn create(
        &self,
        settings: &str,
        device: Device,
        host: &mut Building<'_>,
        context: &MixerContext,
    ) -> Result<*mut c_void> {
        if context.mean.len() != context.std.len() {
            let (mean, std) = (context.mean.len(), context.std.len());
            return Err(self.error(format!("it cannot be built for {mean} means and {std} deviations")));
        }
        let (device_type, device_index) = match device {
            Device::Cuda(index) => (1, index as i32),
            _ => (0, -1),
        };
        let build = raw::Build {
            size: size_of::<raw::Build>(),
            host: std::ptr::from_mut(host).cast(),
            feature_channels: context.feature_channels.unwrap_or(0),
            device_type,
            device_index,
            parameter: Some(parameter),
            buffer: Some(buffer),
            adopt: Some(adopt),
            log: raw::Log { host: std::ptr::null_mut(), say: Some(say) },
            mean: context.mean.as_ptr(),
            std: context.std.as_ptr(),
            channels: context.mean.len(),
            classes: context.classes,
        };
        let (create, data) = match &self.plugin.functions {
            Functions::Mixer(mixer) => (mixer.create, self.plugin.data),
            Functions::Loss(loss) => (loss.create, self.plugin.data),
        };
        let mut this = std::ptr::null_mut();
        self.call("create", device, &[], |errors| {
            // SAFETY: the library's function with its own data; `build` lives for the call.
            create.map_or(raw::FAILED, |create| unsafe {
                create(data, raw::Text::of(settings), &build, &mut this, errors)
            })
        })?;
        Ok(this)
    }
}

/// What `create` may ask the host for.
struct Building<'a> {
    path: Option<&'a Path>,
    label: &'a str,
}

impl Building<'_> {
    fn path(&self) -> Result<&Path> {
        self.path.ok_or_else(|| Error::Plugin {
            plugin: self.label.to_string(),
            message: "a loss has no parameters of its own".into(),
        })
    }
}

/// Answers a request of `create`: an error goes back into the library's own sink.
fn answer(errors: *const raw::Errors, outcome: Result<()>) -> i32 {
    let Err(error) = outcome else { return raw::OK };
    let message = error.to_string();
    // SAFETY: a sink of the library, valid for the call.
    unsafe {
        if let Some(errors) = errors.as_ref()
            && let Some(report) = errors.report
        {
            report(errors.host, raw::Text::of(""), raw::Text::of(&message));
        }
    }
    raw::FAILED
}

/// # Safety
/// `shape` points to `dims` numbers.
unsafe fn shape_of<'a>(shape: *const i64, dims: usize) -> Result<&'a [i64]> {
    // SAFETY: by the contract of this function.
    let shape = if shape.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(shape, dims) } };
    if shape.iter().all(|size| *size > 0) {
        return Ok(shape);
    }
    Err(Error::Shape { what: "a new tensor".into(), got: shape.to_vec(), wanted: "sizes from 1".into() })
}

#[allow(clippy::too_many_arguments, reason = "the ABI's signature")]
unsafe extern "C" fn parameter(
    host: *mut c_void,
    name: raw::Text,
    shape: *const i64,
    dims: usize,
    init: u32,
    value: f64,
    decay: u32,
    out: *mut raw::TensorPtr,
    errors: *const raw::Errors,
) -> i32 {
    let make = || -> Result<()> {
        // SAFETY: the `Building` of the `create` that is going on; the library's slices live for the call.
        let (host, shape) = unsafe { (&*host.cast::<Building<'_>>(), shape_of(shape, dims)?) };
        let init = match init {
            0 => Init::Constant(value),
            1 => Init::Normal(value),
            2 if shape.len() >= 2 => Init::HeFanOut,
            3 => Init::Uniform(value),
            other => {
                return Err(Error::Range {
                    what: "a parameter's init".into(),
                    got: format!("{other} for {} dimensions", shape.len()),
                    wanted: "0 constant, 1 normal, 2 He (two dimensions or more), 3 uniform".into(),
                });
            }
        };
        let tensor = host.path()?.parameter(&text(name), shape, init, Hints { weight_decay: decay != 0 })?;
        // SAFETY: an out-pointer of the library.
        unsafe { *out = handles::give(tensor) };
        Ok(())
    };
    answer(errors, make())
}

unsafe extern "C" fn buffer(
    host: *mut c_void,
    name: raw::Text,
    shape: *const i64,
    dims: usize,
    value: f64,
    out: *mut raw::TensorPtr,
    errors: *const raw::Errors,
) -> i32 {
    let make = || -> Result<()> {
        // SAFETY: as in `parameter`.
        let (host, shape) = unsafe { (&*host.cast::<Building<'_>>(), shape_of(shape, dims)?) };
        let tensor = host.path()?.buffer(&text(name), shape, value)?;
        // SAFETY: an out-pointer of the library.
        unsafe { *out = handles::give(tensor) };
        Ok(())
    };
    answer(errors, make())
}

unsafe extern "C" fn adopt(
    host: *mut c_void,
    name: raw::Text,
    tensor: raw::TensorPtr,
    trained: u32,
    decay: u32,
    errors: *const raw::Errors,
) -> i32 {
    let take_in = || -> Result<()> {
        // SAFETY: as in `parameter`; the tensor is borrowed.
        let (host, tensor) = unsafe { (&*host.cast::<Building<'_>>(), handles::borrow(tensor)) };
        let tensor = tensor.ok_or_else(|| Error::Plugin {
            plugin: host.label.to_string(),
            message: format!("handed over no tensor as `{}`", text(name)),
        })?;
        let hints = (trained != 0).then_some(Hints { weight_decay: decay != 0 });
        host.path()?.adopt(&text(name), &tensor, hints)
    };
    answer(errors, take_in())
}

/// Settings of a mixer of a library.
#[derive(Debug)]
pub(super) struct ForeignMixerConfig {
    foreign: Rc<Foreign>,
    checked: Checked,
}

impl ForeignMixerConfig {
    pub(super) fn read(foreign: &Rc<Foreign>, settings: &Json) -> Result<Self> {
        Ok(Self { foreign: foreign.clone(), checked: foreign.check(settings)? })
    }
}

fn accepted(checked: &Checked) -> Result<()> {
    match &checked.refused {
        None => Ok(()),
        Some((setting, message)) => {
            Err(Error::Setting { setting: setting.clone(), message: message.clone() })
        }
    }
}

impl MixerConfig for ForeignMixerConfig {
    fn needs(&self) -> Needs {
        self.checked.needs.clone()
    }

    fn validate(&self) -> Result<()> {
        accepted(&self.checked)
    }

    fn build(&self, path: &Path, context: &MixerContext) -> Result<Box<dyn Mixer>> {
        accepted(&self.checked)?;
        let mut host = Building { path: Some(path), label: &self.foreign.label };
        let this = self.foreign.create(&self.checked.settings, path.device(), &mut host, context)?;
        Ok(Box::new(ForeignMixer {
            foreign: self.foreign.clone(),
            this,
            needs: self.checked.needs.clone(),
            device: path.device(),
            looked_at: false,
            failed: None,
        }))
    }

    fn resolved(&self) -> Json {
        self.checked.resolved.clone()
    }
}

/// A mixer of a library.
#[derive(Debug)]
struct ForeignMixer {
    foreign: Rc<Foreign>,
    this: *mut c_void,
    needs: Needs,
    device: Device,
    /// Whether the values of one mix were looked at.
    looked_at: bool,
    /// What went wrong in `train`, to be told by the next mix.
    failed: Option<Error>,
}

impl Drop for ForeignMixer {
    fn drop(&mut self) {
        if let Functions::Mixer(raw::Mixer { destroy: Some(destroy), .. }) = self.foreign.plugin.functions {
            let _state = ThreadState::save();
            // SAFETY: our instance, ended once.
            unsafe { destroy(self.this) };
        }
    }
}

/// What `plan` works on.
struct Planning<'a> {
    ask: &'a Ask,
    draws: &'a mut Draws,
    plan: Plan,
    error: Option<Error>,
}

/// # Safety
/// `host` is the `Planning` of the `plan` that is going on.
unsafe fn planning<'a>(host: *mut c_void) -> &'a mut Planning<'a> {
    // SAFETY: by the contract of this function.
    unsafe { &mut *host.cast::<Planning<'a>>() }
}

// SAFETY of every function here: the host pointer is the `Planning` of the `plan` that is going on, and slices are as
// long as the library says.
unsafe extern "C" fn uniform(host: *mut c_void) -> f64 {
    unsafe { planning(host) }.draws.uniform()
}

unsafe extern "C" fn normal(host: *mut c_void) -> f64 {
    unsafe { planning(host) }.draws.normal()
}

unsafe extern "C" fn beta(host: *mut c_void, a: f64, b: f64) -> f64 {
    unsafe { planning(host) }.draws.beta(a, b).unwrap_or(f64::NAN)
}

unsafe extern "C" fn choice(host: *mut c_void, end: i64) -> i64 {
    unsafe { planning(host) }.draws.below(usize::try_from(end).unwrap_or(0)) as i64
}

unsafe extern "C" fn permutation(host: *mut c_void, n: i64, out: *mut i64) {
    let all = unsafe { planning(host) }.draws.permutation(usize::try_from(n).unwrap_or(0));
    unsafe { std::ptr::copy_nonoverlapping(all.as_ptr(), out, all.len()) };
}

unsafe extern "C" fn derangement(host: *mut c_void, n: i64, out: *mut i64) {
    let all = unsafe { planning(host) }.draws.derangement(usize::try_from(n).unwrap_or(0));
    unsafe { std::ptr::copy_nonoverlapping(all.as_ptr(), out, all.len()) };
}

unsafe extern "C" fn field(host: *mut c_void) -> i64 {
    unsafe { planning(host) }.draws.field_key()
}

unsafe extern "C" fn draw(host: *mut c_void) -> i32 {
    let planning = unsafe { planning(host) };
    match Plan::draw(planning.ask, planning.draws) {
        Ok(plan) => {
            for (name, value) in plan.values() {
                planning.put(name, value.clone());
            }
            raw::OK
        }
        Err(error) => {
            planning.error = Some(error);
            raw::FAILED
        }
    }
}

unsafe extern "C" fn floats(host: *mut c_void, name: raw::Text, values: *const f64, n: usize) {
    let value = match n {
        0 => Value::Float(unsafe { *values }),
        _ => Value::Floats(unsafe { std::slice::from_raw_parts(values, n) }.to_vec()),
    };
    unsafe { planning(host) }.put(&text(name), value);
}

unsafe extern "C" fn ints(host: *mut c_void, name: raw::Text, values: *const i64, n: usize) {
    let value = match n {
        0 => Value::Int(unsafe { *values }),
        _ => Value::Ints(unsafe { std::slice::from_raw_parts(values, n) }.to_vec()),
    };
    unsafe { planning(host) }.put(&text(name), value);
}

unsafe extern "C" fn read(host: *mut c_void, name: raw::Text, out: *mut f64, room: usize) -> usize {
    let values: Vec<f64> = match unsafe { planning(host) }.plan.value(&text(name)) {
        Ok(Value::Float(one)) => vec![*one],
        Ok(Value::Floats(all)) => all.clone(),
        _ => return 0,
    };
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), out, values.len().min(room)) };
    values.len()
}

unsafe extern "C" fn structure(host: *mut c_void, structure: u64) {
    unsafe { planning(host) }.plan.structure = structure;
}

impl Planning<'_> {
    fn put(&mut self, name: &str, value: Value) {
        let plan = std::mem::take(&mut self.plan);
        self.plan = plan.with(name, value);
    }
}

/// Takes a tensor by name from the library, with its extras.
unsafe extern "C" fn extra(host: *mut c_void, name: raw::Text, tensor: raw::TensorPtr) {
    // SAFETY: the map of the `mix` that is going on; the tensor is owned by the host from here on.
    let (extras, tensor) = unsafe { (&mut *host.cast::<BTreeMap<String, Tensor>>(), handles::take(tensor)) };
    if let Some(tensor) = tensor {
        extras.insert(text(name).into_owned(), tensor);
    }
}

impl ForeignMixer {
    fn functions(&self) -> Result<&raw::Mixer> {
        match &self.foreign.plugin.functions {
            Functions::Mixer(mixer) => Ok(mixer),
            Functions::Loss(_) => Err(self.foreign.error("it is a loss")),
        }
    }

    /// A result of the library, if it has the shape, kind and device that are wanted.
    fn result(&self, what: &str, tensor: Tensor, shapes: &[&[i64]], whole: bool) -> Result<Tensor> {
        let size = tensor.size();
        if !shapes.contains(&size.as_slice()) {
            let wanted: Vec<String> = shapes.iter().map(|shape| format!("{shape:?}")).collect();
            let wanted = wanted.join(" or ");
            return Err(self
                .foreign
                .error(format!("`mix` returned {what} of shape {size:?}, expected {wanted}")));
        }
        // Kinds that the binding has no name for are an error there, and a panic in `kind`.
        let kind =
            tensor.f_kind().map_err(|error| self.foreign.error(format!("`mix` returned {what}: {error}")))?;
        if (kind == Kind::Int64) != whole || !(whole || tensor.is_floating_point()) {
            let wanted = if whole { "int64" } else { "a floating kind" };
            return Err(self
                .foreign
                .error(format!("`mix` returned {what} of kind {kind:?}, expected {wanted}")));
        }
        if tensor.device() != self.device {
            let (got, wanted) = (tensor.device(), self.device);
            return Err(self.foreign.error(format!("`mix` returned {what} on {got:?}, expected {wanted:?}")));
        }
        Ok(tensor)
    }

    /// Looks at the values of a mix. To read them back stops the device, so it is done for the first mix of an
    /// instance alone: the one before training starts.
    fn look_at(&self, given: &Tensor, mixed: &Mixed) -> Result<()> {
        let all = |is: Tensor| -> Result<bool> { Ok(bool::try_from(&is.f_all()?)?) };
        let within = |tensor: &Tensor, least: f64, most: f64| -> Result<bool> {
            let above = tensor.f_ge(least)?;
            all(above.f_logical_and(&tensor.f_le(most)?)?)
        };
        let refuse = |what: &str| Err(self.foreign.error(format!("`mix` returned {what}")));
        if all(given.f_isfinite()?)? && !all(mixed.images.f_isfinite()?)? {
            return refuse("images that are not finite, from finite ones");
        }
        if mixed.hidden.is_some()
            && !all(mixed.images.f_eq_tensor(given)?.f_logical_or(&given.f_isnan()?)?)?
        {
            return refuse("a hidden mix with images that are not those it was given");
        }
        if let Some(mask) = &mixed.mask
            && !within(mask, -SLACK, 1.0 + SLACK)?
        {
            return refuse("a mask with values outside of 0 to 1");
        }
        if let Credit::Pair { lambda, .. } = &mixed.credit
            && !within(lambda, -SLACK, 1.0 + SLACK)?
        {
            return refuse("a lambda outside of 0 to 1");
        }
        let (sources, shares) = mixed.credit.shares()?;
        let last = given.size().first().map_or(0, |n| n - 1);
        if !within(&sources, 0.0, last as f64)? {
            return refuse(&format!(
                "a partner or source that is no sample of the batch, expected 0 to {last}"
            ));
        }
        let sums = shares.f_to_kind(Kind::Double)?.f_sum_dim_intlist([1i64].as_slice(), false, None)?;
        if !within(&sums, 1.0 - SLACK, 1.0 + SLACK)? || !within(&shares, -SLACK, 1.0 + SLACK)? {
            return refuse("shares of the label that do not sum to 1 for each sample");
        }
        Ok(())
    }
}

fn named(name: &str, tensor: &Tensor) -> raw::Named {
    raw::Named { name: raw::Text::of(name), tensor: handles::pointer(tensor), weight: std::ptr::null_mut() }
}

impl Mixer for ForeignMixer {
    fn needs(&self) -> Needs {
        self.needs.clone()
    }

    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let Some(plan) = self.functions()?.plan else { return Plan::draw(ask, draws) };
        let mut state = Planning { ask, draws, plan: Plan::default(), error: None };
        let host: *mut c_void = std::ptr::from_mut(&mut state).cast();
        let raw_ask = raw::Ask {
            size: size_of::<raw::Ask>(),
            batch: ask.batch as i64,
            height: ask.height,
            width: ask.width,
            pairing: raw::Pairing::of(&ask.pairing),
            lambda: ask.lambda.unwrap_or(f64::NAN),
            progress: ask.progress,
            quiet: ask.quiet.into(),
            reserved: 0,
        };
        let raw_draws = raw::Draws {
            size: size_of::<raw::Draws>(),
            host,
            uniform: Some(uniform),
            normal: Some(normal),
            beta: Some(beta),
            choice: Some(choice),
            permutation: Some(permutation),
            derangement: Some(derangement),
            field: Some(field),
        };
        let raw_plan = raw::Plan {
            size: size_of::<raw::Plan>(),
            host,
            draw: Some(draw),
            floats: Some(floats),
            ints: Some(ints),
            read: Some(read),
            structure: Some(structure),
        };
        let outcome = self.foreign.call("plan", self.device, &[], |errors| {
            // SAFETY: our instance; the structures live for the call.
            unsafe { plan(self.this, &raw_ask, &raw_draws, &raw_plan, errors) }
        });
        if let Some(error) = state.error {
            return Err(error);
        }
        outcome?;
        let plan = state.plan;
        if ["lambda", "partner"].into_iter().all(|name| plan.value(name).is_err()) {
            // Of a mixer that mixes more than pairs: its `mix` gives sources and shares.
            return Ok(plan);
        }
        for name in ["lambda", "partner"] {
            let fits = match (name, plan.value(name)) {
                ("lambda", Ok(Value::Float(_))) => true,
                ("lambda", Ok(Value::Floats(all))) => all.len() == ask.batch,
                ("partner", Ok(Value::Ints(all))) => {
                    all.len() == ask.batch && all.iter().all(|one| (0..ask.batch as i64).contains(one))
                }
                _ => false,
            };
            if !fits {
                return Err(self.foreign.error(format!(
                    "`plan` must give `lambda` (one number, or one for each of {n} samples) and `partner` ({n} whole \
                     numbers from 0 to {}), or neither if `mix` gives sources and shares; `draw` gives both",
                    ask.batch.saturating_sub(1),
                    n = ask.batch
                )));
            }
        }
        Ok(plan)
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mix = self.functions()?.mix.ok_or_else(|| self.foreign.error("it has no `mix`"))?;
        let (n, channels, height, width) = input.nchw()?;
        let given: Vec<(&str, &Tensor)> = [
            ("images", Some(input.images)),
            ("partner_images", input.partner_images),
            ("features", input.features),
            ("partner_features", input.partner_features),
            ("saliency", input.saliency),
            ("pseudo", input.pseudo),
            ("shown", input.shown),
            ("partner_shown", input.partner_shown),
        ]
        .into_iter()
        .filter_map(|(name, tensor)| Some((name, tensor?)))
        .collect();
        let inputs: Vec<raw::Named> = given.iter().map(|(name, tensor)| named(name, tensor)).collect();
        let values: Vec<raw::Named> = plan.values().map(|(name, tensor)| named(name, tensor)).collect();
        let mut watched: Vec<&Tensor> = given.iter().map(|(_, tensor)| *tensor).collect();
        watched.extend(plan.values().map(|(_, tensor)| tensor));
        let request = raw::Mix {
            size: size_of::<raw::Mix>(),
            inputs: inputs.as_ptr(),
            inputs_count: inputs.len(),
            plan: values.as_ptr(),
            plan_count: values.len(),
            quiet: input.quiet.into(),
            reserved: 0,
            structure: plan.structure(),
        };
        let mut extras: BTreeMap<String, Tensor> = BTreeMap::new();
        let null = std::ptr::null_mut();
        let mut out = raw::Mixed {
            size: size_of::<raw::Mixed>(),
            kind: raw::IMAGES,
            stage: 0,
            images: null,
            mask: null,
            partner: null,
            lambda: null,
            sources: null,
            shares: null,
            host: std::ptr::from_mut(&mut extras).cast(),
            extra: Some(extra),
        };
        let outcome = self.foreign.call("mix", self.device, &watched, |errors| {
            // SAFETY: our instance; the structures and tensors live for the call.
            unsafe { mix(self.this, &request, &mut out, errors) }
        });
        // Taken over first, so that nothing leaks whatever is wrong with it.
        // SAFETY: owned tensors of the library, or null.
        let [images, mask, partner, lambda, sources, shares] =
            [out.images, out.mask, out.partner, out.lambda, out.sources, out.shares]
                .map(|tensor| unsafe { handles::take(tensor) });
        outcome?;
        let hidden = match (out.kind, out.stage) {
            (raw::IMAGES, _) => None,
            (raw::HIDDEN, stage) => Some(Hidden { stage: stage as usize }),
            (kind, _) => {
                let wanted = "expected 0 (images) or 1 (hidden)";
                return Err(self.foreign.error(format!("`mix` returned a mix of kind {kind}, {wanted}")));
            }
        };
        let images = match images {
            // Those of a hidden mix are the input's own.
            None if hidden.is_some() => input.images.shallow_clone(),
            images => images.ok_or_else(|| self.foreign.error("`mix` returned no images"))?,
        };
        let images = self.result("images", images, &[&input.images.size()], false)?;
        let whole: &[&[i64]] = &[&[n, 1, height, width]];
        let of_hidden: &[&[i64]] =
            &[&[1, 1, 1, 1], &[n, 1, 1, 1], &[1, 1, height, width], &[n, 1, height, width]];
        let shapes = if hidden.is_some() { of_hidden } else { whole };
        let mask = mask.map(|mask| self.result("a mask", mask, shapes, false)).transpose()?;
        let credit = match (sources, shares, partner, lambda) {
            (Some(sources), Some(shares), _, _) => {
                let count = sources.size().get(1).copied().unwrap_or(0);
                Credit::Shares {
                    sources: self.result("sources", sources, &[&[n, count]], true)?,
                    shares: self.result("shares", shares, &[&[n, count]], false)?,
                }
            }
            (None, None, partner, lambda) => {
                // What was planned holds where the library says nothing else.
                let missing = |_| {
                    self.foreign.error(
                        "`mix` gave neither a pair nor sources and shares, and `plan` no `lambda` and `partner`",
                    )
                };
                let partner = partner.map_or_else(|| plan.partner(), Ok).map_err(missing)?;
                let lambda = lambda.map_or_else(|| plan.lambda(), Ok).map_err(missing)?;
                Credit::Pair {
                    partner: self.result("partner", partner, &[&[n]], true)?,
                    lambda: self.result("lambda", lambda, &[&[], &[n]], false)?,
                }
            }
            _ => return Err(self.foreign.error("`mix` returned only one of `sources` and `shares`")),
        };
        let mixed = Mixed { images, mask, hidden, credit, extras };
        mixed
            .check_hidden([n, channels, height, width])
            .map_err(|error| self.foreign.error(format!("`mix` is refused: {error}")))?;
        if !self.looked_at {
            self.look_at(input.images, &mixed)?;
            self.looked_at = true;
        }
        Ok(mixed)
    }

    fn train(&mut self, on: bool) {
        let Ok(raw::Mixer { train: Some(train), .. }) = self.functions() else { return };
        let outcome = self.foreign.call("train", self.device, &[], |errors| {
            // SAFETY: our instance.
            unsafe { train(self.this, on.into(), errors) }
        });
        // The trait has no way to say so; the next `mix` does.
        self.failed = outcome.err().or(self.failed.take());
    }

    fn after_step(&mut self) -> Result<()> {
        let Some(after_step) = self.functions()?.after_step else { return Ok(()) };
        self.foreign.call("after_step", self.device, &[], |errors| {
            // SAFETY: our instance.
            unsafe { after_step(self.this, errors) }
        })
    }
}

/// Settings of a loss of a library.
#[derive(Debug)]
pub(super) struct ForeignLossConfig {
    foreign: Rc<Foreign>,
    checked: Checked,
}

impl ForeignLossConfig {
    pub(super) fn read(foreign: &Rc<Foreign>, settings: &Json) -> Result<Self> {
        Ok(Self { foreign: foreign.clone(), checked: foreign.check(settings)? })
    }
}

impl LossConfig for ForeignLossConfig {
    fn validate(&self) -> Result<()> {
        accepted(&self.checked)
    }

    fn build(&self) -> Result<Box<dyn Loss>> {
        accepted(&self.checked)?;
        let mut host = Building { path: None, label: &self.foreign.label };
        let this =
            self.foreign.create(&self.checked.settings, Device::Cpu, &mut host, &MixerContext::default())?;
        Ok(Box::new(ForeignLoss {
            foreign: self.foreign.clone(),
            this,
            arguments: self.checked.arguments.clone(),
        }))
    }

    fn resolved(&self) -> Json {
        self.checked.resolved.clone()
    }
}

/// A loss of a library.
#[derive(Debug)]
struct ForeignLoss {
    foreign: Rc<Foreign>,
    this: *mut c_void,
    arguments: Vec<Argument>,
}

impl Drop for ForeignLoss {
    fn drop(&mut self) {
        if let Functions::Loss(raw::Loss { destroy: Some(destroy), .. }) = self.foreign.plugin.functions {
            let _state = ThreadState::save();
            // SAFETY: our instance, ended once.
            unsafe { destroy(self.this) };
        }
    }
}

impl Loss for ForeignLoss {
    fn arguments(&self) -> Vec<Argument> {
        self.arguments.clone()
    }

    fn loss(&self, input: &LossInput) -> Result<Tensor> {
        let Functions::Loss(raw::Loss { loss: Some(loss), .. }) = self.foreign.plugin.functions else {
            return Err(self.foreign.error("it has no `loss`"));
        };
        let mut list = Vec::new();
        let mut watched = Vec::new();
        for (name, tensor) in input.tensors() {
            watched.push(tensor);
            match name {
                "target.labels" => {
                    let weight = input.get("target.shares")?;
                    list.push(raw::Named { weight: handles::pointer(weight), ..named("target", tensor) });
                }
                "contrast.keys" => {
                    let weight = input.get("contrast.shares")?;
                    list.push(raw::Named { weight: handles::pointer(weight), ..named("contrast", tensor) });
                }
                "target.shares" | "contrast.shares" => {}
                _ => list.push(named(name, tensor)),
            }
        }
        let device = watched.first().map_or(Device::Cpu, |tensor| tensor.device());
        let mut value = std::ptr::null_mut();
        let outcome = self.foreign.call("loss", device, &watched, |errors| {
            // SAFETY: our instance; list and tensors live for the call.
            unsafe { loss(self.this, list.as_ptr(), list.len(), &mut value, errors) }
        });
        // SAFETY: an owned tensor of the library, or null.
        let value = unsafe { handles::take(value) };
        outcome?;
        let value = value.ok_or_else(|| self.foreign.error("`loss` returned nothing"))?;
        if !value.size().is_empty() || !value.is_floating_point() || value.device() != device {
            return Err(self.foreign.error(format!(
                "`loss` returned {:?} of shape {:?} on {:?}, expected one floating number on {device:?}",
                value.kind(),
                value.size(),
                value.device()
            )));
        }
        Ok(value)
    }
}
