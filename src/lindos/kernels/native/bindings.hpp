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

}  // namespace lindos
