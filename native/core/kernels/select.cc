// Which tables this CPU and system can run, best first.
#include <cstdint>

#include "amx/amx.h"
#include "kernels.h"

#if LMHEAD_ARM64
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>
#endif
#endif

#if LMHEAD_X86
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#if LMHEAD_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lmhead {
namespace {

struct Registers {
  uint32_t a, b, c, d;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r{};
#if defined(_MSC_VER)
  int out[4];
  __cpuidex(out, static_cast<int>(leaf), static_cast<int>(subleaf));
  r = {static_cast<uint32_t>(out[0]), static_cast<uint32_t>(out[1]), static_cast<uint32_t>(out[2]),
       static_cast<uint32_t>(out[3])};
#else
  __cpuid_count(leaf, subleaf, r.a, r.b, r.c, r.d);
#endif
  return r;
}

// What register state the system saves: bits 1, 2 are SSE and AVX; 5, 6, 7 are AVX-512's; 17, 18 AMX's. Only valid where OSXSAVE
// is set.
uint64_t saved_state() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
#endif
}

constexpr bool has(uint32_t word, int bit) { return (word >> bit) & 1; }

struct Cpu {
  bool avx2 = false, avx512 = false, vnni = false, bf16 = false, bf16_is_fast = false, amx = false, amx_int8 = false;
};

#if LMHEAD_AMX
// Linux gives a process the 8 KB of tile data in its threads' state only when asked.
bool may_use_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM and the state's bit
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// Whether tiles are of the size that the kernels take for granted: eight of 16 rows of 64 bytes, in palette 1.
bool has_usual_tiles() {
  if (cpuid(0x1d, 0).a < 1) return false;
  const Registers palette = cpuid(0x1d, 1);
  return palette.a >> 16 == 1024 && palette.b == (8u << 16 | 64) && (palette.c & 0xffff) == 16;
}
#endif

Cpu detect() {
  Cpu cpu;
  const uint32_t leaves = cpuid(0, 0).a;
  if (leaves < 7) return cpu;
  const Registers zero = cpuid(0, 0), one = cpuid(1, 0), seven = cpuid(7, 0);
  const bool osxsave = has(one.c, 27);
  const uint64_t state = osxsave ? saved_state() : 0;
  const bool avx_state = (state & 0x6) == 0x6, avx512_state = (state & 0xe6) == 0xe6;
  cpu.avx2 = avx_state && has(one.c, 28) && has(one.c, 12) /* FMA */ && has(one.c, 29) /* F16C */ && has(seven.b, 5);
  cpu.avx512 = LMHEAD_AVX512 && cpu.avx2 && avx512_state && has(seven.b, 16) /* F */ && has(seven.b, 17) /* DQ */ &&
               has(seven.b, 30) /* BW */ && has(seven.b, 31) /* VL */;
  cpu.vnni = cpu.avx512 && has(seven.c, 11);
  cpu.bf16 = cpu.vnni && seven.a >= 1 && has(cpuid(7, 1).a, 5);
#if LMHEAD_EMULATE_AVX512
  cpu.avx512 = cpu.vnni = cpu.bf16 = cpu.avx2;
#endif
  // Zen 4 starts one a cycle, as it does an FMA of half as many values. Sapphire Rapids starts one every two cycles, and four
  // such FMA meanwhile: its unit for these values is AMX.
  constexpr uint32_t kIntel = 0x756e6547;  // "Genu"
  cpu.bf16_is_fast = cpu.bf16 && zero.b != kIntel;
#if LMHEAD_AMX
  const bool amx_state = (state & 0x60000) == 0x60000;
  cpu.amx_int8 = has(seven.d, 25);
  cpu.amx = cpu.vnni && amx_state && has(seven.d, 24) /* TILE */ && has(seven.d, 22) /* BF16 */ && leaves >= 0x1d &&
            has_usual_tiles() && may_use_tiles() && amx_agrees_with_avx512(cpu.amx_int8);
#endif
  return cpu;
}

std::vector<const Kernels*> usable() {
  const Cpu cpu = detect();
  std::vector<const Kernels*> tables;
#if LMHEAD_AMX
  if (cpu.amx) tables.push_back(amx_kernels(cpu.amx_int8));
#endif
  if (cpu.bf16_is_fast) tables.push_back(avx512_bf16_kernels());
  if (cpu.avx512) tables.push_back(cpu.vnni ? avx512_vnni_kernels() : avx512_kernels());
  if (cpu.bf16 && !cpu.bf16_is_fast) tables.push_back(avx512_bf16_kernels());
  if (cpu.avx2) tables.push_back(avx2_kernels());
  tables.push_back(scalar_kernels());
  return tables;
}

}  // namespace
}  // namespace lmhead
#elif LMHEAD_ARM64
namespace lmhead {
namespace {

struct Cpu {
  bool dotprod = false, i8mm = false, bf16 = false;
};

Cpu detect() {
  Cpu cpu;
#if defined(__linux__)
  // By number: headers that are older than an extension don't name it.
  constexpr unsigned long kDotprod = 1ul << 20, kI8mm = 1ul << 13, kBf16 = 1ul << 14;
  const unsigned long more = getauxval(AT_HWCAP2);
  cpu.dotprod = getauxval(AT_HWCAP) & kDotprod;
  cpu.i8mm = more & kI8mm;
  cpu.bf16 = more & kBf16;
#elif defined(__APPLE__)
  const auto has = [](const char* name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
  };
  cpu.dotprod = has("hw.optional.arm.FEAT_DotProd");
  cpu.i8mm = has("hw.optional.arm.FEAT_I8MM");
  cpu.bf16 = has("hw.optional.arm.FEAT_BF16");
#elif defined(_WIN32)
  constexpr DWORD kDotprod = 43;  // not every version of Windows tells of the others
  cpu.dotprod = IsProcessorFeaturePresent(kDotprod);
#endif
  return cpu;
}

std::vector<const Kernels*> usable() {
  const Cpu cpu = detect();
  std::vector<const Kernels*> tables;
  if (cpu.dotprod && cpu.i8mm && cpu.bf16) tables.push_back(neon_i8mm_kernels());
  if (cpu.dotprod) tables.push_back(neon_dotprod_kernels());
  tables.push_back(neon_kernels());  // part of the architecture: nothing to ask
  tables.push_back(scalar_kernels());
  return tables;
}

}  // namespace
}  // namespace lmhead
#else
namespace lmhead {
namespace {
std::vector<const Kernels*> usable() { return {scalar_kernels()}; }
}  // namespace
}  // namespace lmhead
#endif

namespace lmhead {

const std::vector<const Kernels*>& available_kernels() {
  static const std::vector<const Kernels*> tables = usable();
  return tables;
}

static const Kernels* named(const std::string& name, const std::vector<const Kernels*>& tables) {
  for (const Kernels* table : tables)
    if (name == table->name) return table;
  return nullptr;
}

const std::vector<const Kernels*>& test_kernels() {
  static const std::vector<const Kernels*> tables = [] {
    std::vector<const Kernels*> all;
#if LMHEAD_TEST_KERNELS && LMHEAD_AMX
    if (named("avx512", available_kernels())) all.push_back(emulated_amx_kernels());
#endif
    return all;
  }();
  return tables;
}

const Kernels* find_kernels(const std::string& name) {
  const Kernels* const usable = named(name, available_kernels());
  return usable ? usable : named(name, test_kernels());
}

}  // namespace lmhead
