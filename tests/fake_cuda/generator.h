// A CUDA generator: seed and offset as on CUDA, numbers of the CPU's.
#pragma once
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>

#include "graphs.h"

namespace fake {

struct Generator final : c10::GeneratorImpl {
  explicit Generator(c10::DeviceIndex device)
      : GeneratorImpl(cuda(device), c10::DispatchKeySet(c10::DispatchKey::CUDA)),
        numbers(at::detail::createCPUGenerator()) {}

  at::Generator numbers;
  uint64_t seed_now = c10::default_rng_seed_val, offset_now = 0;

  void set_current_seed(uint64_t seed) override {
    seed_now = seed;
    offset_now = 0;
    numbers.set_current_seed(seed);
  }
  void set_offset(uint64_t offset) override { offset_now = offset; }
  uint64_t get_offset() const override {
    check_readable("get_offset");
    return offset_now;
  }
  uint64_t current_seed() const override {
    check_readable("current_seed");
    return seed_now;
  }
  uint64_t seed() override {
    set_current_seed(c10::detail::getNonDeterministicRandom());
    return seed_now;
  }
  void set_state(const c10::TensorImpl& state) override {
    uint64_t words[2];
    TORCH_CHECK(state.numel() == sizeof words && state.device().is_cpu(), "RNG state is wrong size");
    memcpy(words, state.data(), sizeof words);
    set_current_seed(words[0]);
    offset_now = words[1];
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    const uint64_t words[2] = {seed_now, offset_now};
    at::Tensor state(at::detail::empty_cpu({sizeof words}, at::TensorOptions().dtype(at::kByte)));
    memcpy(state.mutable_data_ptr(), words, sizeof words);
    return state.getIntrusivePtr();
  }
  Generator* clone_impl() const override {
    auto* copy = new Generator(device().index());
    copy->seed_now = seed_now;
    copy->offset_now = offset_now;
    copy->numbers = numbers.clone();
    return copy;
  }

 private:
  // Such a call fails in a capture and does not break it.
  static void check_readable(const char* call) {
    TORCH_CHECK(!graphs::capturing(), "Cannot call CUDAGeneratorImpl::", call, " during CUDA graph capture.");
  }
};

inline const at::Generator& default_generator(c10::DeviceIndex device) {
  static auto* all = [] {
    auto* made = new std::vector<at::Generator>;
    for (c10::DeviceIndex i = 0; i < kDevices; ++i) made->emplace_back(c10::make_intrusive<Generator>(i));
    return made;
  }();
  return all->at(device < 0 ? current_device : device);
}

}  // namespace fake
