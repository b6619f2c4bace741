// Products of many inputs with packed matrices, over a pool of threads.
#pragma once

#include <span>
#include <vector>

#include "isa.hpp"
#include "pool.hpp"

namespace lindos {

// Rows that are multiplied by the same matrices; how many they are decides in which form.
struct Part {
  int64_t first, count;
};

// Rows of inputs as the products want them. Kept between calls, so that nothing is allocated in a step.
class Inputs {
 public:
  // Rows of `columns` numbers each, in parts that follow each other; row r is that of x with the number sources[r], or
  // where `sources` is null, r.
  void prepare(Pool& pool, const Isa& isa, Format format, const float* x, int64_t columns, std::span<const Part> parts,
               const int64_t* sources);
  const InputRows& part(size_t index) const { return parts_[index]; }

 private:
  // Where one row goes, in one of the forms.
  struct Row {
    int64_t index;  // below 0 for zeros
    InputGroup* groups;
    float* plain;
    uint16_t* block;
  };

  void lay_out(const Isa& isa, Format format, int64_t groups, std::span<const Part> parts);
  void lay_out_rows(const Part& part, Format format, int64_t slot, int64_t apart);
  void lay_out_blocks(const Part& part, int64_t slot, int64_t padded);

  std::vector<InputRows> parts_;
  std::vector<Row> rows_;
  Buffer<InputGroup> groups_;
  Buffer<float> plain_;
  Buffer<uint16_t> blocks_;
};

// How much of a product is computed before its sums go where they belong: strips and rows of inputs that the second cache
// holds together, and some sums.
struct Pass {
  int64_t strips, rows;
  int64_t numbers() const { return strips * whole_blocks(rows) * kStrip; }
};
Pass pass_of(const Isa& isa, const Matrix& matrix, int64_t rows);

// Strips [first, first + strips) times one pass of rows: out[strips][whole blocks of rows][16].
void sums_of(const Isa& isa, const Matrix& matrix, int64_t first, int64_t strips, const InputRows& rows, float* out);

// Where sums of a pass belong: to [rows of inputs, matrix.rows].
void place(const float* sums, const Matrix& matrix, int64_t first, int64_t strips, int64_t rows, float* to);

// Room for the sums of some passes, the calling thread's own.
float* room_for_sums(const Pass& pass, int64_t passes);

struct Product {
  Matrix matrix;
  float* out;  // [rows of inputs, matrix.rows]
};

// out = x . matrix^T for each product; all matrices have as many columns as `x`, and one format.
void multiply(Pool& pool, const Isa& isa, Inputs& inputs, const float* x, int64_t rows, int64_t columns,
              const std::vector<Product>& products);

// Strips a thread takes at a time, of `strips` in all: at most about a quarter of a megabyte or a pass, and no larger a
// share than leaves enough pieces for `threads`; towards the end less.
Pieces strip_pieces(const Isa& isa, const Matrix& matrix, int64_t rows, int64_t strips, int threads);

}  // namespace lindos
