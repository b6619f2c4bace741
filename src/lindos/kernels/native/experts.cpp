#include "experts.hpp"

#include <algorithm>

namespace lindos {
namespace {

constexpr int64_t kRows = 64;  // inputs a pass: their sums stay in the nearest cache

}  // namespace

void Experts::mix(Pool& pool, const Isa& isa, const std::vector<const Expert*>& experts, Activation activation,
                  const float* x, const int32_t* chosen, const float* gates, int64_t tokens, int64_t choices,
                  int64_t width, float* out) {
  begin(chosen, static_cast<int64_t>(experts.size()), tokens, choices);
  some(pool, isa, experts, activation, x, tokens, width);
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
  gathered_.clear();
}

void Experts::some(Pool& pool, const Isa& isa, const std::vector<const Expert*>& experts, Activation activation,
                   const float* x, int64_t tokens, int64_t width) {
  used_.clear();
  int64_t rows = 0;
  for (size_t e = 0; e < experts.size(); ++e) {
    const int64_t count = starts_[e + 1] - starts_[e];
    if (experts[e] == nullptr || count == 0) continue;
    used_.push_back({experts[e], starts_[e], count, rows});
    rows += count;
  }
  if (used_.empty()) return;
  if (gathered_.empty()) {
    tokens_.prepare(pool, isa, used_[0].expert->gate.format, x, tokens, width, width);
    gathered_.resize(token_of_.size());
    for (size_t row = 0; row < token_of_.size(); ++row) gathered_[row] = tokens_.row(token_of_[row]);
    y_.at_least(static_cast<int64_t>(token_of_.size()) * width);
  }
  inner(pool, isa, activation, rows);
  outer(pool, isa, width);
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

// h = activation(gate(x)) * up(x) of every row computed now.
void Experts::inner(Pool& pool, const Isa& isa, Activation activation, int64_t rows) {
  const Matrix& first = used_[0].expert->gate;
  const int64_t strips = first.strips();
  const int64_t inner_width = first.rows;
  float* h = h_.at_least(rows * inner_width);
  const int64_t total = strips * static_cast<int64_t>(used_.size());
  pool.each(total, strip_grain(first, total, 2 * pool.threads()), [&](int64_t begin, int64_t end, int) {
    float g[kRows * kStrip], u[kRows * kStrip];
    for (int64_t task = begin; task < end; ++task) {
      const Rows& mine = used_[static_cast<size_t>(task / strips)];
      const int64_t strip = task % strips;
      const int64_t filled = std::min(kStrip, inner_width - strip * kStrip);
      for (int64_t at = 0; at < mine.count; at += kRows) {
        const int64_t count = std::min(kRows, mine.count - at);
        const Input* inputs = gathered_.data() + mine.first + at;
        isa.strip(mine.expert->gate, strip, inputs, count, g);
        isa.strip(mine.expert->up, strip, inputs, count, u);
        isa.gated(g, u, g, count * kStrip, activation);
        for (int64_t r = 0; r < count; ++r) {
          float* to = h + (mine.at + at + r) * inner_width + strip * kStrip;
          std::copy(g + r * kStrip, g + r * kStrip + filled, to);
        }
      }
    }
  });
  hidden_.prepare(pool, isa, used_[0].expert->down.format, h, rows, inner_width, inner_width);
}

void Experts::outer(Pool& pool, const Isa& isa, int64_t width) {
  const Matrix& first = used_[0].expert->down;
  const int64_t strips = first.strips();
  float* y = y_.at_least(0);
  const int64_t total = strips * static_cast<int64_t>(used_.size());
  pool.each(total, strip_grain(first, total, pool.threads()), [&](int64_t begin, int64_t end, int) {
    float sums[kRows * kStrip];
    for (int64_t task = begin; task < end; ++task) {
      const Rows& mine = used_[static_cast<size_t>(task / strips)];
      const int64_t strip = task % strips;
      const int64_t filled = std::min(kStrip, width - strip * kStrip);
      for (int64_t at = 0; at < mine.count; at += kRows) {
        const int64_t count = std::min(kRows, mine.count - at);
        isa.strip(mine.expert->down, strip, hidden_.all() + mine.at + at, count, sums);
        for (int64_t r = 0; r < count; ++r) {
          float* to = y + (mine.first + at + r) * width + strip * kStrip;
          std::copy(sums + r * kStrip, sums + r * kStrip + filled, to);
        }
      }
    }
  });
}

}  // namespace lindos
