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
#else
#include <immintrin.h>
#endif
