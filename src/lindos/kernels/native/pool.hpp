// Threads that wait for work, each bound to a core; the caller works along.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace lindos {

// How work is cut: into large pieces first, towards the end into smaller ones, so that all threads end together however
// unlike the pieces are.
struct Pieces {
  int64_t least, most;
};

class Pool {
 public:
  // `threads` in all, the caller's among them; bound to the cores this process may use, where the system can.
  explicit Pool(int threads, bool bind);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(begin, end, thread) until [0, total) is done, in pieces of `grain`; returns when all is.
  void each(int64_t total, int64_t grain, const std::function<void(int64_t, int64_t, int)>& work) {
    each(total, Pieces{grain, grain}, work);
  }
  void each(int64_t total, Pieces pieces, const std::function<void(int64_t, int64_t, int)>& work);

 private:
  void serve(int thread);
  void take(int thread);

  std::vector<std::thread> workers_;
  const std::function<void(int64_t, int64_t, int)>* work_ = nullptr;
  int64_t total_ = 0;
  Pieces pieces_{1, 1};
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> round_{0};
  alignas(64) std::atomic<int> busy_{0};
  std::atomic<bool> ending_{false};
};

// Memory that grows when asked for more and is not cleared; aligned to a cache line.
template <typename T>
class Buffer {
 public:
  T* at_least(int64_t count) {
    if (count > capacity_) {
      capacity_ = 0;
      held_.reset();  // first, or both would be there at once
      held_.reset(static_cast<T*>(::operator new(sizeof(T) * static_cast<size_t>(count), std::align_val_t{64})));
      capacity_ = count;
    }
    return held_.get();
  }

 private:
  struct Release {
    void operator()(T* p) const { ::operator delete(p, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Release> held_;
  int64_t capacity_ = 0;
};

}  // namespace lindos
