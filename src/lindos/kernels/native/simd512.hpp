// AVX-512 intrinsics: the compiler's own, or SIMDe's, which compute them on any processor, so that the kernels for AVX-512
// can be tested where there is none.
#pragma once

#if defined(LINDOS_EMULATE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

// What the SIMDe of Debian 12 lacks.
static inline __m512 lindos_cvtepi32_ps(__m512i whole) {
  int32_t from[16];
  float to[16];
  _mm512_storeu_si512(from, whole);
  for (int i = 0; i < 16; ++i) to[i] = static_cast<float>(from[i]);
  return _mm512_loadu_ps(to);
}
#define _mm512_cvtepi32_ps lindos_cvtepi32_ps

static inline __m512i lindos_cvtepu16_epi32(__m256i words) {
  const __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(words));
  const __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(words, 1));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
#define _mm512_cvtepu16_epi32 lindos_cvtepu16_epi32
#else
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>

namespace lindos {
namespace {

inline __m512i load(const void* bytes) { return _mm512_loadu_si512(bytes); }

inline void store(void* bytes, __m512i from) { _mm512_storeu_si512(bytes, from); }

inline __m512 joined(__m256 low, __m256 high) {
  const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_castps_si256(low)), _mm256_castps_si256(high), 1);
  return _mm512_castsi512_ps(both);
}

// The scales of a group.
inline __m512 scales_of(const uint16_t* scales) {
  return joined(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales))),
                _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + 8))));
}

// To the nearest bf16, halves to even, as vcvtne2ps2bf16 does: `low` in the lower half.
inline __m512i rounded(__m512 low, __m512 high) {
#if defined(LINDOS_EMULATE)
  uint32_t bits[32];
  uint16_t to[32];
  _mm512_storeu_ps(bits, low);
  _mm512_storeu_ps(bits + 16, high);
  for (int i = 0; i < 32; ++i) {
    const bool number = (bits[i] & 0x7fffffffu) <= 0x7f800000u;
    const uint32_t nearest = number ? bits[i] + 0x7fffu + (bits[i] >> 16 & 1u) : bits[i] | 0x400000u;
    to[i] = static_cast<uint16_t>((bits[i] & 0x7f800000u ? nearest : bits[i] & 0x80000000u) >> 16);
  }
  return _mm512_loadu_si512(to);
#else
  __m512i both;
  const __m512bh words = _mm512_cvtne2ps_pbh(high, low);
  std::memcpy(&both, &words, sizeof both);
  return both;
#endif
}

}  // namespace
}  // namespace lindos
