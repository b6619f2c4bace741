// From weights as checkpoints hold them to packed matrices: rounding and laying out in one pass over the numbers.
//
// kernels/quantising.py and kernels/packing.py define the result, to the bit.
#pragma once

#include "layout.hpp"

namespace lindos {

// What a checkpoint holds a weight as.
enum class Held : int { fp32 = 0, bf16 = 1, int8 = 2 };

// A matrix [rows, columns] of outputs and inputs; either its outputs or its inputs lie side by side (a step of 1).
// Steps are counted in numbers.
struct Source {
  const void* values;
  Held held;
  int64_t rows;
  int64_t columns;
  int64_t row_step;
  int64_t column_step;
  // Of int8: one scale for `per_scale` inputs of a row, a multiple of a group (or all of them).
  const void* scales;
  int64_t scale_row_step;
  int64_t scale_step;
  int64_t per_scale;
};

// Candidates for the scale of an int4 group are its largest weight over each of these; none: over -8.
struct Divisors {
  const float* values;
  int64_t count;
};

struct Packer {
  // Weights (with fp32 scales where they are int8) rounded to `format`. False where one is not finite or too large.
  bool (*round)(const Source& source, Format format, const Divisors& divisors, uint8_t* out);
  // int8 values and their fp16 scales (bits) as they are. False where a value is beyond int4.
  bool (*lay_out)(const Source& source, Format format, uint8_t* out);
};

const Packer& portable_packer();
const Packer* avx2_packer();  // null where it was not compiled

// That of the named instruction set or, where it has none of its own, the best below it; throws as choose_isa does.
const Packer& choose_packer(const char* name);

}  // namespace lindos
