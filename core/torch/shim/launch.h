// A kernel of a GPU on its way from the shim to who launches it: the CUDA object (cuda/kernels.cpp), a stand-in in tests.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>

constexpr size_t kLaunchTensors = 8;

// All of one device. The work goes to the device's current stream of this thread, behind what was asked for before.
struct Launch {
  const char* kernel;
  unsigned blocks[3], threads;
  // What the kernel writes, then what it reads: `kLaunchTensors` pointers in its first argument, null where a tensor is undefined.
  const at::Tensor* tensors;
  size_t count, written;
  // Its second argument.
  const void* numbers;
  size_t bytes;
};

// Returns null, or the error as a text that `free` releases.
using LaunchKernel = char* (*)(const Launch*);
