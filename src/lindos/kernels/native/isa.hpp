// What each instruction set implements; one table of functions each, chosen once.
#pragma once

#include <limits>

#include "layout.hpp"
#include "pages.hpp"

namespace lindos {

struct Isa {
  const char* name;
  // Quantise one row of `columns` inputs, the last group filled up with zeros.
  void (*quantise)(const float* x, int64_t columns, InputGroup* groups);
  // One strip times some inputs: out[rows of inputs][16], overwritten; it has room for whole blocks.
  void (*strip)(const Matrix& matrix, int64_t strip, const InputRows& inputs, float* out);
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

  // What only some have, for products of many rows of inputs.
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  // From so many rows on, `strip` reads whole blocks of them: zeros fill up the last.
  int64_t tiled = kNever;
  // From so many rows on, `strips` computes instead of `strip`, with inputs in bf16 that `round` has rounded.
  int64_t many = kNever;
  // One row of a block, filled up with zeros to whole groups.
  void (*round)(const float* x, int64_t columns, int64_t groups, uint16_t* row) = nullptr;
  // Strips [first, first + count) times inputs in blocks: out[count][whole blocks][16], overwritten.
  void (*strips)(const Matrix& matrix, int64_t first, int64_t count, const InputRows& inputs, float* out) = nullptr;
};

const Isa& portable_isa();
const Isa* avx2_isa();  // null where it was not compiled, as those below
const Isa* vnni_isa();
const Isa* amx_isa();

// The best this processor has, or the named one; throws std::invalid_argument for one it cannot run.
const Isa& choose_isa(const char* name);
bool runs(const char* name);

}  // namespace lindos
