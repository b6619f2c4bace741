#include "experts.hpp"

#include <algorithm>

namespace lindos {

void Experts::mix(Pool& pool, const Isa& isa, const std::vector<const Expert*>& experts, Activation activation,
                  const float* x, const int32_t* chosen, const float* gates, int64_t tokens, int64_t choices,
                  int64_t width, float* out) {
  begin(chosen, static_cast<int64_t>(experts.size()), tokens, choices);
  some(pool, isa, experts, activation, x, width);
  end(pool, isa, gates, tokens, choices, width, out);
}

void Experts::begin(const int32_t* chosen, int64_t count, int64_t tokens, int64_t choices) {
  const int64_t pairs = tokens * choices;
  starts_.assign(static_cast<size_t>(count) + 1, 0);
  for (int64_t c = 0; c < pairs; ++c) {
    if (chosen[c] >= 0) ++starts_[static_cast<size_t>(chosen[c]) + 1];
  }
  for (size_t e = 1; e < starts_.size(); ++e) starts_[e] += starts_[e - 1];
  row_of_.assign(static_cast<size_t>(pairs), -1);
  token_of_.resize(static_cast<size_t>(starts_.back()));
  std::vector<int64_t> next = starts_;
  for (int64_t c = 0; c < pairs; ++c) {
    if (chosen[c] < 0) continue;
    const int64_t row = next[static_cast<size_t>(chosen[c])]++;
    row_of_[static_cast<size_t>(c)] = row;
    token_of_[static_cast<size_t>(row)] = c / choices;
  }
}

void Experts::some(Pool& pool, const Isa& isa, const std::vector<const Expert*>& experts, Activation activation,
                   const float* x, int64_t width) {
  used_.clear();
  first_.clear();
  parts_.clear();
  tokens_of_.clear();
  for (size_t e = 0; e < experts.size(); ++e) {
    const int64_t first = starts_[e], count = starts_[e + 1] - first;
    if (experts[e] == nullptr || count == 0) continue;
    used_.push_back(experts[e]);
    first_.push_back(first);
    parts_.push_back({static_cast<int64_t>(tokens_of_.size()), count});
    tokens_of_.insert(tokens_of_.end(), token_of_.begin() + first, token_of_.begin() + first + count);
  }
  if (used_.empty()) return;
  tokens_.prepare(pool, isa, used_[0]->gate.format, x, width, parts_, tokens_of_.data());
  inner(pool, isa, activation);
  outer(pool, isa);
}

void Experts::end(Pool& pool, const Isa& isa, const float* gates, int64_t tokens, int64_t choices, int64_t width,
                  float* out) {
  pool.each(tokens, std::max<int64_t>(1, 65536 / width), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      std::fill(out + t * width, out + (t + 1) * width, 0.0f);
      for (int64_t c = t * choices; c < (t + 1) * choices; ++c) {
        const int64_t row = row_of_[static_cast<size_t>(c)];
        if (row >= 0) isa.add_scaled(out + t * width, y_.at_least(0) + row * width, gates[c], width);
      }
    }
  });
}

// Calls work(expert, its part, first strip, strips, first row, rows) for every pass of all experts' matrices of the shape
// of `first`.
template <typename Work>
void Experts::in_passes(Pool& pool, const Isa& isa, const Matrix& first, int64_t pieces, Work work) {
  int64_t most = 0;
  for (const Part& part : parts_) most = std::max(most, part.count);
  const int64_t strips = first.strips(), total = strips * static_cast<int64_t>(used_.size());
  const Pieces cut = strip_pieces(isa, first, most, total, static_cast<int>(pieces) * pool.threads());
  pool.each(total, cut, [&](int64_t begin, int64_t end, int) {
    for (int64_t task = begin, taken; task < end; task += taken) {
      const auto index = static_cast<size_t>(task / strips);
      const int64_t strip = task % strips, rows = parts_[index].count;
      const Pass pass = pass_of(isa, first, rows);
      taken = std::min({pass.strips, end - task, strips - strip});
      for (int64_t at = 0; at < rows; at += pass.rows) work(index, pass, strip, taken, at, std::min(pass.rows, rows - at));
    }
  });
}

// h = activation(gate(x)) * up(x) of every row computed now.
void Experts::inner(Pool& pool, const Isa& isa, Activation activation) {
  const Matrix& first = used_[0]->gate;
  float* h = h_.at_least(static_cast<int64_t>(tokens_of_.size()) * first.rows);
  in_passes(pool, isa, first, 2, [&](size_t e, const Pass& pass, int64_t strip, int64_t strips, int64_t at, int64_t rows) {
    const InputRows inputs = tokens_.part(e).part(at, rows);
    float* g = room_for_sums(pass, 2);
    float* u = g + pass.numbers();
    sums_of(isa, used_[e]->gate, strip, strips, inputs, g);
    sums_of(isa, used_[e]->up, strip, strips, inputs, u);
    for (int64_t s = 0; s < strips; ++s) {
      const int64_t begin = s * whole_blocks(rows) * kStrip;
      isa.gated(g + begin, u + begin, g + begin, rows * kStrip, activation);
    }
    place(g, first, strip, strips, rows, h + (parts_[e].first + at) * first.rows);
  });
  hidden_.prepare(pool, isa, used_[0]->down.format, h, first.rows, parts_, nullptr);
}

void Experts::outer(Pool& pool, const Isa& isa) {
  const Matrix& first = used_[0]->down;
  float* y = y_.at_least(static_cast<int64_t>(token_of_.size()) * first.rows);
  in_passes(pool, isa, first, 1, [&](size_t e, const Pass& pass, int64_t strip, int64_t strips, int64_t at, int64_t rows) {
    float* sums = room_for_sums(pass, 1);
    sums_of(isa, used_[e]->down, strip, strips, hidden_.part(e).part(at, rows), sums);
    place(sums, first, strip, strips, rows, y + (first_[e] + at) * first.rows);
  });
}

}  // namespace lindos
