#include "pool.hpp"

#include <algorithm>
#include <chrono>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lindos {
namespace {

// Between the products of one step workers spin; between steps they sleep.
constexpr auto kPatience = std::chrono::microseconds(200);

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

void bind_to_core(int index) {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  const int cores = CPU_COUNT(&allowed);
  int wanted = index % (cores > 0 ? cores : 1);
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed) && wanted-- == 0) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(core, &one);
      pthread_setaffinity_np(pthread_self(), sizeof one, &one);
      return;
    }
  }
#else
  (void)index;
#endif
}

}  // namespace

Pool::Pool(int threads, bool bind) {
  for (int thread = 1; thread < threads; ++thread) {
    workers_.emplace_back([this, thread, bind] {
      if (bind) bind_to_core(thread);
      serve(thread);
    });
  }
}

Pool::~Pool() {
  ending_.store(true);
  round_.fetch_add(1);
  round_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void Pool::take(int thread) {
  const int64_t shares = 2 * threads();
  int64_t begin = next_.load(std::memory_order_relaxed);
  while (begin < total_) {
    const int64_t size = std::clamp((total_ - begin) / shares, pieces_.least, pieces_.most);
    const int64_t end = std::min(begin + size, total_);
    if (!next_.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
    (*work_)(begin, end, thread);
    begin = next_.load(std::memory_order_relaxed);
  }
}

void Pool::serve(int thread) {
  uint32_t seen = 0;
  for (;;) {
    const auto since = std::chrono::steady_clock::now();
    for (int spins = 0; round_.load(std::memory_order_acquire) == seen; ++spins) {
      relax();
      if (spins % 64 == 63 && std::chrono::steady_clock::now() - since > kPatience) {
        round_.wait(seen, std::memory_order_acquire);
      }
    }
    ++seen;
    if (ending_.load()) return;
    take(thread);
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

void Pool::each(int64_t total, Pieces pieces, const std::function<void(int64_t, int64_t, int)>& work) {
  if (total <= 0) return;
  if (workers_.empty() || total <= pieces.least) {
    work(0, total, 0);
    return;
  }
  work_ = &work;
  total_ = total;
  pieces_ = pieces;
  next_.store(0, std::memory_order_relaxed);
  busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  take(0);
  // A worker that another program keeps from its core would be waited for in vain by spinning alone.
  for (int spins = 0; busy_.load(std::memory_order_acquire) > 0; ++spins) {
    if (spins < 4096) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace lindos
