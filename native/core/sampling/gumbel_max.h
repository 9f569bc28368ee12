// Gumbel-max, chunk by chunk: the id with the largest u/T - log E wins, E an Exp(1) variate of the id's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "../kernels/kernels.h"
#include "../numerics/exact_math.h"
#include "../numerics/philox.h"
#include "../sinks/candidate.h"
#include "filtered_set.h"

namespace lmhead {

// Who is ahead. The same in whatever order ids are offered.
struct GumbelMaxLeader {
  double key = -std::numeric_limits<double>::infinity();
  Candidate candidate{kDropped, kNoId};
  Bits64 bits{};  // the lower, the better

  void offer(const GumbelMaxLeader& other) {
    if (other.key > key || (other.key == key && wins_tie(other))) *this = other;
  }
  void offer(Candidate other, const Stream& stream, double temperature) {
    const Bits64 its = token_bits(stream, other.id);
    offer({gumbel_key(static_cast<double>(other.logit) / temperature, its.high, its.low), other, its});
  }

 private:
  // At so low a temperature that the quotients overflow, or are so large that nothing is left of what the bits add to them.
  bool wins_tie(const GumbelMaxLeader& other) const {
    if (other.candidate.logit != candidate.logit) return other.candidate.logit > candidate.logit;
    if (other.bits.high != bits.high) return other.bits.high < bits.high;
    if (other.bits.low != bits.low) return other.bits.low < bits.low;
    return other.candidate.id < candidate.id;
  }
};

// Up to kChunkRows logits, none NaN, of neighboring ids (best from an even one on), or of `ids`, which ascend.
struct GumbelMaxChunk {
  const float* logits;
  size_t rows;
  uint32_t first;
  const uint32_t* ids;
  float max;  // of the logits
};

// Lets those of a chunk's ids run that are in.
void gumbel_max_chunk(const Kernels& kernels, const GumbelMaxChunk& chunk, const Stream& stream, double temperature,
                      GumbelMaxLeader& leader);

}  // namespace lmhead
