// The whole test framework: named cases that register themselves, and CHECK. A case fails when one of its checks does, or when
// it throws; a failed check doesn't stop it, so that one run shows all that is wrong.
#pragma once

#include "../core/kernels/kernels.h"

namespace lmhead::test {

bool add_case(const char* name, void (*run)());
// One case per kernel table that this machine can run, those that are for tests alone among them. of_all: not of the best one
// alone, but for the portable one, where that is all that is asked for.
bool add_case_per_table(const char* name, void (*run)(const Kernels& kernels), bool of_all = false);

// Only the thread that runs the case may call these: workers hand their findings back.
void fail(const char* file, int line, const char* condition);
[[gnu::format(printf, 4, 5)]] void fail(const char* file, int line, const char* condition, const char* format, ...);

}  // namespace lmhead::test

#define TEST(name)                                                                            \
  static void name();                                                                         \
  [[maybe_unused]] static const bool name##_is_added = ::lmhead::test::add_case(#name, name); \
  static void name()

// The body sees `kernels`, the table under test.
#define TEST_PER_TABLE(name)                                                                            \
  static void name(const ::lmhead::Kernels& kernels);                                                   \
  [[maybe_unused]] static const bool name##_is_added = ::lmhead::test::add_case_per_table(#name, name); \
  static void name(const ::lmhead::Kernels& kernels)

// The same, for what tables do by instructions of their own.
#define TEST_OF_ALL_TABLES(name)                                                                              \
  static void name(const ::lmhead::Kernels& kernels);                                                         \
  [[maybe_unused]] static const bool name##_is_added = ::lmhead::test::add_case_per_table(#name, name, true); \
  static void name(const ::lmhead::Kernels& kernels)

// CHECK(condition) or CHECK(condition, "what was tried: %zu", n)
#define CHECK(condition, ...)                                                                          \
  do {                                                                                                 \
    if (!(condition)) ::lmhead::test::fail(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__); \
  } while (false)
