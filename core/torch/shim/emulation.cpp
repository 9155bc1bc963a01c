// For tests: the kernels of cuda/batch_norm.cu on tensors of the CPU, as they are or with a fault. Programs refer to nothing
// here, so they do not link it.
#include "batch_norm.cu"
#include "launcher.h"
#include "shim.h"

#include <ATen/ops/fill.h>
#include <ATen/ops/mul.h>

#include <limits>
#include <string>

namespace {

// Memory that a kernel writes holds nothing before, but for what it moves.
void spoil(const Launch& launch) {
  const bool moves = std::strcmp(launch.kernel, "join_moments") == 0;
  for (size_t i = 0; i < (moves ? 1 : launch.written); ++i) {
    auto tensor = launch.tensors[i];
    if (tensor.defined()) tensor.fill_(std::numeric_limits<float>::quiet_NaN());
  }
}

char* emulate(const Launch& launch) {
  return guarded([&] {
    spoil(launch);
    fused_norm::Tensors tensors{};
    for (size_t i = 0; i < launch.count; ++i) {
      const auto& tensor = launch.tensors[i];
      if (!tensor.defined()) continue;
      tensors.of[i] =
          i < launch.written ? tensor.mutable_data_ptr() : const_cast<void*>(tensor.const_data_ptr());
    }
    const emulated::Blocks blocks{launch.blocks[0], launch.blocks[1], launch.blocks[2]};
    const auto& shape = *static_cast<const fused_norm::Shape*>(launch.numbers);
    TORCH_CHECK(emulated::run(launch.kernel, blocks, tensors, shape), "there is no such kernel");
  });
}

char* forwards(const Launch* launch) {
  emulated::backwards = false;
  return emulate(*launch);
}

char* backwards(const Launch* launch) {
  emulated::backwards = true;
  return emulate(*launch);
}

// Of kernels whose names begin like this, the first result is a tenth too large.
thread_local std::string wrong;

char* with_fault(const Launch* launch) {
  char* error = forwards(launch);
  if (error || std::string(launch->kernel).rfind(wrong, 0) != 0) return error;
  return guarded([&] { at::Tensor(launch->tensors[0]).mul_(1.1); });
}

char* refusing(const Launch*) { return strdup("refused"); }

}  // namespace

extern "C" {

// On this thread: 0 nobody, 1 in order, 2 in the opposite order, 3 in order and with a fault of the kernels of this name,
// 4 refuses.
void admix_emulate_kernels(int how, const char* name) {
  wrong = name;
  const LaunchKernel launchers[] = {nullptr, forwards, backwards, with_fault, refusing};
  set_launcher_of_thread(launchers[how]);
}

}  // extern "C"
