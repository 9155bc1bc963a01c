// What single tensors and generators need beyond tch: memory formats, `set_data`, host memory, generator states.
#include "shim.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/EmptyTensor.h>
#include <torch/version.h>

#include <mutex>

namespace {

at::MemoryFormat channels_last_of(const at::Tensor& tensor) {
  TORCH_CHECK(
      tensor.dim() == 4 || tensor.dim() == 5, "channels_last needs [N, C, H, W] or [N, C, D, H, W], got ", tensor.sizes());
  return tensor.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::ChannelsLast3d;
}

// FNV-1a over 64-bit words.
struct Hash {
  uint64_t value = 0xcbf29ce484222325;
  void add(uint64_t word) { value = (value ^ word) * 0x100000001b3; }
};

}  // namespace

#define ADMIX_TEXT_OF(x) #x
#define ADMIX_TEXT(x) ADMIX_TEXT_OF(x)

extern "C" {

const char* admix_libtorch_version() {
  return ADMIX_TEXT(TORCH_VERSION_MAJOR) "." ADMIX_TEXT(TORCH_VERSION_MINOR) "." ADMIX_TEXT(TORCH_VERSION_PATCH);
}

char* admix_channels_last(Handle tensor, Handle* result) {
  return guarded([&] { *result = owned(tensor->contiguous(channels_last_of(*tensor))); });
}

char* admix_is_channels_last(Handle tensor, bool* result) {
  return guarded([&] {
    const auto rank = tensor->dim();
    *result = (rank == 4 && tensor->is_contiguous(at::MemoryFormat::ChannelsLast)) ||
        (rank == 5 && tensor->is_contiguous(at::MemoryFormat::ChannelsLast3d));
  });
}

char* admix_set_data(Handle target, Handle value) {
  return guarded([&] { target->set_data(*value); });
}

// Bytes that nobody has written yet, page-locked where CUDA is to read them.
char* admix_host_bytes(size_t rank, const int64_t* size, bool pinned, Handle* result) {
  return guarded([&] {
    const auto options = at::TensorOptions().dtype(at::kByte).pinned_memory(pinned);
    *result = owned(at::Tensor(at::detail::empty_cpu(at::IntArrayRef(size, rank), options)));
  });
}

char* admix_cpu_rng_state(Handle* state) {
  return guarded([&] {
    auto generator = at::detail::getDefaultCPUGenerator();
    std::lock_guard<std::mutex> lock(generator.mutex());
    *state = owned(generator.get_state());
  });
}

char* admix_set_cpu_rng_state(Handle state) {
  return guarded([&] {
    auto generator = at::detail::getDefaultCPUGenerator();
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(*state);
  });
}

// `cuda_index` -1 is the CPU.
char* admix_rng_fingerprint(int cuda_index, uint64_t* fingerprint) {
  return guarded([&] {
    Hash hash;
    if (cuda_index < 0) {
      auto generator = at::detail::getDefaultCPUGenerator();
      std::lock_guard<std::mutex> lock(generator.mutex());
      const auto state = generator.get_state();
      const auto* bytes = state.const_data_ptr<uint8_t>();
      for (int64_t at = 0; at < state.numel(); at += 8) {
        uint64_t word = 0;
        std::memcpy(&word, bytes + at, std::min<int64_t>(8, state.numel() - at));
        hash.add(word);
      }
    } else {
      TORCH_CHECK(at::globalContext().hasCUDA(), "no CUDA device");
      auto generator = at::globalContext().defaultGenerator(at::Device(at::kCUDA, cuda_index));
      std::lock_guard<std::mutex> lock(generator.mutex());
      hash.add(generator.current_seed());
      hash.add(generator.get_offset());
    }
    *fingerprint = hash.value;
  });
}

}  // extern "C"
