// What the filters leave of rows of logits that the caller holds.
#pragma once

#include <vector>

#include "pass.h"

namespace lmhead {

struct CandidateRows {
  std::vector<uint32_t> ids;      // best first, row after row
  std::vector<float> probs;       // renormalised over the row's candidates, at its temperature
  std::vector<uint32_t> offsets;  // [n + 1]
};

// logits: [n, vocabulary]; row_parameters: [n, kRowParameters].
PassResult find_candidates(const Kernels& kernels, const float* logits, size_t n, size_t vocabulary, const double* row_parameters,
                           CandidateRows& out);

}  // namespace lmhead
