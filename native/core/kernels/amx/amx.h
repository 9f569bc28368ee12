// The AMX tables, and what select.cc asks before it offers the real one.
#pragma once

#include "../generic/region.h"
#include "../kernels.h"

// A compiler that knows AMX (GCC 11, Clang 12) has an assembler that does.
#if LMHEAD_AVX512 && defined(__linux__)
#if __has_include(<amxtileintrin.h>) || __has_include(<amxintrin.h>)
#define LMHEAD_AMX 1
#endif
#endif
#ifndef LMHEAD_AMX
#define LMHEAD_AMX 0
#endif

// Whether the tables that stand in for hardware are compiled in: where the tests are, and in nothing that is published.
#ifndef LMHEAD_TEST_KERNELS
#define LMHEAD_TEST_KERNELS 0
#endif

#if LMHEAD_AMX
namespace lmhead {

// with_int8: the unit multiplies int8 values, too.
const Kernels* amx_kernels(bool with_int8);
#if LMHEAD_TEST_KERNELS
// Tiles in plain C++, the rest as above (it needs AVX-512): for tests, where there is no AMX. "amx-emulated"
const Kernels* emulated_amx_kernels();
#endif

// Multiplies known values on the unit and without it. Needs the unit, and AVX-512.
bool amx_agrees_with_avx512(bool with_int8);

}  // namespace lmhead
#endif
