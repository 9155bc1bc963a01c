// Stand-ins for Gloo's headers, which libtorch's wheels lack although `ProcessGroupGloo.hpp` includes them. They declare
// what that file names. We only construct the class and call it by its base, so no layout here matters; the code is
// libtorch's own.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <gloo/transport/device.h>

namespace gloo {
class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};
}  // namespace gloo
