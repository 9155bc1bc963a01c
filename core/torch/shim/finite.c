// Does a run of floating-point words hold an infinity or a NaN? Their exponent bits are then all ones.
// No early exit inside: the caller hands over blocks, and a loop without branches vectorises.
#include <stddef.h>
#include <stdint.h>

int admix_nonfinite16(const uint16_t* words, size_t n, uint16_t exponent) {
  uint16_t found = 0;
  for (size_t i = 0; i < n; ++i) found |= (uint16_t)((words[i] & exponent) == exponent);
  return found;
}

int admix_nonfinite32(const uint32_t* words, size_t n, uint32_t exponent) {
  uint32_t found = 0;
  for (size_t i = 0; i < n; ++i) found |= (uint32_t)((words[i] & exponent) == exponent);
  return (int)found;
}

int admix_nonfinite64(const uint64_t* words, size_t n, uint64_t exponent) {
  uint64_t found = 0;
  for (size_t i = 0; i < n; ++i) found |= (uint64_t)((words[i] & exponent) == exponent);
  return (int)found;
}
