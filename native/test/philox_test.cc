// Philox against its authors' known answers, and what the core makes of it.
#include "../core/numerics/philox.h"

#include <algorithm>
#include <set>

#include "check.h"

namespace lmhead::test {
namespace {

// kat_vectors of Random123, philox4x32 with 10 rounds.
TEST(philox_gives_the_known_answers) {
  struct Vector {
    uint32_t counter[4], key[2], want[4];
  };
  constexpr Vector vectors[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const Vector& v : vectors) {
    const PhiloxBlock got = philox4x32({{v.counter[0], v.counter[1], v.counter[2], v.counter[3]}}, v.key[0], v.key[1]);
    CHECK(std::equal(got.word, got.word + 4, v.want), "%08x %08x %08x %08x", got.word[0], got.word[1], got.word[2], got.word[3]);
  }
}

TEST(a_block_serves_two_neighboring_ids) {
  const Stream stream{0x243f6a88, 0x85a308d3, 7, Purpose::token, 11};
  for (const uint32_t id : {0u, 2u, 1000u, 0xfffffffeu}) {
    const PhiloxBlock block = philox4x32({{id / 2, 7, 0, 11}}, 0x243f6a88, 0x85a308d3);
    const Bits64 even = token_bits(stream, id), odd = token_bits(stream, id + 1);
    CHECK(even.high == block.word[0] && even.low == block.word[1] && odd.high == block.word[2] && odd.low == block.word[3]);
  }
}

TEST(seed_step_stream_and_id_each_change_the_bits) {
  std::set<uint64_t> seen;
  size_t drawn = 0;
  for (const uint32_t low : {0u, 1u, 0x80000000u})
    for (const uint32_t high : {0u, 1u})
      for (const uint32_t step : {0u, 1u, 0xffffffffu})
        for (const uint32_t number : {0u, 1u, 0xffffffffu})
          for (uint32_t id = 0; id < 100; id++) {
            const Bits64 bits = token_bits({low, high, step, Purpose::token, number}, id);
            seen.insert(uint64_t{bits.high} << 32 | bits.low);
            drawn++;
          }
  CHECK(seen.size() == drawn);
}

}  // namespace
}  // namespace lmhead::test
