// What libtorch asks a backend for: the current device and its streams, events, and whether it is there at all.
#pragma once
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "generator.h"
#include "memory.h"

namespace fake {

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kCUDA; }
  c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }

  c10::Device getDevice() const override { return cuda(current_device); }
  void setDevice(c10::Device device) const override { current_device = index_of(device); }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.has_index() && device.index() < kDevices) current_device = device.index();
  }
  c10::Device exchangeDevice(c10::Device device) const override {
    return cuda(std::exchange(current_device, index_of(device)));
  }

  static c10::Stream stream(c10::Device device, c10::StreamId id) {
    return c10::Stream(c10::Stream::UNSAFE, cuda(index_of(device)), id);
  }
  c10::Stream getStream(c10::Device device) const override {
    return stream(device, current_streams[index_of(device)]);
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return stream(device, 0); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    static std::atomic<c10::StreamId> next{0};
    return stream(device, 1 + next++ % 32);
  }
  c10::Stream getNewStream(c10::Device device, int) const override { return getStreamFromGlobalPool(device, false); }
  c10::Stream exchangeStream(c10::Stream next) const override {
    return stream(next.device(), std::exchange(current_streams[next.device_index()], next.id()));
  }
  void* getStreamNativeHandle(const c10::Stream) const override { return nullptr; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream& stream) const override {
    graphs::host_waits("synchronizeStream");
    order::host_waits_for(key_of(stream));
  }
  void synchronizeDevice(c10::DeviceIndex) const override {
    graphs::host_waits("synchronizeDevice");
    order::host_waits_for_all();
  }
  void recordDataPtrOnStream(const c10::DataPtr& pointer, const c10::Stream& stream) const override {
    device_allocator().recordStream(pointer, stream);
  }

  void record(void** event, const c10::Stream& stream, c10::DeviceIndex, c10::EventFlag) const override {
    if (!*event) *event = new order::Event;
    auto& own = *static_cast<order::Event*>(*event);
    order::record(own, key_of(stream));
    own.captured = graphs::capturing();
  }
  void block(void* event, const c10::Stream& stream) const override {
    if (!event) return;
    auto& own = *static_cast<order::Event*>(event);
    const bool in_capture = graphs::capturing() && stream.id() == current_streams[stream.device_index()];
    if (in_capture && !own.captured)
      graphs::refuse("wait for an event from outside", "dependency created on uncaptured work in another stream");
    order::wait(own, key_of(stream));
  }
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void* event) const override {
    if (!event) return;
    auto& own = *static_cast<order::Event*>(event);
    // The device does not stand still while the host waits for what it was asked before other work.
    if (!graphs::capturing() && order::is_past(own)) counts().event("wait for an earlier event");
    else graphs::host_waits("synchronizeEvent");
    order::host_waits_for(own);
  }
  void destroyEvent(void* event, c10::DeviceIndex) const noexcept override { delete static_cast<order::Event*>(event); }
  double elapsedTime(void*, void*, c10::DeviceIndex) const override { return 0; }
};

}  // namespace fake

namespace at {

// libtorch finds the hooks by this name.
struct CUDAHooks final : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  int getNumGPUs() const override { return fake::kDevices; }
  DeviceIndex deviceCount() const override { return fake::kDevices; }
  DeviceIndex current_device() const override { return fake::current_device; }
  DeviceIndex getCurrentDevice() const override { return fake::current_device; }
  void setCurrentDevice(DeviceIndex device) const override { fake::current_device = fake::index_of(fake::cuda(device)); }
  DeviceIndex exchangeDevice(DeviceIndex device) const override { return std::exchange(fake::current_device, device); }
  DeviceIndex maybeExchangeDevice(DeviceIndex device) const override {
    return device < 0 ? fake::current_device : exchangeDevice(device);
  }
  const Generator& getDefaultGenerator(DeviceIndex device) const override { return fake::default_generator(device); }
  Generator getNewGenerator(DeviceIndex device) const override {
    return Generator(c10::make_intrusive<fake::Generator>(device < 0 ? fake::current_device : device));
  }
  Device getDeviceFromPtr(void*) const override { return fake::cuda(fake::current_device); }
  bool isPinnedPtr(const void* pointer) const override { return fake::PinnedAllocator::owns(pointer); }
  Allocator* getPinnedMemoryAllocator() const override { return &fake::pinned_allocator(); }
  Allocator* getCUDADeviceAllocator() const override { return &fake::device_allocator(); }
  void deviceSynchronize(DeviceIndex) const override { fake::Guard().synchronizeDevice(0); }
  std::string showConfig() const override { return "fake CUDA"; }
};

}  // namespace at
