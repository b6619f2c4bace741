// A decoder layer in two calls: attention over the pages of many sequences, and what follows it.
#pragma once

#include <vector>

#include "attention.hpp"
#include "experts.hpp"

namespace lindos {

struct Shape {
  int64_t width, heads, kv_heads, size;
  int64_t choices;       // experts a token
  float eps;
  float score_scale, attention_cap, router_cap;  // a cap of 0 is none
  bool renormalise;
  float shared_multiplier;
  Activation activation;
};

// Norms that the model does not have are null.
struct Layer {
  Matrix query, key, value, output;
  const float *norm_attention_in, *norm_attention_out, *norm_experts_in, *norm_experts_out, *query_norm, *key_norm;
  const float* router;  // [experts, width]
  int64_t experts;
  bool shared;
  Expert shared_expert;
};

class Step {
 public:
  // What attention gathers for each row, [rows, heads * size]; keys and values of the rows go into the pages.
  // `cosines` and `sines` are [rows, size]; `temperatures`, one a row, multiply the scores, null for none.
  void attend(Pool& pool, const Isa& isa, const Shape& shape, const Layer& layer, const float* h, int64_t rows,
              const Pages& pages, const std::vector<Sequence>& sequences, const float* cosines, const float* sines,
              const float* temperatures, float* out);

  // Adds attention's result for o [rows, heads * size] to the residual stream h [rows, width] and chooses experts, which
  // are then in `chosen` [rows, choices]. Apart, so that what is chosen can be looked up, or fetched, first; then `mix`
  // computes some experts, as often as wanted, until all that are chosen were computed once, and `add` ends the layer.
  void route(Pool& pool, const Isa& isa, const Shape& shape, const Layer& layer, const float* o, int64_t rows, float* h);
  const std::vector<int32_t>& chosen() const { return chosen_; }
  void mix(Pool& pool, const Isa& isa, const Shape& shape, const std::vector<const Expert*>& experts);
  void add(Pool& pool, const Isa& isa, const Shape& shape, const Layer& layer, int64_t rows, float* h);

 private:
  void choose(const Isa& isa, const Shape& shape, const Layer& layer, const float* x, float* probabilities,
              int32_t* chosen, float* gates) const;

  Inputs inputs_;
  Attention attention_;
  Experts experts_;
  Buffer<float> x_, q_, k_, v_, y_, g_, u_, probabilities_, gates_;
  std::vector<int32_t> chosen_;
};

}  // namespace lindos
