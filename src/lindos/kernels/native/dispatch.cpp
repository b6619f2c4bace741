#include <cstring>
#include <stdexcept>
#include <string>

#include "isa.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lindos {
namespace {

bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

bool has_vnni() {
#if defined(LINDOS_EMULATE)
  return has_avx2();
#elif defined(__x86_64__)
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

#if defined(__x86_64__) && defined(__linux__) && !defined(LINDOS_EMULATE)
// Tiles of bytes and of bf16, rounding to bf16, and a system that saves tiles; Intel's manual, CPUID leaf 7 and XCR0.
bool has_tiles() {
  constexpr uint32_t kTiles = 1u << 24 | 1u << 25 | 1u << 22, kRounding = 1u << 5, kXsave = 1u << 27;
  constexpr uint32_t kSaved = 1u << 17 | 1u << 18;
  uint32_t a, b, c, d;
  if (!__get_cpuid_count(1, 0, &a, &b, &c, &d) || !(c & kXsave)) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTiles) != kTiles) return false;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & kRounding)) return false;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kSaved) == kSaved;
}

// Linux saves a process's tiles only once it has asked; see its Documentation/arch/x86/xstate.rst.
bool may_use_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool has_amx() {
  static const bool has = has_vnni() && has_tiles() && may_use_tiles();
  return has;
}
#elif defined(LINDOS_EMULATE)
bool has_amx() { return has_vnni(); }
#else
bool has_amx() { return false; }
#endif

const Isa* find(const char* name) {
  if (std::strcmp(name, "portable") == 0) return &portable_isa();
  if (std::strcmp(name, "avx2") == 0 && has_avx2()) return avx2_isa();
  if (std::strcmp(name, "vnni") == 0 && has_vnni()) return vnni_isa();
  if (std::strcmp(name, "amx") == 0 && amx_isa() && has_amx()) return amx_isa();
  return nullptr;
}

}  // namespace

bool runs(const char* name) { return find(name) != nullptr; }

const Isa& choose_isa(const char* name) {
  if (std::strcmp(name, "auto") == 0) {
    for (const char* best : {"amx", "vnni", "avx2"}) {
      if (const Isa* isa = find(best)) return *isa;
    }
    return portable_isa();
  }
  if (const Isa* isa = find(name)) return *isa;
  throw std::invalid_argument(std::string("this processor or build has no kernels named '") + name + "'");
}

}  // namespace lindos
