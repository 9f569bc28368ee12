// The instructions of the matrix unit themselves, where there is none: each traps, and is decoded by the manual's encodings and
// performed on tiles in plain C++. So the real table runs, but for what its instructions compute.
#include "../core/kernels/amx/amx.h"

#include "check.h"

#if LMHEAD_AMX
#include <cpuid.h>
#include <signal.h>
#include <sys/ucontext.h>

#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "../core/kernels/quantized_activations.h"
#include "quantized.h"

namespace lmhead::test {
namespace {

#include "../core/kernels/generic/tiles.inc"

// What the suites that run over every table need not run over these again.
TEST(only_products_are_of_the_matrix_unit) {
  for (const auto* tables : {&available_kernels(), &test_kernels()})
    for (const Kernels* table : *tables) {
      if (std::strncmp(table->name, "amx", 3) != 0 && table != avx512_bf16_kernels()) continue;
      const Kernels& all = *table;
      Kernels same = *avx512_kernels();
      same.name = all.name;
      for (size_t dtype = 0; dtype < kDtypes; dtype++) {
        same.product[dtype] = all.product[dtype];
        same.integer_product[dtype] = all.integer_product[dtype];
        same.packed[dtype] = all.packed[dtype];
        same.packed_planes[dtype] = all.packed_planes[dtype];
      }
      same.bf16_multiply_adds = all.bf16_multiply_adds;
      same.int8_multiply_adds = all.int8_multiply_adds;
      CHECK(std::memcmp(&same, &all, sizeof all) == 0, "%s", all.name);
    }
}

bool has_matrix_unit() {
  uint32_t a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1);
}

alignas(64) uint8_t tiles[8][kTileBytes];
bool configured = false;

enum Mnemonic { ldtilecfg, tilerelease, tilezero, tileloadd, tilestored, tdpbf16ps, tdpbssd, kMnemonics };
size_t counts[kMnemonics];

// VEX.128.*.0F38.W0 with three bytes of prefix: C4, inverted RXB and the map, W, inverted vvvv, L and pp.
struct Instruction {
  const uint8_t* next;
  uint8_t opcode, prefix;     // prefix: 0 none, 2 F3, 3 F2
  size_t reg, vvvv, rm;       // tiles
  bool of_memory, has_index;  // operands: [base + index], or tiles alone
  size_t base_register = 0, index_register = 0;
  int64_t displacement = 0;

  explicit Instruction(const uint8_t* p) {
    if (p[0] != 0xc4 || (p[1] & 0x9f) != 0x82 || (p[2] & 0x84) != 0) std::abort();
    const size_t x = p[1] & 0x40 ? 0 : 8, b = p[1] & 0x20 ? 0 : 8;
    prefix = p[2] & 3;
    vvvv = ~p[2] >> 3 & 15;
    if (vvvv > 7) std::abort();
    opcode = p[3];
    const uint8_t modrm = p[4], mod = modrm >> 6;
    reg = modrm >> 3 & 7;
    rm = modrm & 7;
    of_memory = mod != 3;
    has_index = of_memory && rm == 4;
    next = p + 5;
    if (!of_memory) return;
    base_register = rm | b;
    if (has_index) {
      const uint8_t sib = *next++;
      if (sib >> 6 != 0) std::abort();  // no scale is written in the unit's code
      base_register = (sib & 7) | b;
      index_register = (sib >> 3 & 7) | x;
      has_index = index_register != 4;
    }
    if (mod == 0 && (base_register & 7) == 5) std::abort();
    if (mod == 1) displacement = static_cast<int8_t>(*next++);
    if (mod == 2) {
      int32_t wide;
      std::memcpy(&wide, next, sizeof wide);
      displacement = wide;
      next += sizeof wide;
    }
  }

  Mnemonic mnemonic() const {
    if (opcode == 0x49 && prefix == 0) return of_memory ? ldtilecfg : tilerelease;
    if (opcode == 0x49 && prefix == 3 && !of_memory) return tilezero;
    if (opcode == 0x4b && prefix == 3 && has_index) return tileloadd;
    if (opcode == 0x4b && prefix == 2 && has_index) return tilestored;
    if (opcode == 0x5c && prefix == 2 && !of_memory) return tdpbf16ps;
    if (opcode == 0x5e && prefix == 3 && !of_memory) return tdpbssd;
    std::abort();
  }
};

template <ElementType values>
void multiply(uint8_t* sum, const uint8_t* weights, const uint8_t* hidden) {
  if (sum == weights || sum == hidden || weights == hidden) std::abort();  // would trap on the unit, too
  static EmulatedUnit<values> unit;
  unit.template load_sum<0, 0>(sum);
  unit.template load_weights<0>(weights, kTileRowBytes);
  unit.template load_hidden<0>(hidden);
  unit.template multiply<0, 0>();
  unit.template store_sum<0, 0>(sum);
}

void perform(int, siginfo_t*, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  constexpr int kByNumber[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                 REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  const Instruction instruction(reinterpret_cast<const uint8_t*>(registers[REG_RIP]));
  uint8_t* const memory = reinterpret_cast<uint8_t*>(registers[kByNumber[instruction.base_register]] + instruction.displacement);
  const int64_t stride = registers[kByNumber[instruction.index_register]];
  uint8_t* const tile = tiles[instruction.reg];
  const Mnemonic mnemonic = instruction.mnemonic();
  if (mnemonic != ldtilecfg && !configured) std::abort();
  counts[mnemonic]++;
  switch (mnemonic) {
    case ldtilecfg: {
      const TileConfiguration usual;
      if (std::memcmp(memory, &usual, sizeof usual) != 0) std::abort();
      std::memset(tiles, 0, sizeof tiles);
      configured = true;
      break;
    }
    case tilerelease:
      configured = false;
      break;
    case tilezero:
      std::memset(tile, 0, kTileBytes);
      break;
    case tileloadd:
      for (int64_t i = 0; i < 16; i++) std::memcpy(tile + i * 64, memory + i * stride, kTileRowBytes);
      break;
    case tilestored:
      for (int64_t i = 0; i < 16; i++) std::memcpy(memory + i * stride, tile + i * 64, kTileRowBytes);
      break;
    case tdpbf16ps:
      multiply<ElementType::bf16>(tile, tiles[instruction.rm], tiles[instruction.vvvv]);
      break;
    case tdpbssd:
      multiply<ElementType::int8>(tile, tiles[instruction.rm], tiles[instruction.vvvv]);
      break;
    case kMnemonics:
      break;
  }
  registers[REG_RIP] = reinterpret_cast<greg_t>(instruction.next);
}

class Traps {
 public:
  Traps() {
    struct sigaction action = {};
    action.sa_sigaction = perform;
    action.sa_flags = SA_SIGINFO;
    if (::sigaction(SIGILL, &action, &before_) != 0) std::abort();
    std::fill_n(counts, size_t{kMnemonics}, size_t{0});
  }
  ~Traps() { ::sigaction(SIGILL, &before_, nullptr); }
  Traps(const Traps&) = delete;
  Traps& operator=(const Traps&) = delete;

 private:
  struct sigaction before_ = {};
};

bool can_run() { return find_kernels("avx512") && !has_matrix_unit(); }

TEST(the_instructions_of_the_matrix_unit_are_the_right_ones) {
  if (!can_run()) return;
  const Traps traps;
  CHECK(amx_agrees_with_avx512(false));
  CHECK(counts[tdpbf16ps] > 0 && counts[tdpbssd] == 0, "AMX-INT8 is not asked for its products where there is none");
  CHECK(amx_agrees_with_avx512(true));
  CHECK(counts[tdpbssd] > 0 && counts[ldtilecfg] == counts[tilerelease] && !configured);
}

TEST(integer_products_on_the_matrix_unit_have_the_bits_of_the_scalar_ones) {
  if (!can_run()) return;
  const Traps traps;
  constexpr size_t rows = 39, i8 = static_cast<size_t>(Dtype::i8);
  for (const size_t d : {1, 65, 600})
    for (const size_t n : {8, 17, 37})
      for (const Activations kind : {Activations::i8, Activations::i16}) {
        Random random(d + n);
        const std::vector<uint8_t> bytes = random_quantized(Dtype::i8, rows, d, random);
        const Matrix e = {bytes.data(), Dtype::i8, rows, d};
        std::vector<float> hidden(n * d), got(n * rows), want(n * rows);
        for (float& x : hidden) x = static_cast<float>(random.normal());
        QuantizedActivations rounded;
        rounded.round(kind, hidden.data(), d, n, d);
        rounded.pack(*amx_kernels(true), Dtype::i8);
        amx_kernels(true)->integer_product[i8](e, 0, rows, rounded.view(), 0, n, got.data(), rows);
        scalar_kernels()->integer_product[i8](e, 0, rows, rounded.view(), 0, n, want.data(), rows);
        CHECK(same(got.data(), want.data(), got.size()), "d=%zu n=%zu", d, n);
      }
  CHECK(counts[tdpbssd] > 0);
}

TEST(a_matrix_unit_without_int8_leaves_integers_to_VNNI) {
  constexpr size_t i8 = static_cast<size_t>(Dtype::i8), bf16 = static_cast<size_t>(Dtype::bf16);
  const Kernels &all = *amx_kernels(true), &without = *amx_kernels(false), &rest = *avx512_vnni_kernels();
  CHECK(all.packed[bf16] && all.packed[bf16] == without.packed[bf16]);
  CHECK(all.packed_planes[i8] && all.integer_product[i8] != rest.integer_product[i8]);
  CHECK(!without.packed_planes[i8] && without.integer_product[i8] == rest.integer_product[i8]);
}

}  // namespace
}  // namespace lmhead::test
#endif
