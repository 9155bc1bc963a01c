// What names CUDA symbols: graphs of captured work, time on the device, libtorch's watch for syncs. Beside it kernels.cpp, for
// kernels of our own, and nccl.cpp.
//
// Not a part of the program, which links libtorch's CPU part only: a shared object of its own that the program opens at run
// time (src/cuda_object.rs), after libtorch_cuda.so, on machines with a GPU. Without it steps are not captured, and processes do
// not share a run there (nccl.cpp).
//
// `cargo xtask setup --cuda` compiles it. By hand, from the root of the repository, with SITE the folder that holds `torch`
// and `nvidia` (Python's site-packages, or .libtorch), HEADERS the folder with nvidia-cuda-crt 13.0 and nvidia-cuda-cccl 13.0
// unpacked (`pip download --no-deps` and `unzip`), and the result beside the other libraries of libtorch:
//
//   g++ -std=c++17 -O1 -shared -fPIC -DNDEBUG -D_GLIBCXX_USE_CXX11_ABI=1 -Wno-interference-size -DUSE_C10D_NCCL core/torch/cuda/graphs.cpp core/torch/cuda/kernels.cpp core/torch/cuda/nccl.cpp -I core/torch/shim -I $SITE/torch/include -I $SITE/torch/include/torch/csrc/api/include -I $SITE/nvidia/cu13/include -I $SITE/nvidia/nccl/include -I $HEADERS/nvidia/cu13/include -I $HEADERS/nvidia/cu13/include/cccl -L $SITE/torch/lib -L $SITE/nvidia/cu13/lib -Wl,--no-undefined -lc10 -lc10_cuda -ltorch_cpu -ltorch_cuda -l:libcudart.so.13 -ldl -o $SITE/torch/lib/libadmix_cuda.so
//
// (A CUDA toolkit 13.0 has all headers in its own `include` and `include/cccl`.)
//
// Functions return null, or the error as a text that `free` releases, as in shim/shim.h. One thread uses an object at a time.
#include "shim.h"

#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <torch/version.h>

#include <memory>
#include <optional>

namespace {

// What is changed here must be changed in src/cuda_object.rs too.
constexpr uint32_t kAbi = 2;

// The graphs of one run. They share one pool of memory: they are replayed one after the other, and what a graph hands out is
// copied before the next one runs, so none finds its memory in use. A pool for each would hold a step's memory many times.
struct Graphs {
  explicit Graphs(c10::DeviceIndex device)
      : device(device),
        stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device)),
        pool(at::cuda::graph_pool_handle()) {}

  c10::DeviceIndex device;
  // libtorch captures on no default stream. Replays run on the caller's.
  c10::cuda::CUDAStream stream;
  c10::MempoolId_t pool;

  // Of the capture that is going on.
  std::unique_ptr<at::cuda::CUDAGraph> open;
  std::optional<c10::cuda::CUDAStreamGuard> guard;
};

template <class Body>
bool succeeds(Body&& body) {
  try {
    body();
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

// Ends a capture whatever state it is in. Nothing that was captured has been executed.
void abandon(Graphs& graphs) {
  if (!graphs.open) return;
  if (!succeeds([&] { graphs.open->capture_end(); })) {
    // Where CUDA broke the capture off, libtorch stops at that, and its allocators still wait for the end. They refuse a
    // second end: then libtorch came further, and lets go of its pool itself.
    auto* host = at::getHostAllocator(at::kCUDA);
    if (succeeds([&] { c10::cuda::CUDACachingAllocator::endAllocateToPool(graphs.device, graphs.pool); })) {
      succeeds([&] { c10::cuda::CUDACachingAllocator::releasePool(graphs.device, graphs.pool); });
    }
    if (succeeds([&] { host->end_allocate_to_pool(graphs.pool); })) {
      succeeds([&] { host->release_pool(graphs.pool); });
    }
  }
  graphs.open.reset();
  graphs.guard.reset();
  // An error of a capture is no error of what comes after it.
  (void)cudaGetLastError();
}

struct Timer {
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  ~Timer() {
    if (begin) (void)cudaEventDestroy(begin);
    if (end) (void)cudaEventDestroy(end);
  }
};

}  // namespace

extern "C" {

uint32_t admix_cuda_abi() { return kAbi; }

const char* admix_cuda_libtorch() { return TORCH_VERSION; }

// --- Graphs

char* admix_cuda_graphs_new(int device, void** graphs) {
  return guarded([&] {
    const auto count = c10::cuda::device_count_ensure_non_zero();
    TORCH_CHECK(device >= 0 && device < count, "there is no CUDA device ", device, " among ", count);
    const c10::cuda::CUDAGuard on(static_cast<c10::DeviceIndex>(device));
    *graphs = new Graphs(static_cast<c10::DeviceIndex>(device));
  });
}

void admix_cuda_graphs_free(void* graphs) {
  auto* own = static_cast<Graphs*>(graphs);
  try {
    if (own) abandon(*own);
  } catch (...) {
  }
  delete own;
}

// From here on, what this thread asks of the device is captured instead of executed. The device is idle before: nothing of
// the past may be part of it.
char* admix_cuda_capture_begin(void* graphs) {
  auto& own = *static_cast<Graphs*>(graphs);
  return guarded([&] {
    TORCH_CHECK(!own.open, "a capture is going on already");
    {
      // It ends before the stream's guard begins, which keeps the device as well.
      const c10::cuda::CUDAGuard on(own.device);
      c10::cuda::device_synchronize();
      // Memory of the warm-up that nobody holds goes back: the pool of graphs needs as much again.
      c10::cuda::CUDACachingAllocator::emptyCache();
    }
    own.guard.emplace(own.stream);
    own.open = std::make_unique<at::cuda::CUDAGraph>();
    try {
      // Of this thread alone: those that load images may allocate and copy meanwhile. Backward passes have a thread of their
      // own, which launches into this stream.
      own.open->capture_begin(own.pool, cudaStreamCaptureModeThreadLocal);
    } catch (...) {
      abandon(own);
      throw;
    }
  });
}

char* admix_cuda_capture_end(void* graphs, void** graph) {
  auto& own = *static_cast<Graphs*>(graphs);
  return guarded([&] {
    TORCH_CHECK(own.open, "there is no capture to end");
    try {
      own.open->capture_end();
    } catch (...) {
      abandon(own);
      throw;
    }
    own.guard.reset();
    *graph = own.open.release();
  });
}

void admix_cuda_capture_abandon(void* graphs) {
  try {
    abandon(*static_cast<Graphs*>(graphs));
  } catch (...) {
  }
}

// On this thread's current stream: behind what was asked for before, and before what is asked for next.
char* admix_cuda_graph_replay(void* graph) {
  return guarded([&] { static_cast<at::cuda::CUDAGraph*>(graph)->replay(); });
}

void admix_cuda_graph_free(void* graph) { delete static_cast<at::cuda::CUDAGraph*>(graph); }

// --- Time between two places of this thread's current stream

char* admix_cuda_timer_new(void** timer) {
  return guarded([&] {
    auto made = std::make_unique<Timer>();
    C10_CUDA_CHECK(cudaEventCreate(&made->begin));
    C10_CUDA_CHECK(cudaEventCreate(&made->end));
    *timer = made.release();
  });
}

void admix_cuda_timer_free(void* timer) { delete static_cast<Timer*>(timer); }

char* admix_cuda_timer_begin(void* timer) {
  return guarded(
      [&] { C10_CUDA_CHECK(cudaEventRecord(static_cast<Timer*>(timer)->begin, c10::cuda::getCurrentCUDAStream())); });
}

char* admix_cuda_timer_end(void* timer) {
  return guarded(
      [&] { C10_CUDA_CHECK(cudaEventRecord(static_cast<Timer*>(timer)->end, c10::cuda::getCurrentCUDAStream())); });
}

// Waits for the end.
char* admix_cuda_timer_ms(void* timer, float* ms) {
  return guarded([&] {
    auto& own = *static_cast<Timer*>(timer);
    C10_CUDA_CHECK(cudaEventSynchronize(own.end));
    C10_CUDA_CHECK(cudaEventElapsedTime(ms, own.begin, own.end));
  });
}

// --- Waiting

char* admix_cuda_synchronize(int device) {
  return guarded([&] {
    const c10::cuda::CUDAGuard on(static_cast<c10::DeviceIndex>(device));
    c10::cuda::device_synchronize();
  });
}

// What libtorch does where the host waits for the device: 0 nothing, 1 warns, 2 fails.
char* admix_cuda_watch_syncs(int level) {
  return guarded([&] {
    TORCH_CHECK(level >= 0 && level <= 2, "0, 1 or 2, not ", level);
    c10::cuda::warning_state().set_sync_debug_mode(
        level == 0 ? c10::cuda::SyncDebugMode::L_DISABLED
                   : (level == 1 ? c10::cuda::SyncDebugMode::L_WARN : c10::cuda::SyncDebugMode::L_ERROR));
  });
}

}  // extern "C"
