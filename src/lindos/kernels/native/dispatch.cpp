#include <cstring>
#include <stdexcept>
#include <string>

#include "isa.hpp"

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

const Isa* find(const char* name) {
  if (std::strcmp(name, "portable") == 0) return &portable_isa();
  if (std::strcmp(name, "avx2") == 0 && has_avx2()) return avx2_isa();
  if (std::strcmp(name, "vnni") == 0 && has_vnni()) return vnni_isa();
  return nullptr;
}

}  // namespace

bool runs(const char* name) { return find(name) != nullptr; }

const Isa& choose_isa(const char* name) {
  if (std::strcmp(name, "auto") == 0) {
    for (const char* best : {"vnni", "avx2"}) {
      if (const Isa* isa = find(best)) return *isa;
    }
    return portable_isa();
  }
  if (const Isa* isa = find(name)) return *isa;
  throw std::invalid_argument(std::string("this processor or build has no kernels named '") + name + "'");
}

}  // namespace lindos
