// What Python holds of a model's layers.
#pragma once

#include <algorithm>
#include <utility>

#include "bindings.hpp"
#include "ends.hpp"

namespace lindos {

// The layers of a model; see network.hpp.
class Network {
 public:
  Network(Kernels& kernels, const nb::dict& shape) : kernels_(kernels) {
    const auto whole = [&](const char* name) { return nb::cast<int64_t>(shape[name]); };
    const auto real = [&](const char* name) { return nb::cast<float>(shape[name]); };
    shape_ = {whole("width"), whole("heads"), whole("kv_heads"), whole("size"), whole("choices"), real("eps"),
              real("score_scale"), real("attention_cap"), real("router_cap"), nb::cast<bool>(shape["renormalise"]),
              real("shared_multiplier"), static_cast<Activation>(whole("activation"))};
    require(shape_.width > 0 && shape_.kv_heads > 0 && shape_.heads % shape_.kv_heads == 0 && shape_.size % 2 == 0 &&
                shape_.choices > 0,
            "these sizes make no model");
  }

  // `norms`: attention in and out, experts in and out, query, key; None for those there are not.
  void add_layer(const HeldMatrix& query, const HeldMatrix& key, const HeldMatrix& value, const HeldMatrix& output,
                 const std::vector<std::optional<Numbers>>& norms, Floats router, ExpertTable& table,
                 const std::vector<const HeldMatrix*>& shared) {
    const int64_t inner = shape_.heads * shape_.size, kv = shape_.kv_heads * shape_.size;
    fits(query, inner, shape_.width);
    fits(key, kv, shape_.width);
    fits(value, kv, shape_.width);
    fits(output, shape_.width, inner);
    require(norms.size() == 6 && norms[0] && norms[2], "six norms, of which attention and experts have one before them");
    require(static_cast<int64_t>(router.shape(1)) == shape_.width &&
                static_cast<int64_t>(router.shape(0)) == table.count() && shape_.choices <= table.count(),
            "a router is [experts, width]");
    require(shared.empty() || shared.size() == 3, "a shared branch is gate, up and down");
    Held held{{}, {query.bytes, key.bytes, value.bytes, output.bytes}, {}, router, &table};
    const float* scales[6];
    for (size_t i = 0; i < 6; ++i) {
      const int64_t size = i < 4 ? shape_.width : shape_.size;
      require(!norms[i] || static_cast<int64_t>(norms[i]->size()) == size, "a norm has another size");
      scales[i] = norms[i] ? norms[i]->data() : nullptr;
      if (norms[i]) held.norms.push_back(*norms[i]);
    }
    Layer& layer = held.layer;
    layer = {query.matrix, key.matrix, value.matrix, output.matrix, scales[0], scales[1], scales[2],
             scales[3],    scales[4],  scales[5],    router.data(), table.count(), !shared.empty(), {}};
    if (!shared.empty()) {
      layer.shared_expert = {shared[0]->matrix, shared[1]->matrix, shared[2]->matrix};
      fits(*shared[0], layer.shared_expert.gate.rows, shape_.width);
      fits(*shared[1], layer.shared_expert.gate.rows, shape_.width);
      fits(*shared[2], shape_.width, layer.shared_expert.gate.rows);
      for (const HeldMatrix* matrix : shared) held.bytes.push_back(matrix->bytes);
    }
    layers_.push_back(std::move(held));
  }

  // `pages` as in pages.hpp. `sequences`: a row [first, count, start, where its blocks begin in `blocks`, how many] each;
  // `visible`: 64 bits for each of `blocks`.
  void attend(int64_t index, const Floats& h, const PagesIn& pages, const Whole& sequences, const Blocks& blocks,
              const std::optional<Masks>& visible, const Floats& cosines, const Floats& sines,
              const std::optional<Numbers>& temperatures, FloatsOut out) {
    const Held& held = layers_.at(static_cast<size_t>(index));
    const auto rows = static_cast<int64_t>(h.shape(0));
    fits(h, rows, shape_.width);
    fits(out, rows, shape_.heads * shape_.size);
    const Pages held_pages = pages_of(pages);
    const std::vector<Sequence> found = sequences_of(rows, held_pages, sequences, blocks, visible);
    const float* scales = checked(rows, cosines, sines, temperatures);
    nb::gil_scoped_release released;
    step_.attend(kernels_.pool(), kernels_.isa(), shape_, held.layer, h.data(), rows, held_pages, found, cosines.data(),
                 sines.data(), scales, out.data());
  }

  void set_ends(const HeldMatrix& embedding, const HeldMatrix& head, Numbers norm, float embedding_multiplier,
                float logit_multiplier, float logit_cap) {
    fits(embedding, head.matrix.rows, shape_.width);
    fits(head, head.matrix.rows, shape_.width);
    require(embedding.matrix.format != Format::int4, "rows of a matrix in int4 are not looked up one by one");
    require(static_cast<int64_t>(norm.size()) == shape_.width, "a norm has another size");
    ends_ = {embedding.matrix, head.matrix, norm.data(), embedding_multiplier, logit_multiplier, logit_cap};
    ends_held_.emplace(std::vector<Bytes>{embedding.bytes, head.bytes}, norm);
  }

  // The pages of each layer, for `forward`; kept alive.
  void keep_pages(const std::vector<PagesIn>& pages) {
    require(pages.size() == layers_.size(), "each layer has pages");
    std::vector<Pages> found;
    for (const PagesIn& one : pages) found.push_back(pages_of(one));
    for (const Pages& one : found) require(one.blocks == found[0].blocks, "all layers have as many blocks");
    pages_held_ = pages;
    pages_ = std::move(found);
  }

  void embed(const std::vector<int64_t>& tokens, FloatsOut h) {
    fits(h, static_cast<int64_t>(tokens.size()), shape_.width);
    checked(tokens);
    lindos::embed(ends_, tokens.data(), static_cast<int64_t>(tokens.size()), h.data());
  }

  void logits(const Floats& h, FloatsOut out) {
    require(ends_held_.has_value(), "a network without ends gives no logits");
    const auto rows = static_cast<int64_t>(h.shape(0));
    fits(h, rows, shape_.width);
    fits(out, rows, ends_.head.rows);
    nb::gil_scoped_release released;
    logits_.run(kernels_.pool(), kernels_.isa(), ends_, shape_.eps, h.data(), rows, out.data());
  }

  // A whole step, with all experts that are chosen in the tables: the logits of the rows `last`, in order.
  void forward(const std::vector<int64_t>& tokens, const Whole& sequences, const Blocks& blocks,
               const std::optional<Masks>& visible, const Floats& cosines, const Floats& sines,
               const std::optional<Numbers>& temperatures, const std::vector<int64_t>& last, FloatsOut out) {
    const auto rows = static_cast<int64_t>(tokens.size()), going_on = static_cast<int64_t>(last.size());
    checked(tokens);
    fits(out, going_on, ends_.head.rows);
    require(!pages_.empty(), "a network without layers, or without pages");
    for (int64_t row : last) require(row >= 0 && row < rows, "a row that goes on is not there");
    const std::vector<Sequence> found = sequences_of(rows, pages_[0], sequences, blocks, visible);
    const float* scales = checked(rows, cosines, sines, temperatures);
    nb::gil_scoped_release released;
    float* h = stream_.at_least(rows * shape_.width);
    float* end = going_on_.at_least(going_on * shape_.width);
    lindos::embed(ends_, tokens.data(), rows, h);
    through(h, rows, found, cosines.data(), sines.data(), scales, last, end);
    logits_.run(kernels_.pool(), kernels_.isa(), ends_, shape_.eps, end, going_on, out.data());
  }

  void finish(int64_t index, const Floats& o, FloatsOut h) {
    const Held& held = layers_.at(static_cast<size_t>(index));
    const auto rows = static_cast<int64_t>(h.shape(0));
    fits(h, rows, shape_.width);
    fits(o, rows, shape_.heads * shape_.size);
    if (rows == 0) return;
    nb::gil_scoped_release released;
    finish(held, o.data(), rows, h.data());
  }

  // `finish` in steps, for experts that have to be fetched: `route` says which are chosen, in order and each once; `mix`
  // computes some of them, which must be in the table; `add`, when each was computed once, ends the layer.
  std::vector<int32_t> route(int64_t index, const Floats& o, FloatsOut h) {
    const Held& held = layers_.at(static_cast<size_t>(index));
    const auto rows = static_cast<int64_t>(h.shape(0));
    fits(h, rows, shape_.width);
    fits(o, rows, shape_.heads * shape_.size);
    require(rows > 0, "at least one row");
    {
      nb::gil_scoped_release released;
      step_.route(kernels_.pool(), kernels_.isa(), shape_, held.layer, o.data(), rows, h.data());
    }
    std::vector<int32_t> chosen = step_.chosen();
    std::sort(chosen.begin(), chosen.end());
    chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
    awaited_ = chosen;
    routed_ = {index, rows};
    return chosen;
  }

  void mix(int64_t index, const std::vector<int32_t>& some) {
    const Held& held = layers_.at(static_cast<size_t>(index));
    require(routed_.first == index, "a layer is routed before its experts are mixed");
    for (int32_t expert : some) {
      const auto found = std::find(awaited_.begin(), awaited_.end(), expert);
      require(found != awaited_.end(), "expert " + std::to_string(expert) + " is not waited for");
      awaited_.erase(found);
    }
    const std::vector<const Expert*> experts =
        held.table->chosen(some.data(), static_cast<int64_t>(some.size()), shape_.width);
    nb::gil_scoped_release released;
    step_.mix(kernels_.pool(), kernels_.isa(), shape_, experts);
  }

  void add(int64_t index, FloatsOut h) {
    const Held& held = layers_.at(static_cast<size_t>(index));
    fits(h, routed_.second, shape_.width);
    require(routed_.first == index && awaited_.empty(), "all experts that were chosen are mixed before the layer ends");
    routed_.first = -1;
    nb::gil_scoped_release released;
    step_.add(kernels_.pool(), kernels_.isa(), shape_, held.layer, routed_.second, h.data());
  }

 private:
  struct Held {
    Layer layer;
    std::vector<Bytes> bytes;
    std::vector<Numbers> norms;
    Floats router;
    const ExpertTable* table;
  };

  // All layers over `h`, which is changed; the rows `last` go on after the last attention and end in `end`.
  void through(float* h, int64_t rows, const std::vector<Sequence>& sequences, const float* cosines, const float* sines,
               const float* temperatures, const std::vector<int64_t>& last, float* end) {
    const int64_t width = shape_.width, inner = shape_.heads * shape_.size;
    const auto going_on = static_cast<int64_t>(last.size());
    float* o = gathered_.at_least(rows * inner);
    for (size_t index = 0; index < layers_.size(); ++index) {
      const Held& held = layers_[index];
      step_.attend(kernels_.pool(), kernels_.isa(), shape_, held.layer, h, rows, pages_[index], sequences, cosines, sines,
                   temperatures, o);
      if (index + 1 < layers_.size()) finish(held, o, rows, h);
    }
    if (going_on == 0) return;
    float* chosen = chosen_.at_least(going_on * inner);
    for (int64_t r = 0; r < going_on; ++r) {
      std::copy_n(o + last[static_cast<size_t>(r)] * inner, inner, chosen + r * inner);
      std::copy_n(h + last[static_cast<size_t>(r)] * width, width, end + r * width);
    }
    finish(layers_.back(), chosen, going_on, end);
  }

  void checked(const std::vector<int64_t>& tokens) const {
    require(ends_held_.has_value(), "a network without ends embeds no tokens");
    for (int64_t token : tokens) require(token >= 0 && token < ends_.embedding.rows, "a token is not in the vocabulary");
  }

  void finish(const Held& held, const float* o, int64_t rows, float* h) {
    step_.route(kernels_.pool(), kernels_.isa(), shape_, held.layer, o, rows, h);
    const std::vector<const Expert*> experts =
        held.table->chosen(step_.chosen().data(), rows * shape_.choices, shape_.width);
    step_.mix(kernels_.pool(), kernels_.isa(), shape_, experts);
    step_.add(kernels_.pool(), kernels_.isa(), shape_, held.layer, rows, h);
  }

  // Whose rows a step has and where they stand.
  static std::vector<Sequence> sequences_of(int64_t rows, const Pages& pages, const Whole& sequences,
                                            const Blocks& blocks, const std::optional<Masks>& visible) {
    require(!visible || visible->size() == blocks.size(), "one mask a block");
    const bool there = std::all_of(blocks.data(), blocks.data() + blocks.size(),
                                   [&](int32_t block) { return block >= 0 && block < pages.blocks; });
    require(there, "a block is not among the pages");
    require(sequences.shape(1) == 5, "sequences have five numbers each");
    std::vector<Sequence> found;
    int64_t next = 0;
    for (size_t s = 0; s < sequences.shape(0); ++s) {
      const int64_t* of = sequences.data() + 5 * s;
      require(of[0] == next && of[1] > 0 && of[2] >= 0 && of[3] >= 0 && of[4] >= 0 &&
                  of[3] + of[4] <= static_cast<int64_t>(blocks.size()) && of[2] + of[1] <= of[4] * kPage,
              "sequences follow each other and fit their blocks");
      next += of[1];
      found.push_back({of[0], of[1], of[2], blocks.data() + of[3], visible ? visible->data() + of[3] : nullptr});
    }
    require(next == rows, "every row belongs to a sequence");
    return found;
  }

  // The temperatures, once all is of the right size.
  const float* checked(int64_t rows, const Floats& cosines, const Floats& sines,
                       const std::optional<Numbers>& temperatures) const {
    fits(cosines, rows, shape_.size);
    fits(sines, rows, shape_.size);
    require(!temperatures || static_cast<int64_t>(temperatures->size()) == rows, "one temperature a row");
    return temperatures ? temperatures->data() : nullptr;
  }

  static void fits(const HeldMatrix& held, int64_t rows, int64_t columns) {
    require(held.matrix.rows == rows && held.matrix.columns == columns,
            "a matrix is " + shape(held.matrix.rows, held.matrix.columns) + ", not " + shape(rows, columns));
  }

  template <typename Array>
  static void fits(const Array& array, int64_t rows, int64_t columns) {
    const auto found_rows = static_cast<int64_t>(array.shape(0)), found_columns = static_cast<int64_t>(array.shape(1));
    require(found_rows == rows && found_columns == columns,
            "an array is " + shape(found_rows, found_columns) + ", not " + shape(rows, columns));
  }

  Pages pages_of(const PagesIn& pages) const {
    const nb::dlpack::dtype type = pages.dtype();
    const bool bf16 = type.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat) && type.bits == 16;
    require(bf16 || type == nb::dtype<float>(), "pages are bf16 or fp32");
    require(pages.shape(0) == 2 && static_cast<int64_t>(pages.shape(1)) == shape_.kv_heads &&
                static_cast<int64_t>(pages.shape(3)) == kPage && static_cast<int64_t>(pages.shape(4)) == shape_.size,
            "pages are [2, kv_heads, blocks, 64, size]");
    return {static_cast<uint8_t*>(pages.data()), bf16, static_cast<int64_t>(pages.shape(2)), shape_.kv_heads, shape_.size};
  }

  Kernels& kernels_;
  Shape shape_;
  Step step_;
  Logits logits_;
  Ends ends_{};
  std::optional<std::pair<std::vector<Bytes>, Numbers>> ends_held_;
  std::vector<Pages> pages_;
  std::vector<PagesIn> pages_held_;
  Buffer<float> stream_, gathered_, chosen_, going_on_;
  std::vector<Held> layers_;
  std::pair<int64_t, int64_t> routed_{-1, 0};  // the layer between `route` and `add`, and its rows
  std::vector<int32_t> awaited_;
};

}  // namespace lindos
