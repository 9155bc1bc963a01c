//! A plan of a library: what its `plan` may draw and write.

use std::ffi::c_void;

use admix_torch::Device;

use super::call::Foreign;
use crate::abi::{raw, text};
use crate::{Ask, Draws, Error, Plan, Result, Value};

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

/// Whether a planned value is what every pair of samples needs.
fn fits(plan: &Plan, name: &str, batch: usize) -> bool {
    match (name, plan.value(name)) {
        ("lambda", Ok(Value::Float(_))) => true,
        ("lambda", Ok(Value::Floats(all))) => all.len() == batch,
        ("partner", Ok(Value::Ints(all))) => {
            all.len() == batch && all.iter().all(|one| (0..batch as i64).contains(one))
        }
        _ => false,
    }
}

impl Foreign {
    /// A plan of a library's instance, by its function `plan`.
    pub(super) fn planned(
        &self,
        plan: impl FnOnce(*const raw::Ask, *const raw::Draws, *const raw::Plan, *const raw::Errors) -> i32,
        device: Device,
        ask: &Ask,
        draws: &mut Draws,
    ) -> Result<Plan> {
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
        let outcome = self.call("plan", device, &[], |errors| plan(&raw_ask, &raw_draws, &raw_plan, errors));
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
            if !fits(&plan, name, ask.batch) {
                return Err(self.error(format!(
                    "`plan` must give `lambda` (one number, or one for each of {n} samples) and `partner` ({n} whole \
                     numbers from 0 to {}), or neither if `mix` gives sources and shares; `draw` gives both",
                    ask.batch.saturating_sub(1),
                    n = ask.batch
                )));
            }
        }
        Ok(plan)
    }
}
