// Kernels of our own (core/torch/cuda/batch_norm.cu): their text, compiled for the CPU, on the bytes of the device.
//
// FAKE_CUDA_KERNELS=missing is a machine without NVRTC; FAKE_CUDA_KERNELS=wrong has kernels that are a tenth off.
#pragma once
#include <ATen/ops/mul.h>
#include <batch_norm.cu>
#include <launch.h>

#include "call.h"
#include "object.h"

namespace fake {

inline std::string kernels_are() {
  const char* how = getenv("FAKE_CUDA_KERNELS");
  return how ? how : "";
}

// A launch as a graph keeps it.
struct OwnKernel {
  std::string name;
  emulated::Blocks blocks;
  fused_norm::Shape shape;
  std::vector<at::Tensor> tensors;  // of the host

  void run() const {
    fused_norm::Tensors pointers{};
    for (size_t i = 0; i < tensors.size(); ++i)
      if (tensors[i].defined()) pointers.of[i] = const_cast<void*>(tensors[i].const_data_ptr());
    TORCH_CHECK(emulated::run(name.c_str(), blocks, pointers, shape), "fake CUDA: there is no kernel ", name);
    if (kernels_are() == "wrong") at::Tensor(tensors[0]).mul_(1.1);
  }
};

inline void launch(const Launch& given) {
  const auto device = index_of(given.tensors[0].device());
  const auto stream = current_key(device);
  OwnKernel kernel{given.kernel, {given.blocks[0], given.blocks[1], given.blocks[2]}, {}, {}};
  TORCH_CHECK(given.bytes == sizeof kernel.shape && given.threads == fused_norm::kThreads);
  memcpy(&kernel.shape, given.numbers, given.bytes);
  counts().kernel("admix::" + kernel.name);

  const auto time = order::launch(stream);
  std::vector<c10::StorageImpl*> reads, writes;
  for (size_t i = 0; i < given.count; ++i) {
    const auto& tensor = given.tensors[i];
    kernel.tensors.push_back(tensor.defined() ? as_host(tensor) : at::Tensor());
    if (!tensor.defined()) continue;
    TORCH_CHECK(tensor.device() == cuda(device), "fake CUDA: ", kernel.name, " has a tensor on ", tensor.device());
    auto* storage = graphs::storage_of(kernel.tensors.back());
    order::finish(storage);
    if (!graphs::capturing()) order::use(storage, stream, time, i < given.written, kernel.name);
    (i < given.written ? writes : reads).push_back(storage);
  }
  at::AutoDispatchBelowADInplaceOrView below;
  at::DisableRecordFunctionGuard silent;
  graphs::before_kernel(writes);
  kernel.run();
  graphs::after_launch([kernel] { kernel.run(); }, std::move(reads), std::move(writes));
}

}  // namespace fake

extern "C" {

char* admix_cuda_kernels_load(const char* source, int device) {
  return fake::guarded([&] {
    fake::check_device(fake::cuda(static_cast<c10::DeviceIndex>(device)));
    TORCH_CHECK(strstr(source, "NORM_KERNELS"), "fake CUDA: these are other kernels");
    TORCH_CHECK(fake::kernels_are() != "missing", "libnvrtc.so.13: cannot open shared object file");
    fake::counts().event("kernels loaded");
  });
}

char* admix_cuda_kernel_launch(const Launch* launch) {
  return fake::guarded([&] { fake::launch(*launch); });
}

}  // extern "C"
