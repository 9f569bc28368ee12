// Philox4x32-10: a counter-based generator (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011).
// Any number of the stream can be made without those before it, so a draw does not depend on who makes it, or when.
#pragma once

#include <cstdint>

namespace lmhead {

namespace philox {
constexpr uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
constexpr int kRounds = 10;
}  // namespace philox

struct PhiloxBlock {
  uint32_t word[4];
};

inline PhiloxBlock philox4x32(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  uint32_t* c = counter.word;
  for (int round = 0; round < philox::kRounds; round++) {
    const uint64_t p0 = uint64_t{philox::kMultiplier0} * c[0];
    const uint64_t p1 = uint64_t{philox::kMultiplier1} * c[2];
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ key0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ key1;
    c[0] = n0;
    c[1] = static_cast<uint32_t>(p1);
    c[2] = n2;
    c[3] = static_cast<uint32_t>(p0);
    key0 += philox::kWeyl0;
    key1 += philox::kWeyl1;
  }
  return counter;
}

// Third word of the counter: what a number is for. As in lib/reference/philox.ts.
enum class Purpose : uint32_t { token = 0, xtc = 1, draft_coin = 2, draft_correction = 3 };

// The random stream of one row, for one purpose.
struct Stream {
  uint32_t seed_low = 0, seed_high = 0;
  uint32_t step = 0;
  Purpose purpose = Purpose::token;
  uint32_t number = 0;    // fourth word of the counter: streams of different numbers share nothing at any step
  uint32_t first_id = 0;  // of a shard of the vocabulary, whose ids count from here; even
};

struct Bits64 {
  uint32_t high, low;
};

// One block serves two neighboring ids: 64 bits each.
inline Bits64 token_bits(const Stream& stream, uint32_t id) {
  id += stream.first_id;
  const PhiloxBlock block = philox4x32({{id >> 1, stream.step, static_cast<uint32_t>(stream.purpose), stream.number}},
                                       stream.seed_low, stream.seed_high);
  return id & 1 ? Bits64{block.word[2], block.word[3]} : Bits64{block.word[0], block.word[1]};
}

// A number from 0 up to 1, of 53 bits: whether XTC cuts this row.
inline double xtc_uniform(const Stream& stream) {
  const PhiloxBlock block =
      philox4x32({{0, stream.step, static_cast<uint32_t>(Purpose::xtc), stream.number}}, stream.seed_low, stream.seed_high);
  return (block.word[0] * 2097152.0 + (block.word[1] >> 11)) * (1.0 / 9007199254740992.0);
}

}  // namespace lmhead
