// Who is ordered after whom: a vector clock for each stream and one for the host, and who last used each storage.
//
// Kernels run at once and in the order of the calls, so a missing wait never shows in the numbers by itself. The clocks tell
// what a GPU would be free to do. Copies from pinned memory are also done as late as they may be: whoever writes over the
// host's side too early sees it in the numbers.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/copy_ops.h>
#include <c10/core/StorageImpl.h>

#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "counts.h"
#include "devices.h"

namespace fake::order {

// How far each stream has come, as far as the owner of the clock knows.
using Clock = std::map<StreamKey, uint64_t>;

struct Event {
  Clock clock;
  bool captured = false;
};

// The last uses of a storage.
struct Uses {
  StreamKey home = -1;    // the stream on which the memory was allocated
  StreamKey writer = -1;  // the last writer
  uint64_t written = 0;
  Clock readers;                 // since then
  std::set<StreamKey> recorded;  // streams that `recordStream` named
};

struct State {
  std::recursive_mutex mutex;
  std::map<StreamKey, Clock> streams;
  Clock host;
  std::unordered_map<c10::StorageImpl*, Uses> uses;
  // Copies that are asked for and not done, by the storage that they write.
  std::unordered_map<c10::StorageImpl*, std::vector<std::pair<at::Tensor, at::Tensor>>> late;
};
inline State& state() {
  static auto* all = new State;
  return *all;
}
using Lock = std::lock_guard<std::recursive_mutex>;

inline void merge(Clock& into, const Clock& from) {
  for (auto& [stream, time] : from) into[stream] = std::max(into[stream], time);
}
inline bool comes_after(StreamKey stream, StreamKey other, uint64_t time) {
  return stream == other || state().streams[stream][other] >= time;
}

// The time of new work on a stream. It comes after all that the host has waited for.
inline uint64_t launch(StreamKey stream) {
  Lock lock(state().mutex);
  auto& clock = state().streams[stream];
  merge(clock, state().host);
  return ++clock[stream];
}

inline void allocated(c10::StorageImpl* storage, StreamKey stream) {
  Lock lock(state().mutex);
  auto& uses = state().uses[storage];
  if (uses.home < 0) uses.home = stream;
}
inline void recorded(c10::StorageImpl* storage, StreamKey stream) {
  Lock lock(state().mutex);
  state().uses[storage].recorded.insert(stream);
}

// Work of this time on a stream reads or writes a storage.
inline void use(c10::StorageImpl* storage, StreamKey stream, uint64_t time, bool write, const std::string& what) {
  Lock lock(state().mutex);
  auto& uses = state().uses[storage];
  if (uses.writer >= 0 && !comes_after(stream, uses.writer, uses.written))
    counts().fault("race: " + what + " uses what another stream writes");
  if (write) {
    for (auto& [reader, read] : uses.readers)
      if (!comes_after(stream, reader, read)) counts().fault("race: " + what + " writes what another stream reads");
    uses.writer = stream;
    uses.written = time;
    uses.readers.clear();
  }
  uses.readers[stream] = time;
}

// Freed memory is handed out again on its home stream, which must come after all uses or know of them by `recordStream`.
inline void freed(c10::StorageImpl* storage) {
  Lock lock(state().mutex);
  auto found = state().uses.find(storage);
  if (found == state().uses.end()) return;
  auto& uses = found->second;
  // What the host has waited for is over before the memory is handed out.
  if (uses.home >= 0) merge(state().streams[uses.home], state().host);
  for (auto& [reader, read] : uses.readers)
    if (uses.home >= 0 && reader != uses.home && !uses.recorded.count(reader) && !comes_after(uses.home, reader, read))
      counts().fault("memory is freed while another stream may use it, without recordStream");
  state().uses.erase(found);
}

// Does the copies into a storage that are still to be done.
inline void finish(c10::StorageImpl* storage) {
  Lock lock(state().mutex);
  auto found = state().late.find(storage);
  if (found == state().late.end()) return;
  auto copies = std::move(found->second);
  state().late.erase(found);
  for (auto& [to, from] : copies)
    at::_ops::copy_::redispatch(c10::DispatchKeySet(c10::DispatchKey::CPU), to, from, false);
}
inline void finish_all() {
  Lock lock(state().mutex);
  while (!state().late.empty()) finish(state().late.begin()->first);
}
inline void defer(const at::Tensor& to, const at::Tensor& from) {
  Lock lock(state().mutex);
  state().late[to.storage().unsafeGetStorageImpl()].emplace_back(to, from);
}

inline void record(Event& event, StreamKey stream) {
  Lock lock(state().mutex);
  event.clock = state().streams[stream];
}
inline void wait(const Event& event, StreamKey stream) {
  Lock lock(state().mutex);
  merge(state().streams[stream], event.clock);
}
// Whether streams were asked for more since the event: then a wait for it leaves them work to do.
inline bool is_past(const Event& event) {
  Lock lock(state().mutex);
  for (auto& [stream, time] : event.clock)
    if (state().streams[stream][stream] > time) return true;
  return false;
}
inline void host_waits_for(StreamKey stream) {
  Lock lock(state().mutex);
  finish_all();
  merge(state().host, state().streams[stream]);
}
inline void host_waits_for(const Event& event) {
  Lock lock(state().mutex);
  finish_all();
  merge(state().host, event.clock);
}
inline void host_waits_for_all() {
  Lock lock(state().mutex);
  finish_all();
  for (auto& [stream, clock] : state().streams) merge(state().host, clock);
}

}  // namespace fake::order
