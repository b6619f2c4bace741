// What Python holds of the kernels: buffers come in by DLPack or the buffer protocol, are kept alive, and are checked here,
// once.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "network.hpp"

namespace nb = nanobind;

namespace lindos {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using FloatsOut = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Choices = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Blocks = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Masks = nb::ndarray<const uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using PagesIn = nb::ndarray<nb::ndim<5>, nb::c_contig, nb::device::cpu>;
using Whole = nb::ndarray<const int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

inline void require(bool holds, const std::string& message) {
  if (!holds) throw std::invalid_argument(message);
}

inline std::string shape(int64_t a, int64_t b) { return "[" + std::to_string(a) + ", " + std::to_string(b) + "]"; }

struct HeldMatrix {
  Bytes bytes;
  Matrix matrix;

  HeldMatrix(Bytes data, int format, int64_t rows, int64_t columns, float multiplier) : bytes(std::move(data)) {
    require(format >= 0 && format <= 2, "format is 0 (bf16), 1 (int8) or 2 (int4)");
    require(rows > 0 && columns > 0 && rows < (int64_t{1} << 31) && columns < (int64_t{1} << 31),
            "a matrix has at least one row and column (got " + shape(rows, columns) + ")");
    matrix = {bytes.data(), static_cast<Format>(format), rows, columns, multiplier};
    require(static_cast<int64_t>(bytes.size()) >= matrix.bytes(),
            "a matrix " + shape(rows, columns) + " takes " + std::to_string(matrix.bytes()) + " bytes (got " +
                std::to_string(bytes.size()) + ")");
  }
};

// One layer's experts, each there or not.
class ExpertTable {
 public:
  ExpertTable(int count, int activation) : held_(static_cast<size_t>(count)), activation_(activation) {
    require(count > 0, "a layer has at least one expert");
    require(activation == 0 || activation == 1, "activation is 0 (gelu_tanh) or 1 (silu)");
  }

  void set(int index, const HeldMatrix& gate, const HeldMatrix& up, const HeldMatrix& down) {
    const Matrix &g = gate.matrix, &u = up.matrix, &d = down.matrix;
    require(g.rows == u.rows && g.columns == u.columns && d.rows == g.columns && d.columns == g.rows,
            "gate and up are [F, D], down is [D, F]");
    require(g.format == u.format && g.format == d.format, "an expert's matrices have one format");
    for (const Held& other : held_) {
      require(!other.there || (other.expert.gate.rows == g.rows && other.expert.gate.columns == g.columns &&
                               other.expert.gate.format == g.format),
              "all experts of a layer have one shape and format");
    }
    held_.at(static_cast<size_t>(index)) = {true, {g, u, d}, {gate.bytes, up.bytes, down.bytes}};
  }

  void drop(int index) { held_.at(static_cast<size_t>(index)) = {}; }

  // Those that are chosen, by number; throws where one is not there.
  std::vector<const Expert*> chosen(const int32_t* choices, int64_t count, int64_t width) const {
    std::vector<const Expert*> found(held_.size(), nullptr);
    for (int64_t c = 0; c < count; ++c) {
      const int32_t e = choices[c];
      if (e < 0) continue;
      require(e < static_cast<int64_t>(held_.size()), "there is no expert " + std::to_string(e));
      const Held& held = held_[static_cast<size_t>(e)];
      require(held.there, "expert " + std::to_string(e) + " is chosen but not there");
      require(held.expert.gate.columns == width, "the experts' width differs from that of the inputs");
      found[static_cast<size_t>(e)] = &held.expert;
    }
    return found;
  }

  int64_t count() const { return static_cast<int64_t>(held_.size()); }
  Activation activation() const { return static_cast<Activation>(activation_); }

 private:
  struct Held {
    bool there = false;
    Expert expert{};
    std::vector<Bytes> bytes;
  };
  std::vector<Held> held_;
  int activation_;
};

class Kernels {
 public:
  Kernels(const std::string& isa, int threads, bool bind) : isa_(choose_isa(isa.c_str())), pool_(threads, bind) {
    require(threads >= 1, "at least one thread");
  }

  std::string name() const { return isa_.name; }
  int threads() const { return pool_.threads(); }
  int64_t many() const { return isa_.many; }
  Pool& pool() { return pool_; }
  const Isa& isa() const { return isa_; }

  void multiply(const Floats& x, const std::vector<const HeldMatrix*>& matrices, std::vector<FloatsOut> outs) {
    require(matrices.size() == outs.size(), "as many results as matrices");
    const auto rows = static_cast<int64_t>(x.shape(0)), columns = static_cast<int64_t>(x.shape(1));
    std::vector<Product> products;
    for (size_t i = 0; i < matrices.size(); ++i) {
      const Matrix& matrix = matrices[i]->matrix;
      require(matrix.columns == columns, "inputs " + shape(rows, columns) + " do not fit a matrix " +
                                             shape(matrix.rows, matrix.columns));
      require(matrix.format == matrices[0]->matrix.format, "matrices of one call have one format");
      require(static_cast<int64_t>(outs[i].shape(0)) == rows && static_cast<int64_t>(outs[i].shape(1)) == matrix.rows,
              "a result must be " + shape(rows, matrix.rows));
      products.push_back({matrix, outs[i].data()});
    }
    nb::gil_scoped_release released;
    lindos::multiply(pool_, isa_, inputs_, x.data(), rows, columns, products);
  }

  void mix(const ExpertTable& table, const Floats& x, const Choices& chosen, const Floats& gates, FloatsOut out) {
    const auto tokens = static_cast<int64_t>(x.shape(0)), width = static_cast<int64_t>(x.shape(1));
    const auto choices = static_cast<int64_t>(chosen.shape(1));
    require(static_cast<int64_t>(chosen.shape(0)) == tokens && static_cast<int64_t>(gates.shape(0)) == tokens &&
                static_cast<int64_t>(gates.shape(1)) == choices,
            "chosen and gates must be " + shape(tokens, choices));
    require(static_cast<int64_t>(out.shape(0)) == tokens && static_cast<int64_t>(out.shape(1)) == width,
            "the result must be " + shape(tokens, width));
    const std::vector<const Expert*> experts = table.chosen(chosen.data(), tokens * choices, width);
    nb::gil_scoped_release released;
    experts_.mix(pool_, isa_, experts, table.activation(), x.data(), chosen.data(), gates.data(), tokens, choices, width,
                 out.data());
  }

 private:
  const Isa& isa_;
  Pool pool_;
  Inputs inputs_;
  Experts experts_;
};

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
    fits(cosines, rows, shape_.size);
    fits(sines, rows, shape_.size);
    fits(out, rows, shape_.heads * shape_.size);
    require(!temperatures || static_cast<int64_t>(temperatures->size()) == rows, "one temperature a row");
    require(!visible || visible->size() == blocks.size(), "one mask a block");
    const Pages held_pages = pages_of(pages);
    const bool there = std::all_of(blocks.data(), blocks.data() + blocks.size(),
                                   [&](int32_t block) { return block >= 0 && block < held_pages.blocks; });
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
    const float* scales = temperatures ? temperatures->data() : nullptr;
    nb::gil_scoped_release released;
    step_.attend(kernels_.pool(), kernels_.isa(), shape_, held.layer, h.data(), rows, held_pages, found, cosines.data(),
                 sines.data(), scales, out.data());
  }

  void finish(int64_t index, const Floats& o, FloatsOut h) {
    const Held& held = layers_.at(static_cast<size_t>(index));
    const auto rows = static_cast<int64_t>(h.shape(0));
    fits(h, rows, shape_.width);
    fits(o, rows, shape_.heads * shape_.size);
    if (rows == 0) return;
    nb::gil_scoped_release released;
    step_.route(kernels_.pool(), kernels_.isa(), shape_, held.layer, o.data(), rows, h.data());
    const std::vector<const Expert*> experts =
        held.table->chosen(step_.chosen().data(), rows * shape_.choices, shape_.width);
    step_.mix(kernels_.pool(), kernels_.isa(), shape_, experts);
    step_.add(kernels_.pool(), kernels_.isa(), shape_, held.layer, rows, h.data());
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
  std::vector<Held> layers_;
  std::pair<int64_t, int64_t> routed_{-1, 0};  // the layer between `route` and `add`, and its rows
  std::vector<int32_t> awaited_;
};

}  // namespace lindos
