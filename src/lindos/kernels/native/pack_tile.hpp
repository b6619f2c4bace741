// Packing in the compiler's own vectors, for the instruction set of the file that includes this; in an unnamed namespace, so
// that each file keeps its own compilation.
//
// Nothing here may be contracted to fused products: the result is defined to the bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "pack.hpp"
#include "scalar.hpp"

namespace lindos {
namespace {

constexpr int kOutputs = static_cast<int>(kStrip);
constexpr int kDeep = static_cast<int>(kGroup);
constexpr int64_t kPanel = 16 * kStrip;  // outputs taken together where they lie side by side: whole cache lines
constexpr int kOrder[8] = {0, 4, 1, 5, 2, 6, 3, 7};

// Several outputs at once, in the compiler's own vectors: loops over single ones are not turned into such.
#if defined(__AVX2__)
constexpr int kWide = 8;
#else
constexpr int kWide = 4;
#endif
typedef float Reals __attribute__((vector_size(4 * kWide)));
typedef int32_t Wholes __attribute__((vector_size(4 * kWide)));
typedef uint32_t Bits __attribute__((vector_size(4 * kWide)));

inline Reals all(float value) { return Reals{} + value; }
inline Reals load(const float* from) { Reals x; std::memcpy(&x, from, sizeof x); return x; }
inline void save(float* to, Reals x) { std::memcpy(to, &x, sizeof x); }
inline Reals magnitude(Reals x) { return (Reals)((Wholes)x & 0x7fffffff); }
inline Reals at_most(Reals x, float most) { return x > most ? all(most) : x; }
inline Wholes truncated(Reals x) { return __builtin_convertvector(x, Wholes); }
inline Reals real(Wholes x) { return __builtin_convertvector(x, Reals); }

// Whether no lane is other than zero; false for what is not a number.
inline bool zero(Reals x) {
  float sum = 0.0f;
  for (int n = 0; n < kWide; ++n) sum += x[n];
  return sum == 0.0f;
}

// 32 inputs of 16 outputs.
struct Tile {
  alignas(64) float weights[kDeep][kOutputs];
  alignas(64) int32_t whole[kDeep][kOutputs];
  alignas(64) uint16_t scales[kOutputs];
};

#if defined(__F16C__)
inline void to_fp16(Reals from, uint16_t* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph((__m256)from, 0));
}

inline Reals widened(const uint16_t* from) {
  return (Reals)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
#else
// To nearest, ties to even; what is too large becomes infinite.
inline uint16_t fp16_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits >= 0x7f800000u) return sign | (bits > 0x7f800000u ? 0x7e00u : 0x7c00u);
  if (bits >= 0x477ff000u) return sign | 0x7c00u;
  if (bits < 0x38800000u) {  // subnormal: adding 0.5 leaves multiples of 2^-24, rounded by the addition itself
    uint32_t sum;
    const float shifted = from_bits(bits) + 0.5f;
    std::memcpy(&sum, &shifted, sizeof sum);
    return static_cast<uint16_t>(sign | (sum - 0x3f000000u));
  }
  bits += 0xc8000fffu + (bits >> 13 & 1u);  // the exponent anew, and half a unit in the last place
  return static_cast<uint16_t>(sign | bits >> 13);
}

inline void to_fp16(Reals from, uint16_t* to) {
  for (int n = 0; n < kWide; ++n) to[n] = fp16_bits(from[n]);
}

inline Reals widened(const uint16_t* from) {
  Reals x;
  for (int n = 0; n < kWide; ++n) x[n] = from_fp16(from[n]);
  return x;
}
#endif

// 1 / scale; 0 below the smallest normal number, where an inverse would be infinite.
inline Reals inverse(Reals scales) {
  const Wholes nothing = magnitude(scales) < std::numeric_limits<float>::min();
  return nothing ? Reals{} : 1.0f / (nothing ? all(1.0f) : scales);
}

// The weight of largest magnitude, the first of several; `poison` is not zero where one is not finite.
inline Reals largest(const Tile& tile, int first, Reals* poison) {
  Reals found = load(tile.weights[0] + first), top = magnitude(found), sum = found * 0.0f;
  for (int k = 1; k < kDeep; ++k) {
    const Reals weights = load(tile.weights[k] + first), size = magnitude(weights);
    const Wholes larger = size > top;
    found = larger ? weights : found;
    top = larger ? size : top;
    sum += weights * 0.0f;
  }
  *poison = sum;
  return found;
}

inline Wholes int4_of(Reals weights, Reals inverses) {
  const Reals up = at_most(weights * inverses + 8.5f, 15.0f);
  return truncated(up < 0.0f ? Reals{} : up) - 8;
}

inline Wholes int8_of(Reals weights, Reals inverses) {
  const Reals scaled = weights * inverses;
  const Wholes whole = truncated(at_most(magnitude(scaled) + 0.5f, 127.0f));  // half away from zero
  return scaled < 0.0f ? -whole : whole;
}

template <Wholes (*Rounded)(Reals, Reals)>
inline void round_half(Tile& tile, int first, Reals inverses) {
  for (int k = 0; k < kDeep; ++k) {
    const Wholes whole = Rounded(load(tile.weights[k] + first), inverses);
    std::memcpy(tile.whole[k] + first, &whole, sizeof whole);
  }
}

// The scale of least squared error among the largest weight over each divisor, of equal ones the first.
inline Reals searched(const Tile& tile, int first, Reals top, const Divisors& divisors) {
  Reals best = all(std::numeric_limits<float>::infinity()), kept{};
  for (int64_t i = 0; i < divisors.count; ++i) {
    uint16_t bits[kWide];
    to_fp16(top / divisors.values[i], bits);
    const Reals scales = widened(bits), inverses = inverse(scales);
    Reals errors{};
    for (int k = 0; k < kDeep; ++k) {
      const Reals weights = load(tile.weights[k] + first);
      const Reals off = real(int4_of(weights, inverses)) * scales - weights;
      errors += off * off;
    }
    const Wholes better = errors < best;
    kept = better ? scales : kept;
    best = better ? errors : best;
  }
  return kept;
}

// False where a weight is not finite or fp16 cannot hold a scale.
inline bool round_tile(Tile& tile, Format format, const Divisors& divisors) {
  for (int first = 0; first < kOutputs; first += kWide) {
    Reals poison;
    const Reals top = largest(tile, first, &poison);
    Reals scales = format == Format::int8 ? magnitude(top) / 127.0f : top / -8.0f;
    uint16_t* stored = tile.scales + first;
    to_fp16(scales, stored);
    if (!zero(poison) || !zero(widened(stored) * 0.0f)) return false;
    if (format == Format::int4 && divisors.count > 0) {
      scales = searched(tile, first, top, divisors);
      to_fp16(scales, stored);
    }
    if (format == Format::int8) round_half<int8_of>(tile, first, inverse(scales));
    else round_half<int4_of>(tile, first, inverse(scales));
  }
  return true;
}

// Four bytes an output, of columns in `order`.
template <int32_t Mask, int32_t Shift>
inline Wholes four(const Tile& tile, int eight, const int* order, int first) {
  Wholes words{};
  for (int j = 0; j < 4; ++j) {
    Wholes whole;
    std::memcpy(&whole, tile.whole[eight + order[j]] + first, sizeof whole);
    words |= ((whole + Shift) & Mask) << (8 * j);
  }
  return words;
}

inline void store(const Tile& tile, Format format, uint8_t* out) {
  for (int eight = 0; eight < kDeep; eight += 8) {
    for (int first = 0; first < kOutputs; first += kWide) {
      if (format == Format::int4) {
        const Wholes low = four<15, 8>(tile, eight, kOrder, first), high = four<15, 8>(tile, eight, kOrder + 4, first);
        const Wholes words = low | high << 4;
        std::memcpy(out + 8 * eight + 4 * first, &words, sizeof words);
      } else {
        const Wholes words[2] = {four<255, 0>(tile, eight, kOrder, first), four<255, 0>(tile, eight, kOrder + 4, first)};
        std::memcpy(out + 16 * eight + 4 * first, &words[0], sizeof words[0]);
        std::memcpy(out + 16 * eight + 4 * first + 64, &words[1], sizeof words[1]);
      }
    }
  }
}

// To nearest, ties to even, in the low halves.
inline Bits bf16_of(Reals value) {
  const Bits bits = (Bits)value;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

inline bool store_bf16(const Tile& tile, uint8_t* out) {
  Reals poison{};
  for (int k = 0; k < kDeep; k += 2) {
    for (int first = 0; first < kOutputs; first += kWide) {
      const Reals low = load(tile.weights[k] + first), high = load(tile.weights[k + 1] + first);
      const Bits words = bf16_of(low) | bf16_of(high) << 16;
      std::memcpy(out + 32 * k + 4 * first, &words, sizeof words);
      poison += low * 0.0f + high * 0.0f;
    }
  }
  return zero(poison);
}

// What a tile is read from: 16 outputs of a panel of rows of inputs, or outputs apart.
template <typename T>
struct Reader {
  const T* values;
  int64_t row_step;
  int64_t column_step;
  int64_t outputs;  // as many as there are, up to a tile's
  int64_t inputs;

  template <typename To>
  void read(To (*to)[kOutputs]) const {
    if (outputs < kOutputs || inputs < kDeep) std::memset(to, 0, sizeof(To) * kDeep * kOutputs);
    if (row_step == 1 && outputs == kOutputs) {
      for (int64_t k = 0; k < inputs; ++k) {
        const T* from = values + k * column_step;
        for (int n = 0; n < kOutputs; ++n) to[k][n] = number<To>(from[n]);
      }
      return;
    }
    for (int64_t n = 0; n < outputs; ++n) {
      const T* from = values + n * row_step;
      for (int64_t k = 0; k < inputs; ++k) to[k][n] = number<To>(from[k * column_step]);
    }
  }

  template <typename To>
  static To number(T value) {
    if constexpr (std::is_same_v<T, uint16_t>) return from_bf16(value);
    else return static_cast<To>(value);
  }
};

// Calls `make(strip, group, reader)` for every tile, panel by panel.
template <typename T, typename Make>
bool each_tile(const Source& source, Make make) {
  const T* values = static_cast<const T*>(source.values);
  const bool side_by_side = source.row_step == 1 && source.column_step != 1;
  std::vector<T> panel(side_by_side ? kDeep * kPanel : 0);
  const int64_t groups = (source.columns + kGroup - 1) / kGroup;
  for (int64_t first = 0; first < source.rows; first += kPanel) {
    const int64_t width = std::min(kPanel, source.rows - first);
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t inputs = std::min(kGroup, source.columns - g * kGroup);
      const T* at = values + g * kGroup * source.column_step + first * source.row_step;
      int64_t step = source.column_step;
      if (side_by_side) {  // rows of inputs often lie a power of two apart, where caches hold few of them
        for (int64_t k = 0; k < inputs; ++k) {
          std::memcpy(panel.data() + k * kPanel, at + k * step, static_cast<size_t>(width) * sizeof(T));
        }
        at = panel.data();
        step = kPanel;
      }
      for (int64_t n = 0; n < width; n += kStrip) {
        const Reader<T> reader{at + n * source.row_step, source.row_step, step, std::min(kStrip, width - n), inputs};
        if (!make((first + n) / kStrip, g, reader)) return false;
      }
    }
  }
  return true;
}

template <typename Scale>
inline void scales_of(const Source& source, int64_t strip, int64_t group, Scale* to) {
  const Scale* from = static_cast<const Scale*>(source.scales) + group * kGroup / source.per_scale * source.scale_step;
  for (int64_t n = 0; n < kStrip; ++n) {
    const int64_t row = strip * kStrip + n;
    to[n] = row < source.rows ? from[row * source.scale_row_step] : Scale{0};
  }
}

struct Place {
  Matrix matrix;
  uint8_t* out;

  Place(const Source& source, Format format, uint8_t* to)
      : matrix{nullptr, format, source.rows, source.columns, 1.0f}, out(to) {
    const int64_t used = matrix.groups() * kStrip * 2, head = matrix.scale_bytes();
    for (int64_t s = 0; head > used && s < matrix.strips(); ++s) {
      std::memset(out + s * matrix.strip_bytes() + used, 0, static_cast<size_t>(head - used));
    }
  }
  uint8_t* scales(int64_t strip, int64_t group) const {
    return out + strip * matrix.strip_bytes() + group * kStrip * 2;
  }
  uint8_t* values(int64_t strip, int64_t group) const {
    return out + strip * matrix.strip_bytes() + matrix.scale_bytes() + group * matrix.group_bytes();
  }
};

template <typename T>
bool round_all(const Source& source, Format format, const Divisors& divisors, uint8_t* out) {
  const Place place(source, format, out);
  Tile tile;
  return each_tile<T>(source, [&](int64_t strip, int64_t group, const Reader<T>& reader) {
    reader.read(tile.weights);
    if constexpr (std::is_same_v<T, int8_t>) {
      alignas(64) float scales[kOutputs];
      scales_of(source, strip, group, scales);
      for (int first = 0; first < kOutputs; first += kWide) {
        const Reals by = load(scales + first);
        for (int k = 0; k < kDeep; ++k) save(tile.weights[k] + first, load(tile.weights[k] + first) * by);
      }
    }
    if (format == Format::bf16) return store_bf16(tile, place.values(strip, group));
    if (!round_tile(tile, format, divisors)) return false;
    for (int64_t n = reader.outputs; n < kOutputs; ++n) tile.scales[n] = 0;  // there may be a sign on them
    std::memcpy(place.scales(strip, group), tile.scales, sizeof tile.scales);
    store(tile, format, place.values(strip, group));
    return true;
  });
}

bool round_matrix(const Source& source, Format format, const Divisors& divisors, uint8_t* out) {
  switch (source.held) {
    case Held::fp32: return round_all<float>(source, format, divisors, out);
    case Held::bf16: return round_all<uint16_t>(source, format, divisors, out);
    default: return round_all<int8_t>(source, format, divisors, out);
  }
}

bool lay_out_matrix(const Source& source, Format format, uint8_t* out) {
  const Place place(source, format, out);
  Tile tile;
  return each_tile<int8_t>(source, [&](int64_t strip, int64_t group, const Reader<int8_t>& reader) {
    reader.read(tile.whole);
    if (format == Format::int4) {
      int32_t beyond = 0;
      for (int k = 0; k < kDeep; ++k) {
        for (int n = 0; n < kOutputs; ++n) beyond |= (tile.whole[k][n] + 8) & ~15;
      }
      if (beyond != 0) return false;
    }
    scales_of(source, strip, group, tile.scales);
    std::memcpy(place.scales(strip, group), tile.scales, sizeof tile.scales);
    store(tile, format, place.values(strip, group));
    return true;
  });
}

}  // namespace
}  // namespace lindos
