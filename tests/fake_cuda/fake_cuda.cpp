// A CUDA device without a GPU: takes the place of libtorch_cuda.so, and of libadmix_cuda.so. See README.md.
#include <signal.h>
#include <unistd.h>

#include "kernels.h"
#include "object.h"
#include "own_kernels.h"

namespace fake {
namespace {

// Says where the host followed a pointer that it must not, which a handler of the program would only call a crash.
void segv(int, siginfo_t*, void*) {
  const char message[] = "\nfake CUDA: SIGSEGV, as where the host touches device memory\n";
  (void)!write(STDERR_FILENO, message, sizeof message - 1);
  void* frames[64];
  backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
  _exit(139);
}

struct Start {
  Start() {
    c10::SetAllocator(c10::kCUDA, &device_allocator());
    at::setHostAllocator(c10::kCUDA, &pinned_allocator());
    struct sigaction action {};
    action.sa_sigaction = segv;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, nullptr);
    std::atexit([] { counts().write(); });
  }
} start;

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

}  // namespace
}  // namespace fake

namespace at {
REGISTER_CUDA_HOOKS(CUDAHooks)
}  // namespace at

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", TORCH_FN(fake::empty));
  library.impl("empty_strided", TORCH_FN(fake::empty_strided));
  library.impl("copy_", TORCH_FN(fake::copy));
  library.impl("record_stream", TORCH_FN(fake::record_stream));
  const std::set<std::string> own = {"empty.memory_format", "empty_strided", "copy_", "record_stream"};
  for (auto& [name, operation] : fake::operations()) {
    const auto dot = name.find('.');
    const auto overload = dot == std::string::npos ? "" : name.substr(dot + 1);
    // Some of the list are schemas of builds with more in them.
    if (own.count(name) || !c10::Dispatcher::singleton().findSchema({"aten::" + name.substr(0, dot), overload})) continue;
    library.impl(("aten::" + name).c_str(), torch::CppFunction::makeFromBoxedFunction<&fake::run_kernel>());
  }
}
