// Memory of a device, which the host cannot follow, and pinned memory of the host.
#pragma once
#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "graphs.h"

namespace fake {

// A pointer to device memory is that of the host with this bit set. It is not canonical: a host that follows it dies at once.
constexpr uintptr_t kDeviceBit = uintptr_t(1) << 60;
inline void* to_device(void* pointer) {
  return pointer ? reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(pointer) | kDeviceBit) : nullptr;
}
inline void* to_host(const void* pointer) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(pointer) & ~kDeviceBit);
}

// How many bytes a device has: FAKE_CUDA_MIB, or as good as endless.
inline int64_t capacity() {
  static const char* mib = getenv("FAKE_CUDA_MIB");
  static const int64_t bytes = mib ? atoll(mib) << 20 : INT64_MAX;
  return bytes;
}

// What a device storage owns: the host storage that has its bytes. More than one block may own the same storage.
class Block {
 public:
  Block(graphs::Storage storage, c10::DeviceIndex device) : host(std::move(storage)), bytes_(host->nbytes()) {
    order::Lock lock(order::state().mutex);
    const bool first = !owners().count(host.get());
    TORCH_CHECK_WITH(OutOfMemoryError, !first || counts().bytes() + bytes_ <= capacity(),
                     "CUDA out of memory. Tried to allocate ", bytes_, " bytes. GPU ", int(device),
                     " has a total capacity of ", capacity(), " bytes.");
    ++owners()[host.get()];
    counts().memory(bytes_);
    // Graphs keep their memory.
    if (!graphs::capturing()) order::allocated(host.get(), current_key(device));
  }
  Block(const Block&) = delete;
  ~Block() {
    order::Lock lock(order::state().mutex);
    counts().memory(-bytes_);
    if (--owners()[host.get()]) return;
    owners().erase(host.get());
    order::freed(host.get());
  }

  // A device pointer to the bytes of a host storage, which owns it.
  static c10::DataPtr pointer(const graphs::Storage& host, c10::DeviceIndex device) {
    auto* block = new Block(host, device);
    return {to_device(host->mutable_data()), block, free, cuda(device)};
  }
  static Block& of(const c10::StorageImpl* storage) {
    auto& pointer = const_cast<c10::StorageImpl*>(storage)->_mutable_data_ptr_no_checks();
    TORCH_CHECK(pointer.get_deleter() == free, "fake CUDA: a storage on ", pointer.device(), " of another allocator");
    return *static_cast<Block*>(pointer.get_context());
  }
  static void free(void* block) { delete static_cast<Block*>(block); }

  const graphs::Storage host;

 private:
  static std::unordered_map<c10::StorageImpl*, int>& owners() {
    static auto* all = new std::unordered_map<c10::StorageImpl*, int>;
    return *all;
  }
  const int64_t bytes_;
};

class DeviceAllocator final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    auto* cpu = c10::GetCPUAllocator();
    auto use_bytes = c10::StorageImpl::use_byte_size_t();
    auto host = c10::make_intrusive<c10::StorageImpl>(use_bytes, bytes, cpu->allocate(bytes), cpu, true);
    auto pointer = Block::pointer(host, current_device);
    graphs::spoil(host.get());  // fresh memory holds anything
    graphs::made(host);
    return pointer;
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    memcpy(to_host(to), to_host(from), bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr& pointer, c10::Stream stream) override {
    if (pointer.get_deleter() == Block::free)
      order::recorded(static_cast<Block*>(pointer.get_context())->host.get(), key_of(stream));
  }
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override {
    c10::CachingDeviceAllocator::DeviceStats stats;
    stats.allocated_bytes[0].current = counts().bytes();
    stats.allocated_bytes[0].peak = counts().peak();
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override { counts().reset_peak(); }
};
inline DeviceAllocator& device_allocator() {
  static auto* allocator = new DeviceAllocator;
  return *allocator;
}

// A device storage with the bytes of a host storage.
inline c10::Storage adopt(const c10::Storage& storage, c10::DeviceIndex device) {
  auto host = graphs::Storage::reclaim_copy(storage.unsafeGetStorageImpl());
  auto pointer = Block::pointer(host, device);
  graphs::made(host);
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), host->nbytes(), std::move(pointer), &device_allocator(), true));
}

class PinnedAllocator final : public at::HostAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (!bytes) return {nullptr, nullptr, free, c10::kCPU};
    void* memory = nullptr;
    TORCH_CHECK(posix_memalign(&memory, 4096, bytes) == 0, "out of host memory");
    std::lock_guard<std::mutex> lock(mutex());
    live()[reinterpret_cast<uintptr_t>(memory)] = bytes;
    return {memory, memory, free, c10::kCPU};
  }
  static bool owns(const void* pointer) {
    std::lock_guard<std::mutex> lock(mutex());
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    auto after = live().upper_bound(address);
    if (after == live().begin()) return false;
    auto& [start, bytes] = *--after;
    return address < start + bytes;
  }
  void copy_data(void* to, const void* from, size_t bytes) const override { memcpy(to, from, bytes); }
  c10::DeleterFnPtr raw_deleter() const override { return free; }
  bool record_event(void*, void*, c10::Stream) override { return true; }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}

 private:
  // Spoilt before it goes, so that a copy from freed memory shows.
  static void free(void* memory) {
    std::lock_guard<std::mutex> lock(mutex());
    auto found = live().find(reinterpret_cast<uintptr_t>(memory));
    if (found == live().end()) return;
    memset(memory, 0xDD, found->second);
    live().erase(found);
    ::free(memory);
  }
  static std::mutex& mutex() {
    static auto* one = new std::mutex;
    return *one;
  }
  static std::map<uintptr_t, size_t>& live() {
    static auto* all = new std::map<uintptr_t, size_t>;
    return *all;
  }
};
inline PinnedAllocator& pinned_allocator() {
  static auto* allocator = new PinnedAllocator;
  return *allocator;
}

}  // namespace fake
