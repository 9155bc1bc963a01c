//! The program on a CUDA device without a GPU: the library of `tests/fake_cuda/` in the place of libtorch's CUDA part.

mod bundle;
mod contracts;
mod device;
mod faults;
mod fused;
mod recipes;
mod runs;
