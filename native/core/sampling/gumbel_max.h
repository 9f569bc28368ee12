// Gumbel-max, chunk by chunk: the id with the largest u/T - log E wins, E an Exp(1) variate of the id's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "../kernels/kernels.h"
#include "../sinks/candidate.h"
#include "filtered_set.h"

namespace lmhead {

// Who is ahead. The same in whatever order ids are offered.
struct RaceLeader {
  double key = -std::numeric_limits<double>::infinity();
  Candidate candidate{kDropped, kNoId};

  void offer(double other_key, Candidate other) {
    if (other_key > key || (other_key == key && other.id < candidate.id)) {
      key = other_key;
      candidate = other;
    }
  }
};

// Up to kChunkRows logits, none NaN, of neighbouring ids from an even one on, or of `ids`, which ascend.
struct RaceChunk {
  const float* logits;
  size_t rows;
  uint32_t first;
  const uint32_t* ids;
  float max;  // of the logits
};

// Lets those of a chunk's ids run that are in.
void race_chunk(const Kernels& kernels, const RaceChunk& chunk, const Stream& stream, double temperature, RaceLeader& leader);

}  // namespace lmhead
