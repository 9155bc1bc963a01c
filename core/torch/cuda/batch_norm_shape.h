// What the kernels of batch_norm.cu are told: the host and the device both read this. It includes nothing.
#pragma once

namespace fused_norm {

// Threads of every block; a power of two.
constexpr int kThreads = 256;
// Rows that a thread has in flight.
constexpr int kRows = 4;
// Channels of a block that joins parts. Its other threads share the parts.
constexpr int kJoined = 8;
constexpr int kTensors = 8;

// Tensors in the order of a kernel's description; null stands for one that is not there.
struct Tensors {
  void* of[kTensors];
};

// A map is `[groups, rows, channels]` in one piece of memory. The rows of a group are cut into parts; a block of the kernels
// that walk maps takes one part of `tile` vectors of channels.
struct Shape {
  long long rows, part_rows;
  int channels, groups, parts;
  // A power of two.
  int tile;
  bool train, relu;
  double momentum, epsilon;
};

// Two compilers lay it out.
static_assert(sizeof(Tensors) == 64 && sizeof(Shape) == 56, "host and device must agree");

}  // namespace fused_norm
