// See sgd_loop.h. What decides stands outside of the loops, so that they vectorise.
#include "sgd_loop.h"

namespace {

template <bool nesterov, class T>
void with_buffers(
    size_t n, T* __restrict params, const T* __restrict grads, T* __restrict buffers, T decay, T momentum, T rate) {
  for (size_t i = 0; i < n; ++i) {
    const T grad = grads[i] + decay * params[i];
    const T buffer = momentum * buffers[i] + grad;
    buffers[i] = buffer;
    params[i] -= rate * (nesterov ? grad + momentum * buffer : buffer);
  }
}

}  // namespace

template <class T>
void sgd_stretch(
    size_t n, T* __restrict params, const T* __restrict grads, T* buffers, T decay, T momentum, T rate, bool nesterov) {
  if (buffers && nesterov) return with_buffers<true>(n, params, grads, buffers, decay, momentum, rate);
  if (buffers) return with_buffers<false>(n, params, grads, buffers, decay, momentum, rate);
  for (size_t i = 0; i < n; ++i) params[i] -= rate * (grads[i] + decay * params[i]);
}

template void sgd_stretch(size_t, float*, const float*, float*, float, float, float, bool);
template void sgd_stretch(size_t, double*, const double*, double*, double, double, double, bool);
