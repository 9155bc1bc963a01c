// Counts operations that make the host wait for a device, or read values from it.
#include "shim.h"

#include <ATen/record_function.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <string_view>

namespace {

thread_local int uncounted = 0;
// Inside a counted operation: what it calls belongs to it (`item` calls `_local_scalar_dense`).
thread_local int depth = 0;
// Inside of work that is allowed to wait.
thread_local int may_wait = 0;

constexpr std::string_view kSyncs[] = {
    "aten::item",          "aten::_local_scalar_dense", "aten::is_nonzero",         "aten::equal",
    "aten::allclose",      "aten::nonzero",             "aten::nonzero_numpy",      "aten::argwhere",
    "aten::masked_select", "aten::_unique",             "aten::_unique2",           "aten::unique_dim",
    "aten::unique_consecutive", "aten::unique_dim_consecutive", "aten::bincount",
};

// Rides on libtorch's debug info, which follows the backward pass to its threads.
struct Counter : c10::DebugInfoBase {
  explicit Counter(Counter* outer) : outer(outer) {}
  void add(const std::string& name) {
    for (auto* counter = this; counter; counter = counter->outer) {
      std::lock_guard<std::mutex> lock(counter->mutex);
      if (may_wait) {
        ++counter->apart;
      } else {
        counter->names.push_back(name);
      }
    }
  }
  Counter* const outer;  // lives longer: counters nest
  std::mutex mutex;
  std::vector<std::string> names;
  uint64_t apart = 0;
};

constexpr auto kSlot = c10::DebugInfoKind::TEST_INFO_2;

Counter* current() { return static_cast<Counter*>(c10::ThreadLocalDebugInfo::get(kSlot)); }

// A copy between devices waits unless it is asked not to.
bool waiting_copy(const at::RecordFunction& call, std::string& name) {
  const auto inputs = call.inputs();
  if (inputs.size() < 3 || !inputs[0].isTensor() || !inputs[1].isTensor() || !inputs[2].isBool()) return false;
  const auto to = inputs[0].toTensor().device(), from = inputs[1].toTensor().device();
  if (to.type() == from.type() || inputs[2].toBool()) return false;
  name += " (" + from.str() + " to " + to.str() + ")";
  return true;
}

struct Inside : at::ObserverContext {};

std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction& call) {
  auto* counter = current();
  if (!counter || uncounted) return nullptr;
  std::string name = call.name();
  const bool counts = name == "aten::copy_" ? waiting_copy(call, name)
                                            : std::find(std::begin(kSyncs), std::end(kSyncs), name) != std::end(kSyncs);
  if (!counts) return nullptr;
  if (depth++ == 0) counter->add(name);
  return std::make_unique<Inside>();
}

void leave(const at::RecordFunction&, at::ObserverContext* inside) {
  if (inside) --depth;
}

struct Session {
  Session()
      : outer(current()),
        counter(std::make_shared<Counter>(outer)),
        slot(kSlot, counter),
        callback(
            outer ? at::INVALID_CALLBACK_HANDLE
                  : at::addThreadLocalCallback(at::RecordFunctionCallback(enter, leave)
                                                   .needsInputs(true)
                                                   .scopes({at::RecordScope::FUNCTION}))) {}
  ~Session() {
    if (callback != at::INVALID_CALLBACK_HANDLE) at::removeCallback(callback);
  }

  Counter* outer;
  std::shared_ptr<Counter> counter;
  c10::DebugInfoGuard slot;
  at::CallbackHandle callback;
};

}  // namespace

Uncounted::Uncounted() { ++uncounted; }
Uncounted::~Uncounted() { --uncounted; }

extern "C" {

char* admix_syncs_start(void** session) {
  return guarded([&] { *session = new Session; });
}

// One name a line; the text is released by `admix_free`.
char* admix_syncs_names(void* session, char** names) {
  return guarded([&] {
    auto& counter = *static_cast<Session*>(session)->counter;
    std::lock_guard<std::mutex> lock(counter.mutex);
    std::string lines;
    for (const auto& name : counter.names) lines += name + "\n";
    *names = strdup(lines.c_str());
  });
}

uint64_t admix_syncs_count(void* session) {
  auto& counter = *static_cast<Session*>(session)->counter;
  std::lock_guard<std::mutex> lock(counter.mutex);
  return counter.names.size();
}

uint64_t admix_syncs_apart(void* session) {
  auto& counter = *static_cast<Session*>(session)->counter;
  std::lock_guard<std::mutex> lock(counter.mutex);
  return counter.apart;
}

void admix_set_apart(int by) { may_wait += by; }

char* admix_syncs_stop(void* session) {
  return guarded([&] { delete static_cast<Session*>(session); });
}

}  // extern "C"
