// Memory between two pages that must not be touched: a read or write just outside of it ends the test run.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <new>

namespace lmhead::test {

class Guarded {
 public:
  explicit Guarded(size_t capacity) {
    page_ = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    inner_ = (capacity + page_ - 1) / page_ * page_ + (capacity == 0 ? page_ : 0);
    void* const base = ::mmap(nullptr, inner_ + 2 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<uint8_t*>(base);
    if (::mprotect(first(), inner_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  }
  ~Guarded() { ::munmap(base_, inner_ + 2 * page_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  // The first byte: nothing may be read before it.
  uint8_t* first() const { return base_ + page_; }
  // Room for `bytes` that ends at the guard page: nothing may be read after it.
  uint8_t* last(size_t bytes) const { return first() + inner_ - bytes; }

  template <class T>
  T* first_of() const {
    return reinterpret_cast<T*>(first());
  }
  template <class T>
  T* last_of(size_t count) const {
    return reinterpret_cast<T*>(last(count * sizeof(T)));
  }

 private:
  uint8_t* base_;
  size_t page_, inner_;
};

// Runs body(buffer) twice, with the numbers right before a guard page and right after one.
template <class T, class Body>
void at_both_edges(const T* values, size_t count, Body body) {
  const Guarded memory(count * sizeof(T));
  for (T* const buffer : {memory.last_of<T>(count), memory.first_of<T>()}) {
    if (count > 0) std::memcpy(buffer, values, count * sizeof(T));
    body(buffer);
  }
}

}  // namespace lmhead::test
