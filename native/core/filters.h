// From candidates to a token: top-k, top-p, min-p, then a race at the row's temperature. lib/reference/sample.ts defines it.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "random.h"
#include "sinks/candidate.h"

namespace lmhead {

// How one row is sampled.
struct RowSampling {
  double temperature = 1;                                       // 0: greedy
  size_t top_k = 0;                                             // 0: all
  double top_p = 1;                                             // 1: all
  double log_min_p = -std::numeric_limits<double>::infinity();  // log(minP); -inf: all
  Stream stream = {};
};

struct Choice {
  uint32_t id;
  double log_prob;  // under the distribution that is left
};

// Leaves of `candidates`, which hold every id of the row that can be among the row's top_k, those that the filters keep, in any
// order. None has a NaN logit; max is the row's largest logit and finite. Ids with logit -inf are dropped.
void filter(std::vector<Candidate>& candidates, float max, const RowSampling& row);

// Draws from candidates (at least one, not greedy).
Choice race(const std::vector<Candidate>& candidates, float max, const RowSampling& row);

// e^((u - max) / T) / sum of the same, for candidates in their order.
std::vector<float> probabilities(const std::vector<Candidate>& candidates, float max, double temperature);

}  // namespace lmhead
