// What AVX2 and all that goes beyond it share; in an unnamed namespace, so that each file keeps its own compilation.
#pragma once

#include <immintrin.h>

#include <initializer_list>

#include "loops.hpp"
#include "scalar.hpp"

// Sums stay in registers only where the loops over them are unrolled before all else.
#define UNROLLED _Pragma("GCC unroll 16")

namespace lindos {
namespace {

// Bytes of weights asked of memory before they are needed. A strip of a narrow matrix ends before a processor's own
// read-ahead is under way, and left alone it draws half of what the memory gives.
constexpr int64_t kAhead = 3072;

// Asks for `Bytes` from `at` on, which may lie beyond the matrix, or beyond all memory.
template <int Bytes>
void fetch(const uint8_t* at) {
  UNROLLED for (int i = 0; i < Bytes; i += 64) __builtin_prefetch(at + i);
}

float sum_of(__m256 x) {
  __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  y = _mm_add_ps(y, _mm_movehl_ps(y, y));
  return _mm_cvtss_f32(_mm_add_ss(y, _mm_shuffle_ps(y, y, 1)));
}

float max_of(__m256 x) {
  __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  y = _mm_max_ps(y, _mm_movehl_ps(y, y));
  return _mm_cvtss_f32(_mm_max_ss(y, _mm_shuffle_ps(y, y, 1)));
}

// One whole group of 32.
void quantise_group(const float* x, InputGroup* to) {
  const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 v[4];
  __m256 largest = _mm256_setzero_ps();
  __m256 poison = _mm256_setzero_ps();  // not a number once an input is not finite
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_loadu_ps(x + 8 * i);
    largest = _mm256_max_ps(largest, _mm256_and_ps(no_sign, v[i]));
    poison = _mm256_add_ps(poison, _mm256_mul_ps(v[i], _mm256_setzero_ps()));
  }
  const float top = max_of(largest) / 127.0f;
  to->scale = top + sum_of(poison);
  const __m256 inverse = _mm256_set1_ps(top > 0.0f ? 1.0f / top : 0.0f);
  const __m256 high = _mm256_set1_ps(127.0f);
  const __m256 low = _mm256_set1_ps(-127.0f);
  // Columns 0 4 1 5 2 6 3 7 of each eight.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  __m256i whole[4];
  __m256i total = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    const __m256 scaled = _mm256_min_ps(_mm256_max_ps(_mm256_mul_ps(v[i], inverse), low), high);
    whole[i] = _mm256_permutevar8x32_epi32(_mm256_cvtps_epi32(scaled), order);
    total = _mm256_add_epi32(total, whole[i]);
  }
  const __m256i ab = _mm256_packs_epi32(whole[0], whole[1]);
  const __m256i cd = _mm256_packs_epi32(whole[2], whole[3]);
  const __m256i bytes = _mm256_packs_epi16(ab, cd);  // a0 b0 c0 d0 | a1 b1 c1 d1, four bytes each
  const __m256i sorted = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to->values), sorted);
  alignas(32) int32_t parts[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(parts), total);
  int32_t sum = 0;
  for (int32_t part : parts) sum += part;
  to->shift = 8 * sum;
}

void quantise(const float* x, int64_t columns, InputGroup* groups) {
  for (int64_t at = 0; at < columns; at += kGroup) {
    if (columns - at >= kGroup) {
      quantise_group(x + at, groups + at / kGroup);
    } else {
      float padded[kGroup] = {};
      std::memcpy(padded, x + at, static_cast<size_t>(columns - at) * sizeof(float));
      quantise_group(padded, groups + at / kGroup);
    }
  }
}

// e^x to 2 units in the last place: 2^n e^r with r within half a ln 2, by its Taylor series to the sixth power.
__m256 exponential8(__m256 x) {
  x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-87.0f)), _mm256_set1_ps(88.0f));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 y = _mm256_set1_ps(1.0f / 720.0f);
  for (float c : {1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f}) y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(c));
  const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(y, _mm256_castsi256_ps(power));
}

// x * sigmoid(x), or the tanh form of gelu, which is x * sigmoid(2 * inner).
__m256 activate8(__m256 x, bool silu) {
  __m256 exponent = x;
  if (!silu) {
    const __m256 cubic = _mm256_fmadd_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(0.044715f), _mm256_set1_ps(1.0f));
    exponent = _mm256_mul_ps(_mm256_mul_ps(x, cubic), _mm256_set1_ps(2.0f * 0.7978845608028654f));
  }
  const __m256 e = exponential8(_mm256_sub_ps(_mm256_setzero_ps(), exponent));
  return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

void gated(const float* g, const float* u, float* h, int64_t count, Activation activation) {
  const bool silu = activation == Activation::silu;
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(h + i, _mm256_mul_ps(activate8(_mm256_loadu_ps(g + i), silu), _mm256_loadu_ps(u + i)));
  }
  for (; i < count; ++i) h[i] = activate(g[i], silu) * u[i];
}

}  // namespace
}  // namespace lindos
