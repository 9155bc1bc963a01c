// Opening libtorch's CUDA part at run time, and what can be asked of it without naming a CUDA symbol.
#include "shim.h"

#include <ATen/Context.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>

#include <map>
#include <memory>
#include <string>

namespace {

// Null before CUDA is opened and its allocator has been set up.
c10::DeviceAllocator* cuda_allocator() {
  if (!at::globalContext().hasCUDA()) return nullptr;
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(at::kCUDA));
  return allocator && allocator->initialized() ? allocator : nullptr;
}

// One stream for each thread and device, beside the one on which the thread asks for work.
c10::Stream aside_of(const c10::impl::VirtualGuardImpl& cuda, c10::Device device) {
  thread_local std::map<c10::DeviceIndex, c10::Stream> streams;
  auto found = streams.find(device.index());
  if (found == streams.end()) found = streams.emplace(device.index(), cuda.getStreamFromGlobalPool(device)).first;
  return found->second;
}

struct Silent : c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

}  // namespace

extern "C" {

bool admix_has_cuda_driver() { return dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) != nullptr; }

// The folder libtorch_cpu was loaded from; calls nothing in it, only asks where it lies.
char* admix_libtorch_folder(char** folder) {
  return guarded([&] {
    Dl_info info;
    auto* symbol = reinterpret_cast<void*>(static_cast<at::Context& (*)()>(&at::globalContext));
    TORCH_CHECK(dladdr(symbol, &info) != 0 && info.dli_fname, "cannot tell where libtorch was loaded from");
    const std::string path = info.dli_fname;
    const auto slash = path.rfind('/');
    *folder = strdup(slash == std::string::npos ? "." : path.substr(0, slash).c_str());
  });
}

char* admix_open_library(const char* path) {
  return guarded([&] {
    if (!dlopen(path, RTLD_NOW | RTLD_GLOBAL)) throw std::runtime_error(dlerror());
  });
}

// `bytes` -1: no such device, or nothing allocated on it yet.
char* admix_cuda_peak_bytes(int index, int64_t* bytes) {
  return guarded([&] {
    auto* allocator = cuda_allocator();
    constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *bytes = allocator ? allocator->getDeviceStats(static_cast<c10::DeviceIndex>(index)).allocated_bytes[kAll].peak : -1;
  });
}

char* admix_reset_cuda_peak(int index) {
  return guarded([&] {
    if (auto* allocator = cuda_allocator()) allocator->resetPeakStats(static_cast<c10::DeviceIndex>(index));
  });
}

char* admix_synchronize(int index) {
  return guarded([&] {
    c10::impl::VirtualGuardImpl(at::kCUDA).synchronizeDevice(static_cast<c10::DeviceIndex>(index));
  });
}

// From memory that is not page-locked CUDA copies little as soon as it is asked to; for more it may first wait for the device.
char* admix_upload(Handle host, int index, Handle* result) {
  return guarded([&] {
    constexpr size_t kStagedAtOnce = 64 << 10;
    const c10::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
    const bool pin = host->nbytes() > kStagedAtOnce && at::globalContext().hasCUDA();
    const at::Tensor from = pin ? host->pin_memory() : *host;
    *result = owned(from.to(device, from.scalar_type(), /*non_blocking=*/true));
  });
}

// The copy waits for nothing that was asked for before; what is asked for from here on waits for the copy, on the device.
char* admix_upload_aside(Handle host, int index, Handle* result) {
  return guarded([&] {
    const c10::impl::VirtualGuardImpl cuda(at::kCUDA);
    const c10::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
    TORCH_CHECK(index >= 0 && index < cuda.deviceCount(), "there is no CUDA device ", index);
    const auto work = cuda.getStream(device), aside = aside_of(cuda, device);
    at::Tensor copy;
    c10::Event copied(at::kCUDA);
    {
      const c10::StreamGuard on(aside);
      copy = host->to(device, host->scalar_type(), /*non_blocking=*/true);
      copied.record(aside);
    }
    copied.block(work);
    // Its memory is the other stream's: it is used again only after the work that reads it.
    cuda.recordDataPtrOnStream(copy.storage().data_ptr(), work);
    *result = owned(std::move(copy));
  });
}

// Asks for a copy in page-locked memory. It is there once `copied` is waited for; nothing here waits.
char* admix_download(Handle tensor, Handle* result, void** copied) {
  return guarded([&] {
    const auto device = tensor->device();
    auto event = std::make_unique<c10::Event>(device.type());
    auto host = at::empty_like(*tensor, tensor->options().device(at::kCPU).pinned_memory(true));
    host.copy_(*tensor, /*non_blocking=*/true);
    event->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
    *result = owned(std::move(host));
    *copied = event.release();
  });
}

char* admix_downloaded(void* copied) {
  return guarded([&] { static_cast<c10::Event*>(copied)->synchronize(); });
}

void admix_forget_download(void* copied) { delete static_cast<c10::Event*>(copied); }

// By the calls that keep libtorch's two sets of switches alike: it refuses to read them where they differ. That these
// calls are the older ones is no concern of a user's.
char* admix_set_tf32(bool allowed) {
  return guarded([&] {
    Silent silent;
    c10::WarningUtils::WarningHandlerGuard quiet(&silent);
    at::globalContext().setAllowTF32CuDNN(allowed);
    at::globalContext().setFloat32MatmulPrecision(allowed ? "high" : "highest");
  });
}

char* admix_tf32(bool* allowed) {
  return guarded([&] {
    Silent silent;
    c10::WarningUtils::WarningHandlerGuard quiet(&silent);
    *allowed = at::globalContext().allowTF32CuDNN() && at::globalContext().allowTF32CuBLAS();
  });
}

}  // extern "C"
