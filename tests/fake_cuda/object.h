// The functions of libadmix_cuda.so (core/torch/cuda/graphs.cpp), for this device; own_kernels.h has those for kernels.
#pragma once
#include <torch/version.h>

#include <chrono>

#include "guard.h"

namespace fake {

template <class F>
char* guarded(F f) {
  try {
    f();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  }
}

struct Timer {
  std::chrono::steady_clock::time_point begin, end;
};

}  // namespace fake

extern "C" {

uint32_t admix_cuda_abi() { return 2; }
const char* admix_cuda_libtorch() { return TORCH_VERSION; }

char* admix_cuda_graphs_new(int device, void** graphs) {
  return fake::guarded([&] {
    TORCH_CHECK(device >= 0 && device < fake::kDevices, "there is no CUDA device ", device, " among ", int(fake::kDevices));
    // Not a stream of `getStreamFromGlobalPool`.
    static std::atomic<c10::StreamId> next{1000};
    *graphs = new fake::graphs::Pool{static_cast<c10::DeviceIndex>(device), next++, {}};
  });
}
// The pool stays: its graphs may go after it.
void admix_cuda_graphs_free(void*) { fake::graphs::close(); }

char* admix_cuda_capture_begin(void* graphs) {
  return fake::guarded([&] {
    fake::order::host_waits_for_all();
    fake::graphs::begin(static_cast<fake::graphs::Pool*>(graphs));
    fake::counts().event("capture begun");
  });
}
char* admix_cuda_capture_end(void*, void** graph) {
  return fake::guarded([&] {
    *graph = fake::graphs::end();
    fake::counts().event("capture ended");
  });
}
void admix_cuda_capture_abandon(void*) {
  if (fake::graphs::close()) fake::counts().event("capture abandoned");
}
char* admix_cuda_graph_replay(void* graph) {
  return fake::guarded([&] {
    fake::graphs::replay(static_cast<fake::graphs::Graph*>(graph));
    fake::counts().event("graph replayed");
  });
}
void admix_cuda_graph_free(void* graph) { fake::graphs::forget(static_cast<fake::graphs::Graph*>(graph)); }

char* admix_cuda_timer_new(void** timer) {
  *timer = new fake::Timer;
  return nullptr;
}
void admix_cuda_timer_free(void* timer) { delete static_cast<fake::Timer*>(timer); }
char* admix_cuda_timer_begin(void* timer) {
  static_cast<fake::Timer*>(timer)->begin = std::chrono::steady_clock::now();
  return nullptr;
}
char* admix_cuda_timer_end(void* timer) {
  static_cast<fake::Timer*>(timer)->end = std::chrono::steady_clock::now();
  return nullptr;
}
char* admix_cuda_timer_ms(void* timer, float* ms) {
  auto& own = *static_cast<fake::Timer*>(timer);
  *ms = std::chrono::duration<float, std::milli>(own.end - own.begin).count();
  return nullptr;
}

// Not a wait in a step: the program asks for it by name, where it means to wait.
char* admix_cuda_synchronize(int device) {
  return fake::guarded([&] {
    fake::check_device(fake::cuda(static_cast<c10::DeviceIndex>(device)));
    fake::counts().event("synchronize");
    fake::order::host_waits_for_all();
  });
}
char* admix_cuda_watch_syncs(int level) {
  fake::graphs::watch = level;
  return nullptr;
}

}  // extern "C"
