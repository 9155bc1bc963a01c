//! Whether CUDA can be used, in words.

use std::fmt;
use std::path::PathBuf;

/// What [`open_cuda`](crate::open_cuda) found. Its `Display` is for humans and names the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CudaState {
    /// CUDA was not asked for.
    Cpu,
    /// This machine has no NVIDIA driver.
    NoDriver,
    /// There is a driver, but libtorch was set up without its CUDA part.
    NoLibrary {
        /// The folder searched: where libtorch's CPU part was loaded from.
        looked_in: PathBuf,
    },
    /// libtorch's CUDA part is loaded.
    Opened {
        /// How many GPUs it sees; 0 if the driver offers none it can use.
        devices: usize,
    },
}

impl fmt::Display for CudaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CudaState::Cpu => write!(f, "running on the CPU; CUDA was not asked for"),
            CudaState::NoDriver => {
                write!(
                    f,
                    "there is no NVIDIA driver (libcuda.so.1): install one, then `cargo xtask setup --cuda`"
                )
            }
            CudaState::NoLibrary { looked_in } => write!(
                f,
                "libtorch has no CUDA part in {}: get it with `cargo xtask setup --cuda`",
                looked_in.display()
            ),
            CudaState::Opened { devices: 0 } => write!(
                f,
                "libtorch's CUDA part sees no GPU: check `nvidia-smi`, CUDA_VISIBLE_DEVICES and that the driver is not \
                 too old, or that `cargo xtask setup --cuda` fetched the right version"
            ),
            CudaState::Opened { devices: 1 } => write!(f, "1 GPU"),
            CudaState::Opened { devices } => write!(f, "{devices} GPUs"),
        }
    }
}
