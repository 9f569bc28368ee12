#include "filters.h"

#include "../numerics/exact_math.h"
#include "candidate_list.h"
#include "gumbel_max.h"

namespace lmhead {

bool RowSampling::works(Stage stage) const {
  switch (stage) {
    case Stage::none:
      return false;
    case Stage::top_n_sigma:
      return top_n_sigma > 0;
    case Stage::top_k:
      return top_k > 0;
    case Stage::typical_p:
      return typical_p < 1;
    case Stage::top_p:
      return top_p < 1;
    case Stage::min_p:
      return log_min_p != kOff;
    case Stage::epsilon_cutoff:
      return log_epsilon != kOff;
    case Stage::eta_cutoff:
      return log_eta != kOff;
    case Stage::p_less:
      return p_less;
    case Stage::xtc:
      return xtc_probability > 0 && xtc_uniform(stream) < xtc_probability;
    case Stage::temperature:
      return true;
    case Stage::max_surprisal:
      return max_surprisal != -kOff;
  }
  return false;
}

RowSampling::First RowSampling::first_filter() const {
  double in_force = 1;
  for (uint64_t rest = order; rest; rest >>= 4) {
    const Stage stage = static_cast<Stage>(rest & 15);
    if (!works(stage)) continue;
    if (stage != Stage::temperature || temperature_range != 0) return {stage, in_force};
    in_force = temperature;
  }
  return {Stage::none, in_force};
}

Left filter(std::vector<Candidate>& candidates, const RowSampling& row, Progress progress) {
  CandidateList list(candidates);
  Chain(list, row, progress).run();
  return {list.max(), progress.temperature};
}

FixedPointSum mass(const std::vector<Candidate>& candidates, const Left& left) {
  FixedPointSum sum;
  for (const Candidate& c : candidates) sum.add(exp_negative((static_cast<double>(c.logit) - left.max) / left.temperature));
  return sum;
}

double log_sum(const std::vector<Candidate>& candidates, const Left& left) {
  return log_positive(mass(candidates, left).value() / kMassUnits);
}

Choice gumbel_max(const std::vector<Candidate>& candidates, const Left& left, const Stream& stream) {
  LMHEAD_DASSERT(!candidates.empty() && is_temperature(left.temperature));
  GumbelMaxLeader leader;
  for (const Candidate& c : candidates) leader.offer(c, stream, left.temperature);
  const Candidate& winner = leader.candidate;
  const double sum = log_sum(candidates, left);
  return {winner.id, left.log_prob(winner.logit, sum), sum};
}

std::vector<float> probabilities(const std::vector<Candidate>& candidates, const Left& left) {
  std::vector<double> terms;
  double sum = 0;
  for (const Candidate& c : candidates) {
    terms.push_back(exp_negative((static_cast<double>(c.logit) - left.max) / left.temperature));
    sum += terms.back();
  }
  std::vector<float> probs;
  for (const double term : terms) probs.push_back(static_cast<float>(term / sum));
  return probs;
}

}  // namespace lmhead
