// Who launches kernels where there is no GPU.
#pragma once

#include "launch.h"

// Kernels for tensors of the CPU, on this thread; null, the default, is nobody.
void set_launcher_of_thread(LaunchKernel launch);
