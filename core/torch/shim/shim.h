// The conventions of the C++ shim.
//
// Tensors cross as `at::Tensor*` (tch's `as_ptr`): borrowed when they come in, owned by the receiver when
// they go out. Every function that can fail catches all C++ exceptions and returns null, or the error as a C
// string that `admix_free` releases.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstring>
#include <exception>
#include <vector>

using Handle = at::Tensor*;

template <class Body>
char* guarded(Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}

inline std::vector<at::Tensor> tensors(const Handle* handles, size_t n) {
  std::vector<at::Tensor> list;
  list.reserve(n);
  for (size_t i = 0; i < n; ++i) list.push_back(*handles[i]);
  return list;
}

inline Handle owned(at::Tensor tensor) { return new at::Tensor(std::move(tensor)); }

// While one lives, scalars read on this thread are libtorch's own business on the CPU: the sync counter
// passes over them.
class Uncounted {
 public:
  Uncounted();
  ~Uncounted();
  Uncounted(const Uncounted&) = delete;
  Uncounted& operator=(const Uncounted&) = delete;
};
