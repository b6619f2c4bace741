// What is not a product, in plain loops that the compiler vectorises for the instruction set of the file that includes
// them; in an unnamed namespace, so that each file keeps its own compilation.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "attendblock.hpp"
#include "isa.hpp"

namespace lindos {
namespace {

// e^x to 2 units in the last place: 2^n e^r with r within half a ln 2, by its Taylor series to the sixth power.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;  // in this order what is not a number stays so
  x = x > 88.0f ? 88.0f : x;
  constexpr float kRound = 12582912.0f;  // adding it leaves no digits behind the point
  const float n = (x * 1.44269504f + kRound) - kRound;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float y = 1.0f / 720.0f;
  y = y * r + 1.0f / 120.0f;
  y = y * r + 1.0f / 24.0f;
  y = y * r + 1.0f / 6.0f;
  y = y * r + 0.5f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  const int32_t power = (static_cast<int32_t>(n == n ? n : 0.0f) + 127) << 23;
  float scale;
  std::memcpy(&scale, &power, sizeof scale);
  return y * scale;
}

void norm(const float* x, const float* scale, int64_t count, float eps, float* out) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += x[i] * x[i];
  const float inverse = 1.0f / std::sqrt(sum / static_cast<float>(count) + eps);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) out[i] = x[i] * inverse * scale[i];
}

float dot(const float* a, const float* b, int64_t count) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(float* out, const float* y, float weight, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) out[i] += weight * y[i];
}

// In place; the largest is taken out first.
void softmax(float* x, int64_t count) {
  float largest = x[0];
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) {
    x[i] = exponential(x[i] - largest);
    sum += x[i];
  }
  const float inverse = 1.0f / sum;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] *= inverse;
}

// c tanh(x / c), in place.
void softcap(float* x, int64_t count, float cap) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] = cap - 2.0f * cap / (exponential(2.0f * x[i] / cap) + 1.0f);
}

// Pairs of the halves of a head turned by their phase, in place (rotate-half).
void turn(float* x, const float* cosines, const float* sines, int64_t size) {
  const int64_t half = size / 2;
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[half + i];
    x[i] = a * cosines[i] - b * sines[i];
    x[half + i] = b * cosines[half + i] + a * sines[half + i];
  }
}

}  // namespace
}  // namespace lindos
