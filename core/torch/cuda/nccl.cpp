// Collectives between GPUs: libtorch's c10d on NCCL, which libtorch_cuda.so brings along.
//
// A group of these is used and closed by the calls of shim/group.cpp, as every backend of c10d is.
#include "shim.h"

#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <chrono>

extern "C" {

// `store` and `group` are those of shim/group.cpp. Processes are connected at their first collective.
char* admix_cuda_nccl_join(void* store, int rank, int processes, int64_t timeout_ms, int device, void** group) {
  return guarded([&] {
    using Nccl = c10d::ProcessGroupNCCL;
    const c10::cuda::CUDAGuard on(static_cast<c10::DeviceIndex>(device));
    auto options = Nccl::Options::create();
    options->timeout = std::chrono::milliseconds(timeout_ms);
    const auto& keys = *static_cast<c10::intrusive_ptr<c10d::Store>*>(store);
    auto joined = c10::make_intrusive<Nccl>(keys, rank, processes, std::move(options));
    joined->setBoundDeviceId(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
    *group = new c10::intrusive_ptr<c10d::Backend>(std::move(joined));
  });
}

}  // extern "C"
