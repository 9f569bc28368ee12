// What a thread does between two looks at something that another thread is about to change.
#pragma once

#include <chrono>

#if defined(_M_X64) || defined(_M_ARM64)
#include <intrin.h>
#endif

namespace lmhead {

// How long a thread without work looks for more before it parks. Waking a parked one costs about as much, and JavaScript takes
// about as long to act on a result; an idle process must not use CPU.
constexpr auto kSpin = std::chrono::microseconds(50);

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#elif defined(_M_X64)
  _mm_pause();
#elif defined(_M_ARM64)
  __yield();
#endif
}

}  // namespace lmhead
