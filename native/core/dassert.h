// What has to hold inside the core, whatever comes from outside. Looked at in builds for tests, sanitizers and fuzzing (where
// LMHEAD_CHECKED is 1; see CMakeLists.txt), and left out of all others.
#pragma once

#if LMHEAD_CHECKED
#include <cstdio>
#include <cstdlib>

namespace lmhead {
[[noreturn]] inline void broken(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: lmhead: does not hold: %s\n", file, line, condition);
  std::abort();
}
}  // namespace lmhead

#define LMHEAD_DASSERT(condition) ((condition) ? static_cast<void>(0) : ::lmhead::broken(__FILE__, __LINE__, #condition))
#else
#define LMHEAD_DASSERT(condition) static_cast<void>(sizeof(!(condition)))
#endif
