// Graphs: what is asked for on the capturing stream runs for its shapes and is recorded; at the end of the capture its effects
// are undone, as nothing of a captured graph has run. A replay runs the records on the same storages.
//
// The graphs of a pool share memory, so memory of the other graphs is spoilt by a replay, and so is what the graph itself made
// before: a tensor that was kept from an earlier replay turns into NaN.
#pragma once
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/copy_ops.h>
#include <ATen/record_function.h>
#include <torch/library.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_set>

#include "order.h"

namespace fake::graphs {

using Stack = torch::jit::Stack;
using Storage = c10::intrusive_ptr<c10::StorageImpl>;

struct Record {
  std::optional<c10::OperatorHandle> op;  // none: a copy, or a launch
  Stack arguments;
  std::vector<at::Tensor> results;  // undefined where the result is an argument or a view of one
  at::Tensor to, from;              // of a copy
  std::vector<c10::StorageImpl*> writes;
  std::function<void()> launch;  // of a kernel that is no operation
  std::vector<c10::StorageImpl*> reads;  // by it
};

struct Graph;
struct Pool {
  c10::DeviceIndex device;
  c10::StreamId stream;
  std::vector<Graph*> graphs;
};
struct Graph {
  Pool* pool;
  std::vector<Record> records;
  std::vector<Storage> made;
};

struct Capture {
  std::unique_ptr<Graph> graph;
  c10::StreamId outer;  // the thread's stream before
  std::unordered_map<c10::StorageImpl*, std::pair<Storage, std::vector<char>>> before;
  std::unordered_set<c10::StorageImpl*> made;
  std::vector<c10::StorageImpl*> writes;  // of the kernel that runs
  std::string broken;
  std::recursive_mutex mutex;
};

// One at a time in a process. Only the thread that began it is on its stream.
inline std::atomic<Capture*> open{nullptr};
// What a host that waits meets, as `admix_cuda_watch_syncs` sets it: 2 is an error.
inline std::atomic<int> watch{0};

inline bool capturing() {
  auto* capture = open.load();
  return capture && current_streams[capture->graph->pool->device] == capture->graph->pool->stream;
}

// All bits set: NaN in every type of floats, -1 in every type of integers.
inline void spoil(c10::StorageImpl* storage) {
  if (storage->nbytes()) memset(storage->mutable_data(), 0xFF, storage->nbytes());
}

// Calls `f` with the tensors of a value, undefined ones too.
template <class F>
void each(const c10::IValue& value, F f) {
  if (value.isTensor()) {
    f(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorVector()) f(tensor);
  } else if (value.isOptionalTensorList()) {
    for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) f(tensor.value_or(at::Tensor()));
  }
}
inline c10::StorageImpl* storage_of(const at::Tensor& tensor) {
  return tensor.defined() && tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl() : nullptr;
}

// Fails the capture and the call, as CUDA does with what may not be captured.
[[noreturn]] inline void refuse(const std::string& what, const char* message) {
  open.load()->broken = what;
  TORCH_CHECK(false, "CUDA error: ", message, " (", what, ")");
}

// The host waits for the device.
inline void host_waits(const std::string& what) {
  if (capturing()) refuse(what, "operation not permitted when stream is capturing");
  TORCH_CHECK(watch != 2, "called a synchronizing CUDA operation (", what, ")");
  counts().sync(what);
}

// A storage was allocated.
inline void made(const Storage& storage) {
  if (!capturing()) return;
  auto* capture = open.load();
  std::lock_guard<std::recursive_mutex> lock(capture->mutex);
  if (capture->made.insert(storage.get()).second) capture->graph->made.push_back(storage);
}

// Keeps what a storage from outside holds before the capture writes it.
inline void save(c10::StorageImpl* storage) {
  auto* capture = open.load();
  if (capture->made.count(storage) || capture->before.count(storage)) return;
  auto* data = static_cast<const char*>(storage->data());
  capture->before.emplace(
      storage, std::make_pair(Storage::reclaim_copy(storage), std::vector<char>(data, data + storage->nbytes())));
}

inline void before_kernel(std::vector<c10::StorageImpl*> writes) {
  if (!capturing()) return;
  auto* capture = open.load();
  std::lock_guard<std::recursive_mutex> lock(capture->mutex);
  for (auto* storage : writes) save(storage);
  capture->writes = std::move(writes);
}

inline void after_kernel(const c10::OperatorHandle& op, Stack arguments, const Stack& results) {
  if (!capturing()) return;
  auto* capture = open.load();
  std::lock_guard<std::recursive_mutex> lock(capture->mutex);
  std::unordered_set<const void*> given;
  for (auto& value : arguments) each(value, [&](const at::Tensor& tensor) { given.insert(storage_of(tensor)); });
  Record record{op, {}, {}, {}, {}, capture->writes, {}, {}};
  bool fresh = false;
  for (auto& value : results)
    each(value, [&](const at::Tensor& tensor) {
      if (!tensor.defined() || given.count(storage_of(tensor))) {
        record.results.emplace_back();
        return;
      }
      fresh = true;
      // A tensor of its own: the caller may give the result other sizes.
      auto kept = tensor.unsafeGetTensorImpl()->shallow_copy_and_detach(c10::VariableVersion(0), true);
      record.results.emplace_back(at::Tensor(std::move(kept)));
    });
  if (!fresh && record.writes.empty()) return;  // a view
  record.arguments = std::move(arguments);
  capture->graph->records.push_back(std::move(record));
}

inline void after_launch(
    std::function<void()> launch, std::vector<c10::StorageImpl*> reads, std::vector<c10::StorageImpl*> writes) {
  if (!capturing()) return;
  auto* capture = open.load();
  std::lock_guard<std::recursive_mutex> lock(capture->mutex);
  capture->graph->records.push_back({std::nullopt, {}, {}, {}, {}, std::move(writes), std::move(launch), std::move(reads)});
}

inline void before_copy(const at::Tensor& to) {
  if (!capturing()) return;
  auto* capture = open.load();
  std::lock_guard<std::recursive_mutex> lock(capture->mutex);
  save(storage_of(to));
}
inline void after_copy(const at::Tensor& to, const at::Tensor& from) {
  if (!capturing()) return;
  auto* capture = open.load();
  std::lock_guard<std::recursive_mutex> lock(capture->mutex);
  capture->graph->records.push_back({std::nullopt, {}, {}, to, from, {}, {}, {}});
}

inline void begin(Pool* pool) {
  TORCH_CHECK(!open.load(), "a capture is going on already");
  auto* capture = new Capture;
  capture->graph = std::make_unique<Graph>(Graph{pool, {}, {}});
  capture->outer = std::exchange(current_streams[pool->device], pool->stream);
  open = capture;
}

// Ends the capture, as if nothing had run.
inline std::unique_ptr<Capture> close() {
  std::unique_ptr<Capture> capture(open.exchange(nullptr));
  if (!capture) return nullptr;
  current_streams[capture->graph->pool->device] = capture->outer;
  for (auto& [storage, kept] : capture->before)
    memcpy(storage->mutable_data(), kept.second.data(), kept.second.size());
  for (auto& storage : capture->graph->made) spoil(storage.get());
  return capture;
}
inline Graph* end() {
  auto capture = close();
  TORCH_CHECK(capture, "there is no capture to end");
  TORCH_CHECK(capture->broken.empty(), "CUDA error: operation failed due to a previous error during capture (",
              capture->broken, ")");
  auto* graph = capture->graph.release();
  graph->pool->graphs.push_back(graph);
  return graph;
}

inline void replay(Graph* graph) {
  at::AutoDispatchBelowADInplaceOrView below;
  at::DisableRecordFunctionGuard silent;
  const c10::DispatchKeySet cpu(c10::DispatchKey::CPU);
  for (auto* any : graph->pool->graphs)
    for (auto& storage : any->made) spoil(storage.get());
  std::unordered_set<c10::StorageImpl*> own;
  for (auto& storage : graph->made) own.insert(storage.get());
  const auto stream = current_key(graph->pool->device);
  const auto time = order::launch(stream);
  auto use = [&](c10::StorageImpl* storage, bool write) {
    if (!storage || own.count(storage)) return;
    order::finish(storage);
    order::use(storage, stream, time, write, "a replay");
  };
  for (auto& record : graph->records) {
    if (record.launch) {
      for (auto* storage : record.reads) use(storage, false);
      for (auto* storage : record.writes) use(storage, true);
      record.launch();
      continue;
    }
    if (!record.op) {
      use(storage_of(record.from), false);
      use(storage_of(record.to), true);
      at::_ops::copy_::redispatch(cpu, record.to, record.from, false);
      continue;
    }
    for (auto& value : record.arguments) each(value, [&](const at::Tensor& t) { use(storage_of(t), false); });
    for (auto* storage : record.writes) use(storage, true);
    Stack stack = record.arguments;
    record.op->redispatchBoxed(cpu, &stack);
    size_t next = 0;
    for (auto& value : stack)
      each(value, [&](const at::Tensor& tensor) {
        auto& result = record.results.at(next++);
        if (!result.defined()) return;
        TORCH_CHECK(result.sizes() == tensor.sizes() && result.scalar_type() == tensor.scalar_type(),
                    "fake CUDA: a replay of ", record.op->schema().name(), " made another shape");
        at::_ops::copy_::redispatch(cpu, result, tensor, false);
      });
  }
}

inline void forget(Graph* graph) {
  auto& all = graph->pool->graphs;
  all.erase(std::remove(all.begin(), all.end(), graph), all.end());
  delete graph;
}

}  // namespace fake::graphs
