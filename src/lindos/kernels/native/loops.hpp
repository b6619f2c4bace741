// What is not a product, in plain loops that the compiler vectorises for the instruction set of the file that includes
// them; in an unnamed namespace, so that each file keeps its own compilation.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

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

// Scores of one query with `keys` keys, four keys at a time so that the query is read a quarter as often.
void scores_of(const float* q, const float* k, int64_t keys, int64_t size, float scale, float* scores) {
  int64_t s = 0;
  for (; s + 4 <= keys; s += 4) {
    const float *k0 = k + s * size, *k1 = k0 + size, *k2 = k1 + size, *k3 = k2 + size;
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (int64_t c = 0; c < size; ++c) {
      s0 += q[c] * k0[c];
      s1 += q[c] * k1[c];
      s2 += q[c] * k2[c];
      s3 += q[c] * k3[c];
    }
    scores[s] = s0 * scale;
    scores[s + 1] = s1 * scale;
    scores[s + 2] = s2 * scale;
    scores[s + 3] = s3 * scale;
  }
  for (; s < keys; ++s) scores[s] = dot(q, k + s * size, size) * scale;
}

// One query over the keys and values of its head.
void attend(const float* q, const float* k, const float* v, int64_t keys, int64_t size, float scale, float cap,
            float temperature, float* scores, float* out) {
  scores_of(q, k, keys, size, scale, scores);
  if (cap > 0.0f) softcap(scores, keys, cap);
  if (temperature != 1.0f) {
    for (int64_t s = 0; s < keys; ++s) scores[s] *= temperature;
  }
  softmax(scores, keys);
  std::fill(out, out + size, 0.0f);
  int64_t s = 0;
  for (; s + 4 <= keys; s += 4) {
    const float *v0 = v + s * size, *v1 = v0 + size, *v2 = v1 + size, *v3 = v2 + size;
    const float w0 = scores[s], w1 = scores[s + 1], w2 = scores[s + 2], w3 = scores[s + 3];
#pragma omp simd
    for (int64_t c = 0; c < size; ++c) out[c] += (w0 * v0[c] + w1 * v1[c]) + (w2 * v2[c] + w3 * v3[c]);
  }
  for (; s < keys; ++s) add_scaled(out, v + s * size, scores[s], size);
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
