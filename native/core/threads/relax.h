// What a thread does between two looks at something that another thread is about to change.
#pragma once

#if defined(_M_X64) || defined(_M_ARM64)
#include <intrin.h>
#endif

namespace lmhead {

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
