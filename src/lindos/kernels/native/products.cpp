#include "products.hpp"

#include <algorithm>
#include <cstring>

namespace lindos {

void Inputs::prepare(Pool& pool, const Isa& isa, Format format, const float* x, int64_t rows, int64_t columns,
                     int64_t stride) {
  const int64_t groups = (columns + kGroup - 1) / kGroup;
  const int64_t padded = groups * kGroup;
  rows_.resize(static_cast<size_t>(rows));
  const bool plain = format == Format::bf16;
  const int64_t apart = padded + 16;  // rows a power of two apart would share their places in the nearest cache
  float* wide = plain ? plain_.at_least(rows * apart) : nullptr;
  InputGroup* quantised = plain ? nullptr : groups_.at_least(rows * groups);
  // Waking the others costs as much as quantising some ten thousand numbers.
  const int64_t grain = std::max<int64_t>(1, 16384 / padded);
  pool.each(rows, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      if (plain) {
        float* to = wide + r * apart;
        std::memcpy(to, x + r * stride, static_cast<size_t>(columns) * sizeof(float));
        std::fill(to + columns, to + padded, 0.0f);
        rows_[static_cast<size_t>(r)].plain = to;
      } else {
        isa.quantise(x + r * stride, columns, quantised + r * groups);
        rows_[static_cast<size_t>(r)].groups = quantised + r * groups;
      }
    }
  });
}

int64_t strip_grain(const Matrix& matrix, int64_t strips, int threads) {
  const int64_t by_size = std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, matrix.strip_bytes()));
  return std::max<int64_t>(1, std::min(by_size, strips / (4 * threads)));
}

void multiply(Pool& pool, const Isa& isa, Inputs& inputs, const float* x, int64_t rows, int64_t columns,
              const std::vector<Product>& products) {
  if (products.empty() || rows == 0) return;
  inputs.prepare(pool, isa, products[0].matrix.format, x, rows, columns, columns);
  int64_t strips = 0;
  for (const Product& product : products) strips += product.matrix.strips();
  pool.each(strips, strip_grain(products[0].matrix, strips, pool.threads()), [&](int64_t begin, int64_t end, int) {
    constexpr int64_t kRows = 64;  // inputs a pass: their sums stay in the nearest cache
    float sums[kRows * kStrip];
    for (int64_t strip = begin; strip < end; ++strip) {
      int64_t local = strip;
      const Product* product = products.data();
      while (local >= product->matrix.strips()) local -= (product++)->matrix.strips();
      const int64_t width = product->matrix.rows;
      const int64_t filled = std::min(kStrip, width - local * kStrip);
      for (int64_t first = 0; first < rows; first += kRows) {
        const int64_t count = std::min(kRows, rows - first);
        isa.strip(product->matrix, local, inputs.all() + first, count, sums);
        for (int64_t r = 0; r < count; ++r) {
          float* to = product->out + (first + r) * width + local * kStrip;
          std::memcpy(to, sums + r * kStrip, static_cast<size_t>(filled) * sizeof(float));
        }
      }
    }
  });
}

}  // namespace lindos
