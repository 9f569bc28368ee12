// From candidates to a token: a chain of filters, then Gumbel-max at the temperature that they leave. lib/reference/filters.ts
// and sample.ts define it, and say why.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "../numerics/fixed_point_sum.h"
#include "../numerics/philox.h"
#include "../sinks/candidate.h"

namespace lmhead {

// In the default order.
enum class Stage : uint8_t {
  none,
  top_n_sigma,
  top_k,
  typical_p,
  top_p,
  min_p,
  epsilon_cutoff,
  eta_cutoff,
  p_less,
  xtc,
  temperature,
  max_surprisal,
};
constexpr uint64_t kDefaultOrder = 0xBA987654321;  // four bits a stage, the first lowest

// Ids, ascending and each once.
struct IdSet {
  const uint32_t* ids = nullptr;
  size_t count = 0;
  bool has(uint32_t id) const { return std::binary_search(ids, ids + count, id); }
};

// How one row is sampled. What is at its default does nothing.
struct RowSampling {
  static constexpr double kOff = -std::numeric_limits<double>::infinity();
  double temperature = 1;  // 0: greedy
  size_t top_k = 0;
  double top_p = 1;
  double log_min_p = kOff;
  Stream stream = {};
  double typical_p = 1;
  double log_epsilon = kOff;
  double log_eta = kOff;
  double top_n_sigma = 0;
  bool p_less = false;
  double xtc_probability = 0;
  double log_xtc_threshold = kOff;
  double temperature_range = 0;
  double temperature_exponent = 1;
  double max_surprisal = -kOff;  // nats
  uint64_t order = kDefaultOrder;
  size_t min_keep = 1;  // that a filter but top-k leaves at least, as far as there are so many
  IdSet xtc_protected;  // that XTC does not drop

  // Whether the stage may change anything.
  bool works(Stage stage) const;
  // The first stage that may drop candidates, with the temperature in force there.
  struct First {
    Stage stage;
    double temperature;
  };
  First first_filter() const;
};

struct Choice {
  uint32_t id;
  double log_prob;     // under the distribution that is left
  double log_sum = 0;  // over it; see Left
};

// What logits may be divided by.
inline bool is_temperature(double t) { return t > 0 && t <= std::numeric_limits<double>::max(); }

// How far a chain has come: the stages still to run, packed, and the temperature in force.
struct Progress {
  uint64_t order;
  double temperature = 1;
};

// What a chain leaves.
struct Left {
  float max;  // the largest logit among the candidates
  double temperature;

  // Of a candidate; log_sum is that over them all.
  double log_prob(float logit, double log_sum) const { return (static_cast<double>(logit) - max) / temperature - log_sum; }
};
// Leaves of `candidates`, which hold every id of the row that the first filter can keep, those that the chain keeps, in any
// order. None has a NaN logit; the largest is finite. Ids that are not in (see filtered_set.h) go.
Left filter(std::vector<Candidate>& candidates, const RowSampling& row, Progress from);
inline Left filter(std::vector<Candidate>& candidates, const RowSampling& row) { return filter(candidates, row, {row.order}); }

// Draws from candidates (at least one, not greedy).
Choice gumbel_max(const std::vector<Candidate>& candidates, const Left& left, const Stream& stream);

// Of candidates, at the temperature of `left`.
FixedPointSum mass(const std::vector<Candidate>& candidates, const Left& left);

// (u - max) / T - log sum e^((u - max) / T) over the candidates: add it to a scaled logit for its log-probability.
double log_sum(const std::vector<Candidate>& candidates, const Left& left);

// e^((u - max) / T) / sum of the same, for candidates in their order.
std::vector<float> probabilities(const std::vector<Candidate>& candidates, const Left& left);

}  // namespace lmhead
