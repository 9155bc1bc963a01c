//! A mixer of a library.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::rc::Rc;

use admix_torch::{Device, Tensor};

use super::call::Foreign;
use super::mixed::{Returned, extra};
use crate::abi::manifest::Functions;
use crate::abi::raw;
use crate::{Ask, Draws, Error, MixInput, Mixed, Mixer, Needs, Plan, Planned, Result};

/// A mixer of a library.
#[derive(Debug)]
pub(super) struct ForeignMixer {
    pub(super) foreign: Rc<Foreign>,
    pub(super) this: *mut c_void,
    pub(super) needs: Needs,
    pub(super) device: Device,
    /// Whether the values of one mix were looked at.
    pub(super) looked_at: bool,
    /// What went wrong in `train`, to be told by the next mix.
    pub(super) failed: Option<Error>,
}

impl Drop for ForeignMixer {
    fn drop(&mut self) {
        if let Functions::Mixer(raw::Mixer { destroy: Some(destroy), .. }) = self.foreign.plugin.functions {
            // SAFETY: our instance, ended once.
            self.foreign.destroy(|| unsafe { destroy(self.this) });
        }
    }
}

impl ForeignMixer {
    fn functions(&self) -> Result<&raw::Mixer> {
        match &self.foreign.plugin.functions {
            Functions::Mixer(mixer) => Ok(mixer),
            Functions::Loss(_) => Err(self.foreign.error("it is a loss")),
        }
    }
}

impl Mixer for ForeignMixer {
    fn needs(&self) -> Needs {
        self.needs.clone()
    }

    fn plan(&self, ask: &Ask, draws: &mut Draws) -> Result<Plan> {
        let Some(plan) = self.functions()?.plan else { return Plan::draw(ask, draws) };
        // SAFETY: our instance; the structures live for the call.
        let plan = |ask, draws, out, errors| unsafe { plan(self.this, ask, draws, out, errors) };
        self.foreign.planned(plan, self.device, ask, draws)
    }

    fn mix(&mut self, input: &MixInput<'_>, plan: &Planned) -> Result<Mixed> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mix = self.functions()?.mix.ok_or_else(|| self.foreign.error("it has no `mix`"))?;
        let given: Vec<(&str, &Tensor)> =
            input.named_tensors().into_iter().filter_map(|(name, tensor)| Some((name, tensor?))).collect();
        let inputs: Vec<raw::Named> =
            given.iter().map(|(name, tensor)| raw::Named::of(name, tensor)).collect();
        let values: Vec<raw::Named> =
            plan.values().map(|(name, tensor)| raw::Named::of(name, tensor)).collect();
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
            weights: 0,
            reserved: 0,
            map: null,
            mix_map: None,
            free_map: None,
        };
        // Whatever the library does there, a quiet mix has no graph.
        let _quiet = input.quiet.then(admix_torch::no_grad);
        let outcome = self.foreign.call("mix", self.device, &watched, |errors| {
            // SAFETY: our instance; the structures and tensors live for the call.
            unsafe { mix(self.this, &request, &mut out, errors) }
        });
        // SAFETY: owned tensors of the library, or null.
        let returned = unsafe { Returned::take(&self.foreign, &out) };
        outcome?;
        let mixed = self.foreign.mixed(returned, extras, (input, plan, self.device))?;
        if !self.looked_at {
            self.foreign.look_at(input.images, &mixed)?;
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
