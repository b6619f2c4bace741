// AVX-512 with VNNI: sums of four products of unsigned by signed bytes, sixteen rows at a time.
#include "isa.hpp"

#if (defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)) || defined(LINDOS_EMULATE)

#include "simd512.hpp"
#include "wide.hpp"

namespace lindos {
namespace {

__m512i four_inputs(const int8_t* values) {
  int32_t four;
  std::memcpy(&four, values, sizeof four);
  return _mm512_set1_epi32(four);
}

// R inputs at a time over a whole strip.
template <int R>
void int4_part(const uint8_t* values, const uint16_t* scales, const uint8_t* later, int64_t groups, const InputRows& in,
               float* out) {
  const __m512i nibble = _mm512_set1_epi8(15);
  const InputGroup* x[R];
  __m512 sum[R];
  UNROLLED for (int r = 0; r < R; ++r) {
    x[r] = in.groups + r * in.apart;
    sum[r] = _mm512_setzero_ps();
  }
  for (int64_t g = 0; g < groups; ++g) {
    if (later) fetch<288>(later + 288 * g);
    __m512i whole[R];
    UNROLLED for (int r = 0; r < R; ++r) whole[r] = _mm512_setzero_si512();
#pragma GCC unroll 1
    for (int eight = 0; eight < 4; ++eight) {
      const __m512i both = load(values + 256 * g + 64 * eight);
      const __m512i low = _mm512_and_si512(both, nibble);
      const __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
      UNROLLED for (int r = 0; r < R; ++r) {
        const int8_t* inputs = x[r][g].values + 8 * eight;
        whole[r] = _mm512_dpbusd_epi32(whole[r], low, four_inputs(inputs));
        whole[r] = _mm512_dpbusd_epi32(whole[r], high, four_inputs(inputs + 4));
      }
    }
    const __m512 scale = scales_of(scales + g * kStrip);
    UNROLLED for (int r = 0; r < R; ++r) {
      const __m512i exact = _mm512_sub_epi32(whole[r], _mm512_set1_epi32(x[r][g].shift));
      const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(x[r][g].scale));
      sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact), factor, sum[r]);
    }
  }
  UNROLLED for (int r = 0; r < R; ++r) _mm512_storeu_ps(out + r * kStrip, sum[r]);
}

// Signed weights become unsigned by adding 128, which 16 times the shift takes back.
template <int R>
void int8_part(const uint8_t* values, const uint16_t* scales, const uint8_t* later, int64_t groups, const InputRows& in,
               float* out) {
  const __m512i top = _mm512_set1_epi8(static_cast<char>(0x80));
  const InputGroup* x[R];
  __m512 sum[R];
  UNROLLED for (int r = 0; r < R; ++r) {
    x[r] = in.groups + r * in.apart;
    sum[r] = _mm512_setzero_ps();
  }
  for (int64_t g = 0; g < groups; ++g) {
    if (later) fetch<544>(later + 544 * g);
    __m512i whole[R];
    UNROLLED for (int r = 0; r < R; ++r) whole[r] = _mm512_setzero_si512();
#pragma GCC unroll 1
    for (int four = 0; four < 8; ++four) {
      const __m512i w = _mm512_xor_si512(load(values + 512 * g + 64 * four), top);
      UNROLLED for (int r = 0; r < R; ++r) {
        whole[r] = _mm512_dpbusd_epi32(whole[r], w, four_inputs(x[r][g].values + 4 * four));
      }
    }
    const __m512 scale = scales_of(scales + g * kStrip);
    UNROLLED for (int r = 0; r < R; ++r) {
      const __m512i exact = _mm512_sub_epi32(whole[r], _mm512_set1_epi32(16 * x[r][g].shift));
      const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(x[r][g].scale));
      sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact), factor, sum[r]);
    }
  }
  UNROLLED for (int r = 0; r < R; ++r) _mm512_storeu_ps(out + r * kStrip, sum[r]);
}

template <int R>
void bf16_part(const uint8_t* values, const uint16_t*, const uint8_t* later, int64_t groups, const InputRows& in, float* out) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u));
  const float* x[R];
  __m512 evens[R];
  __m512 odds[R];
  UNROLLED for (int r = 0; r < R; ++r) {
    x[r] = in.plain + r * in.apart;
    evens[r] = odds[r] = _mm512_setzero_ps();
  }
  for (int64_t pair = 0; pair < 16 * groups; ++pair) {
    if (later) fetch<64>(later + 64 * pair);
    const __m512i both = load(values + 64 * pair);
    const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
    const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(both, upper));
    UNROLLED for (int r = 0; r < R; ++r) {
      evens[r] = _mm512_fmadd_ps(even, _mm512_set1_ps(x[r][2 * pair]), evens[r]);
      odds[r] = _mm512_fmadd_ps(odd, _mm512_set1_ps(x[r][2 * pair + 1]), odds[r]);
    }
  }
  UNROLLED for (int r = 0; r < R; ++r) _mm512_storeu_ps(out + r * kStrip, _mm512_add_ps(evens[r], odds[r]));
}

using Part = void (*)(const uint8_t*, const uint16_t*, const uint8_t*, int64_t, const InputRows&, float*);

struct Parts {
  Part eight, four, two, one;
};

Parts parts_of(Format format) {
  switch (format) {
    case Format::int4: return {int4_part<8>, int4_part<4>, int4_part<2>, int4_part<1>};
    case Format::int8: return {int8_part<8>, int8_part<4>, int8_part<2>, int8_part<1>};
    default: return {bf16_part<8>, bf16_part<4>, bf16_part<2>, bf16_part<1>};
  }
}

// One input's sums do not depend on how many it is computed with: every lane goes the same way.
void strip(const Matrix& matrix, int64_t index, const InputRows& inputs, float* out) {
  const int64_t count = inputs.count;
  const Parts parts = parts_of(matrix.format);
  const uint8_t* values = matrix.values(index);
  const uint16_t* scales = matrix.scales(index);
  const uint8_t* later = values + kAhead;  // the first pass over the strip asks for it
  for (int64_t r = 0; r < count;) {
    const int64_t left = count - r;
    const int64_t taken = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    const Part part = taken == 8 ? parts.eight : taken == 4 ? parts.four : taken == 2 ? parts.two : parts.one;
    part(values, scales, later, matrix.groups(), inputs.part(r, taken), out + r * kStrip);
    later = nullptr;
    r += taken;
  }
  if (matrix.multiplier != 1.0f) {
    for (int64_t i = 0; i < count * kStrip; ++i) out[i] *= matrix.multiplier;
  }
}

}  // namespace

const Isa* vnni_isa() {
  static const Isa isa{"vnni", quantise, strip, gated, add_scaled, dot, norm, softmax, softcap, turn, attend};
  return &isa;
}

}  // namespace lindos

#else

namespace lindos {
const Isa* vnni_isa() { return nullptr; }
}  // namespace lindos

#endif
