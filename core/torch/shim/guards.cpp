// Thread-local state: gradient mode, autocast, and a snapshot of both.
#include "shim.h"

#include <ATen/autocast_mode.h>
#include <c10/core/AutogradState.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace autocast = at::autocast;

namespace {

c10::DeviceType device_type(int code) { return static_cast<c10::DeviceType>(code); }

constexpr c10::DeviceType kAutocastDevices[] = {at::kCPU, at::kCUDA};

int nesting() {
  autocast::increment_nesting();
  return autocast::decrement_nesting();
}

struct Snapshot {
  c10::AutogradState autograd = c10::AutogradState::get_tls_state();
  // Holds, among others, whether autocast is on for each device type.
  c10::impl::LocalDispatchKeySet keys = c10::impl::tls_local_dispatch_key_set();
  at::ScalarType dtypes[2] = {
      autocast::get_autocast_dtype(kAutocastDevices[0]), autocast::get_autocast_dtype(kAutocastDevices[1])};
  bool cache = autocast::is_autocast_cache_enabled();
  int depth = nesting();

  void restore() const {
    c10::AutogradState::set_tls_state(autograd);
    c10::impl::_force_tls_local_dispatch_key_set(keys);
    for (int i = 0; i < 2; ++i) autocast::set_autocast_dtype(kAutocastDevices[i], dtypes[i]);
    autocast::set_autocast_cache_enabled(cache);
    for (int now = nesting(); now < depth;) now = autocast::increment_nesting();
    for (int now = nesting(); now > depth;) now = autocast::decrement_nesting();
    if (depth == 0) autocast::clear_cache();
  }
};

}  // namespace

extern "C" {

char* admix_call(void (*body)(void*), void* data) {
  return guarded([&] { body(data); });
}

void admix_free(char* text) { free(text); }

bool admix_grad_enabled() { return c10::GradMode::is_enabled(); }
void admix_set_grad_enabled(bool enabled) { c10::GradMode::set_enabled(enabled); }

bool admix_autocast_cache() { return autocast::is_autocast_cache_enabled(); }
void admix_set_autocast_cache(bool enabled) { autocast::set_autocast_cache_enabled(enabled); }

// Turns autocast on or off; `was_enabled` and `was_dtype` go back to `admix_autocast_exit`.
char* admix_autocast_enter(int device, bool enabled, int dtype, bool* was_enabled, int* was_dtype) {
  return guarded([&] {
    const auto type = device_type(device);
    *was_enabled = autocast::is_autocast_enabled(type);
    *was_dtype = static_cast<int>(autocast::get_autocast_dtype(type));
    if (enabled) autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(dtype));
    autocast::set_autocast_enabled(type, enabled);
    autocast::increment_nesting();
  });
}

char* admix_autocast_exit(int device, bool was_enabled, int was_dtype) {
  return guarded([&] {
    if (autocast::decrement_nesting() == 0) autocast::clear_cache();
    autocast::set_autocast_enabled(device_type(device), was_enabled);
    autocast::set_autocast_dtype(device_type(device), static_cast<at::ScalarType>(was_dtype));
  });
}

char* admix_state_save(void** state) {
  return guarded([&] { *state = new Snapshot; });
}

char* admix_state_restore(void* state) {
  auto* snapshot = static_cast<Snapshot*>(state);
  char* error = guarded([&] { snapshot->restore(); });
  delete snapshot;
  return error;
}

}  // extern "C"
