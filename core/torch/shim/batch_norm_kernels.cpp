// The fused batch normalisation by the kernels of cuda/batch_norm.cu: how a map is cut, and what is launched.
//
// The cut depends on the shape alone, so the bits do not depend on the GPU's size.
#include "batch_norm.h"
#include "batch_norm_shape.h"
#include "launch.h"
#include "launcher.h"
#include "shim.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <string>

namespace {

using fused_norm::kJoined;
using fused_norm::kRows;
using fused_norm::kThreads;
using fused_norm::Shape;

// The most vectors of channels that a block walks side by side: a warp reads them in one piece. A power of two.
constexpr int64_t kWidestTile = 32;
// Blocks of a walk over a map, enough to fill a GPU. More of them would only make more parts to join.
constexpr int64_t kBlocks = 1024;
// Bytes that one instruction moves.
constexpr int64_t kVector = 16;
// What CUDA allows in the third dimension of a grid.
constexpr int64_t kMostGroups = 65535;

std::atomic<LaunchKernel> on_gpus{nullptr};
thread_local LaunchKernel on_this_thread = nullptr;

static_assert(fused_norm::kTensors == kLaunchTensors);

LaunchKernel launcher_of(const at::Tensor& x) { return x.is_cuda() ? on_gpus.load() : on_this_thread; }

int64_t quotient_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How kernels walk some maps of one shape and type.
class Walk {
 public:
  Walk(int64_t groups, std::initializer_list<at::Tensor> maps) : x_(*maps.begin()) {
    const bool half = x_.scalar_type() == at::kBFloat16;
    const int64_t channels = x_.size(1), most = kVector / x_.element_size();
    const auto fits = [&](const at::Tensor& map) {
      return !map.defined() || reinterpret_cast<uintptr_t>(map.const_data_ptr()) % kVector == 0;
    };
    const bool wide = channels % most == 0 && std::all_of(maps.begin(), maps.end(), fits);
    kind_ = half ? (wide ? "_bf16_8" : "_bf16_1") : (wide ? "_f32_4" : "_f32_1");
    const int64_t vectors = wide ? channels / most : channels;
    int64_t tile = 1;
    while (tile < vectors && tile < kWidestTile) tile *= 2;
    tiles_ = quotient_up(vectors, tile);

    const int64_t rows = x_.numel() / (channels * groups), worth = kThreads / tile * kRows;
    const int64_t room = std::max<int64_t>(1, kBlocks / (tiles_ * groups));
    const int64_t part_rows = quotient_up(rows, std::min(quotient_up(rows, worth), room));
    shape = {};
    shape.rows = rows;
    shape.part_rows = part_rows;
    shape.channels = static_cast<int>(channels);
    shape.groups = static_cast<int>(groups);
    shape.parts = static_cast<int>(quotient_up(rows, part_rows));
    shape.tile = static_cast<int>(tile);
  }

  Shape shape;

  // A tensor of numbers, each for some channels.
  at::Tensor numbers(std::initializer_list<int64_t> size) const { return at::empty(size, x_.options().dtype(at::kFloat)); }

  // A kernel over all rows, of a block for each tile of each part of each group.
  void over_rows(const char* name, size_t written, std::initializer_list<at::Tensor> tensors) const {
    launch(name + std::string(kind_), {unsigned(tiles_), unsigned(shape.parts), unsigned(shape.groups)}, written, tensors);
  }

  // A kernel whose blocks take so many channels each.
  void over_channels(const char* name, int each, size_t written, std::initializer_list<at::Tensor> tensors) const {
    launch(name, {unsigned(quotient_up(shape.channels, each)), 1, 1}, written, tensors);
  }

 private:
  void launch(
      const std::string& name, std::array<unsigned, 3> blocks, size_t written,
      std::initializer_list<at::Tensor> tensors) const {
    TORCH_INTERNAL_ASSERT(tensors.size() <= kLaunchTensors);
    const Launch launch{name.c_str(),     {blocks[0], blocks[1], blocks[2]}, kThreads, tensors.begin(),
                        tensors.size(), written, &shape, sizeof shape};
    if (char* error = launcher_of(x_)(&launch)) {
      const std::string text = error;
      free(error);
      TORCH_CHECK(false, "the kernel ", name, ": ", text);
    }
  }

  const at::Tensor x_;
  const char* kind_;
  int64_t tiles_;
};

}  // namespace

namespace norm_kernels {

bool take(const at::Tensor& x) { return launcher_of(x) != nullptr; }

bool can(const at::Tensor& x, const at::Tensor& aside, const Norm& norm) {
  const auto type = x.scalar_type();
  const auto numbers = [&](const at::Tensor& tensor) {
    return !tensor.defined() ||
        (tensor.device() == x.device() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous() &&
         tensor.dim() == 1 && tensor.size(0) == x.size(1));
  };
  return x.layout() == at::kStrided && (type == at::kFloat || type == at::kBFloat16) && x.dim() == 4 && x.numel() > 0 &&
      x.is_contiguous(at::MemoryFormat::ChannelsLast) && norm.groups > 0 && norm.groups <= kMostGroups &&
      x.size(0) % norm.groups == 0 && norm.weight.defined() == norm.bias.defined() && numbers(norm.weight) &&
      numbers(norm.bias) && numbers(norm.running_mean) && numbers(norm.running_var) &&
      (!aside.defined() ||
       (aside.device() == x.device() && aside.scalar_type() == type && aside.sizes() == x.sizes()));
}

at::Tensor normalised(const at::Tensor& x, const at::Tensor& aside, const Norm& norm, at::Tensor& stats) {
  Walk walk(norm.groups, {x, aside});
  auto& shape = walk.shape;
  shape.train = norm.train;
  shape.relu = norm.relu;
  shape.momentum = norm.momentum;
  shape.epsilon = norm.epsilon;
  const int64_t channels = shape.channels;
  stats = walk.numbers({2, norm.groups, channels});
  if (norm.train) {
    const auto moments = walk.numbers({3, norm.groups, shape.parts, channels});
    walk.over_rows("moments", 1, {moments, x});
    walk.over_channels("join_moments", kJoined, 3, {stats, norm.running_mean, norm.running_var, moments});
  } else {
    walk.over_channels("from_buffers", kThreads, 1, {stats, norm.running_mean, norm.running_var});
  }
  const auto y = at::empty_like(x);
  walk.over_rows("normalise", 1, {y, x, aside, stats, norm.weight, norm.bias});
  return y;
}

std::array<at::Tensor, 4> gradients(
    const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& y, const at::Tensor& weight,
    const at::Tensor& stats, bool train, bool wants_aside) {
  const int64_t groups = stats.size(1);
  Walk walk(groups, {x, gradient, y});
  walk.shape.train = train;
  const int64_t channels = walk.shape.channels;
  const auto sums = walk.numbers({2, groups, walk.shape.parts, channels});
  walk.over_rows("sums", 1, {sums, gradient, x, y, stats});
  const auto coefficients = walk.numbers({3, groups, channels});
  at::Tensor of_weight, of_bias;
  if (weight.defined()) {
    of_weight = walk.numbers({channels});
    of_bias = walk.numbers({channels});
  }
  walk.over_channels("join_sums", kJoined, 3, {coefficients, of_weight, of_bias, sums, stats, weight});
  const auto of_x = at::empty_like(x);
  // Without a ReLU the gradient reaches what was added as it is.
  auto of_aside = !wants_aside ? at::Tensor() : y.defined() ? at::empty_like(x) : gradient;
  const auto to_aside = y.defined() ? of_aside : at::Tensor();
  walk.over_rows("gradients", 2, {of_x, to_aside, gradient, x, y, stats, coefficients});
  return {of_x, of_aside, of_weight, of_bias};
}

}  // namespace norm_kernels

extern "C" {

// From here on kernels on GPUs are launched by it.
void admix_set_launcher(LaunchKernel launch) { on_gpus = launch; }

}  // extern "C"

void set_launcher_of_thread(LaunchKernel launch) { on_this_thread = launch; }
