// How matrices lie in memory and on disk; the Python side packs them (kernels/packing.py says the same in NumPy).
//
// A matrix of `rows` outputs and `columns` inputs is cut into strips of 16 rows, a strip into groups of 32 columns, both
// padded with zeros. A strip holds the fp16 scales of all its groups (16 each), padded to 64 bytes, then its values:
//   int4  256 bytes a group: 64 bytes for each 8 columns, 4 bytes a row; the low nibbles of these bytes are columns
//         0 4 1 5, the high ones 2 6 3 7 of the eight. A value v stands for (v - 8) * scale.
//   int8  512 bytes a group: twice 64 bytes for each 8 columns, 4 bytes a row: columns 0 4 1 5, then 2 6 3 7.
//   bf16  1024 bytes a group, no scales: 64 bytes for each two columns, the pair of each row in turn.
// The order of columns lets one register feed every instruction set: pairs for bf16 products (two 16-bit words a row with
// the same shift), fours for int8 ones.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lindos {

enum class Format : int { bf16 = 0, int8 = 1, int4 = 2 };

constexpr int64_t kStrip = 16;
constexpr int64_t kGroup = 32;

struct Matrix {
  const uint8_t* data;
  Format format;
  int64_t rows;
  int64_t columns;
  float multiplier;  // a power of two on all scales

  int64_t groups() const { return (columns + kGroup - 1) / kGroup; }
  int64_t strips() const { return (rows + kStrip - 1) / kStrip; }
  int64_t group_bytes() const { return format == Format::int4 ? 256 : format == Format::int8 ? 512 : 1024; }
  int64_t scale_bytes() const { return format == Format::bf16 ? 0 : (groups() * 2 * kStrip + 63) / 64 * 64; }
  int64_t strip_bytes() const { return scale_bytes() + groups() * group_bytes(); }
  int64_t bytes() const { return strips() * strip_bytes(); }
  const uint16_t* scales(int64_t strip) const {
    return reinterpret_cast<const uint16_t*>(data + strip * strip_bytes());
  }
  const uint8_t* values(int64_t strip) const { return data + strip * strip_bytes() + scale_bytes(); }
};

// 32 inputs as quantised weights meet them: in the order of columns above, and with 8 times their sum, which takes back
// the 8 that int4 values are shifted by.
struct InputGroup {
  int8_t values[kGroup];
  float scale;
  int32_t shift;
};

// Rows of inputs of one product, ready for it, in one of three forms; the others are null. Rows stand `apart` from each
// other, in units of their form.
struct InputRows {
  int64_t count;
  int64_t apart;
  const InputGroup* groups;  // for quantised weights
  const float* plain;        // for bf16 weights, padded with zeros to whole groups
  // For many rows, in bf16: blocks of 16 rows, the last filled up with zeros; of each group of columns, 32 numbers of
  // each row in turn.
  const uint16_t* blocks;

  // Some of them; with blocks, `first` is a multiple of 16.
  InputRows part(int64_t first, int64_t rows) const {
    return {rows, apart, groups ? groups + first * apart : nullptr, plain ? plain + first * apart : nullptr,
            blocks ? blocks + first * apart : nullptr};
  }
};

constexpr int64_t kBlock = 16;  // rows of inputs that tiles take together

constexpr int64_t whole_blocks(int64_t rows) { return (rows + kBlock - 1) / kBlock * kBlock; }

enum class Activation : int { gelu_tanh = 0, silu = 1 };

}  // namespace lindos
