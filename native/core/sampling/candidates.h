// What the filters leave of a row.
#pragma once

#include <cstdint>
#include <vector>

namespace lmhead {

struct CandidateRow {
  std::vector<uint32_t> ids;  // best first
  std::vector<float> probs;   // renormalized over them, at the row's temperature
};

}  // namespace lmhead
