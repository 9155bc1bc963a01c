// Gradients: the backward pass, reading and clearing `.grad`, norms and the search for non-finite values.
#include "shim.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <atomic>

extern "C" {
int admix_nonfinite16(const uint16_t* words, size_t n, uint16_t exponent);
int admix_nonfinite32(const uint32_t* words, size_t n, uint32_t exponent);
int admix_nonfinite64(const uint64_t* words, size_t n, uint64_t exponent);
}

namespace {

// A stretch of a tensor's memory, small enough to stay in a core's cache.
struct Block {
  const char* data;
  size_t bytes;
  at::ScalarType type;

  bool nonfinite() const {
    switch (type) {
      case at::kHalf: return admix_nonfinite16(reinterpret_cast<const uint16_t*>(data), bytes / 2, 0x7c00);
      case at::kBFloat16: return admix_nonfinite16(reinterpret_cast<const uint16_t*>(data), bytes / 2, 0x7f80);
      case at::kFloat: return admix_nonfinite32(reinterpret_cast<const uint32_t*>(data), bytes / 4, 0x7f800000);
      default: return admix_nonfinite64(reinterpret_cast<const uint64_t*>(data), bytes / 8, 0x7ff0000000000000);
    }
  }
};

constexpr size_t kBlockBytes = 1 << 16;
constexpr int64_t kBlocksPerTask = 8;

bool nonfinite_on_cpu(std::vector<at::Tensor>& grads) {
  std::vector<Block> blocks;
  for (auto& grad : grads) {
    const auto type = grad.scalar_type();
    if (!grad.is_non_overlapping_and_dense()) grad = grad.contiguous();
    const auto* data = static_cast<const char*>(grad.const_data_ptr());
    for (size_t at = 0, bytes = grad.nbytes(); at < bytes; at += kBlockBytes) {
      blocks.push_back({data + at, std::min(kBlockBytes, bytes - at), type});
    }
  }
  std::atomic<bool> found{false};
  at::parallel_for(0, static_cast<int64_t>(blocks.size()), kBlocksPerTask, [&](int64_t begin, int64_t end) {
    for (auto i = begin; i < end && !found.load(std::memory_order_relaxed); ++i) {
      if (blocks[i].nonfinite()) found.store(true, std::memory_order_relaxed);
    }
  });
  return found.load();
}

// Read past `Tensor::grad()`, which warns for tensors that are no leaves.
const at::Tensor& grad_field(const at::Tensor& tensor) { return tensor.unsafeGetTensorImpl()->grad(); }

}  // namespace

extern "C" {

char* admix_backward(Handle loss, bool keep_graph) {
  return guarded([&] { loss->backward({}, keep_graph, /*create_graph=*/false); });
}

// `grad` becomes null where there is none.
char* admix_grad_of(Handle tensor, Handle* grad) {
  return guarded([&] {
    const auto& field = grad_field(*tensor);
    *grad = field.defined() ? owned(field) : nullptr;
  });
}

char* admix_set_grad(Handle param, Handle grad) {
  return guarded([&] { param->mutable_grad() = *grad; });
}

char* admix_clear_grads(size_t n, const Handle* params) {
  return guarded([&] {
    for (size_t i = 0; i < n; ++i) {
      if (grad_field(*params[i]).defined()) params[i]->mutable_grad().reset();
    }
  });
}

// Fills `grads` with `n_inputs` owned tensors, null where an input was not used.
char* admix_gradients(
    size_t n_outputs, const Handle* outputs, size_t n_inputs, const Handle* inputs, bool keep_graph,
    bool create_graph, Handle* grads) {
  return guarded([&] {
    const auto results = torch::autograd::grad(
        tensors(outputs, n_outputs), tensors(inputs, n_inputs), /*grad_outputs=*/{}, keep_graph || create_graph,
        create_graph, /*allow_unused=*/true);
    for (size_t i = 0; i < n_inputs; ++i) grads[i] = results[i].defined() ? owned(results[i]) : nullptr;
  });
}

char* admix_grad_norm(size_t n, const Handle* grads_in, Handle* norm) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const auto grads = tensors(grads_in, n);
    if (grads.empty()) {
      *norm = owned(at::zeros({}, at::kFloat));
      return;
    }
    // Half-precision squares overflow: their norms are taken in float32.
    auto dtype = at::kFloat;
    for (const auto& grad : grads) {
      if (grad.scalar_type() == at::kDouble) dtype = at::kDouble;
    }
    const auto norms = at::_foreach_norm(grads, 2, dtype);
    *norm = owned(at::linalg_vector_norm(at::stack(norms)));
  });
}

char* admix_scale_all(size_t n, const Handle* tensors_in, Handle factor) {
  return guarded([&] {
    if (n == 0) return;
    at::NoGradGuard no_grad;
    at::_foreach_mul_(tensors(tensors_in, n), *factor);
  });
}

char* admix_nonfinite(size_t n, const Handle* grads_in, Handle found_inf) {
  return guarded([&] {
    if (n == 0) return;
    at::NoGradGuard no_grad;
    auto grads = tensors(grads_in, n);
    TORCH_CHECK(
        found_inf->scalar_type() == at::kFloat && found_inf->numel() == 1, "found_inf must be one float32 value");
    for (const auto& grad : grads) {
      TORCH_CHECK(grad.defined() && at::isFloatingType(grad.scalar_type()) && grad.element_size() > 1,
                  "gradients must be float16, bfloat16, float32 or float64");
      TORCH_CHECK(
          grad.device() == found_inf->device(),
          "a gradient is on ", grad.device(), ", found_inf on ", found_inf->device());
    }
    if (found_inf->is_cpu()) {
      if (nonfinite_on_cpu(grads)) *found_inf->mutable_data_ptr<float>() = 1;
    } else {
      // Multiplies by 1, which changes no bit, and writes 1 to the flag on the device: no host read.
      const auto one = at::ones({}, found_inf->options());
      at::_amp_foreach_non_finite_check_and_unscale_(grads, *found_inf, one);
    }
  });
}

}  // extern "C"
