// The Python face of pack.hpp: arrays of any steps come in, are checked here, and may be packed by several threads at once.
#pragma once

#include "bindings.hpp"
#include "pack.hpp"

namespace lindos {

using AnyNumbers = nb::ndarray<nb::ro, nb::ndim<2>, nb::device::cpu>;
using BytesOut = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Few = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T>
bool holds(const AnyNumbers& array) {
  return array.dtype() == nb::dtype<T>();
}

inline Source source_of(const AnyNumbers& values, const std::optional<AnyNumbers>& scales, int format, const BytesOut& out) {
  require(format >= 0 && format <= 2, "format is 0 (bf16), 1 (int8) or 2 (int4)");
  Source source{};
  source.values = values.data();
  require(holds<float>(values) || holds<uint16_t>(values) || holds<int8_t>(values),
          "weights are float32, uint16 (the bits of bf16) or int8");
  source.held = holds<float>(values) ? Held::fp32 : holds<uint16_t>(values) ? Held::bf16 : Held::int8;
  source.rows = static_cast<int64_t>(values.shape(0));
  source.columns = static_cast<int64_t>(values.shape(1));
  require(source.rows > 0 && source.columns > 0, "a matrix has at least one row and column");
  source.row_step = values.stride(0);
  source.column_step = values.stride(1);
  const Matrix matrix{nullptr, static_cast<Format>(format), source.rows, source.columns, 1.0f};
  require(static_cast<int64_t>(out.size()) == matrix.bytes(),
          "the result takes " + std::to_string(matrix.bytes()) + " bytes (got " + std::to_string(out.size()) + ")");
  require(scales.has_value() == (source.held == Held::int8), "int8 has scales, other weights have none");
  if (!scales) return source;
  const auto blocks = static_cast<int64_t>(scales->shape(1));
  require(static_cast<int64_t>(scales->shape(0)) == source.rows && blocks > 0,
          "scales have a row for each output");
  source.per_scale = (source.columns + blocks - 1) / blocks;
  require(blocks == 1 || source.per_scale * blocks == source.columns || blocks == matrix.groups(),
          "scales stand for equal parts of a row");
  if (blocks == matrix.groups()) source.per_scale = kGroup;
  if (blocks == 1) source.per_scale = matrix.groups() * kGroup;
  require(source.per_scale % kGroup == 0, "a scale stands for whole groups of 32 inputs");
  source.scales = scales->data();
  source.scale_row_step = scales->stride(0);
  source.scale_step = scales->stride(1);
  return source;
}

inline bool pack_rounded(const std::string& isa, const AnyNumbers& values, const std::optional<AnyNumbers>& scales, int format,
                         const Few& divisors, BytesOut out) {
  const Source source = source_of(values, scales, format, out);
  require(!scales || holds<float>(*scales), "scales to round by are float32");
  const Packer& packer = choose_packer(isa.c_str());
  const Divisors candidates{divisors.data(), static_cast<int64_t>(divisors.size())};
  nb::gil_scoped_release released;
  return packer.round(source, static_cast<Format>(format), candidates, out.data());
}

inline bool lay_out(const std::string& isa, const AnyNumbers& values, const AnyNumbers& scales, int format, BytesOut out) {
  const Source source = source_of(values, scales, format, out);
  require(format != 0 && holds<int8_t>(values) && holds<uint16_t>(scales),
          "whole numbers are int8, their scales uint16 (the bits of fp16)");
  const Packer& packer = choose_packer(isa.c_str());
  nb::gil_scoped_release released;
  return packer.lay_out(source, static_cast<Format>(format), out.data());
}

}  // namespace lindos
