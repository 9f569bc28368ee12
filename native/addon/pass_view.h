// How a pass looks at E: PassView of lib/backend.ts.
#pragma once

#include "../core/pass.h"

namespace lmhead {

struct PassView {
  RowSubset rows;
  bool over_vocabulary = false;  // probabilities are of the whole vocabulary
};

}  // namespace lmhead
