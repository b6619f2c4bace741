// AVX2 with FMA and F16C: 16-bit sums of unsigned by signed bytes.
#include "isa.hpp"

#if defined(__AVX2__)

#include "wide.hpp"

namespace lindos {
namespace {

__m256i four_inputs(const int8_t* values) {
  int32_t four;
  std::memcpy(&four, values, sizeof four);
  return _mm256_set1_epi32(four);
}

__m256 scales_of(const uint16_t* scales, int half) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + 8 * half)));
}

__m256i load(const uint8_t* bytes) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)); }

// R inputs at a time over H halves (of 8 rows) of a strip, from half `first` on: both halves for few inputs, so that the
// weights come in whole cache lines, one for many where their sums would not fit the registers otherwise.

// A 16-bit lane takes 16 products of at most 15 * 127 in one group: 30480, which fits.
template <int R, int H>
void int4_part(const uint8_t* values, const uint16_t* scales, const uint8_t* later, int64_t groups, const InputRows& in,
               int first, float* out) {
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i ones = _mm256_set1_epi16(1);
  const InputGroup* x[R];
  __m256 sum[R][H];
  UNROLLED for (int r = 0; r < R; ++r) {
    x[r] = in.groups + r * in.apart;
    UNROLLED for (int h = 0; h < H; ++h) sum[r][h] = _mm256_setzero_ps();
  }
  for (int64_t g = 0; g < groups; ++g) {
    if (later) fetch<288>(later + 288 * g);
    const uint8_t* group = values + 256 * g + 32 * first;
    __m256i pairs[R][H];
    UNROLLED for (int r = 0; r < R; ++r) {
      UNROLLED for (int h = 0; h < H; ++h) pairs[r][h] = _mm256_setzero_si256();
    }
#pragma GCC unroll 1
    for (int eight = 0; eight < 4; ++eight) {
      UNROLLED for (int upper = 0; upper < 2; ++upper) {
        __m256i w[H];
        UNROLLED for (int h = 0; h < H; ++h) {
          const __m256i both = load(group + 64 * eight + 32 * h);
          w[h] = _mm256_and_si256(upper ? _mm256_srli_epi16(both, 4) : both, nibble);
        }
        UNROLLED for (int r = 0; r < R; ++r) {
          const __m256i inputs = four_inputs(x[r][g].values + 8 * eight + 4 * upper);
          UNROLLED for (int h = 0; h < H; ++h) {
            pairs[r][h] = _mm256_add_epi16(pairs[r][h], _mm256_maddubs_epi16(w[h], inputs));
            __asm__ volatile("" : "+x"(pairs[r][h]));  // in this order, or the compiler has no register left
          }
        }
      }
    }
    UNROLLED for (int h = 0; h < H; ++h) {
      const __m256 scale = scales_of(scales + g * kStrip, first + h);
      UNROLLED for (int r = 0; r < R; ++r) {
        const __m256i shift = _mm256_set1_epi32(x[r][g].shift);
        const __m256i whole = _mm256_sub_epi32(_mm256_madd_epi16(pairs[r][h], ones), shift);
        const __m256 factor = _mm256_mul_ps(scale, _mm256_set1_ps(x[r][g].scale));
        sum[r][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), factor, sum[r][h]);
      }
    }
  }
  UNROLLED for (int r = 0; r < R; ++r) {
    UNROLLED for (int h = 0; h < H; ++h) _mm256_storeu_ps(out + r * kStrip + 8 * (first + h), sum[r][h]);
  }
}

template <int R, int H>
void int8_part(const uint8_t* values, const uint16_t* scales, const uint8_t* later, int64_t groups, const InputRows& in,
               int first, float* out) {
  const __m256i ones = _mm256_set1_epi16(1);
  const InputGroup* x[R];
  __m256 sum[R][H];
  UNROLLED for (int r = 0; r < R; ++r) {
    x[r] = in.groups + r * in.apart;
    UNROLLED for (int h = 0; h < H; ++h) sum[r][h] = _mm256_setzero_ps();
  }
  for (int64_t g = 0; g < groups; ++g) {
    if (later) fetch<544>(later + 544 * g);
    const uint8_t* group = values + 512 * g + 32 * first;
    __m256i whole[R][H];
    UNROLLED for (int r = 0; r < R; ++r) {
      UNROLLED for (int h = 0; h < H; ++h) whole[r][h] = _mm256_setzero_si256();
    }
#pragma GCC unroll 1
    for (int four = 0; four < 8; ++four) {
      UNROLLED for (int h = 0; h < H; ++h) {
        const __m256i w = load(group + 64 * four + 32 * h);
        const __m256i size = _mm256_abs_epi8(w);
        UNROLLED for (int r = 0; r < R; ++r) {
          const __m256i inputs = _mm256_sign_epi8(four_inputs(x[r][g].values + 4 * four), w);
          const __m256i pairs = _mm256_maddubs_epi16(size, inputs);
          whole[r][h] = _mm256_add_epi32(whole[r][h], _mm256_madd_epi16(pairs, ones));
        }
      }
    }
    UNROLLED for (int h = 0; h < H; ++h) {
      const __m256 scale = scales_of(scales + g * kStrip, first + h);
      UNROLLED for (int r = 0; r < R; ++r) {
        const __m256 factor = _mm256_mul_ps(scale, _mm256_set1_ps(x[r][g].scale));
        sum[r][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole[r][h]), factor, sum[r][h]);
      }
    }
  }
  UNROLLED for (int r = 0; r < R; ++r) {
    UNROLLED for (int h = 0; h < H; ++h) _mm256_storeu_ps(out + r * kStrip + 8 * (first + h), sum[r][h]);
  }
}

template <int R, int H>
void bf16_part(const uint8_t* values, const uint16_t*, const uint8_t* later, int64_t groups, const InputRows& in, int first,
               float* out) {
  const __m256i upper = _mm256_set1_epi32(static_cast<int32_t>(0xffff0000u));
  const float* x[R];
  __m256 evens[R][H];
  __m256 odds[R][H];
  UNROLLED for (int r = 0; r < R; ++r) {
    x[r] = in.plain + r * in.apart;
    UNROLLED for (int h = 0; h < H; ++h) evens[r][h] = odds[r][h] = _mm256_setzero_ps();
  }
  for (int64_t pair = 0; pair < 16 * groups; ++pair) {
    if (later) fetch<64>(later + 64 * pair);
    UNROLLED for (int h = 0; h < H; ++h) {
      const __m256i both = load(values + 64 * pair + 32 * (first + h));
      const __m256 even = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
      const __m256 odd = _mm256_castsi256_ps(_mm256_and_si256(both, upper));
      UNROLLED for (int r = 0; r < R; ++r) {
        evens[r][h] = _mm256_fmadd_ps(even, _mm256_broadcast_ss(x[r] + 2 * pair), evens[r][h]);
        odds[r][h] = _mm256_fmadd_ps(odd, _mm256_broadcast_ss(x[r] + 2 * pair + 1), odds[r][h]);
      }
    }
  }
  UNROLLED for (int r = 0; r < R; ++r) {
    UNROLLED for (int h = 0; h < H; ++h) {
      _mm256_storeu_ps(out + r * kStrip + 8 * (first + h), _mm256_add_ps(evens[r][h], odds[r][h]));
    }
  }
}

using Part = void (*)(const uint8_t*, const uint16_t*, const uint8_t*, int64_t, const InputRows&, int, float*);

struct Parts {
  Part four, three, two, one;
  int halves;  // that `four` and `three` compute at a time
};

Parts parts_of(Format format) {
  switch (format) {
    case Format::int4: return {int4_part<4, 2>, int4_part<3, 2>, int4_part<2, 2>, int4_part<1, 2>, 2};
    case Format::int8: return {int8_part<4, 1>, int8_part<3, 1>, int8_part<2, 2>, int8_part<1, 2>, 1};
    default: return {bf16_part<4, 1>, bf16_part<3, 1>, bf16_part<2, 2>, bf16_part<1, 2>, 1};
  }
}

// One input's sums do not depend on how many it is computed with: every lane goes the same way.
void strip(const Matrix& matrix, int64_t index, const InputRows& inputs, float* out) {
  const Parts parts = parts_of(matrix.format);
  const uint8_t* values = matrix.values(index);
  const uint16_t* scales = matrix.scales(index);
  const int64_t groups = matrix.groups(), count = inputs.count;
  const uint8_t* later = values + kAhead;  // the first pass over the strip asks for it
  for (int64_t r = 0, taken; r < count; r += taken) {
    taken = std::min<int64_t>(count - r, 4);
    const Part part = taken == 4 ? parts.four : taken == 3 ? parts.three : taken == 2 ? parts.two : parts.one;
    const int halves = taken > 2 ? parts.halves : 2;
    for (int half = 0; half < 2; half += halves) {
      part(values, scales, later, groups, inputs.part(r, taken), half, out + r * kStrip);
      later = nullptr;
    }
  }
  if (matrix.multiplier != 1.0f) {
    for (int64_t i = 0; i < count * kStrip; ++i) out[i] *= matrix.multiplier;
  }
}

}  // namespace

const Isa* avx2_isa() {
  static const Isa isa{"avx2", quantise, strip, gated, add_scaled, dot, norm, softmax, softcap, turn, attend};
  return &isa;
}

}  // namespace lindos

#else

namespace lindos {
const Isa* avx2_isa() { return nullptr; }
}  // namespace lindos

#endif
