#include "attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lindos {
namespace {

// Blocks whose keys are gathered one after the other; such chunks are then added up in order. Both are fixed, so that a
// query's result depends neither on the number of threads nor on how many tokens of its sequence a step has.
constexpr int64_t kChunk = 8;
constexpr int64_t kRows = 48;          // queries a task has at most, or those of one position
constexpr int64_t kWorthwhile = 65536;  // products below which waking another thread does not pay

uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);  // not a number stays so
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

void clear(const Gathered& to, int64_t rows, int64_t size) {
  std::fill_n(to.largest, rows, -INFINITY);
  std::fill_n(to.sum, rows, 0.0f);
  std::fill_n(to.out, rows * size, 0.0f);
}

// What a later chunk gathered, put to what those before it did.
void add(const Gathered& to, const Gathered& later, int64_t rows, int64_t size) {
  for (int64_t r = 0; r < rows; ++r) {
    const float top = to.largest[r] > later.largest[r] ? to.largest[r] : later.largest[r];
    const float mine = std::exp(to.largest[r] - top), its = std::exp(later.largest[r] - top);
    to.largest[r] = top;
    to.sum[r] = to.sum[r] * mine + later.sum[r] * its;
    float* out = to.out + r * size;
    const float* more = later.out + r * size;
    for (int64_t c = 0; c < size; ++c) out[c] = out[c] * mine + more[c] * its;
  }
}

}  // namespace

void write(const Pages& pages, int64_t head, int64_t block, int64_t token, const float* key, const float* value) {
  uint8_t *keys = pages.keys(head, block), *values = pages.values(head, block);
  for (int64_t c = 0; c < pages.size; ++c) {
    const int64_t k = key_place(token, c, pages.size), v = value_place(token, c, pages.size);
    if (pages.bf16) {
      reinterpret_cast<uint16_t*>(keys)[k] = to_bf16(key[c]);
      reinterpret_cast<uint16_t*>(values)[v] = to_bf16(value[c]);
    } else {
      reinterpret_cast<float*>(keys)[k] = key[c];
      reinterpret_cast<float*>(values)[v] = value[c];
    }
  }
}

struct Attention::Call {
  const Isa& isa;
  const Pages& pages;
  const std::vector<Sequence>& sequences;
  int64_t heads, group;
  const Scoring& how;
  const float* q;
  const float* temperatures;
  float* out;

  const Sequence& sequence(const Task& task) const { return sequences[static_cast<size_t>(task.sequence)]; }

  // The queries of a task's positions over the keys of one chunk that each of them may see, from nothing.
  void gather(const Task& task, int64_t chunk, const float* queries, const float* warmths, const Gathered& to) const {
    const Sequence& of = sequence(task);
    const int64_t size = pages.size, begin = of.start + task.first, end = begin + task.count;
    clear(to, task.count * group, size);
    const int64_t stop = std::min((chunk + 1) * kChunk, (end - 1) / kPage + 1);
    for (int64_t index = chunk * kChunk; index < stop; ++index) {
      const int64_t block = of.blocks[index];
      KeyBlock keys{pages.keys(task.head, block), pages.values(task.head, block), pages.bf16, size, kPage,
                    of.visible ? of.visible[index] : ~uint64_t{0}};
      const auto attend = [&](int64_t position, int64_t positions) {
        const int64_t row = (position - begin) * group;
        isa.attend(keys, how, queries + row * size, warmths ? warmths + row : nullptr, positions * group,
                   to.from(row, size));
      };
      // Who stands in this block sees it up to itself; who stands behind it, all of it.
      const int64_t behind = std::max(begin, (index + 1) * kPage);
      for (int64_t position = std::max(begin, index * kPage); position < std::min(end, behind); ++position) {
        keys.count = position - index * kPage + 1;
        attend(position, 1);
      }
      keys.count = kPage;
      if (behind < end) attend(behind, end - behind);
    }
  }

  // A task's queries as one array [rows, size], and the temperature of each, null for none.
  const float* queries(const Task& task, float* room) const {
    const int64_t many = group * pages.size;
    const float* from = q + ((sequence(task).first + task.first) * heads + task.head * group) * pages.size;
    if (task.count == 1) return from;
    for (int64_t p = 0; p < task.count; ++p) {
      std::memcpy(room + p * many, from + p * heads * pages.size, static_cast<size_t>(many) * sizeof(float));
    }
    return room;
  }
  const float* warmths(const Task& task, float* room) const {
    if (!temperatures) return nullptr;
    const float* from = temperatures + sequence(task).first + task.first;
    for (int64_t row = 0; row < task.count * group; ++row) room[row] = from[row / group];
    return room;
  }

  void finish(const Task& task, const Gathered& done) const {
    const int64_t size = pages.size;
    for (int64_t row = 0; row < task.count * group; ++row) {
      const int64_t place = (sequence(task).first + task.first + row / group) * heads + task.head * group + row % group;
      const float inverse = 1.0f / done.sum[row];
      for (int64_t c = 0; c < size; ++c) out[place * size + c] = done.out[row * size + c] * inverse;
    }
  }
};

void Attention::plan(const Call& call, int threads) {
  tasks_.clear();
  joined_.clear();
  slots_ = 0;
  const int64_t most = std::max<int64_t>(1, kRows / call.group);
  for (size_t s = 0; s < call.sequences.size(); ++s) {
    const Sequence& of = call.sequences[s];
    for (int64_t head = 0; head < call.pages.kv_heads; ++head) {
      for (int64_t first = 0; first < of.count; first += most) {
        tasks_.push_back({static_cast<int64_t>(s), head, first, std::min(most, of.count - first), -1, 0});
      }
    }
  }
  // The longest last would be waited for by all.
  std::stable_sort(tasks_.begin(), tasks_.end(), [&](const Task& a, const Task& b) {
    return call.sequence(a).start + a.first > call.sequence(b).start + b.first;
  });
  if (static_cast<int64_t>(tasks_.size()) >= 2 * threads || threads == 1) return;
  // Too few for all threads: single positions with many keys are computed in chunks.
  std::vector<Task> split;
  for (Task task : tasks_) {
    const int64_t chunks = (call.sequence(task).start + task.first) / (kChunk * kPage) + 1;
    if (task.count > 1 || chunks == 1) {
      split.push_back(task);
      continue;
    }
    task.slot = slots_;
    task.chunk = chunks;
    joined_.push_back(task);
    slots_ += chunks;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      split.push_back({task.sequence, task.head, task.first, task.count, chunk, task.slot + chunk});
    }
  }
  tasks_.swap(split);
}

Gathered Attention::slot(const Call& call, int64_t index) const {
  const int64_t rows = call.group;
  float* mine = parts_ + index * rows * (call.pages.size + 2);
  return {mine, mine + rows, mine + 2 * rows};
}

void Attention::part(const Call& call, const Task& task, float* scratch) const {
  call.gather(task, task.chunk, call.queries(task, nullptr), call.warmths(task, scratch), slot(call, task.slot));
}

void Attention::join(const Call& call, const Task& task) const {
  const Gathered all = slot(call, task.slot);
  for (int64_t chunk = 1; chunk < task.chunk; ++chunk) {
    add(all, slot(call, task.slot + chunk), call.group, call.pages.size);
  }
  call.finish(task, all);
}

void Attention::whole(const Call& call, const Task& task, float* scratch) const {
  const int64_t size = call.pages.size, rows = task.count * call.group;
  const auto take = [&](int64_t count) { return (scratch += count) - count; };
  const float* queries = call.queries(task, take(rows * size));
  const float* warmths = call.warmths(task, take(rows));
  const Gathered all{take(rows), take(rows), take(rows * size)};
  const Gathered chunk{take(rows), take(rows), take(rows * size)};
  const int64_t begin = call.sequence(task).start + task.first, last = begin + task.count - 1;
  call.gather(task, 0, queries, warmths, all);
  for (int64_t index = 1; index <= last / (kChunk * kPage); ++index) {
    call.gather(task, index, queries, warmths, chunk);
    // Rows that stand before the chunk have nothing in it.
    const int64_t before = std::clamp<int64_t>(index * kChunk * kPage - begin, 0, task.count) * call.group;
    add(all.from(before, size), chunk.from(before, size), rows - before, size);
  }
  call.finish(task, all);
}

void Attention::run(Pool& pool, const Isa& isa, const Pages& pages, const std::vector<Sequence>& sequences, int64_t heads,
                    const Scoring& how, const float* q, const float* temperatures, float* out) {
  const Call call{isa, pages, sequences, heads, heads / pages.kv_heads, how, q, temperatures, out};
  plan(call, pool.threads());
  const int64_t most = std::max(kRows, call.group);
  const int64_t room = most * (3 * pages.size + 5);
  float* scratch = scratch_.at_least(pool.threads() * room);
  parts_ = held_parts_.at_least(slots_ * call.group * (pages.size + 2));
  int64_t products = 0;
  for (const Sequence& of : sequences) products += of.count * (of.start + of.count) * heads * pages.size;
  const auto count = static_cast<int64_t>(tasks_.size());
  const int64_t grain = std::max<int64_t>(1, kWorthwhile * count / std::max<int64_t>(1, products));
  pool.each(count, grain, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const Task& task = tasks_[static_cast<size_t>(i)];
      if (task.chunk < 0) {
        whole(call, task, scratch + thread * room);
      } else {
        part(call, task, scratch + thread * room);
      }
    }
  });
  for (const Task& task : joined_) join(call, task);
}

}  // namespace lindos
