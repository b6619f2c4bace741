#include "ends.hpp"

#include <algorithm>
#include <cstring>

#include "scalar.hpp"

namespace lindos {

void widen_row(const Matrix& matrix, int64_t row, float* out) {
  const int64_t strip = row / kStrip, lane = row % kStrip;
  const uint8_t* values = matrix.values(strip);
  if (matrix.format == Format::bf16) {
    const auto* pairs = reinterpret_cast<const uint16_t*>(values) + 2 * lane;
    for (int64_t i = 0; i < matrix.columns; ++i) out[i] = from_bf16(pairs[i / 2 * 2 * kStrip + i % 2]);
    return;
  }
  const uint16_t* scales = matrix.scales(strip);
  for (int64_t i = 0; i < matrix.columns; ++i) {
    const int place = kPlace[i % 8];
    const uint8_t* fours = values + 64 * (i / 8 * 2 + place / 4) + 4 * lane;
    const float scale = from_fp16(scales[i / kGroup * kStrip + lane]) * matrix.multiplier;
    out[i] = static_cast<float>(static_cast<int8_t>(fours[place % 4])) * scale;
  }
}

void embed(const Ends& ends, const int64_t* tokens, int64_t rows, float* h) {
  const int64_t width = ends.embedding.columns;
  for (int64_t r = 0; r < rows; ++r) {
    float* mine = h + r * width;
    widen_row(ends.embedding, tokens[r], mine);
    for (int64_t i = 0; i < width; ++i) mine[i] *= ends.embedding_multiplier;
  }
}

void Logits::run(Pool& pool, const Isa& isa, const Ends& ends, float eps, const float* h, int64_t rows, float* out) {
  const int64_t width = ends.head.columns, vocabulary = ends.head.rows;
  float* x = x_.at_least(rows * width);
  for (int64_t r = 0; r < rows; ++r) isa.norm(h + r * width, ends.norm, width, eps, x + r * width);
  multiply(pool, isa, inputs_, x, rows, width, {{ends.head, out}});
  // Pieces begin at the same places in every row, so that a row gets the same whatever stands beside it.
  constexpr int64_t kPiece = 16384;
  const int64_t pieces = (vocabulary + kPiece - 1) / kPiece;
  pool.each(rows * pieces, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p % pieces * kPiece, count = std::min(kPiece, vocabulary - first);
      float* some = out + p / pieces * vocabulary + first;
      for (int64_t i = 0; i < count; ++i) some[i] *= ends.logit_multiplier;
      if (ends.logit_cap > 0.0f) isa.softcap(some, count, ends.logit_cap);
    }
  });
}

}  // namespace lindos
