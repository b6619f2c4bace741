// Attention of a step's queries over the blocks of their sequences, split between threads.
#pragma once

#include <vector>

#include "isa.hpp"
#include "pool.hpp"

namespace lindos {

// Rows [first, first + count) of a step belong to one sequence and stand at its positions start, start + 1, ...; `blocks`
// are the numbers of its blocks. `visible`, a bit for each token of each block, is null where all may be seen.
struct Sequence {
  int64_t first, count, start;
  const int32_t* blocks;
  const uint64_t* visible;
};

// Puts a token's key and value [size] of one head where they belong; in bf16 rounded to nearest, ties to even.
void write(const Pages& pages, int64_t head, int64_t block, int64_t token, const float* key, const float* value);

class Attention {
 public:
  // out [rows, heads * size] for q of that shape; query head h reads key-value head h / (heads / kv_heads).
  // `temperatures`, one a row, is null for none.
  void run(Pool& pool, const Isa& isa, const Pages& pages, const std::vector<Sequence>& sequences, int64_t heads,
           const Scoring& how, const float* q, const float* temperatures, float* out);

 private:
  // The queries of one key-value head at some positions of a sequence, over all their keys or one chunk of them.
  struct Task {
    int64_t sequence, head, first, count;
    int64_t chunk;  // -1: all of them; of what is to be joined, how many there are
    int64_t slot;   // where the result of one chunk goes, or of the first
  };
  struct Call;

  void plan(const Call& call, int threads);
  void whole(const Call& call, const Task& task, float* scratch) const;
  void part(const Call& call, const Task& task, float* scratch) const;
  void join(const Call& call, const Task& task) const;
  Gathered slot(const Call& call, int64_t index) const;

  std::vector<Task> tasks_, joined_;
  int64_t slots_ = 0;
  float* parts_ = nullptr;
  Buffer<float> held_parts_, scratch_;
};

}  // namespace lindos
