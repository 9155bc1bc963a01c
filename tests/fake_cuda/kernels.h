// Kernels: one boxed function for every operation that has a CUDA kernel of its own, which runs the CPU's on the same bytes.
// Operations that have none decompose as they do on CUDA.
#pragma once
#include <ATen/EmptyTensor.h>

#include "call.h"
#include "generator.h"

namespace fake {

struct Operation {
  bool mixes_devices, on_cpu;
  // The host waits for its result, to know a size or a value.
  bool waits = false;
  // Takes indices, which may be on the CPU.
  bool indexes = false;
};

// By the name in the schema, without `aten::`.
inline const std::unordered_map<std::string, Operation>& operations() {
  static auto* table = [] {
    struct Row {
      const char* name;
      bool mixes_devices, on_cpu;
    };
    static const Row rows[] = {
#include "operations.inc"
    };
    auto* all = new std::unordered_map<std::string, Operation>;
    for (auto& row : rows) (*all)[row.name] = {row.mixes_devices, row.on_cpu};
    // cuDNN's place.
    (*all)["convolution"] = {false, true};
    for (auto name : {"_local_scalar_dense", "nonzero", "nonzero.out", "masked_select", "masked_select.out", "_unique",
                      "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive", "bincount", "equal",
                      "repeat_interleave.Tensor"})
      if (auto found = all->find(name); found != all->end()) found->second.waits = true;
    for (auto name : {"index.Tensor", "index.Tensor_out", "_index_put_impl_", "index_put_", "_unsafe_index.Tensor"})
      if (auto found = all->find(name); found != all->end()) found->second.indexes = true;
    return all;
  }();
  return *table;
}

inline std::string short_name(const c10::OperatorHandle& op) {
  const auto& name = op.operator_name();
  const std::string base = name.name.substr(strlen("aten::"));
  return name.overload_name.empty() ? base : base + "." + name.overload_name;
}

// The arguments of a call on their way to the host.
class Conversion {
 public:
  Conversion(Call& call, const std::string& name, const Operation& operation)
      : call_(call), name_(name), operation_(operation) {}

  c10::IValue value(const c10::IValue& value, const c10::Argument& argument) {
    const bool written = argument.alias_info() && argument.alias_info()->isWrite();
    auto one = [&](const at::Tensor& given) { return tensor(given, argument.name(), written); };
    if (value.isTensor()) return one(value.toTensor());
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& given : value.toTensorVector()) list.push_back(one(given));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor>& given : value.toOptionalTensorVector())
        list.push_back(given ? std::optional<at::Tensor>(one(*given)) : std::nullopt);
      return list;
    }
    if (value.isDevice()) {
      call_.device = index_of(value.toDevice());
      return c10::Device(c10::kCPU);
    }
    if (value.isStorage()) return call_.to_host(value.toStorage());
    if (argument.type()->str().find("Generator") != std::string::npos) return numbers(value);
    return value;
  }

 private:
  at::Tensor tensor(const at::Tensor& given, const std::string& argument, bool written) {
    if (!given.defined()) return given;
    if (given.is_cuda()) {
      if (call_.device < 0) call_.device = given.device().index();
      if (call_.device != given.device().index()) mixed(argument, given.device());
      return call_.to_host(given, written);
    }
    const bool index = operation_.indexes && argument == "indices";
    const bool scalar = operation_.mixes_devices && given.dim() == 0;
    if (!given.is_cpu() || written || (!index && !scalar)) mixed(argument, given.device());
    if (index) graphs::host_waits("index on the CPU copied to the device in " + name_);
    if (!graphs::capturing()) return given;
    // A launch reads such a value once, so a graph has it for good.
    auto baked = given.clone();
    baked.unsafeGetTensorImpl()->set_wrapped_number(given.unsafeGetTensorImpl()->is_wrapped_number());
    return baked;
  }

  c10::IValue numbers(const c10::IValue& value) const {
    auto generator = value.isNone() ? default_generator(call_.device) : value.toGenerator();
    TORCH_CHECK(generator.device().is_cuda(), "Expected a 'cuda' device type for generator but found '",
                generator.device().type(), "'");
    auto* own = static_cast<Generator*>(generator.unsafeGetGeneratorImpl());
    own->offset_now += 4;
    counts().event("draw from a CUDA generator: " + name_);
    return own->numbers;
  }

  [[noreturn]] void mixed(const std::string& argument, c10::Device found) const {
    TORCH_CHECK(false, "Expected all tensors to be on the same device, but found at least two devices, ",
                cuda(call_.device < 0 ? current_device : call_.device), " and ", found,
                "! (when checking argument for argument ", argument, " in method wrapper_CUDA__", name_, ")");
  }

  Call& call_;
  const std::string& name_;
  const Operation& operation_;
};

// Names of operations that ask the device for nothing.
inline bool only_views(const std::string& name) {
  return name == "view" || name == "as_strided" || name == "_reshape_alias" || name == "unfold" || name == "resize_" ||
         name.rfind("set_", 0) == 0;
}

inline void run_kernel(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto name = short_name(op);
  const auto& operation = operations().at(name);
  TORCH_CHECK(operation.on_cpu, "fake CUDA: aten::", name, " has no CPU kernel");
  const auto& schema = op.schema().arguments();
  const auto first = stack->size() - schema.size();

  Call call;
  Conversion conversion(call, name, operation);
  torch::jit::Stack host;
  for (size_t i = 0; i < schema.size(); ++i) host.push_back(conversion.value((*stack)[first + i], schema[i]));
  if (call.device < 0) call.device = current_device;
  const auto stream = current_key(call.device);

  const bool by_mask = name.rfind("index.", 0) == 0 || name == "_index_put_impl_" || name == "index_put_";
  for (size_t i = 1; by_mask && i < call.arguments.size(); ++i) {
    const auto& index = call.arguments[i].device;
    // A mask becomes indices, whose number the host waits for.
    if (index.dim() > 0 && (index.scalar_type() == at::kBool || index.scalar_type() == at::kByte) &&
        call.arguments[0].device.scalar_type() != index.scalar_type())
      graphs::host_waits("boolean mask in " + name);
  }
  if (operation.waits) {
    graphs::host_waits(name);
    order::host_waits_for(stream);
  }
  counts().kernel(name);

  const auto time = order::launch(stream);
  const bool ordered = !graphs::capturing() && !only_views(name);
  std::vector<c10::StorageImpl*> writes;
  for (auto& argument : call.arguments) {
    auto* storage = graphs::storage_of(argument.host);
    if (!storage) continue;
    order::finish(storage);
    if (ordered) order::use(storage, stream, time, argument.written, name);
    // Running statistics are written, which the schema does not say.
    const bool statistics = name == "native_batch_norm" && argument.host.dim() == 1;
    if (argument.written || statistics) writes.push_back(storage);
  }
  {
    at::AutoDispatchBelowADInplaceOrView below;
    at::DisableRecordFunctionGuard silent;
    graphs::before_kernel(std::move(writes));
    auto arguments = graphs::capturing() ? host : torch::jit::Stack();
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), &host);
    graphs::after_kernel(op, std::move(arguments), host);
  }
  for (auto& value : host)
    graphs::each(value, [&](const at::Tensor& result) {
      auto* storage = graphs::storage_of(result);
      if (!storage || !ordered || call.knows(storage)) return;
      order::allocated(storage, stream);
      order::use(storage, stream, time, true, name);
    });
  call.settle();

  stack->resize(first);
  for (auto& value : host) {
    if (value.isTensor()) {
      stack->emplace_back(call.to_device(value.toTensor()));
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(call.to_device(tensor));
      stack->emplace_back(std::move(list));
    } else {
      stack->push_back(value);
    }
  }
}

// --- Kernels that are not the CPU's

// Makes a device the thread's for a scope, as the allocator has no other way to learn it.
class OnDevice {
 public:
  explicit OnDevice(std::optional<at::Device> device)
      : before_(std::exchange(current_device, device ? index_of(*device) : current_device)) {}
  OnDevice(const OnDevice&) = delete;
  ~OnDevice() { current_device = before_; }

 private:
  const c10::DeviceIndex before_;
};

inline at::Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> type, std::optional<at::Layout>,
                        std::optional<at::Device> device, std::optional<bool> pin,
                        std::optional<at::MemoryFormat> format) {
  TORCH_CHECK(!pin.value_or(false), "Only dense CPU tensors can be pinned");
  const OnDevice on(device);
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &device_allocator(),
                                   c10::DispatchKeySet(c10::DispatchKey::CUDA), c10::dtype_or_default(type), format);
}

inline at::Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> type,
                                std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool> pin) {
  TORCH_CHECK(!pin.value_or(false), "Only dense CPU tensors can be pinned");
  const OnDevice on(device);
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                                           &device_allocator(), c10::DispatchKeySet(c10::DispatchKey::CUDA),
                                           c10::dtype_or_default(type));
}

inline at::Tensor& copy(at::Tensor& to, const at::Tensor& from, bool non_blocking) {
  if (to.numel() == 0) return to;
  const bool up = from.is_cpu(), down = to.is_cpu();
  const bool crosses = up || down;
  const bool pinned = crosses && PinnedAllocator::owns((up ? from : to).const_data_ptr());
  const auto device = up ? to.device().index() : from.device().index();
  const auto stream = current_key(device);
  std::string name = "copy_";
  if (crosses) {
    name = std::string(up ? "copy to the device" : "copy to the host") + (pinned ? ", pinned" : ", pageable");
    // From pageable memory CUDA stages small copies and waits for others. To pageable memory it always waits.
    constexpr size_t kStaged = 64 << 10;
    const bool waits = !non_blocking || (!pinned && (down || from.nbytes() > kStaged || graphs::capturing()));
    if (waits) graphs::host_waits(name);
    counts().event(name);
  }
  counts().kernel(name);

  at::AutoDispatchBelowADInplaceOrView below;
  at::DisableRecordFunctionGuard silent;
  auto host_to = down ? to : as_host(to), host_from = up ? from : as_host(from);
  graphs::before_copy(host_to);
  const auto time = order::launch(stream);
  for (auto* side : {&host_to, &host_from}) {
    auto* storage = graphs::storage_of(*side);
    order::finish(storage);
    const bool on_device = side == &host_to ? !down : !up;
    if (on_device && !graphs::capturing()) order::use(storage, stream, time, side == &host_to, name);
  }
  if (crosses && non_blocking && pinned && !graphs::capturing()) {
    // To the host, what is copied is what the device holds at this time; it arrives when the host waits for it.
    order::defer(host_to, up ? host_from.detach() : host_from.clone());
    return to;
  }
  if (crosses && !non_blocking) order::host_waits_for(stream);
  at::_ops::copy_::redispatch(c10::DispatchKeySet(c10::DispatchKey::CPU), host_to, host_from, false);
  graphs::after_copy(host_to, host_from);
  return to;
}

inline void record_stream(at::Tensor& tensor, at::Stream stream) {
  device_allocator().recordStream(tensor.storage().data_ptr(), stream);
}

}  // namespace fake
