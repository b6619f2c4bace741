#include "products.hpp"

#include <algorithm>
#include <cstring>

namespace lindos {

void Inputs::prepare(Pool& pool, const Isa& isa, Format format, const float* x, int64_t columns,
                     std::span<const Part> parts, const int64_t* sources) {
  const int64_t groups = (columns + kGroup - 1) / kGroup;
  lay_out(isa, format, groups, parts);
  // Waking the others costs as much as quantising some ten thousand numbers.
  const int64_t grain = std::max<int64_t>(1, 16384 / (groups * kGroup));
  pool.each(static_cast<int64_t>(rows_.size()), grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const Row& row = rows_[static_cast<size_t>(r)];
      const int64_t filled = row.index < 0 ? 0 : columns;
      const float* from = filled == 0 ? x : x + (sources ? sources[row.index] : row.index) * columns;
      if (row.groups) {
        if (filled == 0) std::fill(row.groups, row.groups + groups, InputGroup{});
        isa.quantise(from, filled, row.groups);
      } else if (row.plain) {
        std::memcpy(row.plain, from, static_cast<size_t>(filled) * sizeof(float));
        std::fill(row.plain + filled, row.plain + groups * kGroup, 0.0f);
      } else {
        isa.round(from, filled, groups, row.block);
      }
    }
  });
}

void Inputs::lay_out(const Isa& isa, Format format, int64_t groups, std::span<const Part> parts) {
  const int64_t padded = groups * kGroup;
  // Rows a power of two apart would share their places in the nearest cache.
  const int64_t apart = format == Format::bf16 ? padded + 16 : groups | 1;
  int64_t few = 0, many = 0, behind = 0;
  for (const Part& part : parts) {
    if (part.count >= isa.many) {
      many += whole_blocks(part.count);
    } else {
      few += part.count;
      if (part.count >= isa.tiled && format != Format::bf16) behind = kBlock - 1;
    }
  }
  if (format == Format::bf16) plain_.at_least(few * apart);
  else groups_.at_least((few + behind) * apart);
  blocks_.at_least(many * padded);
  parts_.clear();
  rows_.clear();
  int64_t slot = 0, block_slot = 0;
  for (const Part& part : parts) {
    if (part.count >= isa.many) {
      lay_out_blocks(part, block_slot, padded);
      block_slot += whole_blocks(part.count);
    } else {
      lay_out_rows(part, format, slot, apart);
      slot += part.count;
    }
  }
  for (; slot < few + behind; ++slot) rows_.push_back({-1, groups_.at_least(0) + slot * apart, nullptr, nullptr});
}

void Inputs::lay_out_rows(const Part& part, Format format, int64_t slot, int64_t apart) {
  const bool bf16 = format == Format::bf16;
  const InputRows all{slot + part.count, apart, bf16 ? nullptr : groups_.at_least(0), bf16 ? plain_.at_least(0) : nullptr,
                      nullptr};
  parts_.push_back(all.part(slot, part.count));
  for (int64_t r = 0; r < part.count; ++r) {
    const int64_t at = (slot + r) * apart;
    rows_.push_back({part.first + r, bf16 ? nullptr : groups_.at_least(0) + at, bf16 ? plain_.at_least(0) + at : nullptr,
                     nullptr});
  }
}

void Inputs::lay_out_blocks(const Part& part, int64_t slot, int64_t padded) {
  uint16_t* blocks = blocks_.at_least(0) + slot * padded;
  parts_.push_back({part.count, padded, nullptr, nullptr, blocks});
  for (int64_t r = 0; r < whole_blocks(part.count); ++r) {
    const int64_t within = r % kBlock;
    const int64_t index = r < part.count ? part.first + r : -1;
    rows_.push_back({index, nullptr, nullptr, blocks + (r - within) * padded + within * kGroup});
  }
}

Pass pass_of(const Isa& isa, const Matrix& matrix, int64_t rows) {
  if (rows >= isa.many) return {8, 512};
  return {std::clamp<int64_t>((int64_t{1} << 18) / matrix.strip_bytes(), 1, 8), 64};
}

void sums_of(const Isa& isa, const Matrix& matrix, int64_t first, int64_t strips, const InputRows& rows, float* out) {
  if (rows.blocks) {
    isa.strips(matrix, first, strips, rows, out);
    return;
  }
  // A few rows stay in the nearest cache while the strips pass by; tiles would rather prepare a strip once for all rows.
  const int64_t near = rows.count < isa.tiled ? kBlock : rows.count;
  for (int64_t r = 0; r < rows.count; r += near) {
    const InputRows some = rows.part(r, std::min(near, rows.count - r));
    for (int64_t s = 0; s < strips; ++s) {
      isa.strip(matrix, first + s, some, out + (s * whole_blocks(rows.count) + r) * kStrip);
    }
  }
}

void place(const float* sums, const Matrix& matrix, int64_t first, int64_t strips, int64_t rows, float* to) {
  for (int64_t s = 0; s < strips; ++s) {
    const int64_t column = (first + s) * kStrip;
    const size_t filled = static_cast<size_t>(std::min(kStrip, matrix.rows - column)) * sizeof(float);
    const float* from = sums + s * whole_blocks(rows) * kStrip;
    for (int64_t r = 0; r < rows; ++r) std::memcpy(to + r * matrix.rows + column, from + r * kStrip, filled);
  }
}

float* room_for_sums(const Pass& pass, int64_t passes) {
  thread_local Buffer<float> held;
  return held.at_least(passes * pass.numbers());
}

Pieces strip_pieces(const Isa& isa, const Matrix& matrix, int64_t rows, int64_t strips, int threads) {
  const auto of_size = [&](int64_t bytes) { return std::max<int64_t>(1, bytes / matrix.strip_bytes()); };
  const Pass pass = pass_of(isa, matrix, rows);
  const int64_t share = std::max<int64_t>(1, strips / (4 * threads));
  const int64_t most = std::min(std::max(pass.strips, of_size(1 << 18)), share);
  // Rounded inputs are read anew for each piece: those of many rows are worth a whole pass.
  const int64_t least = rows >= isa.many ? pass.strips : of_size(1 << 14);
  return {std::min(least, most), most};
}

void multiply(Pool& pool, const Isa& isa, Inputs& inputs, const float* x, int64_t rows, int64_t columns,
              const std::vector<Product>& products) {
  if (products.empty() || rows == 0) return;
  const Part all{0, rows};
  inputs.prepare(pool, isa, products[0].matrix.format, x, columns, {&all, 1}, nullptr);
  const Pass pass = pass_of(isa, products[0].matrix, rows);
  int64_t strips = 0;
  for (const Product& product : products) strips += product.matrix.strips();
  pool.each(strips, strip_pieces(isa, products[0].matrix, rows, strips, pool.threads()), [&](int64_t begin, int64_t end, int) {
    float* sums = room_for_sums(pass, 1);
    for (int64_t strip = begin, taken; strip < end; strip += taken) {
      int64_t local = strip;
      const Product* product = products.data();
      while (local >= product->matrix.strips()) local -= (product++)->matrix.strips();
      const Matrix& matrix = product->matrix;
      taken = std::min({pass.strips, end - strip, matrix.strips() - local});
      for (int64_t first = 0; first < rows; first += pass.rows) {
        const int64_t count = std::min(pass.rows, rows - first);
        sums_of(isa, matrix, local, taken, inputs.part(0).part(first, count), sums);
        place(sums, matrix, local, taken, count, product->out + first * matrix.rows);
      }
    }
  });
}

}  // namespace lindos
