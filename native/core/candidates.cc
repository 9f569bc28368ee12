#include "candidates.h"

#include <algorithm>
#include <cmath>

namespace lmhead {

PassResult find_candidates(const Kernels& kernels, const float* logits, size_t n, size_t vocabulary, const double* row_parameters,
                           CandidateRows& out) {
  out.offsets.assign(1, 0);
  std::vector<Candidate> candidates;
  for (size_t row = 0; row < n; row++) {
    const float* const u = logits + row * vocabulary;
    const RowSampling sampling = parse_row(row_parameters + row * kRowParameters);
    const MaxResult m = kernels.max(u, vocabulary);
    if (m.nan_at >= 0) return {PassResult::nan, row, m.nan_at};
    candidates.clear();
    if (sampling.temperature == 0) {
      const size_t best = static_cast<size_t>(std::find(u, u + vocabulary, m.max) - u);
      candidates.push_back({u[best], static_cast<uint32_t>(best)});
      out.probs.push_back(1);
    } else {
      if (std::isinf(m.max)) {
        const int64_t at = m.max > 0 ? std::find(u, u + vocabulary, m.max) - u : -1;
        return {PassResult::unnormalised, row, at};
      }
      for (size_t id = 0; id < vocabulary; id++) candidates.push_back({u[id], static_cast<uint32_t>(id)});
      filter(candidates, m.max, sampling);
      std::sort(candidates.begin(), candidates.end(), better);
      const std::vector<float> probs = probabilities(candidates, m.max, sampling.temperature);
      out.probs.insert(out.probs.end(), probs.begin(), probs.end());
    }
    for (const Candidate& c : candidates) out.ids.push_back(c.id);
    out.offsets.push_back(static_cast<uint32_t>(out.ids.size()));
  }
  return {};
}

}  // namespace lmhead
