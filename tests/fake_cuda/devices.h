// The devices, and the device and streams on which this thread asks for work.
#pragma once
#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/util/Exception.h>

#include <array>

namespace fake {

// Two, so that `cuda:1` is another one than the default.
constexpr c10::DeviceIndex kDevices = 2;

// A stream of a device, as one number: streams of different devices are not ordered either.
using StreamKey = int64_t;

inline thread_local c10::DeviceIndex current_device = 0;
inline thread_local std::array<c10::StreamId, kDevices> current_streams = {};

inline void check_device(c10::Device device) {
  TORCH_CHECK(device.is_cuda() && device.index() < kDevices, "CUDA error: invalid device ordinal");
}
// A device without a number is the thread's.
inline c10::DeviceIndex index_of(c10::Device device) {
  check_device(device);
  return device.has_index() ? device.index() : current_device;
}
inline c10::Device cuda(c10::DeviceIndex index) { return {c10::kCUDA, index}; }

inline StreamKey key_of(c10::DeviceIndex device, c10::StreamId stream) { return stream * kDevices + device; }
inline StreamKey key_of(const c10::Stream& stream) { return key_of(stream.device_index(), stream.id()); }
inline StreamKey current_key(c10::DeviceIndex device) { return key_of(device, current_streams[device]); }

}  // namespace fake
