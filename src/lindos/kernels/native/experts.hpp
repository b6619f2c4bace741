// The experts of one layer, for all tokens of a step in one call.
#pragma once

#include <vector>

#include "products.hpp"

namespace lindos {

struct Expert {
  Matrix gate, up, down;  // gate and up [F, D], down [D, F]
};

class Experts {
 public:
  // out[t] = sum over the choices of token t of its gate * down(activation(gate(x)) * up(x)), in the order of the choices.
  // `experts` holds those that are chosen (others may be null); x and out are [tokens, width], chosen and gates
  // [tokens, choices]. A choice below 0 is skipped.
  void mix(Pool& pool, const Isa& isa, const std::vector<const Expert*>& experts, Activation activation, const float* x,
           const int32_t* chosen, const float* gates, int64_t tokens, int64_t choices, int64_t width, float* out);

  // The same a few experts at a time, as they come into memory: `begin` with all choices among `count` experts, `some` as
  // often as wanted, until each that is chosen was among them once, `end`. The result is the same to the bit.
  void begin(const int32_t* chosen, int64_t count, int64_t tokens, int64_t choices);
  void some(Pool& pool, const Isa& isa, const std::vector<const Expert*>& experts, Activation activation, const float* x,
            int64_t width);
  void end(Pool& pool, const Isa& isa, const float* gates, int64_t tokens, int64_t choices, int64_t width, float* out);

 private:
  void inner(Pool& pool, const Isa& isa, Activation activation);
  void outer(Pool& pool, const Isa& isa);
  template <typename Work>
  void in_passes(Pool& pool, const Isa& isa, const Matrix& first, int64_t pieces, Work work);

  Inputs tokens_, hidden_;
  // A row each pair of token and choice, sorted by expert.
  std::vector<int64_t> starts_;    // of each expert's rows
  std::vector<int64_t> row_of_;    // of each pair; -1 where it is skipped
  std::vector<int64_t> token_of_;  // of each row
  // Those computed now.
  std::vector<const Expert*> used_;
  std::vector<int64_t> first_;      // of each one's rows among all
  std::vector<Part> parts_;         // the rows of each among those computed now
  std::vector<int64_t> tokens_of_;  // of each row computed now
  Buffer<float> h_, y_;
};

}  // namespace lindos
