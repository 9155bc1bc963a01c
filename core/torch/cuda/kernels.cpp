// Kernels that come as text: NVRTC, which torch brings along, compiles them for the GPU that is there.
//
// Nothing here waits for a device. A kernel must have run once before it is captured: CUDA loads it then.
#include "launch.h"
#include "shim.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nvrtc.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace {

// The functions of NVRTC. It is opened when it is needed: without it all else of this object still works.
struct Nvrtc {
#define ADMIX_NVRTC(name) decltype(&nvrtc##name) name = symbol<decltype(&nvrtc##name)>("nvrtc" #name)

  static const Nvrtc& get() {
    static const Nvrtc one;
    return one;
  }

  void check(nvrtcResult result) const { TORCH_CHECK(result == NVRTC_SUCCESS, "NVRTC: ", GetErrorString(result)); }

 private:
  // The folder of CUDA's libraries, with a slash.
  static std::string folder() {
    Dl_info info;
    if (dladdr(reinterpret_cast<void*>(&cudaGetDeviceCount), &info) == 0 || !info.dli_fname) return "";
    const std::string path = info.dli_fname;
    return path.substr(0, path.rfind('/') + 1);
  }

  static void* open() {
    const std::string name = "libnvrtc.so." + std::to_string(CUDART_VERSION / 1000);
    void* library = dlopen((folder() + name).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    TORCH_CHECK(library, dlerror());
    return library;
  }

  template <class Function>
  Function symbol(const char* name) const {
    void* found = dlsym(library, name);
    TORCH_CHECK(found, "NVRTC has no ", name);
    return reinterpret_cast<Function>(found);
  }

  void* library = open();

 public:
  ADMIX_NVRTC(GetErrorString);
  ADMIX_NVRTC(Version);
  ADMIX_NVRTC(CreateProgram);
  ADMIX_NVRTC(DestroyProgram);
  ADMIX_NVRTC(CompileProgram);
  ADMIX_NVRTC(GetProgramLogSize);
  ADMIX_NVRTC(GetProgramLog);
  ADMIX_NVRTC(GetCUBINSize);
  ADMIX_NVRTC(GetCUBIN);
#undef ADMIX_NVRTC

 private:
  Nvrtc() {
    // NVRTC looks for this library by its name alone, which finds it once it is open.
    int major = 0, minor = 0;
    check(Version(&major, &minor));
    const std::string name = "libnvrtc-builtins.so." + std::to_string(major) + "." + std::to_string(minor);
    (void)dlopen((folder() + name).c_str(), RTLD_NOW | RTLD_LOCAL);
  }
};

// Machine code of a text for one architecture.
std::string compiled(const char* source, const std::string& architecture) {
  const auto& nvrtc = Nvrtc::get();
  nvrtcProgram program;
  nvrtc.check(nvrtc.CreateProgram(&program, source, "kernels.cu", 0, nullptr, nullptr));
  const std::string target = "--gpu-architecture=" + architecture;
  const char* options[] = {"--std=c++17", target.c_str()};
  const auto result = nvrtc.CompileProgram(program, 2, options);
  std::string code;
  if (result == NVRTC_SUCCESS) {
    size_t bytes = 0;
    nvrtc.check(nvrtc.GetCUBINSize(program, &bytes));
    code.resize(bytes);
    nvrtc.check(nvrtc.GetCUBIN(program, code.data()));
  } else {
    size_t bytes = 0;
    nvrtc.check(nvrtc.GetProgramLogSize(program, &bytes));
    std::string log(bytes, '\0');
    nvrtc.check(nvrtc.GetProgramLog(program, log.data()));
    code = log;
  }
  nvrtc.DestroyProgram(&program);
  TORCH_CHECK(result == NVRTC_SUCCESS, "NVRTC for ", architecture, ": ", nvrtc.GetErrorString(result), ": ", code);
  return code;
}

// The kernels of one device.
struct Loaded {
  // CUDA may read it for as long as the library is loaded, which is for good.
  std::string code;
  cudaLibrary_t library = nullptr;
  std::map<std::string, cudaKernel_t> kernels;

  const void* kernel(const char* name) {
    const auto found = kernels.find(name);
    if (found != kernels.end()) return reinterpret_cast<const void*>(found->second);
    cudaKernel_t kernel;
    C10_CUDA_CHECK(cudaLibraryGetKernel(&kernel, library, name));
    kernels.emplace(name, kernel);
    return reinterpret_cast<const void*>(kernel);
  }
};

// Backward passes launch from threads of their own.
std::mutex mutex;
std::map<int, std::unique_ptr<Loaded>> all;

}  // namespace

extern "C" {

// Compiles the kernels of a text for a device, in a few seconds, unless it has them.
char* admix_cuda_kernels_load(const char* source, int device) {
  return guarded([&] {
    const std::lock_guard<std::mutex> lock(mutex);
    if (all.count(device)) return;
    const c10::cuda::CUDAGuard on(static_cast<c10::DeviceIndex>(device));
    int major = 0, minor = 0;
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
    auto loaded = std::make_unique<Loaded>();
    loaded->code = compiled(source, "sm_" + std::to_string(major) + std::to_string(minor));
    C10_CUDA_CHECK(
        cudaLibraryLoadData(&loaded->library, loaded->code.data(), nullptr, nullptr, 0, nullptr, nullptr, 0));
    all.emplace(device, std::move(loaded));
  });
}

// On this thread's current stream. Does not wait.
char* admix_cuda_kernel_launch(const Launch* launch) {
  return guarded([&] {
    const auto device = launch->tensors[0].device().index();
    const c10::cuda::CUDAGuard on(device);
    const void* kernel;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      const auto loaded = all.find(device);
      TORCH_CHECK(loaded != all.end(), "the kernels of device ", int(device), " are not loaded");
      kernel = loaded->second->kernel(launch->kernel);
    }
    void* pointers[kLaunchTensors] = {};
    TORCH_CHECK(launch->count <= kLaunchTensors);
    for (size_t i = 0; i < launch->count; ++i) {
      const auto& tensor = launch->tensors[i];
      if (!tensor.defined()) continue;
      pointers[i] = i < launch->written ? tensor.mutable_data_ptr() : const_cast<void*>(tensor.const_data_ptr());
    }
    void* arguments[] = {pointers, const_cast<void*>(launch->numbers)};
    const dim3 blocks(launch->blocks[0], launch->blocks[1], launch->blocks[2]), threads(launch->threads);
    C10_CUDA_CHECK(cudaLaunchKernel(
        kernel, blocks, threads, arguments, /*sharedMem=*/0, c10::cuda::getCurrentCUDAStream(device)));
  });
}

}  // extern "C"
