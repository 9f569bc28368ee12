// A mapped file that shrinks leaves pages without a file behind them, and touching one ends the process with SIGBUS. While a
// map is guarded, all of it becomes zeros instead, and the guard remembers.
//
// The handler is the process's, and others set it too: Node.js does where JavaScript listens to SIGBUS, and takes it away when
// that ends. So it is looked at again with every new map and before every part of a map is read; whoever has set another is
// asked for all signals that are not about a guarded map.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace lmhead {

class MapGuard {
 public:
  // Guards [base, base + length), as mmap gave it.
  static MapGuard* watch(const void* base, size_t length);
  // Before munmap, when nobody reads the map any more.
  void unwatch();
  // Has the map been replaced?
  bool lost() const { return lost_.load(std::memory_order_acquire); }

  // Before maps are read: sees to it that the guards can do what they are for. Cheap, and more so where there are none.
  static void renew() {
    if (in_use.load(std::memory_order_relaxed) > 0) install();
  }

 private:
  friend struct MapGuardHandler;
  MapGuard() = default;
  static void install();
  void set_range(uintptr_t begin, uintptr_t end);
  bool covers(uintptr_t at, uintptr_t& begin, uintptr_t& end) const;

  static std::atomic<size_t> in_use;  // guards with a range

  // Guards form a list that handlers walk without a lock. They are used again, but never freed. The range is written under a
  // lock, and read as one: not while its version is odd, nor across a change of that.
  std::atomic<uint64_t> version_{0};
  std::atomic<uintptr_t> begin_{0}, end_{0};  // equal: not in use
  std::atomic<bool> lost_{false};
  MapGuard* next_ = nullptr;
};

}  // namespace lmhead
