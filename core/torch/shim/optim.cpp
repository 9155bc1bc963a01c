// Fused updates of lists of tensors: SGD, AdamW, the trust ratios of LARS, the exponential moving average, copies.
//
// Fused kernels walk raw memory: they are right only if every tensor of a row (parameter, gradient, moments) has the same
// layout and no gaps, and libtorch's for the CPU do not check. `rows_like` and `dense` make it so.
#include "sgd_loop.h"
#include "shim.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/ne.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <optional>

namespace {

using List = std::vector<at::Tensor>;

void check_rows(const List& rows, const List& params, const char* what) {
  TORCH_CHECK(rows.size() == params.size(), "expected ", params.size(), " ", what, ", got ", rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    TORCH_CHECK(rows[i].defined(), what, " ", i, " is undefined");
    TORCH_CHECK(
        rows[i].sizes() == params[i].sizes(),
        what, " ", i, " has shape ", rows[i].sizes(), ", its parameter has ", params[i].sizes());
    TORCH_CHECK(
        rows[i].device() == params[0].device(),
        what, " ", i, " is on ", rows[i].device(), ", the first parameter on ", params[0].device());
  }
}

void check_params(const List& params) {
  check_rows(params, params, "parameters");
  for (size_t i = 0; i < params.size(); ++i) {
    TORCH_CHECK(
        at::isFloatingType(params[i].scalar_type()) && params[i].scalar_type() == params[0].scalar_type(),
        "parameters of one call must share a floating-point dtype: number ", i, " is ", params[i].scalar_type(),
        ", the first ", params[0].scalar_type());
  }
}

// Numbers of a schedule may lie on the CPU too: they are then read here, which waits for nothing.
void check_number(const at::Tensor& value, const List& params, const char* what) {
  TORCH_CHECK(
      value.defined() && value.scalar_type() == at::kFloat && value.numel() == 1, what, " must be one float32 value");
  TORCH_CHECK(
      value.is_cpu() || value.device() == params[0].device(),
      what, " is on ", value.device(), ", the first parameter on ", params[0].device());
}

// A flag that the device sets must be where its kernels read it.
void check_flag(Handle found_inf, const List& params) {
  if (!found_inf) return;
  check_number(*found_inf, params, "found_inf");
  TORCH_CHECK(
      found_inf->device() == params[0].device(),
      "found_inf is on ", found_inf->device(), ", the first parameter on ", params[0].device());
}

float read(const at::Tensor& value) { return *value.const_data_ptr<float>(); }

// The tensors themselves, or packed copies of those with gaps. The CPU kernel for SGD computes half-precision
// parameters but does not store them (libtorch 2.11): it gets float32 copies.
List dense(const List& originals) {
  List list;
  list.reserve(originals.size());
  for (const auto& tensor : originals) {
    if (tensor.is_cpu() && at::isReducedFloatingType(tensor.scalar_type())) {
      list.push_back(tensor.to(at::kFloat, false, false, at::MemoryFormat::Contiguous));
    } else if (tensor.is_non_overlapping_and_dense()) {
      list.push_back(tensor);
    } else {
      list.push_back(tensor.clone(at::MemoryFormat::Contiguous));
    }
  }
  return list;
}

// Strides of length-1 axes place nothing in memory.
bool same_places(const at::Tensor& a, const at::Tensor& b) {
  for (int64_t axis = 0; axis < a.dim(); ++axis) {
    if (a.size(axis) != 1 && a.stride(axis) != b.stride(axis)) return false;
  }
  return true;
}

// Views of dense tensors as rows of values. libtorch's kernels for the CPU copy a gradient whose channels lie innermost, to
// read the original.
List flat(const List& tensors) {
  List list;
  list.reserve(tensors.size());
  for (const auto& tensor : tensors) list.push_back(tensor.as_strided({tensor.numel()}, {1}));
  return list;
}

// `rows` with the dtype and strides of `params`: the tensors themselves, views of them, or copies.
List rows_like(const List& rows, const List& params) {
  List list;
  list.reserve(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto &row = rows[i], &param = params[i];
    const bool same = row.scalar_type() == param.scalar_type() && same_places(row, param);
    if (same && row.strides() == param.strides()) {
      list.push_back(row);
    } else if (same) {
      list.push_back(row.as_strided(param.sizes(), param.strides(), row.storage_offset()));
    } else {
      list.push_back(at::empty_like(param).copy_(row));
    }
  }
  return list;
}

// Brings back what was written into copies.
void write_back(const List& originals, const List& written) {
  for (size_t i = 0; i < originals.size(); ++i) {
    if (!originals[i].is_alias_of(written[i])) originals[i].copy_(written[i]);
  }
}

// 1 where `found_inf` is not 0, else 0: the CUDA kernels skip a step for exactly 1.
std::optional<at::Tensor> skip_flag(Handle found_inf) {
  if (!found_inf) return std::nullopt;
  auto flag = at::empty_like(*found_inf);
  at::ne_out(flag, *found_inf, 0);
  return flag;
}

struct Sgd {
  double momentum, weight_decay;
  bool nesterov;
};

// Values that are worth a thread.
constexpr int64_t kTask = 1 << 15;

// All rows as one range of values, in one parallel section.
template <class T>
void sgd_in_one_pass(const List& params, const List& grads, const List& buffers, const Sgd& sgd, double rate) {
  std::vector<int64_t> ends;
  for (const auto& param : params) ends.push_back((ends.empty() ? 0 : ends.back()) + param.numel());
  at::parallel_for(0, ends.back(), kTask, [&](int64_t place, int64_t end) {
    for (size_t i = std::upper_bound(ends.begin(), ends.end(), place) - ends.begin(); place < end; ++i) {
      const int64_t from = place - (ends[i] - params[i].numel()), count = std::min(end, ends[i]) - place;
      sgd_stretch<T>(
          count, params[i].mutable_data_ptr<T>() + from, grads[i].const_data_ptr<T>() + from,
          buffers.empty() ? nullptr : buffers[i].mutable_data_ptr<T>() + from, sgd.weight_decay, sgd.momentum, rate,
          sgd.nesterov);
      place += count;
    }
  });
  // A graph that keeps one of them must learn that it changed.
  for (const auto* rows : {&params, &buffers}) {
    for (const auto& tensor : *rows) tensor.unsafeGetTensorImpl()->bump_version();
  }
}

// An SGD step at a rate that the host knows. libtorch's kernel for the CPU opens a parallel section for every tensor;
// `one_pass` takes one for all.
void sgd_at(
    const List& params, const List& grads, const List& buffers, const Sgd& sgd, double rate,
    const std::optional<at::Tensor>& skip, bool one_pass) {
  const auto type = params[0].scalar_type();
  if (one_pass && params[0].is_cpu() && type == at::kFloat) {
    return sgd_in_one_pass<float>(params, grads, buffers, sgd, rate);
  }
  if (one_pass && params[0].is_cpu() && type == at::kDouble) {
    return sgd_in_one_pass<double>(params, grads, buffers, sgd, rate);
  }
  const auto rows = [&](const List& list) { return params[0].is_cpu() ? flat(list) : list; };
  at::_fused_sgd_(
      rows(params), rows(grads), rows(buffers), sgd.weight_decay, sgd.momentum, rate, /*dampening=*/0, sgd.nesterov, /*maximize=*/false,
      /*is_first_step=*/false, std::nullopt, skip);
}

}  // namespace

extern "C" {

char* admix_fused_sgd(
    size_t n, const Handle* params_in, const Handle* grads_in, size_t n_buffers, const Handle* buffers_in,
    double momentum, double weight_decay, bool nesterov, Handle lr, Handle found_inf, bool one_pass) {
  return guarded([&] {
    if (n == 0) return;
    at::NoGradGuard no_grad;
    const auto params = tensors(params_in, n), grads = tensors(grads_in, n), buffers = tensors(buffers_in, n_buffers);
    check_params(params);
    check_rows(grads, params, "gradients");
    if (momentum != 0) check_rows(buffers, params, "momentum buffers");
    TORCH_CHECK(momentum != 0 || buffers.empty(), "without momentum there are no momentum buffers");
    check_number(*lr, params, "the learning rate");
    check_flag(found_inf, params);
    const bool on_cpu = params[0].is_cpu();
    if (on_cpu && found_inf && read(*found_inf) != 0) return;

    const auto p = dense(params), g = rows_like(grads, p), b = rows_like(buffers, p);
    // On a CPU the number is read by pointer: the tensor overload would dispatch `item`.
    if (lr->is_cpu()) {
      const auto skip = on_cpu ? std::nullopt : skip_flag(found_inf);
      sgd_at(p, g, b, {momentum, weight_decay, nesterov}, read(*lr), skip, one_pass);
    } else {
      at::_fused_sgd_(
          p, g, b, weight_decay, momentum, *lr, /*dampening=*/0, nesterov, /*maximize=*/false,
          /*is_first_step=*/false, std::nullopt, skip_flag(found_inf));
    }
    write_back(params, p);
    write_back(buffers, b);
  });
}

char* admix_fused_adamw(
    size_t n, const Handle* params_in, const Handle* grads_in, const Handle* exp_avgs_in,
    const Handle* exp_avg_sqs_in, const Handle* steps_in, double beta1, double beta2, double eps,
    double weight_decay, Handle lr, Handle found_inf) {
  return guarded([&] {
    if (n == 0) return;
    at::NoGradGuard no_grad;
    const auto params = tensors(params_in, n), grads = tensors(grads_in, n), steps = tensors(steps_in, n);
    const auto exp_avgs = tensors(exp_avgs_in, n), exp_avg_sqs = tensors(exp_avg_sqs_in, n);
    check_params(params);
    check_rows(grads, params, "gradients");
    check_rows(exp_avgs, params, "first moments");
    check_rows(exp_avg_sqs, params, "second moments");
    for (const auto& step : steps) {
      check_number(step, params, "a step count");
      TORCH_CHECK(step.device() == params[0].device(), "step counts live where the parameters do");
    }
    check_number(*lr, params, "the learning rate");
    check_flag(found_inf, params);
    const bool on_cpu = params[0].is_cpu();
    if (on_cpu && found_inf && read(*found_inf) != 0) return;

    const auto p = dense(params), g = rows_like(grads, p);
    const auto m = rows_like(exp_avgs, p), v = rows_like(exp_avg_sqs, p);
    const auto run = [&](const auto& rate, const std::optional<at::Tensor>& skip) {
      const auto rows = [&](const List& list) { return on_cpu ? flat(list) : list; };
      at::_fused_adamw_(
          rows(p), rows(g), rows(m), rows(v), /*max_exp_avg_sqs=*/{}, steps, rate, beta1, beta2, weight_decay, eps, /*amsgrad=*/false,
          /*maximize=*/false, std::nullopt, skip);
    };
    if (on_cpu) {
      for (const auto& step : steps) *step.mutable_data_ptr<float>() += 1;
      Uncounted inside;  // the kernel reads each step count with `item`
      run(static_cast<double>(read(*lr)), std::nullopt);
    } else {
      // The kernel reads the counts but does not advance them; a skipped step does not count.
      if (found_inf) {
        auto one = at::empty_like(*found_inf);
        at::eq_out(one, *found_inf, 0);
        at::_foreach_add_(steps, one);
      } else {
        at::_foreach_add_(steps, 1);
      }
      if (lr->is_cpu()) {
        run(static_cast<double>(read(*lr)), skip_flag(found_inf));
      } else {
        run(*lr, skip_flag(found_inf));
      }
    }
    write_back(params, p);
    write_back(exp_avgs, m);
    write_back(exp_avg_sqs, v);
  });
}

// Fills `adapted` with `n` owned tensors: each gradient with its decay, times the trust ratio of its parameter.
char* admix_trust_scaled(
    size_t n, const Handle* params_in, const Handle* grads_in, double trust, double weight_decay, double eps,
    Handle* adapted) {
  return guarded([&] {
    if (n == 0) return;
    at::NoGradGuard no_grad;
    const auto given = tensors(params_in, n);
    check_params(given);
    check_rows(tensors(grads_in, n), given, "gradients");
    // A sum is rounded in the order of memory, which a kernel's gradient may have another of on another device.
    const auto params = dense(given), grads = rows_like(tensors(grads_in, n), params);
    // Half-precision squares overflow: their norms are taken in float32.
    const auto dtype = params[0].scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const auto p = at::stack(at::_foreach_norm(params, 2, dtype));
    const auto g = at::stack(at::_foreach_norm(grads, 2, dtype));
    const auto ratio = p.mul(trust).div_(p.mul(weight_decay).add_(g).add_(eps));
    // A parameter of zeros has no scale of its own; where the gradient is zero, nothing moves.
    const auto factors = ratio.masked_fill(p.eq(0), 1).masked_fill_(g.eq(0), 0).unbind();
    const auto scaled = at::_foreach_add(grads, params, weight_decay);
    at::_foreach_mul_(scaled, factors);
    for (size_t i = 0; i < n; ++i) adapted[i] = owned(scaled[i]);
  });
}

char* admix_ema(
    size_t n, const Handle* targets_in, const Handle* sources_in, Handle weight, Handle found_inf, bool one_pass) {
  return guarded([&] {
    if (n == 0) return;
    at::NoGradGuard no_grad;
    const auto targets = tensors(targets_in, n), sources = tensors(sources_in, n);
    check_params(targets);
    check_rows(sources, targets, "sources");
    check_number(*weight, targets, "the weight");
    check_flag(found_inf, targets);
    const bool on_cpu = targets[0].is_cpu();
    if (on_cpu && found_inf && read(*found_inf) != 0) return;
    if ((on_cpu || !found_inf) && weight->is_cpu()) {
      const float share = read(*weight);
      if (share == 0) return;
      if (share == 1) return at::_foreach_copy_(targets, sources);
    }

    // An SGD step with weight decay -1 and learning rate -w: t - (-w) * (s - t) = t + w (s - t). One pass, no
    // temporaries and no host read, where foreach takes three passes and a copy of all parameters (and its
    // lerp reads w on the host).
    const auto t = dense(targets), s = rows_like(sources, t);
    constexpr double kDecay = -1;
    const auto skip = on_cpu ? std::nullopt : skip_flag(found_inf);
    if (weight->is_cpu()) {
      const double rate = -static_cast<double>(read(*weight));
      sgd_at(t, s, {}, {/*momentum=*/0, kDecay, /*nesterov=*/false}, rate, skip, one_pass);
    } else {
      at::_fused_sgd_(t, s, {}, kDecay, /*momentum=*/0, at::neg(*weight), 0, false, false, false, std::nullopt, skip);
    }
    write_back(targets, t);
  });
}

char* admix_copy_all(size_t n, const Handle* targets_in, const Handle* sources_in) {
  return guarded([&] {
    if (n == 0) return;
    at::NoGradGuard no_grad;
    const auto targets = tensors(targets_in, n), sources = tensors(sources_in, n);
    at::_foreach_copy_(targets, sources);
  });
}

// `flag` decides on the device. A product with 0 would keep what is not finite: the bits are taken as whole numbers,
// whose differences wrap around, so that target + (source - target) is the source exactly.
char* admix_copy_where(size_t n, const Handle* targets_in, const Handle* sources_in, Handle flag) {
  return guarded([&] {
    if (n == 0) return;
    at::NoGradGuard no_grad;
    const auto targets = tensors(targets_in, n), sources = tensors(sources_in, n);
    check_rows(targets, targets, "targets");
    check_rows(sources, targets, "sources");
    check_flag(flag, targets);
    if (flag->is_cpu()) {
      if (read(*flag) != 0) at::_foreach_copy_(targets, sources);
      return;
    }
    for (const auto whole : {at::kChar, at::kShort, at::kInt, at::kLong}) {
      List to, from;
      for (size_t i = 0; i < n; ++i) {
        if (targets[i].element_size() != c10::elementSize(whole)) continue;
        TORCH_CHECK(
            sources[i].scalar_type() == targets[i].scalar_type(),
            "source ", i, " is ", sources[i].scalar_type(), ", its target ", targets[i].scalar_type());
        to.push_back(targets[i].detach().view(whole));
        from.push_back(sources[i].detach().view(whole));
      }
      if (to.empty()) continue;
      at::_foreach_sub_(from, to);
      at::_foreach_mul_(from, at::ne(*flag, 0).to(whole));
      at::_foreach_add_(to, from);
    }
  });
}

}  // extern "C"
