// The fused batch normalisation: what a pass is given, and the part of it that GPUs do.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

// What a pass is given beside the map.
struct Norm {
  at::Tensor weight, bias, running_mean, running_var;
  double momentum, epsilon;
  int64_t groups;
  bool train, relu;
};

namespace norm_kernels {

// Whether kernels do it for this map: those of its GPU, or those that a test of this thread has put in their place.
bool take(const at::Tensor& x);

// Whether they can, where they take it. Channels are innermost, and shapes go together.
bool can(const at::Tensor& x, const at::Tensor& aside, const Norm& norm);

// relu(norm(x) + aside). `stats` becomes mean and reciprocal deviation, `[2, groups, C]`.
at::Tensor normalised(const at::Tensor& x, const at::Tensor& aside, const Norm& norm, at::Tensor& stats);

// Gradients of the map, of what was added (if it is wanted), of weight and bias (if there are any). `y` is the result of a
// ReLU, or undefined.
std::array<at::Tensor, 4> gradients(
    const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& y, const at::Tensor& weight,
    const at::Tensor& stats, bool train, bool wants_aside);

}  // namespace norm_kernels
