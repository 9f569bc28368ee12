// How a pass looks at E: PassView and Metric of lib/backend/backend.ts.
#pragma once

#include "../pass/pass.h"
#include "../sources/materialized_source.h"
#include "../sources/product_source.h"

namespace lmhead {

// What is taken for a logit: the model's, or the bare product with the row of E, or the cosine of their angle (where the hidden
// state has length 1).
enum class Metric : uint8_t { logit = 0, dot = 1, cosine = 2 };

struct PassView {
  RowSubset rows;
  bool over_vocabulary = false;  // probabilities are of the whole vocabulary
  Metric metric = Metric::logit;
};

}  // namespace lmhead
