// Products of many inputs with packed matrices, over a pool of threads.
#pragma once

#include <vector>

#include "isa.hpp"
#include "pool.hpp"

namespace lindos {

// Rows of inputs as the products want them. Kept between calls, so that nothing is allocated in a step.
class Inputs {
 public:
  // `rows` rows of `columns` numbers, `stride` apart.
  void prepare(Pool& pool, const Isa& isa, Format format, const float* x, int64_t rows, int64_t columns, int64_t stride);
  const Input& row(int64_t index) const { return rows_[static_cast<size_t>(index)]; }
  const Input* all() const { return rows_.data(); }

 private:
  std::vector<Input> rows_;
  Buffer<InputGroup> groups_;
  Buffer<float> plain_;
};

struct Product {
  Matrix matrix;
  float* out;  // [rows of inputs, matrix.rows]
};

// out = x . matrix^T for each product; all matrices have as many columns as `x`, and one format.
void multiply(Pool& pool, const Isa& isa, Inputs& inputs, const float* x, int64_t rows, int64_t columns,
              const std::vector<Product>& products);

// Strips a thread takes at a time: about a quarter of a megabyte, and enough pieces for all threads.
int64_t strip_grain(const Matrix& matrix, int64_t strips, int threads);

}  // namespace lindos
