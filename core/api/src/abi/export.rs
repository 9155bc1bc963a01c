//! The library's side: Rust plugins behind the C ABI.
//!
//! One set of functions serves every plugin of a library; `data` says which one is meant. No panic leaves them.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::mem::{MaybeUninit, offset_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;

use admix_torch::{Device, Tensor, handles};
use serde_json::Value as Json;

use super::{raw, text};
use crate::draws::HostDraws;
use crate::params::HostStore;
use crate::{
    Argument, Ask, Credit, Draws, Entry, Error, Hidden, Hints, Init, Loss, LossConfig, LossInput, MixInput,
    Mixer, MixerConfig, MixerContext, Pairing, Partner, Per, Planned, Result, Store, Value,
};

/// A manifest for the plugins of a library. Called once by what `export_plugins!` defines; what it makes lives as
/// long as the process.
#[doc(hidden)]
pub fn manifest_of(
    package: &'static str,
    version: &'static str,
    entries: Vec<Entry>,
) -> *const raw::Manifest {
    // The host's hook is not this library's: without one of its own, a caught panic would still be printed.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let at = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
            PANICKED_AT.with_borrow_mut(|place| *place = at);
        }));
    });
    // A manifest holds defaults, of mixers and losses: an entry without defaults or of another kind stays with the program
    // that it is linked into.
    let carried =
        |entry: &Entry| entry.reader::<dyn Mixer>().is_some() || entry.reader::<dyn Loss>().is_some();
    let entries = entries.into_iter().filter(|entry| carried(entry) && !(entry.defaults)().is_null());
    let descriptors: Vec<*const raw::Descriptor> = entries.map(descriptor).collect();
    let descriptors = Vec::leak(descriptors);
    Box::leak(Box::new(raw::Manifest {
        magic: raw::MAGIC,
        abi: raw::ABI,
        size: size_of::<raw::Manifest>() as u32,
        libtorch: raw::Text::of(handles::libtorch_version()),
        package: raw::Text::of(package),
        version: raw::Text::of(version),
        descriptors: descriptors.as_ptr(),
        count: descriptors.len(),
    }))
}

thread_local! {
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn descriptor(entry: Entry) -> *const raw::Descriptor {
    let entry: &'static Entry = Box::leak(Box::new(entry));
    let keep = |text: String| raw::Text::of(Box::leak(text.into_boxed_str()));
    let (kind, pairing) = match entry.reader::<dyn Mixer>() {
        Some(reader) => (raw::MIXER, reader.served.clone()),
        None => (raw::LOSS, Pairing::default()),
    };
    Box::leak(Box::new(raw::Descriptor {
        size: size_of::<raw::Descriptor>(),
        kind,
        reserved: 0,
        name: raw::Text::of(&entry.name),
        type_name: raw::Text::of(&entry.type_name),
        summary: raw::Text::of(&entry.summary),
        source: raw::Text::of(&entry.source),
        schema: keep((entry.schema)().to_string()),
        defaults: keep((entry.defaults)().to_string()),
        pairing: raw::Pairing::of(&pairing),
        data: std::ptr::from_ref(entry).cast(),
        mixer: if kind == raw::MIXER { &MIXER } else { std::ptr::null() },
        loss: if kind == raw::LOSS { &LOSS } else { std::ptr::null() },
    }))
}

static MIXER: raw::Mixer = raw::Mixer {
    size: size_of::<raw::Mixer>(),
    check: Some(check_mixer),
    create: Some(create_mixer),
    destroy: Some(destroy_mixer),
    plan: Some(plan),
    mix: Some(mix),
    train: Some(train),
    after_step: Some(after_step),
};

static LOSS: raw::Loss = raw::Loss {
    size: size_of::<raw::Loss>(),
    check: Some(check_loss),
    create: Some(create_loss),
    destroy: Some(destroy_loss),
    loss: Some(loss),
};

impl raw::Pairing {
    pub(crate) fn of(pairing: &Pairing) -> Self {
        Self {
            size: size_of::<Self>(),
            alpha: pairing.alpha,
            per: match pairing.per {
                Per::Batch => 0,
                Per::Sample => 1,
            },
            fold: pairing.fold.into(),
            partner: match pairing.partner {
                Partner::Permutation => 0,
                Partner::Derangement => 1,
                Partner::Flip => 2,
                Partner::ClusterAware { .. } => 3,
            },
            reserved: 0,
            share: match pairing.partner {
                Partner::ClusterAware { share } => share,
                _ => 0.0,
            },
        }
    }

    pub(crate) fn read(&self) -> Pairing {
        Pairing {
            alpha: self.alpha,
            per: if self.per == 1 { Per::Sample } else { Per::Batch },
            fold: self.fold != 0,
            partner: match self.partner {
                1 => Partner::Derangement,
                2 => Partner::Flip,
                3 => Partner::ClusterAware { share: self.share },
                _ => Partner::Permutation,
            },
            // Those that the host acts on by itself.
            ..Pairing::default()
        }
    }
}

/// Runs the body of a function of the table: errors and panics become a status and a message.
fn guarded(errors: *const raw::Errors, body: impl FnOnce() -> Result<()>) -> i32 {
    let (status, setting, message) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return raw::OK,
        Ok(Err(Error::Range { what, got, wanted })) => {
            (raw::BAD_SETTING, what, format!("is {got}, expected {wanted}"))
        }
        Ok(Err(Error::Setting { setting, message })) => (raw::BAD_SETTING, setting, message),
        Ok(Err(error)) => (raw::FAILED, String::new(), error.to_string()),
        Err(panic) => (raw::BROKEN, String::new(), panicked(panic.as_ref())),
    };
    // SAFETY: the host's sink is valid for the call.
    unsafe {
        if let Some(errors) = errors.as_ref()
            && let Some(report) = errors.report
        {
            report(errors.host, raw::Text::of(&setting), raw::Text::of(&message));
        }
    }
    status
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    // libtorch's messages go on with a C++ stack.
    let said = said.split("Exception raised from").next().unwrap_or_default();
    let line = said.lines().next().unwrap_or_default().trim();
    match PANICKED_AT.take() {
        Some(at) => format!("panicked at {at}: {line}"),
        None => format!("panicked: {line}"),
    }
}

fn put(sink: *const raw::Texts, text: &str) {
    // SAFETY: the host's sink is valid for the call.
    unsafe {
        if let Some(sink) = sink.as_ref()
            && let Some(put) = sink.put
        {
            put(sink.host, raw::Text::of(text));
        }
    }
}

/// # Safety
/// `data` is the one of a descriptor of [`manifest_of`].
unsafe fn entry<'a>(data: *const c_void) -> &'a Entry {
    // SAFETY: a leaked entry.
    unsafe { &*data.cast::<Entry>() }
}

fn json(settings: raw::Text) -> Result<Json> {
    let settings = text(settings);
    let refused = |message: String| Error::Plugin { plugin: "settings".into(), message };
    if settings.is_empty() {
        return Ok(Json::Object(serde_json::Map::new()));
    }
    serde_json::from_str(&settings).map_err(|error| refused(error.to_string()))
}

fn mixer_config(entry: &Entry, settings: raw::Text) -> Result<Box<dyn MixerConfig>> {
    let reader = entry.reader::<dyn Mixer>().ok_or_else(|| wrong_kind(entry))?;
    let mut body = <dyn erased_serde::Deserializer<'_>>::erase(json(settings)?);
    let config = (reader.read)(&mut body).map_err(|error| refused(entry, &error))?;
    config.validate()?;
    Ok(config)
}

fn loss_config(entry: &Entry, settings: raw::Text) -> Result<Box<dyn LossConfig>> {
    let reader = entry.reader::<dyn Loss>().ok_or_else(|| wrong_kind(entry))?;
    let mut body = <dyn erased_serde::Deserializer<'_>>::erase(json(settings)?);
    let config = (reader.read)(&mut body).map_err(|error| refused(entry, &error))?;
    config.validate()?;
    Ok(config)
}

fn refused(entry: &Entry, error: &dyn std::fmt::Display) -> Error {
    Error::Plugin { plugin: entry.name.clone(), message: error.to_string() }
}

fn wrong_kind(entry: &Entry) -> Error {
    refused(entry, &"called as another kind of plugin")
}

unsafe extern "C" fn check_mixer(
    data: *const c_void,
    settings: raw::Text,
    resolved: *const raw::Texts,
    needs: *mut raw::Needs,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: the host hands back the descriptor's data.
        let config = mixer_config(unsafe { entry(data) }, settings)?;
        put(resolved, &config.resolved().to_string());
        let own = config.needs();
        // SAFETY: the host's structure, as large as it says.
        if let Some(needs) = unsafe { needs.as_mut() } {
            needs.features = own.features.unwrap_or(0) as i64;
            needs.saliency = own.saliency.into();
            needs.pseudo = own.pseudo.into();
            needs.capturable = own.capturable.into();
            needs.host_solver = own.host_solver.into();
            if needs.size > offset_of!(raw::Needs, hidden) {
                needs.hidden = own.hidden.unwrap_or(0) as i64;
            }
            if needs.size > offset_of!(raw::Needs, shown) {
                needs.shown = own.shown.into();
            }
        }
        Ok(())
    })
}

/// A structure of the host, which may be of an earlier version: what lies beyond its end is zero, so absent.
///
/// # Safety
/// `from` points to a structure of the boundary that begins with its size, and whose fields may all be zero.
unsafe fn known<T: Copy>(from: *const T) -> T {
    let mut own = MaybeUninit::<T>::zeroed();
    // SAFETY: by the contract of this function; both sides hold that many bytes.
    unsafe {
        let size = from.cast::<usize>().read().min(size_of::<T>());
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), own.as_mut_ptr().cast::<u8>(), size);
        own.assume_init()
    }
}

/// A mixer behind a `self` pointer.
struct Instance {
    name: &'static str,
    mixer: Box<dyn Mixer>,
}

unsafe extern "C" fn create_mixer(
    data: *const c_void,
    settings: raw::Text,
    build: *const raw::Build,
    this: *mut *mut c_void,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: the host hands back the descriptor's data and a structure that is valid for the call.
        let (entry, build) = unsafe { (entry(data), known(build)) };
        super::log::forward(build.log);
        let config = mixer_config(entry, settings)?;
        let store = Store::hosted(device(&build), Rc::new(Hosted { build, errors: RefCell::default() }));
        // SAFETY: the host's numbers, one for each channel, valid for the call.
        let (mean, std) = unsafe { (slice(build.mean, build.channels), slice(build.std, build.channels)) };
        let context = MixerContext {
            feature_channels: (build.feature_channels > 0).then_some(build.feature_channels),
            mean: mean.to_vec(),
            std: std.to_vec(),
            classes: build.classes,
        };
        let mixer = config.build(&store.root(), &context)?;
        let instance = Instance { name: &entry.name, mixer };
        // SAFETY: an out-pointer of the host.
        unsafe { *this = Box::into_raw(Box::new(instance)).cast() };
        Ok(())
    })
}

fn device(build: &raw::Build) -> Device {
    if build.device_type == 1 { Device::Cuda(build.device_index.max(0) as usize) } else { Device::Cpu }
}

/// The host's store, as long as `create` runs.
#[derive(Debug)]
struct Hosted {
    build: raw::Build,
    errors: RefCell<String>,
}

impl Hosted {
    fn call(&self, body: impl FnOnce(*const raw::Errors) -> i32) -> Result<()> {
        unsafe extern "C" fn report(host: *mut c_void, _: raw::Text, message: raw::Text) {
            // SAFETY: the cell below, valid for the call.
            unsafe { &*host.cast::<RefCell<String>>() }.replace(text(message).into_owned());
        }
        let errors =
            raw::Errors { host: std::ptr::from_ref(&self.errors).cast_mut().cast(), report: Some(report) };
        if body(&errors) == raw::OK {
            return Ok(());
        }
        Err(Error::Plugin { plugin: "host".into(), message: self.errors.take() })
    }

    fn made(&self, tensor: raw::TensorPtr) -> Result<Tensor> {
        // SAFETY: an owned tensor of the host.
        unsafe { handles::take(tensor) }
            .ok_or_else(|| Error::Plugin { plugin: "host".into(), message: "made no tensor".into() })
    }
}

impl HostStore for Hosted {
    fn parameter(&self, name: &str, shape: &[i64], init: Init, hints: &Hints) -> Result<Tensor> {
        let (init, value) = match init {
            Init::Constant(value) => (0, value),
            Init::Normal(std) => (1, std),
            Init::HeFanOut => (2, 0.0),
            Init::Uniform(bound) => (3, bound),
        };
        let mut out = std::ptr::null_mut();
        let Some(make) = self.build.parameter else { return self.made(out) };
        // SAFETY: the host's function with its own pointer, during `create`.
        self.call(|errors| unsafe {
            let decay = hints.weight_decay.into();
            make(
                self.build.host,
                raw::Text::of(name),
                shape.as_ptr(),
                shape.len(),
                init,
                value,
                decay,
                &mut out,
                errors,
            )
        })?;
        self.made(out)
    }

    fn buffer(&self, name: &str, shape: &[i64], value: f64) -> Result<Tensor> {
        let mut out = std::ptr::null_mut();
        let Some(make) = self.build.buffer else { return self.made(out) };
        // SAFETY: the host's function with its own pointer, during `create`.
        self.call(|errors| unsafe {
            make(self.build.host, raw::Text::of(name), shape.as_ptr(), shape.len(), value, &mut out, errors)
        })?;
        self.made(out)
    }

    fn adopt(&self, name: &str, tensor: &Tensor, hints: Option<&Hints>) -> Result<()> {
        let Some(adopt) = self.build.adopt else { return self.made(std::ptr::null_mut()).map(drop) };
        // SAFETY: the host's function with its own pointer, during `create`; the tensor is borrowed.
        self.call(|errors| unsafe {
            let decay = hints.is_some_and(|hints| hints.weight_decay).into();
            let trained = hints.is_some().into();
            adopt(self.build.host, raw::Text::of(name), handles::pointer(tensor), trained, decay, errors)
        })
    }
}

unsafe extern "C" fn destroy_mixer(this: *mut c_void) {
    if !this.is_null() {
        // SAFETY: made by `create_mixer`, ended once.
        let instance = unsafe { Box::from_raw(this.cast::<Instance>()) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(instance)));
    }
}

/// # Safety
/// `this` was made by `create_mixer` and is not in use.
unsafe fn instance<'a>(this: *mut c_void) -> &'a mut Instance {
    // SAFETY: by the contract of this function.
    unsafe { &mut *this.cast::<Instance>() }
}

/// The host's draws, as long as `plan` runs.
#[derive(Debug)]
struct Served(raw::Draws);

impl HostDraws for Served {
    fn uniform(&self) -> f64 {
        // SAFETY (here and below): the host's functions with its own pointer, during `plan`.
        self.0.uniform.map_or(f64::NAN, |draw| unsafe { draw(self.0.host) })
    }

    fn below(&self, end: usize) -> usize {
        self.0.choice.map_or(0, |draw| unsafe { draw(self.0.host, end as i64) }) as usize
    }

    fn normal(&self) -> f64 {
        self.0.normal.map_or(f64::NAN, |draw| unsafe { draw(self.0.host) })
    }

    fn beta(&self, a: f64, b: f64) -> f64 {
        self.0.beta.map_or(f64::NAN, |draw| unsafe { draw(self.0.host, a, b) })
    }

    fn permutation(&self, n: usize) -> Vec<i64> {
        let mut all = vec![0; n];
        if let Some(draw) = self.0.permutation {
            unsafe { draw(self.0.host, n as i64, all.as_mut_ptr()) };
        }
        all
    }

    fn derangement(&self, n: usize) -> Vec<i64> {
        let mut all = vec![0; n];
        if let Some(draw) = self.0.derangement {
            unsafe { draw(self.0.host, n as i64, all.as_mut_ptr()) };
        }
        all
    }

    fn field_key(&self) -> i64 {
        self.0.field.map_or(0, |draw| unsafe { draw(self.0.host) })
    }
}

unsafe extern "C" fn plan(
    this: *mut c_void,
    ask: *const raw::Ask,
    draws: *const raw::Draws,
    out: *const raw::Plan,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: our instance; the host's structures are valid for the call.
        let (instance, ask, draws, out) = unsafe { (instance(this), known(ask), known(draws), known(out)) };
        let ask = Ask {
            batch: ask.batch.max(0) as usize,
            height: ask.height,
            width: ask.width,
            pairing: ask.pairing.read(),
            lambda: (!ask.lambda.is_nan()).then_some(ask.lambda),
            quiet: ask.quiet != 0,
            progress: ask.progress,
        };
        let plan = instance.mixer.plan(&ask, &mut Draws::hosted(Rc::new(Served(draws))))?;
        let (Some(floats), Some(ints), Some(structure)) = (out.floats, out.ints, out.structure) else {
            return Ok(());
        };
        for (name, value) in plan.values() {
            // A count of zero means one number at this boundary, and there is none.
            let is_empty = match value {
                Value::Floats(all) => all.is_empty(),
                Value::Ints(all) => all.is_empty(),
                Value::Float(_) | Value::Int(_) => false,
            };
            if is_empty {
                return Err(Error::Plugin {
                    plugin: instance.name.into(),
                    message: format!("the plan's value `{name}` is an empty list"),
                });
            }
            let name = raw::Text::of(name);
            // SAFETY: the host's functions with its own pointer; slices live for the call.
            unsafe {
                match value {
                    Value::Float(one) => floats(out.host, name, one, 0),
                    Value::Floats(all) => floats(out.host, name, all.as_ptr(), all.len()),
                    Value::Int(one) => ints(out.host, name, one, 0),
                    Value::Ints(all) => ints(out.host, name, all.as_ptr(), all.len()),
                }
            }
        }
        // SAFETY: as above.
        unsafe { structure(out.host, plan.structure) };
        Ok(())
    })
}

/// # Safety
/// `list` points to `count` values that are valid for the call.
unsafe fn slice<'a, T>(list: *const T, count: usize) -> &'a [T] {
    // SAFETY: by the contract of this function.
    if list.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(list, count) } }
}

unsafe extern "C" fn mix(
    this: *mut c_void,
    mix: *const raw::Mix,
    out: *mut raw::Mixed,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: our instance; the host's structures and tensors are valid for the call.
        let (instance, mix, out) = unsafe { (instance(this), known(mix), &mut *out) };
        let shared = |list: &[raw::Named]| -> BTreeMap<String, Tensor> {
            // SAFETY: as above.
            let tensor = |one: &raw::Named| {
                Some((text(one.name).into_owned(), unsafe { handles::borrow(one.tensor) }?))
            };
            list.iter().filter_map(tensor).collect()
        };
        // SAFETY: as above.
        let (inputs, plan) =
            unsafe { (slice(mix.inputs, mix.inputs_count), slice(mix.plan, mix.plan_count)) };
        let (inputs, plan) = (shared(inputs), Planned::of(shared(plan), mix.structure));
        let images = inputs.get("images").ok_or_else(|| Error::MissingInput {
            plugin: instance.name.into(),
            input: "images".into(),
            remedy: "the host gives them".into(),
        })?;
        let input = MixInput::named(images, mix.quiet != 0, |name| inputs.get(name));
        let mixed = instance.mixer.mix(&input, &plan)?;
        if let Some(Hidden { stage }) = mixed.hidden {
            (out.kind, out.stage) = (raw::HIDDEN, u32::try_from(stage).unwrap_or(u32::MAX));
        }
        out.images = handles::give(mixed.images);
        out.mask = mixed.mask.map_or(std::ptr::null_mut(), handles::give);
        match mixed.credit {
            Credit::Pair { partner, lambda } => {
                out.partner = handles::give(partner);
                out.lambda = handles::give(lambda);
            }
            Credit::Shares { sources, shares } => {
                out.sources = handles::give(sources);
                out.shares = handles::give(shares);
            }
        }
        if let Some(extra) = out.extra {
            for (name, tensor) in mixed.extras {
                // SAFETY: the host's function with its own pointer; it owns the tensor from here on.
                unsafe { extra(out.host, raw::Text::of(&name), handles::give(tensor)) };
            }
        }
        Ok(())
    })
}

unsafe extern "C" fn train(this: *mut c_void, on: u32, errors: *const raw::Errors) -> i32 {
    guarded(errors, || {
        // SAFETY: our instance.
        unsafe { instance(this) }.mixer.train(on != 0);
        Ok(())
    })
}

unsafe extern "C" fn after_step(this: *mut c_void, errors: *const raw::Errors) -> i32 {
    // SAFETY: our instance.
    guarded(errors, || unsafe { instance(this) }.mixer.after_step())
}

unsafe extern "C" fn check_loss(
    data: *const c_void,
    settings: raw::Text,
    resolved: *const raw::Texts,
    arguments: *const raw::Texts,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: the host hands back the descriptor's data.
        let config = loss_config(unsafe { entry(data) }, settings)?;
        put(resolved, &config.resolved().to_string());
        for argument in config.build()?.arguments() {
            put(
                arguments,
                match argument {
                    Argument::Tensor(name) => name,
                    Argument::Target => "target",
                    Argument::Contrast => "contrast",
                    Argument::Mix => "mix",
                },
            );
        }
        Ok(())
    })
}

unsafe extern "C" fn create_loss(
    data: *const c_void,
    settings: raw::Text,
    build: *const raw::Build,
    this: *mut *mut c_void,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: a structure that is valid for the call.
        super::log::forward(unsafe { known(build) }.log);
        // SAFETY: the host hands back the descriptor's data.
        let loss: Box<dyn Loss> = loss_config(unsafe { entry(data) }, settings)?.build()?;
        // SAFETY: an out-pointer of the host.
        unsafe { *this = Box::into_raw(Box::new(loss)).cast() };
        Ok(())
    })
}

unsafe extern "C" fn destroy_loss(this: *mut c_void) {
    if !this.is_null() {
        // SAFETY: made by `create_loss`, ended once.
        let loss = unsafe { Box::from_raw(this.cast::<Box<dyn Loss>>()) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(loss)));
    }
}

unsafe extern "C" fn loss(
    this: *mut c_void,
    inputs: *const raw::Named,
    count: usize,
    value: *mut raw::TensorPtr,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: our loss; the host's list and tensors are valid for the call.
        let (loss, inputs) = unsafe { (&**this.cast::<Box<dyn Loss>>(), slice(inputs, count)) };
        let mut input = LossInput::default();
        for one in inputs {
            let name = text(one.name);
            // SAFETY: as above.
            let (tensor, weight) = unsafe { (handles::borrow(one.tensor), handles::borrow(one.weight)) };
            input = match (tensor, weight) {
                (Some(labels), Some(shares)) if name == "target" => {
                    input.with("target.labels", labels).with("target.shares", shares)
                }
                (Some(keys), Some(shares)) if name == "contrast" => {
                    input.with("contrast.keys", keys).with("contrast.shares", shares)
                }
                (Some(tensor), _) => input.with(&name, tensor),
                (None, _) => input,
            };
        }
        let result = loss.loss(&input)?;
        // SAFETY: an out-pointer of the host.
        unsafe { *value = handles::give(result) };
        Ok(())
    })
}
