#include "faults.h"

#if defined(LMHEAD_FAULTS)
#include <dlfcn.h>

#include <atomic>
#include <cstddef>
#include <new>

namespace lmhead::faults {

namespace {
std::atomic<int64_t> left[2] = {-1, -1};
std::atomic<int64_t>& left_of(Kind kind) { return left[static_cast<size_t>(kind)]; }
}  // namespace

int64_t arm(Kind kind, int64_t count) noexcept { return left_of(kind).exchange(count); }

bool is_due(Kind kind) noexcept {
  std::atomic<int64_t>& waiting = left_of(kind);
  int64_t count = waiting.load(std::memory_order_relaxed);
  while (count >= 0 && !waiting.compare_exchange_weak(count, count - 1)) {
  }
  return count == 0;
}

namespace {

// The function that this file's own stands before.
template <class Function>
Function* next_in_line(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
}

void fail_if_due() {
  if (is_due(Kind::allocation)) throw std::bad_alloc();
}

}  // namespace

}  // namespace lmhead::faults

// Seen by the addon alone, as it exports nothing. What they return is freed as ever.
void* operator new(size_t size) {
  static const auto next = lmhead::faults::next_in_line<void*(size_t)>("_Znwm");
  lmhead::faults::fail_if_due();
  return next(size);
}

void* operator new[](size_t size) {
  static const auto next = lmhead::faults::next_in_line<void*(size_t)>("_Znam");
  lmhead::faults::fail_if_due();
  return next(size);
}

void* operator new(size_t size, std::align_val_t alignment) {
  static const auto next = lmhead::faults::next_in_line<void*(size_t, std::align_val_t)>("_ZnwmSt11align_val_t");
  lmhead::faults::fail_if_due();
  return next(size, alignment);
}
#endif
