// The kernels of the fused batch normalisation on a GPU, over rows of channels: `[groups, rows, C]` in one piece of memory.
//
// NVRTC compiles this file at run time, behind batch_norm_shape.h. A CPU compiles the same text with emulated.h, for tests.
// So a kernel is made of phases, `EACH_THREAD(thread) { ... }`, each of which ends in a barrier. What a thread hands to a
// later phase lies in shared memory. A phase has no `break` and no `return`.
//
// There are no atomics: parts of a group are measured by blocks and joined in their order, so the bits never change.
#ifdef __CUDACC_RTC__
#define ON_DEVICE __device__ __forceinline__
#define SHARED __shared__
#define BLOCK(axis) static_cast<int>(blockIdx.axis)
#define EACH_THREAD(thread) for (int thread = threadIdx.x, once = 1; once; once = 0, __syncthreads())
ON_DEVICE unsigned bits_of(float value) { return __float_as_uint(value); }
ON_DEVICE float of_bits(unsigned bits) { return __uint_as_float(bits); }
#else
#include "emulated.h"
#endif

namespace fused_norm {

// --- Values of a map

struct Bf16 {
  unsigned short bits;
};

ON_DEVICE float wide(float value) { return value; }
ON_DEVICE float wide(Bf16 value) { return of_bits(static_cast<unsigned>(value.bits) << 16); }

ON_DEVICE void narrow(float value, float& to) { to = value; }
// To the nearest, ties to even; NaN stays NaN.
ON_DEVICE void narrow(float value, Bf16& to) {
  const unsigned bits = bits_of(value);
  to.bits = static_cast<unsigned short>(value != value ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Values of W channels, which one instruction moves.
template <class T, int W>
struct alignas(sizeof(T) * W) Pack {
  T values[W];
};

template <class T, int W>
ON_DEVICE Pack<T, W> load(const T* from) {
  return *reinterpret_cast<const Pack<T, W>*>(from);
}

template <class T, int W>
ON_DEVICE void store(T* to, const Pack<T, W>& pack) {
  *reinterpret_cast<Pack<T, W>*>(to) = pack;
}

// --- Where a thread of a kernel that walks maps is

template <int W>
struct Place {
  // Of the first of its channels and rows in the map.
  long long start;
  // Of the part. The thread takes every `lanes`th one, from `lane` on.
  long long rows;
  // `group * C + channel`, and `(group * parts + part) * C + channel`.
  long long of_group, of_part;
  int channel, lane, lanes;
  // It has no channels: the last tile may be wider than they are.
  bool idle;
};

template <int W>
ON_DEVICE Place<W> place_of(const Shape& s, int thread) {
  const int part = BLOCK(y), group = BLOCK(z);
  const long long first = part * s.part_rows, left = s.rows - first;
  Place<W> at;
  at.channel = (BLOCK(x) * s.tile + thread % s.tile) * W;
  at.lane = thread / s.tile;
  at.lanes = kThreads / s.tile;
  at.idle = at.channel >= s.channels;
  at.rows = left < s.part_rows ? left : s.part_rows;
  at.start = (group * s.rows + first) * s.channels + at.channel;
  at.of_group = static_cast<long long>(group) * s.channels + at.channel;
  at.of_part = (static_cast<long long>(group) * s.parts + part) * s.channels + at.channel;
  return at;
}

// Calls `work(places, count)` for the rows of a thread, up to kRows at a time: where their values lie, and how many they are.
template <int W, class Work>
ON_DEVICE void each_rows(const Place<W>& at, const Shape& s, const Work& work) {
  if (at.idle) return;
  for (long long row = at.lane; row < at.rows; row += static_cast<long long>(at.lanes) * kRows) {
    long long places[kRows];
    int count = 0;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const long long own = row + static_cast<long long>(i) * at.lanes;
      places[i] = at.start + own * s.channels;
      if (own < at.rows) count = i + 1;
    }
    work(places, count);
  }
}

// The values of these rows; those beyond `count` are not read.
template <class T, int W>
ON_DEVICE void load_rows(const T* from, const long long (&places)[kRows], int count, Pack<T, W> (&packs)[kRows]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (i < count) packs[i] = load<T, W>(from + places[i]);
  }
}

// Numbers of the thread's channels; `otherwise` where there are none.
template <int W>
ON_DEVICE void load_numbers(const float* from, long long first, float otherwise, float (&numbers)[W]) {
#pragma unroll
  for (int w = 0; w < W; ++w) numbers[w] = from ? from[first + w] : otherwise;
}

// --- Statistics of the batch

// Takes `more_count` values with their mean and squared distances from it into those that are there (Chan et al. 1979).
ON_DEVICE void take_in(
    float count, float& mean, float& distances, float more_count, float more_mean, float more_distances) {
  const float share = more_count / (count + more_count), apart = more_mean - mean;
  mean += apart * share;
  distances += more_distances + apart * apart * count * share;
}

// The first row of a part is its pivot: values are counted from it, so a mean far from zero costs no digits.
// Writes [3, groups, parts, C]: mean without the pivot, squared distances from it, pivot. Reads x.
template <class T, int W>
ON_DEVICE void moments(const Tensors& t, const Shape& s) {
  float* measured = static_cast<float*>(t.of[0]);
  const T* x = static_cast<const T*>(t.of[1]);
  SHARED float means[W * kThreads], distances[W * kThreads], counts[kThreads];
  EACH_THREAD(thread) {
    const auto at = place_of<W>(s, thread);
    Pack<T, W> pivot;
    if (!at.idle) pivot = load<T, W>(x + at.start);
    float count = 0, mean[W] = {}, distance[W] = {};
    each_rows(at, s, [&](const long long (&places)[kRows], int found) {
      Pack<T, W> packs[kRows];
      load_rows(x, places, found, packs);
#pragma unroll
      for (int w = 0; w < W; ++w) {
        const float from = wide(pivot.values[w]);
        float sum = 0, squares = 0;
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          if (i < found) sum += wide(packs[i].values[w]) - from;
        }
        const float own = sum / found;
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const float apart = i < found ? wide(packs[i].values[w]) - from - own : 0;
          squares += apart * apart;
        }
        take_in(count, mean[w], distance[w], static_cast<float>(found), own, squares);
      }
      count += found;
    });
    counts[thread] = count;
#pragma unroll
    for (int w = 0; w < W; ++w) {
      means[w * kThreads + thread] = mean[w];
      distances[w * kThreads + thread] = distance[w];
    }
  }
  for (int step = kThreads / s.tile / 2; step > 0; step /= 2) {
    EACH_THREAD(thread) {
      const int other = thread + step * s.tile;
      if (thread < step * s.tile && counts[other] > 0) {
#pragma unroll
        for (int w = 0; w < W; ++w) {
          const int own = w * kThreads + thread, more = w * kThreads + other;
          take_in(counts[thread], means[own], distances[own], counts[other], means[more], distances[more]);
        }
        counts[thread] += counts[other];
      }
    }
  }
  EACH_THREAD(thread) {
    const auto at = place_of<W>(s, thread);
    if (at.lane == 0 && !at.idle) {
      const auto pivot = load<T, W>(x + at.start);
      const long long all = static_cast<long long>(s.groups) * s.parts * s.channels;
#pragma unroll
      for (int w = 0; w < W; ++w) {
        measured[at.of_part + w] = means[w * kThreads + thread];
        measured[all + at.of_part + w] = distances[w * kThreads + thread];
        measured[2 * all + at.of_part + w] = wide(pivot.values[w]);
      }
    }
  }
}

// --- Joining what parts have measured, in double precision

ON_DEVICE int joined_channel(int thread) { return BLOCK(x) * kJoined + thread % kJoined; }

// Adds up the numbers of a channel's threads; the sum lies with the first of them.
ON_DEVICE void add_up(double* numbers) {
  for (int step = kThreads / 2; step >= kJoined; step /= 2) {
    EACH_THREAD(thread) {
      if (thread < step) numbers[thread] += numbers[thread + step];
    }
  }
}

// The sum of `term(place, part)` over the parts of a group that are the thread's.
template <class Term>
ON_DEVICE double over_parts(const Shape& s, int thread, int group, const Term& term) {
  const int channel = joined_channel(thread);
  double sum = 0;
  if (channel < s.channels) {
    for (int part = thread / kJoined; part < s.parts; part += kThreads / kJoined) {
      sum += term((static_cast<long long>(group) * s.parts + part) * s.channels + channel, part);
    }
  }
  return sum;
}

// Writes [2, groups, C]: mean and reciprocal deviation; moves running mean and variance, both [C], unless the momentum is 0:
// then not even a buffer that is not finite changes. Reads what `moments` wrote.
ON_DEVICE void join_moments(const Tensors& t, const Shape& s) {
  float *stats = static_cast<float*>(t.of[0]), *running_mean = static_cast<float*>(t.of[1]),
        *running_var = static_cast<float*>(t.of[2]);
  const float* measured = static_cast<const float*>(t.of[3]);
  const long long all = static_cast<long long>(s.groups) * s.parts * s.channels;
  const double count = static_cast<double>(s.rows);
  SHARED double sums[kThreads], squares[kThreads], mean_of_groups[kJoined], variance_of_groups[kJoined];
  const auto rows = [&](int part) {
    return static_cast<double>(part + 1 == s.parts ? s.rows - part * s.part_rows : s.part_rows);
  };
  const auto mean_of = [&](long long place) { return static_cast<double>(measured[place]) + measured[2 * all + place]; };
  EACH_THREAD(thread) {
    if (thread < kJoined) mean_of_groups[thread] = variance_of_groups[thread] = 0;
  }
  for (int group = 0; group < s.groups; ++group) {
    EACH_THREAD(thread) {
      sums[thread] = over_parts(
          s, thread, group, [&](long long place, int part) { return rows(part) * mean_of(place); });
    }
    add_up(sums);
    EACH_THREAD(thread) {
      const double mean = sums[thread % kJoined] / count;
      squares[thread] = over_parts(s, thread, group, [&](long long place, int part) {
        const double apart = mean_of(place) - mean;
        return measured[all + place] + rows(part) * apart * apart;
      });
    }
    add_up(squares);
    EACH_THREAD(thread) {
      const int channel = joined_channel(thread);
      if (thread < kJoined && channel < s.channels) {
        const double mean = sums[thread] / count, variance = squares[thread] / count;
        const long long place = static_cast<long long>(group) * s.channels + channel;
        stats[place] = static_cast<float>(mean);
        stats[static_cast<long long>(s.groups) * s.channels + place] =
            static_cast<float>(1 / sqrt(variance + s.epsilon));
        mean_of_groups[thread] += mean / s.groups;
        variance_of_groups[thread] += variance * (count / (count - 1)) / s.groups;
      }
    }
  }
  EACH_THREAD(thread) {
    const int channel = joined_channel(thread);
    if (thread < kJoined && channel < s.channels && s.momentum != 0) {
      const double stay = 1 - s.momentum;
      running_mean[channel] =
          static_cast<float>(stay * running_mean[channel] + s.momentum * mean_of_groups[thread]);
      running_var[channel] =
          static_cast<float>(stay * running_var[channel] + s.momentum * variance_of_groups[thread]);
    }
  }
}

// Writes [2, 1, C]: mean and reciprocal deviation. Reads running mean and variance, both [C].
ON_DEVICE void from_buffers(const Tensors& t, const Shape& s) {
  float* stats = static_cast<float*>(t.of[0]);
  const float *running_mean = static_cast<const float*>(t.of[1]), *running_var = static_cast<const float*>(t.of[2]);
  EACH_THREAD(thread) {
    const int channel = BLOCK(x) * kThreads + thread;
    if (channel < s.channels) {
      stats[channel] = running_mean[channel];
      stats[s.channels + channel] = static_cast<float>(1 / sqrt(running_var[channel] + s.epsilon));
    }
  }
}

// --- The result

// Writes y. Reads x, aside or null, [2, groups, C] of mean and reciprocal deviation, weight and bias [C] or null.
template <class T, int W>
ON_DEVICE void normalise(const Tensors& t, const Shape& s) {
  T* y = static_cast<T*>(t.of[0]);
  const T *x = static_cast<const T*>(t.of[1]), *aside = static_cast<const T*>(t.of[2]);
  const float *stats = static_cast<const float*>(t.of[3]), *weight = static_cast<const float*>(t.of[4]),
              *bias = static_cast<const float*>(t.of[5]);
  EACH_THREAD(thread) {
    const auto at = place_of<W>(s, thread);
    float mean[W] = {}, scale[W] = {}, shift[W] = {}, factor[W] = {};
    if (!at.idle) {
      load_numbers(stats, at.of_group, 0, mean);
      load_numbers(stats, static_cast<long long>(s.groups) * s.channels + at.of_group, 0, scale);
      load_numbers(weight, at.channel, 1, factor);
      load_numbers(bias, at.channel, 0, shift);
    }
#pragma unroll
    for (int w = 0; w < W; ++w) scale[w] *= factor[w];
    each_rows(at, s, [&](const long long (&places)[kRows], int count) {
      Pack<T, W> values[kRows], beside[kRows];
      load_rows(x, places, count, values);
      if (aside) load_rows(aside, places, count, beside);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (i < count) {
#pragma unroll
          for (int w = 0; w < W; ++w) {
            float value = (wide(values[i].values[w]) - mean[w]) * scale[w] + shift[w];
            if (aside) value += wide(beside[i].values[w]);
            // NaN stays NaN.
            if (s.relu && value < 0) value = 0;
            narrow(value, values[i].values[w]);
          }
          store(y + places[i], values[i]);
        }
      }
    });
  }
}

// --- The backward pass

// The gradient before the ReLU: NaN in the map lets it pass. `y` is null without a ReLU.
template <class T>
ON_DEVICE float before_relu(const T* y, T above, T result) {
  return y && wide(result) <= 0 ? 0 : wide(above);
}

// Writes [2, groups, parts, C]: sums of d and of d (x - mean), d the gradient before the ReLU. Reads the gradient, x, the
// result of a ReLU or null, [2, groups, C] of mean and reciprocal deviation.
template <class T, int W>
ON_DEVICE void sums(const Tensors& t, const Shape& s) {
  float* measured = static_cast<float*>(t.of[0]);
  const T *above = static_cast<const T*>(t.of[1]), *x = static_cast<const T*>(t.of[2]),
          *y = static_cast<const T*>(t.of[3]);
  const float* stats = static_cast<const float*>(t.of[4]);
  SHARED float of_d[W * kThreads], of_both[W * kThreads];
  EACH_THREAD(thread) {
    const auto at = place_of<W>(s, thread);
    float mean[W] = {}, own_d[W] = {}, own_both[W] = {};
    if (!at.idle) load_numbers(stats, at.of_group, 0, mean);
    each_rows(at, s, [&](const long long (&places)[kRows], int count) {
      Pack<T, W> gradients[kRows], values[kRows], results[kRows];
      load_rows(above, places, count, gradients);
      load_rows(x, places, count, values);
      if (y) load_rows(y, places, count, results);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (i < count) {
#pragma unroll
          for (int w = 0; w < W; ++w) {
            const float d = before_relu(y, gradients[i].values[w], results[i].values[w]);
            own_d[w] += d;
            own_both[w] += d * (wide(values[i].values[w]) - mean[w]);
          }
        }
      }
    });
#pragma unroll
    for (int w = 0; w < W; ++w) {
      of_d[w * kThreads + thread] = own_d[w];
      of_both[w * kThreads + thread] = own_both[w];
    }
  }
  for (int step = kThreads / s.tile / 2; step > 0; step /= 2) {
    EACH_THREAD(thread) {
      if (thread < step * s.tile) {
#pragma unroll
        for (int w = 0; w < W; ++w) {
          const int own = w * kThreads + thread, other = own + step * s.tile;
          of_d[own] += of_d[other];
          of_both[own] += of_both[other];
        }
      }
    }
  }
  EACH_THREAD(thread) {
    const auto at = place_of<W>(s, thread);
    if (at.lane == 0 && !at.idle) {
      const long long all = static_cast<long long>(s.groups) * s.parts * s.channels;
#pragma unroll
      for (int w = 0; w < W; ++w) {
        measured[at.of_part + w] = of_d[w * kThreads + thread];
        measured[all + at.of_part + w] = of_both[w * kThreads + thread];
      }
    }
  }
}

// Writes [3, groups, C]: a, b and c of `gradients`; the gradients of weight and bias, [C] or null. Reads what `sums` wrote,
// [2, groups, C] of mean and reciprocal deviation, weight or null.
ON_DEVICE void join_sums(const Tensors& t, const Shape& s) {
  float *coefficients = static_cast<float*>(t.of[0]), *of_weight = static_cast<float*>(t.of[1]),
        *of_bias = static_cast<float*>(t.of[2]);
  const float *measured = static_cast<const float*>(t.of[3]), *stats = static_cast<const float*>(t.of[4]),
              *weight = static_cast<const float*>(t.of[5]);
  const long long all = static_cast<long long>(s.groups) * s.parts * s.channels,
                  numbers = static_cast<long long>(s.groups) * s.channels;
  const double count = static_cast<double>(s.rows);
  SHARED double of_d[kThreads], of_both[kThreads], for_weight[kJoined], for_bias[kJoined];
  EACH_THREAD(thread) {
    if (thread < kJoined) for_weight[thread] = for_bias[thread] = 0;
  }
  for (int group = 0; group < s.groups; ++group) {
    EACH_THREAD(thread) {
      of_d[thread] = over_parts(s, thread, group, [&](long long place, int) { return double(measured[place]); });
      of_both[thread] =
          over_parts(s, thread, group, [&](long long place, int) { return double(measured[all + place]); });
    }
    add_up(of_d);
    add_up(of_both);
    EACH_THREAD(thread) {
      const int channel = joined_channel(thread);
      if (thread < kJoined && channel < s.channels) {
        const long long place = static_cast<long long>(group) * s.channels + channel;
        const double scale = stats[numbers + place], slope = scale * (weight ? weight[channel] : 1);
        coefficients[place] = static_cast<float>(slope);
        // Statistics of the batch move with it, buffers do not.
        coefficients[numbers + place] =
            s.train ? static_cast<float>(-slope * scale * scale * of_both[thread] / count) : 0;
        coefficients[2 * numbers + place] = s.train ? static_cast<float>(-slope * of_d[thread] / count) : 0;
        for_weight[thread] += scale * of_both[thread];
        for_bias[thread] += of_d[thread];
      }
    }
  }
  EACH_THREAD(thread) {
    const int channel = joined_channel(thread);
    if (thread < kJoined && channel < s.channels && of_weight) {
      of_weight[channel] = static_cast<float>(for_weight[thread]);
      of_bias[channel] = static_cast<float>(for_bias[thread]);
    }
  }
}

// Writes the gradient of x, d a + (x - mean) b + c, and that of what was added, d, or null. Reads the gradient, x, the result
// of a ReLU or null, [2, groups, C] of mean and reciprocal deviation, what `join_sums` wrote.
template <class T, int W>
ON_DEVICE void gradients(const Tensors& t, const Shape& s) {
  T *of_x = static_cast<T*>(t.of[0]), *of_aside = static_cast<T*>(t.of[1]);
  const T *above = static_cast<const T*>(t.of[2]), *x = static_cast<const T*>(t.of[3]),
          *y = static_cast<const T*>(t.of[4]);
  const float *stats = static_cast<const float*>(t.of[5]), *coefficients = static_cast<const float*>(t.of[6]);
  EACH_THREAD(thread) {
    const auto at = place_of<W>(s, thread);
    const long long numbers = static_cast<long long>(s.groups) * s.channels;
    float mean[W] = {}, a[W] = {}, b[W] = {}, c[W] = {};
    if (!at.idle) {
      load_numbers(stats, at.of_group, 0, mean);
      load_numbers(coefficients, at.of_group, 0, a);
      load_numbers(coefficients, numbers + at.of_group, 0, b);
      load_numbers(coefficients, 2 * numbers + at.of_group, 0, c);
    }
    each_rows(at, s, [&](const long long (&places)[kRows], int count) {
      Pack<T, W> gradients[kRows], values[kRows], results[kRows];
      load_rows(above, places, count, gradients);
      load_rows(x, places, count, values);
      if (y) load_rows(y, places, count, results);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (i < count) {
#pragma unroll
          for (int w = 0; w < W; ++w) {
            const float d = before_relu(y, gradients[i].values[w], results[i].values[w]);
            narrow(d * a[w] + ((wide(values[i].values[w]) - mean[w]) * b[w] + c[w]), values[i].values[w]);
            narrow(d, gradients[i].values[w]);
          }
          store(of_x + places[i], values[i]);
          if (of_aside) store(of_aside + places[i], gradients[i]);
        }
      }
    });
  }
}

}  // namespace fused_norm

// All of them by name: of 16-byte vectors, and of single values where those do not fit.
#define NORM_KERNELS_OF(KERNEL, name) \
  KERNEL(name##_f32_4, fused_norm::name<float, 4>) \
  KERNEL(name##_f32_1, fused_norm::name<float, 1>) \
  KERNEL(name##_bf16_8, fused_norm::name<fused_norm::Bf16, 8>) \
  KERNEL(name##_bf16_1, fused_norm::name<fused_norm::Bf16, 1>)
#define NORM_KERNELS(KERNEL) \
  NORM_KERNELS_OF(KERNEL, moments) \
  NORM_KERNELS_OF(KERNEL, normalise) \
  NORM_KERNELS_OF(KERNEL, sums) \
  NORM_KERNELS_OF(KERNEL, gradients) \
  KERNEL(join_moments, fused_norm::join_moments) \
  KERNEL(from_buffers, fused_norm::from_buffers) \
  KERNEL(join_sums, fused_norm::join_sums)

#ifdef __CUDACC_RTC__
#define NORM_KERNEL(name, ...) \
  extern "C" __global__ void __launch_bounds__(fused_norm::kThreads) name(fused_norm::Tensors t, fused_norm::Shape s) { __VA_ARGS__(t, s); }
NORM_KERNELS(NORM_KERNEL)
#else
namespace emulated {

// Runs the kernel of a name. False where there is none.
inline bool run(const char* name, Blocks blocks, const fused_norm::Tensors& t, const fused_norm::Shape& s) {
  struct Known {
    const char* name;
    void (*kernel)(const fused_norm::Tensors&, const fused_norm::Shape&);
  };
#define NORM_KERNEL(name, ...) {#name, &__VA_ARGS__},
  static constexpr Known known[] = {NORM_KERNELS(NORM_KERNEL)};
#undef NORM_KERNEL
  for (const auto& one : known) {
    if (std::strcmp(one.name, name) != 0) continue;
    const unsigned all = blocks.x * blocks.y * blocks.z;
    for (unsigned i = 0; i < all; ++i) {
      const unsigned at = static_cast<unsigned>(nth(static_cast<int>(i), static_cast<int>(all)));
      block = {at % blocks.x, at / blocks.x % blocks.y, at / blocks.x / blocks.y};
      one.kernel(t, s);
    }
    return true;
  }
  return false;
}

}  // namespace emulated
#endif
