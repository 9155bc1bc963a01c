// One step of SGD over a stretch of memory. Its file includes nothing, so that it compiles fast with all optimisation.
#pragma once

#include <stddef.h>

// g += decay p; b = momentum b + g; p -= rate (nesterov ? g + momentum b : b). `buffers` is null without momentum: p -= rate g.
template <class T>
void sgd_stretch(size_t n, T* params, const T* grads, T* buffers, T decay, T momentum, T rate, bool nesterov);
