// The AMX table is there only where all of this agrees; select.cc asks.
#pragma once

#include "generic/region.h"
#include "kernels.h"

#ifdef __has_include
#if LMHEAD_X86 && defined(__linux__) && __has_include(<amxtileintrin.h>)  // then the assembler knows the instructions, too
#define LMHEAD_AMX 1
#endif
#endif
#ifndef LMHEAD_AMX
#define LMHEAD_AMX 0
#endif

#if LMHEAD_AMX
namespace lmhead {

const Kernels* amx_kernels();
// Tiles in plain C++, the rest as above (it needs AVX-512): for tests, where there is no AMX. "amx-emulated"
const Kernels* emulated_amx_kernels();

// Multiplies known numbers on the unit and without it. Needs the unit.
bool amx_agrees_with_its_emulation();

}  // namespace lmhead
#endif
