// Plain C++, for any processor: what the others are held against.
#include "isa.hpp"
#include "loops.hpp"
#include "scalar.hpp"

namespace lindos {
namespace {

void quantise(const float* x, int64_t columns, InputGroup* groups) {
  for (int64_t g = 0; g * kGroup < columns; ++g) {
    InputGroup& to = groups[g];
    const int64_t count = columns - g * kGroup < kGroup ? columns - g * kGroup : kGroup;
    const float* from = x + g * kGroup;
    float largest = 0.0f;
    float poison = 0.0f;  // not a number once an input is not finite, and then so is every product
    for (int64_t i = 0; i < count; ++i) {
      largest = std::fmax(largest, std::fabs(from[i]));
      poison += from[i] * 0.0f;
    }
    const float scale = largest / 127.0f + poison;
    const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    int32_t sum = 0;
    for (int64_t i = 0; i < kGroup; ++i) {
      const float scaled = i < count ? from[i] * inverse : 0.0f;
      const int value = static_cast<int>(std::nearbyint(std::fmin(std::fmax(scaled, -127.0f), 127.0f)));
      to.values[i / 8 * 8 + kPlace[i % 8]] = static_cast<int8_t>(value);
      sum += value;
    }
    to.scale = scale;
    to.shift = 8 * sum;
  }
}

// Sum over one group of the products of row `n` of a strip.
int32_t dot_int4(const uint8_t* group, const int8_t* input, int64_t n) {
  int32_t sum = 0;
  for (int64_t eight = 0; eight < 4; ++eight) {
    const uint8_t* bytes = group + 64 * eight + 4 * n;
    for (int i = 0; i < 4; ++i) {
      sum += (bytes[i] & 15) * input[8 * eight + i] + (bytes[i] >> 4) * input[8 * eight + 4 + i];
    }
  }
  return sum;
}

int32_t dot_int8(const uint8_t* group, const int8_t* input, int64_t n) {
  int32_t sum = 0;
  for (int64_t four = 0; four < 8; ++four) {
    const int8_t* bytes = reinterpret_cast<const int8_t*>(group + 64 * four + 4 * n);
    for (int i = 0; i < 4; ++i) sum += bytes[i] * input[4 * four + i];
  }
  return sum;
}

float dot_bf16(const uint8_t* group, const float* input, int64_t n) {
  float sum = 0.0f;
  for (int64_t pair = 0; pair < 16; ++pair) {
    uint16_t bits[2];
    std::memcpy(bits, group + 64 * pair + 4 * n, sizeof bits);
    sum += from_bf16(bits[0]) * input[2 * pair] + from_bf16(bits[1]) * input[2 * pair + 1];
  }
  return sum;
}

void strip(const Matrix& matrix, int64_t index, const InputRows& inputs, float* out) {
  const int64_t groups = matrix.groups();
  const uint16_t* scales = matrix.scales(index);
  const uint8_t* values = matrix.values(index);
  for (int64_t r = 0; r < inputs.count; ++r) {
    const InputRows input = inputs.part(r, 1);
    for (int64_t n = 0; n < kStrip; ++n) {
      float sum = 0.0f;
      for (int64_t g = 0; g < groups; ++g) {
        const uint8_t* group = values + g * matrix.group_bytes();
        if (matrix.format == Format::bf16) {
          sum += dot_bf16(group, input.plain + g * kGroup, n);
          continue;
        }
        const InputGroup& x = input.groups[g];
        const int32_t dot = matrix.format == Format::int4 ? dot_int4(group, x.values, n) - x.shift
                                                          : dot_int8(group, x.values, n);
        sum += static_cast<float>(dot) * (from_fp16(scales[g * kStrip + n]) * x.scale);
      }
      out[r * kStrip + n] = sum * matrix.multiplier;
    }
  }
}

void gated(const float* g, const float* u, float* h, int64_t count, Activation activation) {
  for (int64_t i = 0; i < count; ++i) h[i] = activate(g[i], activation == Activation::silu) * u[i];
}

}  // namespace

const Isa& portable_isa() {
  static const Isa isa{"portable", quantise, strip, gated, add_scaled, dot, norm, softmax, softcap, turn, attend};
  return isa;
}

}  // namespace lindos
