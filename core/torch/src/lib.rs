//! What tch lacks, through a small C++ shim: the only home of libtorch `unsafe` in Admix.
//!
//! Nothing here reads a device value on the host unless its documentation says so, so a training step built
//! from these calls can run ahead of a GPU. Guards are thread-local, undo themselves on drop (panics
//! included) and nest.
//!
//! | file | what it holds |
//! |---|---|
//! | `allocator.rs` | an allocator that remembers what it could not give |
//! | `batch_norm.rs` | batch normalisation, residual and ReLU as one operation |
//! | `call.rs` | calls of native code that may throw |
//! | `crash.rs` | the last words of a program that dies of a signal |
//! | `cuda.rs` | opening CUDA at run time |
//! | `cuda_object.rs` | the shared object with what names CUDA symbols |
//! | `cuda_state.rs` | whether CUDA can be used, in words |
//! | `download.rs` | from a device to host memory: later, or many tensors at once |
//! | `ema.rs` | moving averages and copies of lists of tensors |
//! | `end.rs` | the end of the process |
//! | `error.rs` | errors of one line |
//! | `exit.rs` | an end of the process that only native code asked for |
//! | `grads.rs` | the backward pass and gradients |
//! | `graphs.rs` | CUDA graphs |
//! | `group/` | processes that work together: collectives, and who is missing |
//! | `guards.rs` | gradient mode and autocast as guards |
//! | `handles.rs` | tensors as pointers that cross a plugin's boundary |
//! | `host_block.rs` | host memory that threads fill and a device reads |
//! | `memory.rs` | memory of this process |
//! | `memory_format.rs` | the order of values in memory |
//! | `norm_kernels.rs` | the kernels of the fused batch normalisation on GPUs |
//! | `optim.rs` | optimiser steps over lists of tensors |
//! | `rng.rs` | libtorch's generators and threads |
//! | `scalar.rs` | numbers as tensors |
//! | `shim.rs` | declarations of the C++ shim in `shim/` |
//! | `streams.rs` | output streams that native code closed |
//! | `syncs.rs` | counting what makes the host wait |
//! | `trail.rs` | where the program stands, readable after a crash |
//! | `upload.rs` | from host memory to a device |

mod allocator;
mod batch_norm;
mod call;
mod crash;
mod cuda;
mod cuda_object;
mod cuda_state;
mod download;
mod ema;
mod end;
mod error;
mod exit;
mod grads;
mod graphs;
mod group;
mod guards;
pub mod handles;
mod host_block;
mod memory;
mod memory_format;
mod norm_kernels;
mod optim;
mod rng;
mod scalar;
mod shim;
mod streams;
mod syncs;
pub mod trail;
mod upload;

pub use allocator::Remembering;
pub use batch_norm::{BatchNorm, forget_input, fused, set_fused};
pub use call::caught;
pub use crash::tell_crashes;
pub use cuda::{Wanted, cuda_peak_bytes, open_cuda, reset_cuda_peak, set_tf32, synchronize, tf32};
pub use cuda_state::CudaState;
pub use download::{Download, all_on_host};
pub use ema::{copy_all, copy_where, ema};
pub use end::end_without_teardown;
pub use error::{Error, Result, first_words};
pub use exit::ForbidExit;
pub use grads::{
    backward, backward_keep, clear_grads, clip_grad_norm, grad_norm, grad_of, gradients, nonfinite,
    scale_all, set_grad, take_grads,
};
pub use graphs::{CudaGraphs, DeviceTimer, FailOnSyncs, GraphId, synchronize_cuda};
pub use group::{Group, GroupError, LARGEST_BUCKET, Membership};
pub use guards::{Autocast, GradGuard, ThreadState, grad_enabled, no_grad, with_grad};
pub use host_block::{HostBlock, HostPart};
pub use memory::{available_memory_bytes, peak_rss_bytes, rss_bytes, total_memory_bytes};
pub use memory_format::{channels_last, duplicate, is_channels_last, set_data};
pub use norm_kernels::{NormKernels, norm_kernels, norm_kernels_admit};
pub use optim::{AdamWOptions, SgdOptions, TrustOptions, fused_adamw, fused_sgd, trust_scaled};
pub use rng::{cpu_rng_state, rng_fingerprint, set_cpu_rng_state, set_threads, threads};
pub use scalar::scalar;
pub use streams::closed_stream;
pub use syncs::{Apart, SyncCounter, apart};
pub use tch::{Device, IndexOp, Kind, NewAxis, Reduction, Scalar, Shape, TchError, Tensor, TensorIndexer};
pub use upload::{upload, upload_aside};
