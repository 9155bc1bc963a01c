// How a CPU runs the kernels of batch_norm.cu: block after block, and between two barriers thread after thread.
//
// Threads and blocks can run in the opposite order. Where that changes a bit, a barrier is missing.
#pragma once

#include <cmath>
#include <cstring>

#include "batch_norm_shape.h"

namespace emulated {

struct Blocks {
  unsigned x, y, z;
};

// Of the block that runs on this thread of the CPU.
inline thread_local Blocks block{};
inline thread_local bool backwards = false;

inline int nth(int place, int count) { return backwards ? count - 1 - place : place; }

}  // namespace emulated

#define ON_DEVICE inline
#define SHARED static thread_local
#define BLOCK(axis) static_cast<int>(emulated::block.axis)
#define EACH_THREAD(thread) \
  for (int place = 0, thread; place < fused_norm::kThreads && (thread = emulated::nth(place, fused_norm::kThreads), true); ++place)

inline unsigned bits_of(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float of_bits(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
