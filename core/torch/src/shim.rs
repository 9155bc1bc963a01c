//! Declarations of the C++ shim (`shim/*.cpp`) and how tensors and errors cross it.
//!
//! Tensors go in as borrowed `at::Tensor*` and come out as owned ones. A call returns null, or an error text
//! that [`check`] takes over. No C++ exception crosses.

use std::ffi::{CStr, c_char, c_int, c_void};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::{Error, Result};

/// A borrowed or owned `at::Tensor*`.
pub(crate) type Handle = *mut C_tensor;

/// Null, or an error text to be freed.
pub(crate) type Fault = *mut c_char;

unsafe extern "C" {
    fn admix_free(text: *mut c_char);
    pub(crate) fn admix_call(body: unsafe extern "C-unwind" fn(*mut c_void), data: *mut c_void) -> Fault;
    pub(crate) fn admix_libtorch_version() -> *const c_char;

    pub(crate) safe fn admix_grad_enabled() -> bool;
    pub(crate) safe fn admix_set_grad_enabled(enabled: bool);
    pub(crate) safe fn admix_autocast_cache() -> bool;
    pub(crate) safe fn admix_set_autocast_cache(enabled: bool);
    pub(crate) fn admix_autocast_enter(
        device: c_int,
        enabled: bool,
        dtype: c_int,
        was_enabled: *mut bool,
        was_dtype: *mut c_int,
    ) -> Fault;
    pub(crate) safe fn admix_autocast_exit(device: c_int, was_enabled: bool, was_dtype: c_int) -> Fault;
    pub(crate) fn admix_state_save(state: *mut *mut c_void) -> Fault;
    pub(crate) fn admix_state_restore(state: *mut c_void) -> Fault;

    pub(crate) fn admix_fused_sgd(
        n: usize,
        params: *const Handle,
        grads: *const Handle,
        n_buffers: usize,
        buffers: *const Handle,
        momentum: f64,
        weight_decay: f64,
        nesterov: bool,
        lr: Handle,
        found_inf: Handle,
        one_pass: bool,
    ) -> Fault;
    pub(crate) fn admix_trust_scaled(
        n: usize,
        params: *const Handle,
        grads: *const Handle,
        trust: f64,
        weight_decay: f64,
        eps: f64,
        adapted: *mut Handle,
    ) -> Fault;
    pub(crate) fn admix_fused_adamw(
        n: usize,
        params: *const Handle,
        grads: *const Handle,
        exp_avgs: *const Handle,
        exp_avg_sqs: *const Handle,
        steps: *const Handle,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
        lr: Handle,
        found_inf: Handle,
    ) -> Fault;
    pub(crate) fn admix_ema(
        n: usize,
        targets: *const Handle,
        sources: *const Handle,
        weight: Handle,
        found_inf: Handle,
        one_pass: bool,
    ) -> Fault;
    pub(crate) fn admix_copy_all(n: usize, targets: *const Handle, sources: *const Handle) -> Fault;
    pub(crate) fn admix_copy_where(
        n: usize,
        targets: *const Handle,
        sources: *const Handle,
        flag: Handle,
    ) -> Fault;

    pub(crate) fn admix_backward(loss: Handle, keep_graph: bool) -> Fault;
    pub(crate) fn admix_grad_of(tensor: Handle, grad: *mut Handle) -> Fault;
    pub(crate) fn admix_set_grad(param: Handle, grad: Handle) -> Fault;
    pub(crate) fn admix_clear_grads(n: usize, params: *const Handle) -> Fault;
    pub(crate) fn admix_gradients(
        n_outputs: usize,
        outputs: *const Handle,
        n_inputs: usize,
        inputs: *const Handle,
        keep_graph: bool,
        create_graph: bool,
        grads: *mut Handle,
    ) -> Fault;
    pub(crate) fn admix_grad_norm(n: usize, grads: *const Handle, norm: *mut Handle) -> Fault;
    pub(crate) fn admix_scale_all(n: usize, tensors: *const Handle, factor: Handle) -> Fault;
    pub(crate) fn admix_nonfinite(n: usize, grads: *const Handle, found_inf: Handle) -> Fault;

    pub(crate) fn admix_fused_batch_norm(
        map: Handle,
        aside: Handle,
        weight: Handle,
        bias: Handle,
        running_mean: Handle,
        running_var: Handle,
        train: bool,
        momentum: f64,
        epsilon: f64,
        groups: i64,
        relu: bool,
        result: *mut Handle,
    ) -> Fault;
    pub(crate) fn admix_forget_input(result: Handle, input: Handle, forgotten: *mut bool) -> Fault;

    pub(crate) fn admix_set_launcher(launch: unsafe extern "C" fn(*const c_void) -> Fault);

    pub(crate) fn admix_channels_last(tensor: Handle, result: *mut Handle) -> Fault;
    pub(crate) fn admix_is_channels_last(tensor: Handle, result: *mut bool) -> Fault;
    pub(crate) fn admix_set_data(target: Handle, value: Handle) -> Fault;

    pub(crate) fn admix_host_bytes(rank: usize, size: *const i64, pinned: bool, result: *mut Handle)
    -> Fault;

    pub(crate) fn admix_cpu_rng_state(state: *mut Handle) -> Fault;
    pub(crate) fn admix_set_cpu_rng_state(state: Handle) -> Fault;
    pub(crate) fn admix_rng_fingerprint(cuda_index: c_int, fingerprint: *mut u64) -> Fault;

    pub(crate) fn admix_syncs_start(session: *mut *mut c_void) -> Fault;
    pub(crate) fn admix_syncs_names(session: *mut c_void, names: *mut *mut c_char) -> Fault;
    pub(crate) fn admix_syncs_count(session: *mut c_void) -> u64;
    pub(crate) fn admix_syncs_apart(session: *mut c_void) -> u64;
    pub(crate) safe fn admix_set_apart(by: c_int);
    pub(crate) fn admix_syncs_stop(session: *mut c_void) -> Fault;

    pub(crate) safe fn admix_has_cuda_driver() -> bool;
    pub(crate) fn admix_libtorch_folder(folder: *mut *mut c_char) -> Fault;
    pub(crate) fn admix_open_library(path: *const c_char) -> Fault;
    pub(crate) fn admix_cuda_peak_bytes(index: c_int, bytes: *mut i64) -> Fault;
    pub(crate) safe fn admix_reset_cuda_peak(index: c_int) -> Fault;
    pub(crate) safe fn admix_synchronize(index: c_int) -> Fault;
    pub(crate) fn admix_upload(host: Handle, index: c_int, result: *mut Handle) -> Fault;
    pub(crate) fn admix_upload_aside(host: Handle, index: c_int, result: *mut Handle) -> Fault;
    pub(crate) fn admix_download(tensor: Handle, result: *mut Handle, copied: *mut *mut c_void) -> Fault;
    pub(crate) fn admix_downloaded(copied: *mut c_void) -> Fault;
    pub(crate) fn admix_forget_download(copied: *mut c_void);
    pub(crate) safe fn admix_set_tf32(allowed: bool) -> Fault;
    pub(crate) fn admix_tf32(allowed: *mut bool) -> Fault;

    pub(crate) fn admix_store_open(
        host: *const c_char,
        port: u16,
        serve: bool,
        timeout_ms: i64,
        prefix: *const c_char,
        store: *mut *mut c_void,
    ) -> Fault;
    pub(crate) fn admix_store_close(store: *mut c_void);
    pub(crate) fn admix_store_set(store: *mut c_void, key: *const c_char, text: *const c_char) -> Fault;
    pub(crate) fn admix_store_add(store: *mut c_void, key: *const c_char, by: i64, sum: *mut i64) -> Fault;
    pub(crate) fn admix_store_get(store: *mut c_void, key: *const c_char, text: *mut *mut c_char) -> Fault;
    pub(crate) fn admix_gloo_join(
        store: *mut c_void,
        rank: c_int,
        processes: c_int,
        timeout_ms: i64,
        loopback: bool,
        group: *mut *mut c_void,
    ) -> Fault;
    pub(crate) fn admix_group_abort(group: *mut c_void) -> Fault;
    pub(crate) fn admix_group_close(group: *mut c_void);
    pub(crate) fn admix_group_all_reduce(group: *mut c_void, tensor: Handle, largest: bool) -> Fault;
    pub(crate) fn admix_group_sum(
        group: *const c_void,
        reduce: unsafe extern "C" fn(*const c_void, Handle) -> Fault,
        tensor: Handle,
        summed: *mut Handle,
    ) -> Fault;
    pub(crate) fn admix_copy(text: *const c_char) -> *mut c_char;
    pub(crate) fn admix_group_broadcast(group: *mut c_void, tensor: Handle, root: c_int) -> Fault;
    pub(crate) fn admix_group_all_gather(group: *mut c_void, tensor: Handle, result: *mut Handle) -> Fault;
    pub(crate) fn admix_group_barrier(group: *mut c_void) -> Fault;
}

/// Turns what a shim call returned into a `Result`.
pub(crate) fn check(fault: Fault) -> Result<()> {
    if fault.is_null() { Ok(()) } else { Err(Error::torch(&take_text(fault))) }
}

/// Copies and frees a text the shim handed over; null is the empty text.
pub(crate) fn take_text(text: *mut c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the shim returns null or a NUL-terminated string from `strdup` that nobody else holds.
    let owned = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: as above; `text` is not used again.
    unsafe { admix_free(text) };
    owned
}

/// The `at::Tensor*` of a borrowed tensor. The shim never frees it, and writes only to the tensor's data or
/// `.grad`.
pub(crate) fn handle(tensor: &Tensor) -> Handle {
    tensor.as_ptr().cast_mut()
}

/// The handles of a list; valid while the list is borrowed.
pub(crate) fn handles(tensors: &[Tensor]) -> Vec<Handle> {
    tensors.iter().map(handle).collect()
}

/// Takes over a tensor the shim created; null is `None`.
pub(crate) fn owned(handle: Handle) -> Option<Tensor> {
    // SAFETY: the shim returns null or a `new at::Tensor` that nobody else holds; tch deletes it on drop.
    (!handle.is_null()).then(|| unsafe { Tensor::from_ptr(handle) })
}

/// As [`owned`], for calls that always return a tensor when they return no error.
pub(crate) fn expect_owned(handle: Handle) -> Result<Tensor> {
    owned(handle).ok_or_else(|| Error::torch("the libtorch shim returned no tensor"))
}
