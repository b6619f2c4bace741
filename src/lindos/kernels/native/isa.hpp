// What each instruction set implements; one table of functions each, chosen once.
#pragma once

#include "layout.hpp"

namespace lindos {

struct Isa {
  const char* name;
  // Quantise one row of `columns` inputs, the last group filled up with zeros.
  void (*quantise)(const float* x, int64_t columns, InputGroup* groups);
  // One strip times `count` inputs: out[count][16], overwritten.
  void (*strip)(const Matrix& matrix, int64_t strip, const Input* inputs, int64_t count, float* out);
  // h = activation(g) * u, elementwise.
  void (*gated)(const float* g, const float* u, float* h, int64_t count, Activation activation);
  // out += weight * y.
  void (*add_scaled)(float* out, const float* y, float weight, int64_t count);
};

const Isa& portable_isa();
const Isa* avx2_isa();  // null where it was not compiled

// The best this processor has, or the named one; throws std::invalid_argument for one it cannot run.
const Isa& choose_isa(const char* name);
bool runs(const char* name);

}  // namespace lindos
