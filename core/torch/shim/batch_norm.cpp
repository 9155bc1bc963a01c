// Batch normalisation, residual and ReLU as one operation: each map is read and written as often as it must be.
//
// It takes part where the values lie as rows of channels; on a GPU, kernels do it (batch_norm_kernels.cpp). Rows are cut into parts of a size that depends on the
// shape alone, and what the parts measure is joined in their order: the bits do not depend on the number of threads.
#include "batch_norm.h"
#include "batch_norm_loops.h"
#include "shim.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/generated/Functions.h>
#include <torch/csrc/autograd/saved_variable_hooks.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace {

template <class T>
const NormLoops<T>& loops() {
  static const auto both = [] {
    std::pair<NormLoops<float>, NormLoops<double>> loops;
    auto fill = admix_norm_loops_plain;
#ifdef __x86_64__
    // libtorch's own choice, which ATEN_CPU_CAPABILITY lowers.
    const auto best = at::get_cpu_capability();
    if (best == "AVX512") fill = admix_norm_loops_avx512;
    if (best == "AVX2") fill = admix_norm_loops_avx2;
#endif
    fill(&loops.first, &loops.second);
    return loops;
  }();
  if constexpr (std::is_same_v<T, float>) {
    return both.first;
  } else {
    return both.second;
  }
}

// Values of a part, few enough to stay in a core's cache, and of a task, enough to be worth a thread.
constexpr int64_t kPart = 1 << 13, kTask = 1 << 15;
// A part has at least so many rows: what it measures is then small beside it.
constexpr int64_t kPartRows = 64;
// Columns of a tile that fill up vectors of every set of instructions.
constexpr int64_t kColumns = 64;

// How a map is cut.
struct Cut {
  int64_t channels, groups, rows, part_rows, parts, repeat;

  Cut(const at::Tensor& x, int64_t groups) : channels(x.size(1)), groups(groups) {
    rows = x.numel() / (channels * groups);
    // As many channels as columns need no repetition; an odd number of them would need too many.
    repeat = channels >= kColumns ? 1 : kColumns / std::gcd(channels, kColumns);
    if (repeat > 16) repeat = (kColumns + channels - 1) / channels;
    part_rows = std::max(kPartRows, kPart / channels);
    part_rows = (part_rows + repeat - 1) / repeat * repeat;
    parts = (rows + part_rows - 1) / part_rows;
  }

  int64_t columns() const { return repeat * channels; }
  int64_t last_rows() const { return rows - (parts - 1) * part_rows; }

  // Calls `work(part, group, place of the first value, rows)` for all parts of all groups.
  template <class Work>
  void each(const Work& work) const {
    const int64_t grain = std::max<int64_t>(1, kTask / (part_rows * channels));
    at::parallel_for(0, groups * parts, grain, [&](int64_t begin, int64_t end) {
      for (auto i = begin; i < end; ++i) {
        const int64_t group = i / parts, part = i % parts;
        const int64_t first = group * rows + part * part_rows, count = part + 1 == parts ? last_rows() : part_rows;
        work(i, group, first * channels, NormRows{count, channels, repeat});
      }
    });
  }

  template <class T>
  NormParts<T> of_group(const T* first, const T* second, const T* third, int64_t group) const {
    const int64_t at = group * parts * channels;
    return {first + at, second + at, third ? third + at : nullptr, parts, channels, part_rows, last_rows()};
  }
};

// Numbers by group and channel, each channel as often as the loops walk it.
template <class T>
class Tiles {
 public:
  explicit Tiles(const Cut& cut) : cut_(cut), values_(cut.groups * cut.columns()) {}
  void set(int64_t group, int64_t channel, T value) {
    T* tile = values_.data() + group * cut_.columns();
    for (int64_t i = 0; i < cut_.repeat; ++i) tile[i * cut_.channels + channel] = value;
  }
  const T* of(int64_t group) const { return values_.data() + group * cut_.columns(); }

 private:
  const Cut& cut_;
  std::vector<T> values_;
};

template <class T>
const T* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}

// relu(norm(x) + aside) by statistics that are known.
template <class T>
at::Tensor applied(
    const at::Tensor& x, const at::Tensor& aside, const at::Tensor& weight_of, const at::Tensor& bias_of, bool relu,
    const at::Tensor& stats) {
  const int64_t groups = stats.size(1);
  const Cut cut(x, groups);
  const int64_t channels = cut.channels;
  const T *in = x.const_data_ptr<T>(), *means = stats.const_data_ptr<T>(), *scales = means + groups * channels;
  const T *weight = data_or_null<T>(weight_of), *bias = data_or_null<T>(bias_of);
  Tiles<T> mean(cut), scale(cut), shift(cut);
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t c = 0; c < channels; ++c) {
      mean.set(group, c, means[group * channels + c]);
      scale.set(group, c, scales[group * channels + c] * (weight ? weight[c] : 1));
      shift.set(group, c, bias ? bias[c] : 0);
    }
  }
  auto y = at::empty_like(x);
  T* out = y.mutable_data_ptr<T>();
  const T* beside = data_or_null<T>(aside);
  cut.each([&](int64_t, int64_t group, int64_t place, NormRows rows) {
    loops<T>().normalise(
        in + place, beside ? beside + place : nullptr, relu, rows, mean.of(group), scale.of(group),
        shift.of(group), out + place);
  });
  return y;
}

// `stats` becomes mean and reciprocal deviation, `[2, groups, C]`.
template <class T>
at::Tensor normalised(const at::Tensor& x, const at::Tensor& aside, const Norm& norm, at::Tensor& stats) {
  const Cut cut(x, norm.groups);
  const int64_t channels = cut.channels, groups = cut.groups;
  const T* in = x.const_data_ptr<T>();
  stats = at::empty({2, groups, channels}, x.options());
  T *means = stats.mutable_data_ptr<T>(), *scales = means + groups * channels;
  if (norm.train) {
    const int64_t all = groups * cut.parts * channels;
    std::vector<T> measured(3 * all);
    T *first = measured.data(), *second = first + all, *third = second + all;
    cut.each([&](int64_t part, int64_t, int64_t place, NormRows rows) {
      const int64_t at = part * channels;
      loops<T>().moments(in + place, rows, first + at, second + at, third + at);
    });
    std::vector<double> mean(channels), variance(channels), mean_of_groups(channels), variance_of_groups(channels);
    const double count = static_cast<double>(cut.rows);
    for (int64_t group = 0; group < groups; ++group) {
      loops<T>().join_moments(cut.of_group(first, second, third, group), mean.data(), variance.data());
      for (int64_t c = 0; c < channels; ++c) {
        means[group * channels + c] = static_cast<T>(mean[c]);
        scales[group * channels + c] = static_cast<T>(1 / std::sqrt(variance[c] + norm.epsilon));
        mean_of_groups[c] += mean[c] / groups;
        variance_of_groups[c] += variance[c] * (count / (count - 1)) / groups;
      }
    }
    // With momentum 0 not even a buffer that is not finite changes.
    if (norm.momentum != 0) {
      T *mean_buffer = norm.running_mean.mutable_data_ptr<T>(), *var_buffer = norm.running_var.mutable_data_ptr<T>();
      for (int64_t c = 0; c < channels; ++c) {
        const auto moved = [&](T was, double now) {
          return static_cast<T>((1 - norm.momentum) * was + norm.momentum * now);
        };
        mean_buffer[c] = moved(mean_buffer[c], mean_of_groups[c]);
        var_buffer[c] = moved(var_buffer[c], variance_of_groups[c]);
      }
    }
  } else {
    const T *mean = norm.running_mean.const_data_ptr<T>(), *variance = norm.running_var.const_data_ptr<T>();
    for (int64_t c = 0; c < channels; ++c) {
      means[c] = mean[c];
      scales[c] = static_cast<T>(1 / std::sqrt(variance[c] + norm.epsilon));
    }
  }

  return applied<T>(x, aside, norm.weight, norm.bias, norm.relu, stats);
}

// Gradients of the map, of what was added (if it is wanted), of weight and bias (if there are any).
template <class T>
std::array<at::Tensor, 4> gradients(
    const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& y, const at::Tensor& weight,
    const at::Tensor& stats, bool train, bool wants_aside) {
  const int64_t groups = stats.size(1);
  const Cut cut(x, groups);
  const int64_t channels = cut.channels;
  const T *above = gradient.const_data_ptr<T>(), *in = x.const_data_ptr<T>(), *out = data_or_null<T>(y);
  const T *means = stats.const_data_ptr<T>(), *scales = means + groups * channels, *factor = data_or_null<T>(weight);

  Tiles<T> mean(cut), a(cut), b(cut), c(cut);
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t at = 0; at < channels; ++at) mean.set(group, at, means[group * channels + at]);
  }
  const auto from = [](const T* values, int64_t place) { return values ? values + place : nullptr; };
  std::vector<T> measured(2 * groups * cut.parts * channels);
  T *first = measured.data(), *second = first + groups * cut.parts * channels;
  cut.each([&](int64_t part, int64_t group, int64_t place, NormRows rows) {
    loops<T>().sums(
        above + place, in + place, from(out, place), rows, mean.of(group), first + part * channels,
        second + part * channels);
  });
  std::vector<double> of_d(channels), of_both(channels), for_weight(channels), for_bias(channels);
  const double count = static_cast<double>(cut.rows);
  for (int64_t group = 0; group < groups; ++group) {
    loops<T>().join_sums(cut.of_group<T>(first, second, nullptr, group), of_d.data(), of_both.data());
    for (int64_t at = 0; at < channels; ++at) {
      const double scale = scales[group * channels + at], slope = scale * (factor ? factor[at] : 1);
      a.set(group, at, static_cast<T>(slope));
      // Statistics of the batch move with it, buffers do not.
      b.set(group, at, train ? static_cast<T>(-slope * scale * scale * of_both[at] / count) : 0);
      c.set(group, at, train ? static_cast<T>(-slope * of_d[at] / count) : 0);
      for_weight[at] += scale * of_both[at];
      for_bias[at] += of_d[at];
    }
  }

  auto of_x = at::empty_like(x), of_aside = wants_aside && y.defined() ? at::empty_like(x) : at::Tensor();
  T *to_x = of_x.mutable_data_ptr<T>(), *to_aside = of_aside.defined() ? of_aside.mutable_data_ptr<T>() : nullptr;
  cut.each([&](int64_t, int64_t group, int64_t place, NormRows rows) {
    loops<T>().gradients(
        above + place, in + place, from(out, place), rows, mean.of(group), a.of(group), b.of(group), c.of(group),
        to_x + place, to_aside ? to_aside + place : nullptr);
  });
  // Without a ReLU the gradient reaches what was added as it is.
  if (wants_aside && !of_aside.defined()) of_aside = gradient;
  at::Tensor of_weight, of_bias;
  if (weight.defined()) {
    of_weight = at::empty({channels}, x.options());
    of_bias = at::empty({channels}, x.options());
    std::copy(for_weight.begin(), for_weight.end(), of_weight.mutable_data_ptr<T>());
    std::copy(for_bias.begin(), for_bias.end(), of_bias.mutable_data_ptr<T>());
  }
  return {of_x, of_aside, of_weight, of_bias};
}

at::Tensor forward_of(const at::Tensor& x, const at::Tensor& aside, const Norm& norm, at::Tensor& stats) {
  if (norm_kernels::take(x)) return norm_kernels::normalised(x, aside, norm, stats);
  return x.scalar_type() == at::kFloat ? normalised<float>(x, aside, norm, stats)
                                       : normalised<double>(x, aside, norm, stats);
}

// From so many bytes on, which no cache holds, a map is computed anew rather than kept.
constexpr size_t kAnew = size_t{16} << 20;

// The result of a norm and a ReLU: kept, until a reader forgets it; from then on computed anew in the backward pass, bit for
// bit, from what the norm keeps.
struct Anew : torch::CustomClassHolder {
  Anew(const at::Tensor& x, const Norm& norm, at::Tensor stats, const at::Tensor& y)
      : map(x.getIntrusivePtr()), weight(norm.weight), bias(norm.bias), stats(std::move(stats)), result(y.detach()) {}

  // Lets go of the result, unless it has changed in place since: then its reader did not see what is computed anew.
  bool forget(const at::Tensor& seen) {
    if (seen._version() != 0) return false;
    result.reset();
    return true;
  }

  // Computes the result, unless it is there as it was, and keeps it until `take`.
  at::Tensor make() {
    if (result.defined() && result._version() == 0) return result;
    const at::NoGradGuard guard;
    auto kept = map.lock();
    TORCH_CHECK(kept, "the map of a fused BatchNorm is gone: its graph was freed");
    const at::Tensor x(std::move(kept));
    result = x.scalar_type() == at::kFloat ? applied<float>(x, {}, weight, bias, true, stats)
                                           : applied<double>(x, {}, weight, bias, true, stats);
    return result;
  }

  at::Tensor take() {
    make();
    return std::move(result);
  }

 private:
  // The norm itself keeps it: its backward pass comes after that of all that read the result.
  c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> map;
  at::Tensor weight, bias, stats, result;
};

// In place of the input that a convolution keeps.
struct AnewHooks : torch::autograd::SavedVariableHooks {
  explicit AnewHooks(c10::intrusive_ptr<Anew> anew) : anew(std::move(anew)) {}
  void call_pack_hook(const at::Tensor&) override {}
  at::Tensor call_unpack_hook() override { return anew->make(); }
  c10::intrusive_ptr<Anew> anew;
};

// Keeps the map, the statistics and, for a ReLU, the result, which the next layer keeps as well, or what computes it anew.
struct Fused : torch::autograd::Function<Fused> {
  using Context = torch::autograd::AutogradContext;
  using List = torch::autograd::variable_list;
  using Optional = std::optional<at::Tensor>;

  static at::Tensor forward(
      Context* context, const at::Tensor& x, const Optional& aside, const Optional& weight, const Optional& /*bias*/,
      const Norm* norm) {
    at::Tensor stats;
    const auto y = forward_of(x, aside.value_or(at::Tensor()), *norm, stats);
    const bool anew = norm->relu && !aside && x.nbytes() >= kAnew && !norm_kernels::take(x);
    const bool keeps = norm->relu && !anew;
    // The bias is there to be watched: a step between both passes would change what is computed anew.
    const auto watched = anew ? norm->bias : at::Tensor();
    context->save_for_backward({x, keeps ? y : at::Tensor(), weight.value_or(at::Tensor()), stats, watched});
    if (anew) {
      auto made = c10::make_intrusive<Anew>(x, *norm, stats, y);
      context->saved_data["anew"] = c10::IValue::make_capsule(std::move(made));
    }
    context->saved_data["train"] = norm->train;
    context->saved_data["aside"] = aside.has_value();
    return y;
  }

  static List backward(Context* context, List above) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "a fused BatchNorm has no second derivative: use --fused off");
    const auto saved = context->get_saved_variables();
    const auto anew = of(*context);
    const auto &x = saved[0], &weight = saved[2], &stats = saved[3], y = anew ? anew->take() : saved[1];
    const auto told = [&](const char* name) { return context->saved_data[name].toBool(); };
    const bool train = told("train"), wants_aside = told("aside") && context->needs_input_grad(1);
    const auto gradient = above[0].contiguous(at::MemoryFormat::ChannelsLast);
    const auto all = norm_kernels::take(x)
        ? norm_kernels::gradients(gradient, x, y, weight, stats, train, wants_aside)
        : x.scalar_type() == at::kFloat
        ? gradients<float>(gradient, x, y, weight, stats, train, wants_aside)
        : gradients<double>(gradient, x, y, weight, stats, train, wants_aside);
    return {all[0], all[1], all[2], all[3], at::Tensor()};
  }

  // What computes the result anew, if it is not kept.
  static c10::intrusive_ptr<Anew> of(const Context& context) {
    const auto found = context.saved_data.find("anew");
    if (found == context.saved_data.end()) return {};
    return c10::static_intrusive_pointer_cast<Anew>(found->second.toCapsule());
  }
};

// One number for each channel, where the loops can read it.
bool is_of(const at::Tensor& tensor, const at::Tensor& x) {
  return !tensor.defined() ||
      (tensor.is_cpu() && tensor.scalar_type() == x.scalar_type() && tensor.is_contiguous() &&
       tensor.dim() == 1 && tensor.size(0) == x.size(1));
}

// Whether kernels or the loops can do it.
bool applies(const at::Tensor& x, const at::Tensor& aside, const Norm& norm) {
  if (norm_kernels::take(x)) return norm_kernels::can(x, aside, norm);
  const auto type = x.scalar_type();
  return x.is_cpu() && x.layout() == at::kStrided && (type == at::kFloat || type == at::kDouble) && x.dim() == 4 &&
      x.numel() > 0 && x.is_contiguous(at::MemoryFormat::ChannelsLast) && norm.groups > 0 &&
      x.size(0) % norm.groups == 0 && is_of(norm.weight, x) && is_of(norm.bias, x) &&
      norm.weight.defined() == norm.bias.defined() && is_of(norm.running_mean, x) && is_of(norm.running_var, x) &&
      (!aside.defined() || (aside.is_cpu() && aside.scalar_type() == type && aside.sizes() == x.sizes()));
}

at::Tensor given(Handle handle) { return handle ? *handle : at::Tensor(); }

}  // namespace

extern "C" {

// `result` becomes null where the plain operations must do it. Weight and bias are both there or both null.
char* admix_fused_batch_norm(
    Handle map, Handle aside_in, Handle weight, Handle bias, Handle running_mean, Handle running_var, bool train,
    double momentum, double epsilon, int64_t groups, bool relu, Handle* result) {
  return guarded([&] {
    const at::Tensor x = *map;
    at::Tensor aside = given(aside_in);
    const Norm norm{given(weight), given(bias), *running_mean, *running_var, momentum, epsilon, groups, train, relu};
    if (!applies(x, aside, norm)) {
      *result = nullptr;
      return;
    }
    if (aside.defined()) aside = aside.contiguous(at::MemoryFormat::ChannelsLast);
    const auto learns = [](const at::Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); };
    if (at::GradMode::is_enabled() && (learns(x) || learns(aside) || learns(norm.weight) || learns(norm.bias))) {
      const auto optional = [](const at::Tensor& tensor) {
        return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
      };
      *result = owned(Fused::apply(x, optional(aside), optional(norm.weight), optional(norm.bias), &norm));
    } else {
      at::Tensor stats;
      *result = owned(forward_of(x, aside, norm, stats));
    }
  });
}

// `result` is that of a convolution of `input`. Where a norm can compute the input anew, neither of both keeps it any more;
// `forgotten` tells whether the caller alone has it then.
char* admix_forget_input(Handle result, Handle input, bool* forgotten) {
  return guarded([&] {
    *forgotten = false;
    if (input->nbytes() < kAnew) return;
    auto* norm = dynamic_cast<torch::autograd::CppNode<Fused>*>(input->grad_fn().get());
    auto* convolution = dynamic_cast<torch::autograd::generated::ConvolutionBackward0*>(result->grad_fn().get());
    auto anew = norm ? Fused::of(norm->ctx_) : nullptr;
    // With frozen weights a convolution keeps no input.
    if (!anew || !convolution || !convolution->should_compute_output(1) || !anew->forget(*input)) return;
    convolution->input_.register_hooks(std::make_unique<AnewHooks>(std::move(anew)));
    *forgotten = input->use_count() == 1 && input->storage().use_count() == 1;
  });
}

}  // extern "C"
