// What each instruction set implements; one table of functions each, chosen once.
#pragma once

#include "layout.hpp"
#include "pages.hpp"

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
  float (*dot)(const float* a, const float* b, int64_t count);
  // out = x / sqrt(mean(x^2) + eps) * scale; out may be x.
  void (*norm)(const float* x, const float* scale, int64_t count, float eps, float* out);
  void (*softmax)(float* x, int64_t count);
  void (*softcap)(float* x, int64_t count, float cap);
  // Rotary positions of one head, in place: pairs (i, i + size / 2).
  void (*turn)(float* x, const float* cosines, const float* sines, int64_t size);
  // `rows` queries [rows, size], with a temperature each or null, over one block of keys; what they gathered goes on.
  void (*attend)(const KeyBlock& block, const Scoring& how, const float* q, const float* temperatures, int64_t rows,
                 const Gathered& to);
};

const Isa& portable_isa();
const Isa* avx2_isa();  // null where it was not compiled, as those below
const Isa* vnni_isa();

// The best this processor has, or the named one; throws std::invalid_argument for one it cannot run.
const Isa& choose_isa(const char* name);
bool runs(const char* name);

}  // namespace lindos
