// See batch_norm_loops.h. ADMIX_LOOPS names the function that hands the loops out, ADMIX_VECTOR the bytes of a vector.
#include "batch_norm_loops.h"

namespace {

template <class T>
struct Of {
  typedef T Vector __attribute__((vector_size(ADMIX_VECTOR), aligned(alignof(T)), may_alias));
  static constexpr long lanes = ADMIX_VECTOR / sizeof(T);
};

#define ADMIX_INLINE inline __attribute__((always_inline))

template <class V, class T>
ADMIX_INLINE V load(const T* from) {
  return *reinterpret_cast<const V*>(from);
}

template <class V, class T>
ADMIX_INLINE void store(T* to, V value) {
  *reinterpret_cast<V*>(to) = value;
}

// Two values at once, as one that can be added up.
template <class V>
struct Pair {
  V first, second;
  ADMIX_INLINE void operator+=(const Pair& other) {
    first += other.first;
    second += other.second;
  }
};

// Adds the lanes of column `at` of a tile and those after it to their channels.
template <class T, class V>
ADMIX_INLINE void fold(T* sums, const V& value, long at, long channels) {
  for (long lane = 0; lane < Of<T>::lanes; ++lane) sums[(at + lane) % channels] += value[lane];
}

template <class T>
ADMIX_INLINE void fold(T* sums, T value, long at, long channels) {
  sums[at % channels] += value;
}

template <class T>
struct Sum {
  T* to;
  template <class V>
  ADMIX_INLINE void add(const V& value, long at, long channels) const {
    fold(to, value, at, channels);
  }
};

template <class T>
struct TwoSums {
  T *first, *second;
  template <class V>
  ADMIX_INLINE void add(const Pair<V>& value, long at, long channels) const {
    fold(first, value.first, at, channels);
    fold(second, value.second, at, channels);
  }
};

// Sums over rows of `term.at<V>(place, column)`. Few columns at a time, so that their sums stay in registers; several of
// them, so that one addition need not wait for another.
template <class T, class Term, class Sums>
ADMIX_INLINE void add_up(NormRows rows, const Term& term, const Sums& sums) {
  using V = typename Of<T>::Vector;
  constexpr long L = Of<T>::lanes;
  const long width = rows.repeat * rows.channels, full = rows.count / rows.repeat;
  long column = 0;
  for (; column + 4 * L <= width; column += 4 * L) {
    auto a = term.template zero<V>(), b = a, c = a, d = a;
    for (long row = 0, place = column; row < full; ++row, place += width) {
      a += term.template at<V>(place, column);
      b += term.template at<V>(place + L, column + L);
      c += term.template at<V>(place + 2 * L, column + 2 * L);
      d += term.template at<V>(place + 3 * L, column + 3 * L);
    }
    sums.add(a, column, rows.channels);
    sums.add(b, column + L, rows.channels);
    sums.add(c, column + 2 * L, rows.channels);
    sums.add(d, column + 3 * L, rows.channels);
  }
  for (; column + L <= width; column += L) {
    auto a = term.template zero<V>();
    for (long row = 0, place = column; row < full; ++row, place += width) a += term.template at<V>(place, column);
    sums.add(a, column, rows.channels);
  }
  for (; column < width; ++column) {
    auto a = term.template zero<T>();
    for (long row = 0, place = column; row < full; ++row, place += width) a += term.template at<T>(place, column);
    sums.add(a, column, rows.channels);
  }
  const long rest = (rows.count - full * rows.repeat) * rows.channels;
  for (column = 0; column < rest; ++column) {
    sums.add(term.template at<T>(full * width + column, column), column, rows.channels);
  }
}

// Calls `work.at<V>(place, column)` for every value.
template <class T, class Work>
ADMIX_INLINE void each(NormRows rows, const Work& work) {
  using V = typename Of<T>::Vector;
  constexpr long L = Of<T>::lanes;
  const long all = rows.count * rows.channels, most = rows.repeat * rows.channels;
  for (long place = 0; place < all; place += most) {
    const long width = all - place < most ? all - place : most;
    long column = 0;
    for (; column + L <= width; column += L) work.template at<V>(place + column, column);
    for (; column < width; ++column) work.template at<T>(place + column, column);
  }
}

// The columns of a tile where `repeat` is not 1: fewer than 64 channels, at most 16 times.
constexpr long kLargestTile = 1024;

template <class T>
struct Value {
  const T* x;
  template <class V>
  ADMIX_INLINE V zero() const {
    return V{};
  }
  template <class V>
  ADMIX_INLINE V at(long place, long) const {
    return load<V>(x + place);
  }
};

template <class T>
struct Distance {
  const T *x, *mean;
  template <class V>
  ADMIX_INLINE Pair<V> zero() const {
    return {V{}, V{}};
  }
  template <class V>
  ADMIX_INLINE Pair<V> at(long place, long column) const {
    const V distance = load<V>(x + place) - load<V>(mean + column);
    return {distance, distance * distance};
  }
};

// What rounding does to a mean matters where it is far from zero.
template <class T>
void moments(const T* x, NormRows rows, T* mean, T* distances, T* lacking) {
  const long channels = rows.channels;
  const T count = static_cast<T>(rows.count);
  for (long c = 0; c < channels; ++c) mean[c] = distances[c] = lacking[c] = 0;
  add_up<T>(rows, Value<T>{x}, Sum<T>{mean});
  for (long c = 0; c < channels; ++c) mean[c] /= count;
  T tile[kLargestTile];
  if (rows.repeat > 1) {
    for (long i = 0; i < rows.repeat; ++i) {
      for (long c = 0; c < channels; ++c) tile[i * channels + c] = mean[c];
    }
  }
  add_up<T>(rows, Distance<T>{x, rows.repeat > 1 ? tile : mean}, TwoSums<T>{lacking, distances});
  for (long c = 0; c < channels; ++c) distances[c] -= lacking[c] * lacking[c] / count;
}

template <class T>
void join_moments(NormParts<T> parts, double* mean, double* variance) {
  const long channels = parts.channels;
  const double all = static_cast<double>(parts.rows * (parts.count - 1) + parts.last_rows);
  for (long c = 0; c < channels; ++c) mean[c] = variance[c] = 0;
  // The first time for the mean, the second for the variance.
  for (int time = 0; time < 2; ++time) {
    for (long part = 0; part < parts.count; ++part) {
      const double rows = static_cast<double>(part + 1 == parts.count ? parts.last_rows : parts.rows);
      const long at = part * channels;
      const T *own = parts.first + at, *distances = parts.second + at, *lacking = parts.third + at;
      for (long c = 0; c < channels; ++c) {
        const double own_mean = own[c] + lacking[c] / rows, apart = own_mean - mean[c];
        if (time == 0) {
          mean[c] += own_mean * (rows / all);
        } else {
          variance[c] += (distances[c] + rows * apart * apart) / all;
        }
      }
    }
  }
}

template <class T>
void join_sums(NormParts<T> parts, double* of_d, double* of_both) {
  for (long c = 0; c < parts.channels; ++c) of_d[c] = of_both[c] = 0;
  for (long part = 0; part < parts.count; ++part) {
    const T *first = parts.first + part * parts.channels, *second = parts.second + part * parts.channels;
    for (long c = 0; c < parts.channels; ++c) {
      of_d[c] += first[c];
      of_both[c] += second[c];
    }
  }
}

template <class T, bool has_aside, bool relu>
struct Normalise {
  const T *x, *aside, *mean, *scale, *shift;
  T* y;
  template <class V>
  ADMIX_INLINE void at(long place, long column) const {
    V value = (load<V>(x + place) - load<V>(mean + column)) * load<V>(scale + column) + load<V>(shift + column);
    if constexpr (has_aside) value += load<V>(aside + place);
    // NaN stays NaN.
    if constexpr (relu) value = value < V{} ? V{} : value;
    store<V>(y + place, value);
  }
};

template <class T>
void normalise(
    const T* x, const T* aside, bool relu, NormRows rows, const T* mean, const T* scale, const T* shift, T* y) {
  if (aside && relu) return each<T>(rows, Normalise<T, true, true>{x, aside, mean, scale, shift, y});
  if (aside) return each<T>(rows, Normalise<T, true, false>{x, aside, mean, scale, shift, y});
  if (relu) return each<T>(rows, Normalise<T, false, true>{x, aside, mean, scale, shift, y});
  each<T>(rows, Normalise<T, false, false>{x, aside, mean, scale, shift, y});
}

// The gradient before the ReLU, as libtorch has it: NaN in the map lets the gradient pass.
template <class V, bool relu, class T>
ADMIX_INLINE V before_relu(const T* gradient, const T* y, long place) {
  const V d = load<V>(gradient + place);
  if constexpr (!relu) return d;
  return load<V>(y + place) <= V{} ? V{} : d;
}

template <class T, bool relu>
struct Both {
  const T *gradient, *x, *y, *mean;
  template <class V>
  ADMIX_INLINE Pair<V> zero() const {
    return {V{}, V{}};
  }
  template <class V>
  ADMIX_INLINE Pair<V> at(long place, long column) const {
    const V d = before_relu<V, relu>(gradient, y, place);
    return {d, d * (load<V>(x + place) - load<V>(mean + column))};
  }
};

template <class T>
void sums(const T* gradient, const T* x, const T* y, NormRows rows, const T* mean, T* of_d, T* of_both) {
  for (long c = 0; c < rows.channels; ++c) of_d[c] = of_both[c] = 0;
  const TwoSums<T> to{of_d, of_both};
  if (y) return add_up<T>(rows, Both<T, true>{gradient, x, y, mean}, to);
  add_up<T>(rows, Both<T, false>{gradient, x, y, mean}, to);
}

template <class T, bool relu, bool has_aside>
struct Gradients {
  const T *gradient, *x, *y, *mean, *a, *b, *c;
  T *x_gradient, *aside_gradient;
  template <class V>
  ADMIX_INLINE void at(long place, long column) const {
    const V d = before_relu<V, relu>(gradient, y, place);
    const V centred = load<V>(x + place) - load<V>(mean + column);
    store<V>(
        x_gradient + place, d * load<V>(a + column) + (centred * load<V>(b + column) + load<V>(c + column)));
    if constexpr (has_aside) store<V>(aside_gradient + place, d);
  }
};

template <class T>
void gradients(
    const T* gradient, const T* x, const T* y, NormRows rows, const T* mean, const T* a, const T* b, const T* c,
    T* x_gradient, T* aside_gradient) {
  const auto with = [&](auto work) { each<T>(rows, work); };
  if (y && aside_gradient) {
    return with(Gradients<T, true, true>{gradient, x, y, mean, a, b, c, x_gradient, aside_gradient});
  }
  if (y) return with(Gradients<T, true, false>{gradient, x, y, mean, a, b, c, x_gradient, aside_gradient});
  if (aside_gradient) {
    return with(Gradients<T, false, true>{gradient, x, y, mean, a, b, c, x_gradient, aside_gradient});
  }
  with(Gradients<T, false, false>{gradient, x, y, mean, a, b, c, x_gradient, aside_gradient});
}

template <class T>
NormLoops<T> loops() {
  return {moments<T>, join_moments<T>, normalise<T>, sums<T>, join_sums<T>, gradients<T>};
}

}  // namespace

extern "C" void ADMIX_LOOPS(NormLoops<float>* singles, NormLoops<double>* doubles) {
  *singles = loops<float>();
  *doubles = loops<double>();
}
