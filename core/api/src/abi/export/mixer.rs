//! The table of functions of every mixer of a library.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::mem::offset_of;

use admix_torch::{Tensor, handles};

use super::call::{config, destroy, entry, guarded, known, put, slice};
use super::plan;
use super::store::store;
use crate::abi::{log, raw, text};
use crate::{Credit, Error, Hidden, MapMix, MixInput, Mixer, MixerContext, Planned};

pub(super) static MIXER: raw::Mixer = raw::Mixer {
    size: size_of::<raw::Mixer>(),
    check: Some(check_mixer),
    create: Some(create_mixer),
    destroy: Some(destroy_mixer),
    plan: Some(make_plan),
    mix: Some(mix),
    train: Some(train),
    after_step: Some(after_step),
};

unsafe extern "C-unwind" fn check_mixer(
    data: *const c_void,
    settings: raw::Text,
    resolved: *const raw::Texts,
    needs: *mut raw::Needs,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: the host hands back the descriptor's data.
        let config = config::<dyn Mixer>(unsafe { entry(data) }, settings)?;
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

/// A mixer behind a `self` pointer.
struct Instance {
    name: &'static str,
    mixer: Box<dyn Mixer>,
}

unsafe extern "C-unwind" fn create_mixer(
    data: *const c_void,
    settings: raw::Text,
    build: *const raw::Build,
    this: *mut *mut c_void,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: the host hands back the descriptor's data and a structure that is valid for the call.
        let (entry, build) = unsafe { (entry(data), known(build)) };
        log::forward(build.log);
        let config = config::<dyn Mixer>(entry, settings)?;
        // SAFETY: the host's numbers, one for each channel, valid for the call.
        let (mean, std) = unsafe { (slice(build.mean, build.channels), slice(build.std, build.channels)) };
        let context = MixerContext {
            feature_channels: (build.feature_channels > 0).then_some(build.feature_channels),
            mean: mean.to_vec(),
            std: std.to_vec(),
            classes: build.classes,
        };
        let mixer = config.build(&store(build).root(), &context)?;
        let instance = Instance { name: &entry.name, mixer };
        // SAFETY: an out-pointer of the host.
        unsafe { *this = Box::into_raw(Box::new(instance)).cast() };
        Ok(())
    })
}

unsafe extern "C-unwind" fn destroy_mixer(this: *mut c_void) {
    // SAFETY: made by `create_mixer`, ended once.
    unsafe { destroy::<Instance>(this) };
}

/// # Safety
/// `this` was made by `create_mixer` and is not in use.
unsafe fn instance<'a>(this: *mut c_void) -> &'a mut Instance {
    // SAFETY: by the contract of this function.
    unsafe { &mut *this.cast::<Instance>() }
}

unsafe extern "C-unwind" fn make_plan(
    this: *mut c_void,
    ask: *const raw::Ask,
    draws: *const raw::Draws,
    out: *const raw::Plan,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: our instance; the host's structures are valid for the call.
        let (instance, ask, draws, out) = unsafe { (instance(this), known(ask), known(draws), known(out)) };
        let plan = instance.mixer.plan(&ask.read(), &mut plan::draws(draws))?;
        plan::put(instance.name, &plan, &out)
    })
}

unsafe extern "C-unwind" fn mix(
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
        let images = inputs
            .get("images")
            .ok_or_else(|| Error::missing(instance.name, "images", "the host gives them"))?;
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
            Credit::Weights { sources, weights } => {
                if !holds(out, offset_of!(raw::Mixed, weights)) {
                    return Err(older(instance.name, "weights of sources"));
                }
                out.sources = handles::give(sources);
                out.shares = handles::give(weights);
                out.weights = 1;
            }
        }
        if let Some(map) = mixed.map {
            if !holds(out, offset_of!(raw::Mixed, free_map)) {
                return Err(older(instance.name, "mixes of maps"));
            }
            out.map = Box::into_raw(Box::new(map)).cast();
            out.mix_map = Some(mix_map);
            out.free_map = Some(free_map);
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

/// Whether the host's structure reaches to the field at this place.
fn holds(out: &raw::Mixed, offset: usize) -> bool {
    out.size > offset
}

fn older(plugin: &str, what: &str) -> Error {
    Error::plugin(plugin, format!("this version of Admix takes no {what}: use a newer one"))
}

unsafe extern "C-unwind" fn mix_map(
    state: *mut c_void,
    own: raw::TensorPtr,
    partners: raw::TensorPtr,
    out: *mut raw::TensorPtr,
    errors: *const raw::Errors,
) -> i32 {
    guarded(errors, || {
        // SAFETY: made by `mix`; the host's tensors are valid for the call.
        let (map, own, partners) =
            unsafe { (&*state.cast::<MapMix>(), handles::borrow(own), handles::borrow(partners)) };
        let (Some(own), Some(partners)) = (own, partners) else {
            return Err(Error::missing("the plugin", "maps", "the host gives them"));
        };
        let mixed = map.mix(&own, &partners)?;
        // SAFETY: an out-pointer of the host, which owns the tensor from here on.
        unsafe { *out = handles::give(mixed) };
        Ok(())
    })
}

unsafe extern "C-unwind" fn free_map(state: *mut c_void) {
    // SAFETY: made by `mix`, ended once.
    unsafe { destroy::<MapMix>(state) };
}

unsafe extern "C-unwind" fn train(this: *mut c_void, on: u32, errors: *const raw::Errors) -> i32 {
    guarded(errors, || {
        // SAFETY: our instance.
        unsafe { instance(this) }.mixer.train(on != 0);
        Ok(())
    })
}

unsafe extern "C-unwind" fn after_step(this: *mut c_void, errors: *const raw::Errors) -> i32 {
    // SAFETY: our instance.
    guarded(errors, || unsafe { instance(this) }.mixer.after_step())
}
