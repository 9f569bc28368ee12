// A mapped file that shrinks leaves pages without a file behind them, and touching one ends the process with SIGBUS. While a
// map is guarded, such a page becomes one of zeros instead, and the guard remembers.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace lmhead {

class MapGuard {
 public:
  // Guards [base, base + length), as mmap gave it. The first guard installs the handler, chained to the one before.
  static MapGuard* watch(const void* base, size_t length);
  // Before munmap, when nobody reads the map any more.
  void unwatch() { begin_.store(0, std::memory_order_release); }
  // Has a page been replaced?
  bool lost() const { return lost_.load(std::memory_order_acquire); }

 private:
  friend struct MapGuardHandler;
  MapGuard() = default;

  // Guards form a list that handlers walk without a lock. They are used again, but never freed.
  std::atomic<uintptr_t> begin_{0};  // 0: not in use
  std::atomic<uintptr_t> end_{0};
  std::atomic<bool> lost_{false};
  MapGuard* next_ = nullptr;
};

}  // namespace lmhead
