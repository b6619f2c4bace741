// The same loops, compiled for AVX2 and F16C.
#include "pack.hpp"

#if defined(__AVX2__)

#include "pack_tile.hpp"

namespace lindos {

const Packer* avx2_packer() {
  static const Packer packer{round_matrix, lay_out_matrix};
  return &packer;
}

}  // namespace lindos

#else

namespace lindos {
const Packer* avx2_packer() { return nullptr; }
}  // namespace lindos

#endif
