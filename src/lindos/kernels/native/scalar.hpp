// Single numbers, as every instruction set's file needs them; static, so that each file keeps its own compilation.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace lindos {

static inline float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline float from_bf16(uint16_t bits) { return from_bits(static_cast<uint32_t>(bits) << 16); }

// IEEE 754 binary16; subnormal numbers by way of an exact product.
static inline float from_fp16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t rest = static_cast<uint32_t>(bits & 0x7fffu) << 13;
  if (rest >= 0x0f800000u) return from_bits(sign | (rest + 0x70000000u));
  return from_bits(sign | 0x3f800000u) * (from_bits(rest) * from_bits(0x77800000u));
}

// Where the i-th of eight columns stands among eight inputs: the inverse of 0 4 1 5 2 6 3 7.
static constexpr int kPlace[8] = {0, 2, 4, 6, 1, 3, 5, 7};

static inline float activate(float x, bool silu) {
  if (silu) return x / (1.0f + std::exp(-x));
  const float inner = 0.7978845608028654f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.0f + std::tanh(inner));
}

}  // namespace lindos
