// How keys and values lie in memory: in blocks of 64 tokens, of which a sequence has a list.
//
// A layer's pages are [2, kv_heads, blocks, 64 * size], keys before values, in bf16 or fp32. What one head has in a block is
// in strips of 16, so that products with it read on without a gap: of keys 16 tokens each, [4, size, 16]; of values 16
// columns each, [size / 16, 64, 16], and what is left of the columns, [64, rest].
#pragma once

#include <cstddef>
#include <cstdint>

namespace lindos {

constexpr int64_t kPage = 64;
constexpr int64_t kLanes = 16;

struct Pages {
  uint8_t* data;
  bool bf16;
  int64_t blocks, kv_heads, size;

  int64_t part_bytes() const { return kPage * size * (bf16 ? 2 : 4); }
  uint8_t* keys(int64_t head, int64_t block) const { return data + (head * blocks + block) * part_bytes(); }
  uint8_t* values(int64_t head, int64_t block) const { return keys(kv_heads + head, block); }
};

// Where a number stands in the part that one head has in a block.
inline int64_t key_place(int64_t token, int64_t column, int64_t size) {
  return (token / kLanes * size + column) * kLanes + token % kLanes;
}
inline int64_t value_place(int64_t token, int64_t column, int64_t size) {
  const int64_t strip = column / kLanes, left = size - strip * kLanes;
  return strip * kLanes * kPage + token * (left < kLanes ? left : kLanes) + column % kLanes;
}

// The first `count` tokens of a block, as one head has them; bit t of `visible` says whether token t may be seen.
struct KeyBlock {
  const uint8_t *keys, *values;
  bool bf16;
  int64_t size, count;
  uint64_t visible;
};

// Scores are temperature * cap(scale * q.k); a cap of 0 is none.
struct Scoring {
  float scale, cap;
};

// What queries have gathered so far, each the largest score, the sum of weights relative to it, and values so weighted.
struct Gathered {
  float *largest, *sum;
  float* out;  // [rows, size]

  Gathered from(int64_t row, int64_t size) const { return {largest + row, sum + row, out + row * size}; }
};

}  // namespace lindos
