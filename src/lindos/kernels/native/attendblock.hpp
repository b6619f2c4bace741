// Queries over one block of keys and values, in vectors as wide as the instruction set of the file that includes this; in
// an unnamed namespace, so that each file keeps its own compilation.
//
// Every sum has one order, by columns or by tokens, so a query's result does not depend on which others are computed with
// it, nor on how many registers that takes.
#pragma once

#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "pages.hpp"

namespace lindos {
namespace {
namespace wide {

#if defined(__AVX512F__)
constexpr int kWide = 16;
#elif defined(__AVX__)
constexpr int kWide = 8;
#else
constexpr int kWide = 4;
#endif
constexpr int kParts = static_cast<int>(kLanes) / kWide;
// Queries at a time: their sums fill the registers.
constexpr int kRows = kWide == 4 ? 2 : 6;

typedef float Vec __attribute__((vector_size(4 * kWide)));
typedef int32_t Int __attribute__((vector_size(4 * kWide)));
typedef uint32_t Bits __attribute__((vector_size(4 * kWide)));
typedef uint16_t Half __attribute__((vector_size(2 * kWide)));

inline Vec splat(float x) { return x - Vec{}; }

inline Vec load(const float* from) {
  Vec x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

// bf16; GCC 12 takes four instructions for what is one, unless it is named.
inline Vec load(const uint16_t* from) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))), 16));
#elif defined(__AVX2__)
  return reinterpret_cast<Vec>(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))), 16));
#else
  Half half;
  std::memcpy(&half, from, sizeof half);
  return reinterpret_cast<Vec>(__builtin_convertvector(half, Bits) << 16);
#endif
}

inline void store(float* to, Vec x) { std::memcpy(to, &x, sizeof x); }

inline float largest_of(Vec x, float y) {
  float lanes[kWide];
  store(lanes, x);
  for (int half = kWide / 2; half; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
  }
  return lanes[0] > y ? lanes[0] : y;
}

inline float sum_of(Vec x) {
  float lanes[kWide];
  store(lanes, x);
  for (int half = kWide / 2; half; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

inline float one(float x) { return x; }
inline float one(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

// As `exponential` in loops.hpp, but nothing below -87, so that what is masked weighs nothing at all.
inline Vec exp0(Vec x) {
  const Int nothing = x < -87.0f;
  x = nothing ? splat(-87.0f) : x;  // what is not a number stays so
  x = x > 88.0f ? splat(88.0f) : x;
  constexpr float kRound = 12582912.0f;
  const Vec n = (x * 1.44269504f + kRound) - kRound;
  const Vec r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Vec y = splat(1.0f / 720.0f);
  y = y * r + 1.0f / 120.0f;
  y = y * r + 1.0f / 24.0f;
  y = y * r + 1.0f / 6.0f;
  y = y * r + 0.5f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  const Int power = (__builtin_convertvector(n == n ? n : Vec{}, Int) + 127) << 23;
  Vec scale;
  std::memcpy(&scale, &power, sizeof scale);
  return nothing ? Vec{} : y * scale;
}

// q.k of R queries with 16 S tokens from `strip` on.
template <int R, int S, typename T>
inline void products(const float* q, int64_t size, const T* keys, int64_t strip, float (*scores)[kPage]) {
  Vec sums[R][S * kParts] = {};
  const T* from = keys + strip * size * kLanes;
  for (int64_t c = 0; c < size; ++c) {
    Vec key[S * kParts];
#pragma GCC unroll 16
    for (int p = 0; p < S * kParts; ++p) {
      key[p] = load(from + (p / kParts * size + c) * kLanes + p % kParts * kWide);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vec x = splat(q[r * size + c]);
#pragma GCC unroll 16
      for (int p = 0; p < S * kParts; ++p) sums[r][p] += x * key[p];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < S * kParts; ++p) store(scores[r] + strip * kLanes + p * kWide, sums[r][p]);
  }
}

// From products to weights, in place: those of one query, of which the first `count` count.
inline void weigh(float* scores, int64_t count, uint64_t visible, const Scoring& how, float temperature, float* largest,
                  float* sum, float* shrink) {
  Vec top = splat(-__builtin_inff());
  Int lane;
  for (int i = 0; i < kWide; ++i) lane[i] = i;
  for (int64_t s = 0; s < kPage; s += kWide) {
    Vec x = load(scores + s);
    if (how.cap > 0.0f) {
      x = how.cap - 2.0f * how.cap / (exp0(x * (2.0f * how.scale / how.cap)) + 1.0f);
    } else {
      x = x * how.scale;
    }
    x = x * temperature;
    // After `count` there may be anything.
    x = lane < static_cast<int32_t>(count - s) ? x : splat(-__builtin_inff());
    store(scores + s, x);
  }
  if (visible != ~uint64_t{0}) {
    for (int64_t s = 0; s < count; ++s) {
      if (!(visible >> s & 1)) scores[s] = -1e30f;  // finite, so that a query without a visible key stays finite
    }
  }
  for (int64_t s = 0; s < kPage; s += kWide) {
    const Vec x = load(scores + s);
    top = x > top ? x : top;
  }
  const float now = largest_of(top, *largest);
  Vec total = {};
  for (int64_t s = 0; s < kPage; s += kWide) {
    const Vec x = exp0(load(scores + s) - now);
    store(scores + s, x);
    total += x;
  }
  *shrink = exp0(splat(*largest - now))[0];
  *sum = *sum * *shrink + sum_of(total);
  *largest = now;
}

// out = out * shrink + weights . values, 16 S columns from `strip` on.
template <int R, int S, typename T>
inline void mix(const float (*weights)[kPage], const float* shrink, const T* values, int64_t count, int64_t strip,
                float* out, int64_t size) {
  Vec sums[R][S * kParts];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < S * kParts; ++p) {
      sums[r][p] = load(out + r * size + strip * kLanes + p * kWide) * shrink[r];
    }
  }
  const T* from = values + strip * kPage * kLanes;
  for (int64_t s = 0; s < count; ++s) {
    Vec value[S * kParts];
#pragma GCC unroll 16
    for (int p = 0; p < S * kParts; ++p) {
      value[p] = load(from + (p / kParts * kPage + s) * kLanes + p % kParts * kWide);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vec w = splat(weights[r][s]);
#pragma GCC unroll 16
      for (int p = 0; p < S * kParts; ++p) sums[r][p] += w * value[p];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < S * kParts; ++p) store(out + r * size + strip * kLanes + p * kWide, sums[r][p]);
  }
}

// The columns that fill no strip.
template <int R, typename T>
inline void mix_rest(const float (*weights)[kPage], const float* shrink, const T* values, int64_t count, float* out,
                     int64_t size) {
  const int64_t first = size / kLanes * kLanes, rest = size - first;
  const T* from = values + first * kPage;
  for (int r = 0; r < R; ++r) {
    for (int64_t c = 0; c < rest; ++c) {
      float sum = out[r * size + first + c] * shrink[r];
      for (int64_t s = 0; s < count; ++s) sum += weights[r][s] * one(from[s * rest + c]);
      out[r * size + first + c] = sum;
    }
  }
}

template <int R, typename T>
void some(const KeyBlock& block, const Scoring& how, const float* q, const float* temperatures, const Gathered& to) {
  // With few queries several strips at a time keep the units busy; sums of each have the same order.
  constexpr int S = R == 1 ? 4 : R <= 3 || kParts == 1 ? 2 : 1;
  const auto* keys = reinterpret_cast<const T*>(block.keys);
  const auto* values = reinterpret_cast<const T*>(block.values);
  const int64_t size = block.size;
  alignas(64) float scores[R][kPage];
  float shrink[R];
  const int64_t strips = (block.count + kLanes - 1) / kLanes;
  for (int64_t strip = 0; strip < strips; strip += S) products<R, S>(q, size, keys, strip, scores);
  for (int r = 0; r < R; ++r) {
    weigh(scores[r], block.count, block.visible, how, temperatures ? temperatures[r] : 1.0f, to.largest + r, to.sum + r,
          shrink + r);
  }
  int64_t strip = 0;
  for (; strip + S <= size / kLanes; strip += S) mix<R, S>(scores, shrink, values, block.count, strip, to.out, size);
  for (; strip < size / kLanes; ++strip) mix<R, 1>(scores, shrink, values, block.count, strip, to.out, size);
  if (size % kLanes) mix_rest<R>(scores, shrink, values, block.count, to.out, size);
}

template <typename T>
void all(const KeyBlock& block, const Scoring& how, const float* q, const float* temperatures, int64_t rows,
         const Gathered& to) {
  for (int64_t r = 0; r < rows;) {
    const int64_t left = rows - r, size = block.size;
    const auto next = [&]<int R>() {
      some<R, T>(block, how, q + r * size, temperatures ? temperatures + r : nullptr, to.from(r, size));
      r += R;
    };
    if constexpr (kRows == 6) {
      if (left >= 6) { next.template operator()<6>(); continue; }
      if (left == 5) { next.template operator()<5>(); continue; }
      if (left == 4) { next.template operator()<4>(); continue; }
      if (left == 3) { next.template operator()<3>(); continue; }
    }
    if (left >= 2) {
      next.template operator()<2>();
    } else {
      next.template operator()<1>();
    }
  }
}

}  // namespace wide

void attend(const KeyBlock& block, const Scoring& how, const float* q, const float* temperatures, int64_t rows,
            const Gathered& to) {
  if (block.bf16) {
    wide::all<uint16_t>(block, how, q, temperatures, rows, to);
  } else {
    wide::all<float>(block, how, q, temperatures, rows, to);
  }
}

}  // namespace
}  // namespace lindos
