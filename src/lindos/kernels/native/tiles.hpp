// AMX tiles: registers of up to 16 rows of 64 bytes, and products of two of them that are added to a third.
//
// Written in assembly, as the compilers' own functions spell register numbers by macro and GCC 12's do not tell that
// loading a tile or a configuration reads memory, so that it drops the stores before. Intel's manual, volume 2, has what
// each computes; where tiles are emulated, loops compute the same.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "scalar.hpp"

namespace lindos {
namespace {

// Palette 1: eight tiles.
struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64);

#if !defined(LINDOS_EMULATE)

// Tiles of these shapes for as long as it lives, on the thread that made it.
class Tiles {
 public:
  explicit Tiles(const TileShapes& shapes) { __asm__ volatile("ldtilecfg %0" ::"m"(shapes) : "memory"); }
  ~Tiles() { __asm__ volatile("tilerelease" ::: "memory"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int T>
  void clear() {
    __asm__ volatile("tilezero %%tmm%c0" ::"i"(T));
  }
  // Rows `apart` bytes from each other.
  template <int T>
  void load(const void* from, int64_t apart) {
    __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(T), "r"(from), "r"(apart) : "memory");
  }
  template <int T>
  void store(void* to, int64_t apart) {
    __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(T), "r"(to), "r"(apart) : "memory");
  }
  // C[m, n] += sum over k and i of A[m, 4k + i] * B[k, 4n + i]: signed bytes, 32-bit sums.
  template <int C, int A, int B>
  void add_bytes() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
  // C[m, n] += sum over k and i of A[m, 2k + i] * B[k, 2n + i]: bf16, fp32 sums.
  template <int C, int A, int B>
  void add_bf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
};

#else

// As the processor has them, with what it would refuse refused; outside of the products' loops nothing is in them.
class Tiles {
 public:
  explicit Tiles(const TileShapes& shapes) : shapes_(shapes) {}
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  template <int T>
  void clear() {
    std::memset(held_[T], 0, sizeof held_[T]);
  }
  template <int T>
  void load(const void* from, int64_t apart) {
    clear<T>();
    for (int r = 0; r < shapes_.rows[T]; ++r) {
      std::memcpy(held_[T] + 64 * r, static_cast<const uint8_t*>(from) + r * apart, shapes_.row_bytes[T]);
    }
  }
  template <int T>
  void store(void* to, int64_t apart) {
    for (int r = 0; r < shapes_.rows[T]; ++r) {
      std::memcpy(static_cast<uint8_t*>(to) + r * apart, held_[T] + 64 * r, shapes_.row_bytes[T]);
    }
  }
  template <int C, int A, int B>
  void add_bytes() {
    check<C, A, B>();
    for (int m = 0; m < shapes_.rows[C]; ++m) {
      int32_t sums[16];
      std::memcpy(sums, held_[C] + 64 * m, sizeof sums);
      for (int k = 0; k < shapes_.rows[B]; ++k) {
        for (int n = 0; n < shapes_.row_bytes[C] / 4; ++n) {
          for (int i = 0; i < 4; ++i) {
            sums[n] += static_cast<int8_t>(held_[A][64 * m + 4 * k + i]) * static_cast<int8_t>(held_[B][64 * k + 4 * n + i]);
          }
        }
      }
      std::memcpy(held_[C] + 64 * m, sums, sizeof sums);
    }
  }
  // Even and odd numbers are summed apart first.
  template <int C, int A, int B>
  void add_bf16() {
    check<C, A, B>();
    for (int m = 0; m < shapes_.rows[C]; ++m) {
      float sums[16], evens[16] = {}, odds[16] = {};
      std::memcpy(sums, held_[C] + 64 * m, sizeof sums);
      for (int k = 0; k < shapes_.rows[B]; ++k) {
        for (int n = 0; n < shapes_.row_bytes[C] / 4; ++n) {
          evens[n] = std::fma(word(A, m, 2 * k), word(B, k, 2 * n), evens[n]);
          odds[n] = std::fma(word(A, m, 2 * k + 1), word(B, k, 2 * n + 1), odds[n]);
        }
      }
      for (int n = 0; n < 16; ++n) sums[n] += evens[n] + odds[n];
      std::memcpy(held_[C] + 64 * m, sums, sizeof sums);
    }
  }

 private:
  template <int C, int A, int B>
  void check() const {
    static_assert(C != A && C != B && A != B && C >= 0 && A >= 0 && B >= 0 && C < 8 && A < 8 && B < 8);
    const uint8_t* rows = shapes_.rows;
    const uint16_t* bytes = shapes_.row_bytes;
    const bool agree = rows[A] == rows[C] && bytes[B] == bytes[C] && bytes[A] == 4 * rows[B];
    const bool exist = shapes_.palette == 1 && rows[C] > 0 && rows[C] <= 16 && bytes[C] > 0 && bytes[C] <= 64 &&
                       bytes[A] > 0 && bytes[A] <= 64;
    if (!agree || !exist) __builtin_trap();
  }
  float word(int tile, int row, int index) const {
    uint16_t bits;
    std::memcpy(&bits, held_[tile] + 64 * row + 2 * index, sizeof bits);
    return bits & 0x7f80u ? from_bf16(bits) : 0.0f;  // subnormal numbers count as zero
  }

  TileShapes shapes_;
  uint8_t held_[8][1024] = {};
};

#endif

}  // namespace
}  // namespace lindos
