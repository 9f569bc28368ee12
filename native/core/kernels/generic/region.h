// Opens and closes a region compiled for an instruction set, so that neither build system needs flags per file.
// Standard headers stay outside of it.
#pragma once

#if defined(__clang__)
#define LMHEAD_PRAGMA(text) _Pragma(#text)
#define LMHEAD_BEGIN_REGION(target_list) \
  LMHEAD_PRAGMA(clang attribute push(__attribute__((target(target_list))), apply_to = function))
#define LMHEAD_END_REGION _Pragma("clang attribute pop")
#elif defined(__GNUC__)
#define LMHEAD_PRAGMA(text) _Pragma(#text)
#define LMHEAD_BEGIN_REGION(target_list) _Pragma("GCC push_options") LMHEAD_PRAGMA(GCC target(target_list))
#define LMHEAD_END_REGION _Pragma("GCC pop_options")
#else  // MSVC compiles intrinsics of every instruction set as they stand
#define LMHEAD_BEGIN_REGION(target_list)
#define LMHEAD_END_REGION
#endif

// Extensions of 64-bit ARM: Clang adds them by their names, GCC to an architecture.
#if defined(__clang__)
#define LMHEAD_TARGET_DOTPROD "dotprod"
#define LMHEAD_TARGET_I8MM_BF16 "dotprod,i8mm,bf16"
#else
#define LMHEAD_TARGET_DOTPROD "arch=armv8.2-a+dotprod"
#define LMHEAD_TARGET_I8MM_BF16 "arch=armv8.2-a+dotprod+i8mm+bf16"
#endif

// The functions of GCC and Clang that kernels use, by MSVC's names: none of them is a std function that is compiled anew here.
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#include <math.h>
#include <string.h>
#define __builtin_memcpy memcpy
#define __builtin_memset memset
#define __builtin_fabsf fabsf
#define __builtin_copysignf copysignf
#define __builtin_fmaf fmaf
#define __builtin_popcount __popcnt
#define __builtin_ctz _tzcnt_u32
#endif

// Accumulators stay in registers only if every loop over them is unrolled. What comes after, from memory, is better a loop: else
// GCC keeps some of them in memory all along.
#if defined(__clang__)
#define LMHEAD_UNROLL LMHEAD_PRAGMA(clang loop unroll(full))
#define LMHEAD_ROLLED LMHEAD_PRAGMA(clang loop unroll(disable))
#elif defined(__GNUC__)
#define LMHEAD_UNROLL _Pragma("GCC unroll 16")
#define LMHEAD_ROLLED _Pragma("GCC unroll 1")
#else
#define LMHEAD_UNROLL
#define LMHEAD_ROLLED
#endif

// Of a function that does so much a call that copies of it where it is called would only take room.
#if defined(_MSC_VER) && !defined(__clang__)
#define LMHEAD_NOINLINE __declspec(noinline)
#else
#define LMHEAD_NOINLINE __attribute__((noinline))
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define LMHEAD_X86 1
#else
#define LMHEAD_X86 0
#endif

// Without them, as CMakeLists.txt's LMHEAD_AVX512 has it, a build for tests is made sooner.
#if LMHEAD_X86 && !defined(LMHEAD_WITHOUT_AVX512)
#define LMHEAD_AVX512 1
#else
#define LMHEAD_AVX512 0
#endif

#if defined(__aarch64__)
#define LMHEAD_ARM64 1
#else
#define LMHEAD_ARM64 0
#endif
