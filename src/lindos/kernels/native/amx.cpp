// AMX: tiles of 16 inputs times tiles of 16 outputs. Few rows go as bytes, a group of 32 columns a tile, with the results of
// AVX-512 to the bit; many go in bf16, with scales multiplied into the weights, so that sums stay in tiles; very few are
// left to AVX-512.
#include "isa.hpp"

#if (defined(LINDOS_TILES) && defined(__AVX512BF16__)) || defined(LINDOS_EMULATE)

#include "simd512.hpp"
#include "tiles.hpp"
#include "wide.hpp"

namespace lindos {
namespace {

constexpr int64_t kTiled = 8;       // below, eight tiles' worth of work would be for nothing
constexpr int64_t kMany = 64;       // from here on widening the weights pays
constexpr int64_t kTile = 512;      // numbers of bf16 in a tile
constexpr int64_t kByteDepth = 32;  // groups of bytes at a time, which fill a third of the nearest cache
constexpr int64_t kDepth = 16;      // groups of bf16 at a time; two strips fill two thirds of it

constexpr TileShapes shapes(uint16_t inputs_bytes, uint8_t weights_rows) {
  TileShapes made;
  for (int tile = 0; tile < 8; ++tile) {
    made.row_bytes[tile] = tile == 4 || tile == 5 ? inputs_bytes : 64;
    made.rows[tile] = tile < 6 ? kBlock : weights_rows;
  }
  return made;
}

// A group of int4 as one of int8.
void widen(const uint8_t* from, int64_t groups, int8_t* to) {
  const __m512i nibble = _mm512_set1_epi8(15), eight = _mm512_set1_epi8(8);
  for (int64_t i = 0; i < 4 * groups; ++i) {
    const __m512i both = load(from + 64 * i);
    const __m512i low = _mm512_and_si512(both, nibble);
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
    store(to + 128 * i, _mm512_sub_epi8(low, eight));
    store(to + 128 * i + 64, _mm512_sub_epi8(high, eight));
  }
}

// Weights are asked for while those before them are multiplied, or memory would rest meanwhile; asking is harmless where
// there are none.
inline void ask_for(const uint8_t* from, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) _mm_prefetch(reinterpret_cast<const char*>(from + at), _MM_HINT_T1);
}

// The whole numbers of one group, 16 inputs by 16 outputs.
template <int C>
inline void multiply_group(Tiles& tiles, const InputGroup* x, int64_t apart, const int8_t* values, int32_t* whole) {
  tiles.clear<C>();
  tiles.load<4 + C>(x->values, apart);
  tiles.load<6 + C>(values, 64);
  tiles.add_bytes<C, 4 + C, 6 + C>();
  tiles.store<C>(whole, 64);
}

// What AVX-512 does with them, in the same order.
template <int R>
[[gnu::always_inline]] inline void scale_group(const int32_t* whole, const uint16_t* scales, const InputGroup* x,
                                               int64_t apart, __m512* sums) {
  const __m512 scale = scales_of(scales);
  const uint8_t* row = reinterpret_cast<const uint8_t*>(&x->scale);
  UNROLLED for (int four = 0; four < R; four += 4) {
    UNROLLED for (int r = 0; r < 4; ++r) {
      float of_input;
      std::memcpy(&of_input, row + r * apart, sizeof of_input);
      const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(of_input));
      const __m512i exact = _mm512_loadu_si512(whole + (four + r) * kStrip);
      sums[four + r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact), factor, sums[four + r]);
    }
    row += 4 * apart;
    __asm__("" : "+r"(row));  // the compiler would keep sixteen addresses, and have no register left
  }
}

// Adds the products of 16 inputs, of which R count, to their sums in `out`. A group is multiplied while the one before
// it is scaled, and asks for one, of `bytes`, further on.
template <int R, int bytes>
void bytes_part(Tiles& tiles, const int8_t* values, const uint16_t* scales, int64_t groups, const InputGroup* x,
                int64_t apart, const uint8_t* ahead, float* out) {
  alignas(64) int32_t whole[2][kBlock * kStrip];
  __m512 sums[R];
  UNROLLED for (int r = 0; r < R; ++r) sums[r] = _mm512_loadu_ps(out + r * kStrip);
  multiply_group<0>(tiles, x, apart, values, whole[0]);
  int64_t g = 0;
  for (; g + 2 < groups; g += 2) {
    ask_for(ahead + g * bytes, 2 * bytes);
    multiply_group<1>(tiles, x + g + 1, apart, values + 512 * (g + 1), whole[1]);
    scale_group<R>(whole[0], scales + kStrip * g, x + g, apart, sums);
    multiply_group<0>(tiles, x + g + 2, apart, values + 512 * (g + 2), whole[0]);
    scale_group<R>(whole[1], scales + kStrip * (g + 1), x + g + 1, apart, sums);
  }
  if (g + 1 < groups) multiply_group<1>(tiles, x + g + 1, apart, values + 512 * (g + 1), whole[1]);
  scale_group<R>(whole[0], scales + kStrip * g, x + g, apart, sums);
  if (g + 1 < groups) scale_group<R>(whole[1], scales + kStrip * (g + 1), x + g + 1, apart, sums);
  UNROLLED for (int r = 0; r < R; ++r) _mm512_storeu_ps(out + r * kStrip, sums[r]);
}

auto part_of(Format format, int64_t left) {
  if (format == Format::int4) return left > 8 ? bytes_part<16, 256> : bytes_part<8, 256>;
  return left > 8 ? bytes_part<16, 512> : bytes_part<8, 512>;
}

void bytes_strip(const Matrix& matrix, int64_t index, const InputRows& inputs, float* out) {
  static constexpr TileShapes kShapes = shapes(kGroup, kGroup / 4);
  alignas(64) int8_t wide[kByteDepth * 512];
  Tiles tiles(kShapes);
  std::fill(out, out + whole_blocks(inputs.count) * kStrip, 0.0f);
  const int64_t apart = inputs.apart * static_cast<int64_t>(sizeof(InputGroup));
  for (int64_t g = 0; g < matrix.groups(); g += kByteDepth) {
    const int64_t groups = std::min(kByteDepth, matrix.groups() - g);
    const uint8_t* stored = matrix.values(index) + g * matrix.group_bytes();
    const uint16_t* scales = matrix.scales(index) + g * kStrip;
    if (matrix.format == Format::int4) widen(stored, groups, wide);
    const int8_t* values = matrix.format == Format::int4 ? wide : reinterpret_cast<const int8_t*>(stored);
    for (int64_t r = 0; r < inputs.count; r += kBlock) {
      part_of(matrix.format, inputs.count - r)(tiles, values, scales, groups, inputs.groups + r * inputs.apart + g, apart,
                                               stored + kByteDepth * matrix.group_bytes(), out + r * kStrip);
    }
  }
  if (matrix.multiplier != 1.0f) {
    for (int64_t i = 0; i < inputs.count * kStrip; ++i) out[i] *= matrix.multiplier;
  }
}

void strip(const Matrix& matrix, int64_t index, const InputRows& inputs, float* out) {
  int64_t tiled = 0;
  if (matrix.format != Format::bf16) {
    const int64_t left = inputs.count % kBlock;
    tiled = left < kTiled ? inputs.count - left : inputs.count;
  }
  if (tiled > 0) bytes_strip(matrix, index, inputs.part(0, tiled), out);
  if (tiled < inputs.count) {
    vnni_isa()->strip(matrix, index, inputs.part(tiled, inputs.count - tiled), out + tiled * kStrip);
  }
}

void round(const float* x, int64_t columns, int64_t groups, uint16_t* row) {
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t left = columns - g * kGroup;
    float padded[kGroup] = {};
    if (left > 0 && left < kGroup) std::memcpy(padded, x + g * kGroup, static_cast<size_t>(left) * sizeof(float));
    const float* from = left >= kGroup ? x + g * kGroup : padded;
    store(row + g * kTile, rounded(_mm512_loadu_ps(from), _mm512_loadu_ps(from + 16)));
  }
}

// Widening to bf16. A word of stored numbers, zeros before it, is masked and given an exponent under which the bits that
// are left are units: 2^15 has those from bit 8 on, 2^11 those from bit 12 on. One multiplication with the scale then takes
// this offset back, exactly, as offset * scale has at most 24 digits.
struct Scales {
  __m512 low, high;  // of rows 0 to 7 and 8 to 15, each twice: a row's pairs of columns lie beside each other
};

Scales doubled(const uint16_t* scales) {
  const auto half = [](const uint16_t* from) {
    const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return joined(_mm256_cvtph_ps(_mm_unpacklo_epi16(words, words)), _mm256_cvtph_ps(_mm_unpackhi_epi16(words, words)));
  };
  return {half(scales), half(scales + 8)};
}

template <uint32_t mask, uint32_t exponent>
__m512i widened(__m512i low, __m512i high, const Scales& scale, const Scales& offset) {
  const auto half = [](__m512i words, __m512 by, __m512 from) {
    const __m512i kept = _mm512_and_si512(words, _mm512_set1_epi32(static_cast<int32_t>(mask)));
    const __m512i whole = _mm512_xor_si512(kept, _mm512_set1_epi32(static_cast<int32_t>(exponent)));
    return _mm512_fmsub_ps(_mm512_castsi512_ps(whole), by, from);
  };
  return rounded(half(low, scale.low, offset.low), half(high, scale.high, offset.high));
}

__m512i words_of(const uint8_t* from) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

Scales times(const Scales& scale, float offset) {
  return {_mm512_mul_ps(scale.low, _mm512_set1_ps(offset)), _mm512_mul_ps(scale.high, _mm512_set1_ps(offset))};
}

void int4_group(const uint8_t* values, const uint16_t* scales, uint16_t* to) {
  const Scales scale = doubled(scales);
  const Scales by8 = times(scale, 32768.0f + 8.0f), by12 = times(scale, 2048.0f + 8.0f);
  for (int eight = 0; eight < 4; ++eight, values += 64, to += 128) {
    const __m512i low = words_of(values), high = words_of(values + 32);
    const __m512i low_up = _mm512_slli_epi32(low, 8), high_up = _mm512_slli_epi32(high, 8);
    store(to, widened<0xf00, 0x47000000>(low_up, high_up, scale, by8));
    store(to + 32, widened<0xf000, 0x45000000>(low_up, high_up, scale, by12));
    store(to + 64, widened<0xf00, 0x47000000>(low, high, scale, by8));
    store(to + 96, widened<0xf000, 0x45000000>(low, high, scale, by12));
  }
}

// The exponent takes the sign along: a byte v becomes v + 128.
void int8_group(const uint8_t* values, const uint16_t* scales, uint16_t* to) {
  const Scales scale = doubled(scales);
  const Scales by8 = times(scale, 32768.0f + 128.0f);
  for (int four = 0; four < 8; ++four, values += 64) {
    const __m512i low = words_of(values), high = words_of(values + 32);
    const __m512i low_up = _mm512_slli_epi32(low, 8), high_up = _mm512_slli_epi32(high, 8);
    uint16_t* first = to + four / 2 * 128 + four % 2 * 32;
    store(first, widened<0xff00, 0x47008000>(low_up, high_up, scale, by8));
    store(first + 64, widened<0xff00, 0x47008000>(low, high, scale, by8));
  }
}

// Some groups of a strip as tiles of bf16: where they lie, or widened into `room`.
const uint16_t* tiles_of(const Matrix& matrix, int64_t strip, int64_t first, int64_t groups, uint16_t* room) {
  const uint8_t* values = matrix.values(strip) + first * matrix.group_bytes();
  if (matrix.format == Format::bf16) return reinterpret_cast<const uint16_t*>(values);
  const uint16_t* scales = matrix.scales(strip) + first * kStrip;
  const auto group = matrix.format == Format::int4 ? int4_group : int8_group;
  for (int64_t g = 0; g < groups; ++g) group(values + g * matrix.group_bytes(), scales + g * kStrip, room + g * kTile);
  return room;
}

// 16 R inputs times S strips, added to what is in `out` unless they are the first; blocks of inputs stand `deep` numbers
// apart, sums of strips `apart`.
template <int R, int S>
void many_part(Tiles& tiles, const uint16_t* x, int64_t deep, const uint16_t* const* weights, int64_t groups, bool first,
               float* out, int64_t apart) {
  const auto each_sum = [&](auto&& work) {
    work.template operator()<0>(out);
    if constexpr (S == 2) work.template operator()<1>(out + apart);
    if constexpr (R == 2) work.template operator()<2>(out + kBlock * kStrip);
    if constexpr (R == 2 && S == 2) work.template operator()<3>(out + apart + kBlock * kStrip);
  };
  each_sum([&]<int C>(const float* sums) { first ? tiles.clear<C>() : tiles.load<C>(sums, 64); });
  for (int64_t at = 0; at < groups * kTile; at += kTile) {
    tiles.load<4>(x + at, 64);
    tiles.load<6>(weights[0] + at, 64);
    tiles.add_bf16<0, 4, 6>();
    if constexpr (S == 2) {
      tiles.load<7>(weights[1] + at, 64);
      tiles.add_bf16<1, 4, 7>();
    }
    if constexpr (R == 2) {
      tiles.load<5>(x + deep + at, 64);
      tiles.add_bf16<2, 5, 6>();
      if constexpr (S == 2) tiles.add_bf16<3, 5, 7>();
    }
  }
  each_sum([&]<int C>(float* sums) { tiles.store<C>(sums, 64); });
}

// Asks for one of some shares of what `strips` takes after strips s and s + 1 of `count` and the groups from g on.
void ask_for_next(const Matrix& matrix, int64_t first, int64_t count, int64_t s, int64_t g, int64_t share, int64_t shares) {
  s += 2;
  if (s >= count) {
    s = 0;
    g += kDepth;
  }
  const int64_t groups = std::min(kDepth, matrix.groups() - g);
  if (groups <= 0) return;
  const int64_t part = (groups * matrix.group_bytes() / 64 + shares - 1) / shares * 64;
  for (int64_t strip = first + s; strip < first + std::min(s + 2, count); ++strip) {
    ask_for(matrix.values(strip) + g * matrix.group_bytes() + share * part, part);
    if (share > 0 || matrix.format == Format::bf16) continue;
    ask_for(reinterpret_cast<const uint8_t*>(matrix.scales(strip) + g * kStrip), groups * 2 * kStrip);
  }
}

// A slice of the columns of two strips is widened once, and meets all rows, whose slice stays in the second cache for the
// strips to come.
void strips(const Matrix& matrix, int64_t first, int64_t count, const InputRows& inputs, float* out) {
  static constexpr TileShapes kShapes = shapes(64, kBlock);
  alignas(64) uint16_t room[2][kDepth * kTile];
  Tiles tiles(kShapes);
  const int64_t rows = whole_blocks(inputs.count), deep = kBlock * inputs.apart;
  for (int64_t g = 0; g < matrix.groups(); g += kDepth) {
    const int64_t groups = std::min(kDepth, matrix.groups() - g);
    for (int64_t s = 0; s < count; s += 2) {
      const bool two = count - s > 1;
      const uint16_t* weights[2] = {tiles_of(matrix, first + s, g, groups, room[0]),
                                    two ? tiles_of(matrix, first + s + 1, g, groups, room[1]) : nullptr};
      for (int64_t r = 0; r < rows; r += 2 * kBlock) {
        ask_for_next(matrix, first, count, s, g, r / (2 * kBlock), (rows + kBlock) / (2 * kBlock));
        const auto part = rows - r > kBlock ? (two ? many_part<2, 2> : many_part<2, 1>)
                                            : (two ? many_part<1, 2> : many_part<1, 1>);
        part(tiles, inputs.blocks + r * inputs.apart + g * kTile, deep, weights, groups, g == 0,
             out + (s * rows + r) * kStrip, rows * kStrip);
      }
    }
  }
  if (matrix.multiplier != 1.0f) {
    for (int64_t i = 0; i < count * rows * kStrip; ++i) out[i] *= matrix.multiplier;
  }
}

}  // namespace

const Isa* amx_isa() {
  if (!vnni_isa()) return nullptr;
  static const Isa isa{"amx",   quantise, strip,  gated,  add_scaled, dot,   norm,  softmax,
                       softcap, turn,     attend, kTiled, kMany,      round, strips};
  return &isa;
}

}  // namespace lindos

#else

namespace lindos {
const Isa* amx_isa() { return nullptr; }
}  // namespace lindos

#endif
