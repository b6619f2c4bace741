// The portable way, and the choice between the ways.
#include "pack_tile.hpp"

#include "isa.hpp"

namespace lindos {

const Packer& portable_packer() {
  static const Packer packer{round_matrix, lay_out_matrix};
  return packer;
}

const Packer& choose_packer(const char* name) {
  const bool wide = &choose_isa(name) != &portable_isa();
  const Packer* avx2 = wide ? avx2_packer() : nullptr;
  return avx2 != nullptr ? *avx2 : portable_packer();
}

}  // namespace lindos
