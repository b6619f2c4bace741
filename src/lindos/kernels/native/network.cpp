#include "network.hpp"

#include <algorithm>

namespace lindos {
namespace {

// Rows a thread takes at a time when each takes some `numbers` numbers: fewer are not worth waking the others.
int64_t row_grain(int64_t numbers) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, numbers)); }

}  // namespace

void Step::attend(Pool& pool, const Isa& isa, const Shape& shape, const Layer& layer, const float* h, int64_t rows,
                  const Pages& pages, const std::vector<Sequence>& sequences, const float* cosines, const float* sines,
                  const float* temperatures, float* out) {
  const int64_t width = shape.width, size = shape.size;
  const int64_t inner = shape.heads * size, kv = shape.kv_heads * size;
  float* x = x_.at_least(rows * width);
  float *q = q_.at_least(rows * inner), *k = k_.at_least(rows * kv), *v = v_.at_least(rows * kv);
  pool.each(rows, row_grain(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      isa.norm(h + r * width, layer.norm_attention_in, width, shape.eps, x + r * width);
    }
  });
  multiply(pool, isa, inputs_, x, rows, width, {{layer.query, q}, {layer.key, k}, {layer.value, v}});

  std::vector<int64_t> sequence_of(static_cast<size_t>(rows));
  for (size_t s = 0; s < sequences.size(); ++s) {
    const Sequence& sequence = sequences[s];
    std::fill_n(sequence_of.begin() + sequence.first, sequence.count, static_cast<int64_t>(s));
  }
  pool.each(rows, row_grain(inner), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const Sequence& sequence = sequences[static_cast<size_t>(sequence_of[static_cast<size_t>(r)])];
      const int64_t position = sequence.start + r - sequence.first;
      for (int64_t head = 0; head < shape.heads; ++head) {
        float* mine = q + r * inner + head * size;
        if (layer.query_norm) isa.norm(mine, layer.query_norm, size, shape.eps, mine);
        isa.turn(mine, cosines + r * size, sines + r * size, size);
      }
      for (int64_t head = 0; head < shape.kv_heads; ++head) {
        float* mine = k + r * kv + head * size;
        if (layer.key_norm) isa.norm(mine, layer.key_norm, size, shape.eps, mine);
        isa.turn(mine, cosines + r * size, sines + r * size, size);
        const int32_t block = sequence.blocks[position / kPage];
        write(pages, head, block, position % kPage, mine, v + r * kv + head * size);
      }
    }
  });
  attention_.run(pool, isa, pages, sequences, shape.heads, {shape.score_scale, shape.attention_cap}, q, temperatures, out);
}

void Step::route(Pool& pool, const Isa& isa, const Shape& shape, const Layer& layer, const float* o, int64_t rows,
                 float* h) {
  const int64_t width = shape.width, inner = shape.heads * shape.size;
  float *x = x_.at_least(rows * width), *y = y_.at_least(rows * width);
  multiply(pool, isa, inputs_, o, rows, inner, {{layer.output, y}});
  chosen_.resize(static_cast<size_t>(rows * shape.choices));
  float* gates = gates_.at_least(rows * shape.choices);
  float* probabilities = probabilities_.at_least(rows * layer.experts);
  pool.each(rows, row_grain(width * (4 + layer.experts)), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      float *mine = h + r * width, *result = y + r * width;
      if (layer.norm_attention_out) isa.norm(result, layer.norm_attention_out, width, shape.eps, result);
      isa.add_scaled(mine, result, 1.0f, width);
      isa.norm(mine, layer.norm_experts_in, width, shape.eps, x + r * width);
      choose(isa, shape, layer, x + r * width, probabilities + r * layer.experts, chosen_.data() + r * shape.choices,
             gates + r * shape.choices);
    }
  });
  experts_.begin(chosen_.data(), layer.experts, rows, shape.choices);
}

// Softmax over all experts, then the best; equal ones by their number.
void Step::choose(const Isa& isa, const Shape& shape, const Layer& layer, const float* x, float* probabilities,
                  int32_t* chosen, float* gates) const {
  for (int64_t e = 0; e < layer.experts; ++e) probabilities[e] = isa.dot(x, layer.router + e * shape.width, shape.width);
  if (shape.router_cap > 0.0f) isa.softcap(probabilities, layer.experts, shape.router_cap);
  isa.softmax(probabilities, layer.experts);
  float sum = 0.0f;
  for (int64_t c = 0; c < shape.choices; ++c) {
    int64_t best = -1;
    for (int64_t e = 0; e < layer.experts; ++e) {
      const bool taken = std::find(chosen, chosen + c, static_cast<int32_t>(e)) != chosen + c;
      if (!taken && (best < 0 || probabilities[e] > probabilities[best])) best = e;
    }
    chosen[c] = static_cast<int32_t>(best);
    gates[c] = probabilities[best];
    sum += gates[c];
  }
  if (!shape.renormalise) return;
  for (int64_t c = 0; c < shape.choices; ++c) gates[c] /= sum;
}

void Step::mix(Pool& pool, const Isa& isa, const Shape& shape, const std::vector<const Expert*>& experts) {
  experts_.some(pool, isa, experts, shape.activation, x_.at_least(0), shape.width);
}

void Step::add(Pool& pool, const Isa& isa, const Shape& shape, const Layer& layer, int64_t rows, float* h) {
  const int64_t width = shape.width;
  const float* x = x_.at_least(0);
  float* y = y_.at_least(0);
  experts_.end(pool, isa, gates_.at_least(0), rows, shape.choices, width, y);
  if (layer.shared) {
    const Expert& mlp = layer.shared_expert;
    const int64_t inner = mlp.gate.rows;
    float *g = g_.at_least(rows * inner), *u = u_.at_least(rows * inner);
    multiply(pool, isa, inputs_, x, rows, width, {{mlp.gate, g}, {mlp.up, u}});
    pool.each(rows, row_grain(inner), [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {  // row by row: what is left over a vector is rounded otherwise
        isa.gated(g + r * inner, u + r * inner, g + r * inner, inner, shape.activation);
      }
    });
    float* beside = q_.at_least(rows * width);
    multiply(pool, isa, inputs_, g, rows, inner, {{mlp.down, beside}});
    pool.each(rows, row_grain(width), [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin * width; i < end * width; ++i) y[i] = (y[i] + beside[i]) * shape.shared_multiplier;
    });
  }
  pool.each(rows, row_grain(2 * width), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      float* result = y + r * width;
      if (layer.norm_experts_out) isa.norm(result, layer.norm_experts_out, width, shape.eps, result);
      isa.add_scaled(h + r * width, result, 1.0f, width);
    }
  });
}

}  // namespace lindos
