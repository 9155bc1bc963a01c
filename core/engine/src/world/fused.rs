//! Whether batch normalisation, residual and ReLU are one operation.

use admix_torch::NormKernels;

use crate::world::World;

impl World {
    /// Whether they are: on a GPU once its kernels were compared with the plain operations.
    pub fn fused(&self) -> bool {
        let able = !self.device.is_cuda() || admix_torch::norm_kernels() == NormKernels::Used;
        able && self.channels_last && admix_torch::fused()
    }

    /// Why they are not on this GPU, where they were to be.
    pub fn fused_off(&self) -> Option<String> {
        match admix_torch::norm_kernels() {
            NormKernels::Off(reason) => Some(reason),
            NormKernels::Unused | NormKernels::Used => None,
        }
    }
}
