// The loops of the fused batch normalisation, over rows of channels: `[rows, C]` in one piece of memory.
//
// They are compiled for several sets of instructions. So this header and their file include nothing: code that others share
// must not come out with instructions that a machine may lack.
#pragma once

// Rows and how they are walked: so many at a time, that vectors fill up where channels are few. Numbers of a channel are
// handed over as tiles `[repeat * channels]`, the channels `repeat` times over.
struct NormRows {
  long count, channels, repeat;
};

// `count` parts of one group: what each has measured, `[count, C]`; sums need no third.
template <class T>
struct NormParts {
  const T *first, *second, *third;
  long count, channels;
  // Rows of every part, and of the last.
  long rows, last_rows;
};

template <class T>
struct NormLoops {
  // Mean, sum of squared distances from it, and what the mean lacks in the sum of values, for it is rounded: all `[C]`, in
  // two passes.
  void (*moments)(const T* x, NormRows rows, T* mean, T* distances, T* lacking);
  // The same of a group, of those of its parts (Chan et al. 1979): mean and biased variance, in double precision.
  void (*join_moments)(NormParts<T> parts, double* mean, double* variance);
  // (x - mean) scale + shift (+ aside), then perhaps ReLU. `aside` may be null.
  void (*normalise)(
      const T* x, const T* aside, bool relu, NormRows rows, const T* mean, const T* scale, const T* shift, T* y);
  // Sums of d and of d (x - mean), both `[C]`; d is the gradient before the ReLU. `y` is null without one.
  void (*sums)(const T* gradient, const T* x, const T* y, NormRows rows, const T* mean, T* of_d, T* of_both);
  // Their sums over the parts of a group, in double precision.
  void (*join_sums)(NormParts<T> parts, double* of_d, double* of_both);
  // d a + (x - mean) b + c in `x_gradient`, and d in `aside_gradient`, which may be null.
  void (*gradients)(
      const T* gradient, const T* x, const T* y, NormRows rows, const T* mean, const T* a, const T* b, const T* c,
      T* x_gradient, T* aside_gradient);
};

extern "C" {
void admix_norm_loops_plain(NormLoops<float>*, NormLoops<double>*);
void admix_norm_loops_avx2(NormLoops<float>*, NormLoops<double>*);
void admix_norm_loops_avx512(NormLoops<float>*, NormLoops<double>*);
}
