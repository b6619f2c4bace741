// What stands before a model's layers and after them: the embedding of tokens and the logits.
#pragma once

#include <vector>

#include "network.hpp"

namespace lindos {

struct Ends {
  Matrix embedding, head;  // bf16 or int8; both [vocabulary, width]
  const float* norm;       // before the head
  float embedding_multiplier, logit_multiplier, logit_cap;  // a cap of 0 is none
};

// One row of a matrix in bf16 or int8, in fp32.
void widen_row(const Matrix& matrix, int64_t row, float* out);

// The residual stream [rows, width] of tokens.
void embed(const Ends& ends, const int64_t* tokens, int64_t rows, float* h);

class Logits {
 public:
  // Of the residual stream h [rows, width]: out [rows, vocabulary].
  void run(Pool& pool, const Isa& isa, const Ends& ends, float eps, const float* h, int64_t rows, float* out);

 private:
  Inputs inputs_;
  Buffer<float> x_;
};

}  // namespace lindos
