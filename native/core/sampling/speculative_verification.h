// Speculative verification: which of a draft's tokens are accepted, and the token that follows them. lib/reference/draft.ts
// defines it.
#pragma once

#include "../kernels/kernels.h"
#include "../pass/request.h"

namespace lmhead {

// The check of a request's draft, of which it takes row_parameters and adjustments, too. The source has as many columns as the
// draft has ids, or one more.
class Verification {
 public:
  // No id is accepted yet. What it is given outlives it.
  Verification(const Kernels& kernels, const LogitSource& source, const PassRequest& request);
  // Goes on through rows from first_row on, `stride` apart, which are overwritten. Throws std::bad_alloc.
  PassResult verify(float* logits, size_t stride, size_t first_row, size_t rows, const ParallelFor& workers);
  // Whether a row has been taken whose token is none of the draft's, so that those after it count in nothing.
  bool ended() const { return ended_; }

 private:
  PassResult take_row(float* u, size_t row, const ParallelFor& workers);
  void adjust(float* u, size_t row) const;
  uint32_t id_of(size_t index) const { return source_.ids() ? source_.ids()[index] : static_cast<uint32_t>(index); }
  void put(size_t row, size_t index, float log_prob, bool accepted);

  const Kernels& kernels_;
  const LogitSource& source_;
  const size_t valid_;
  const PassRequest& request_;
  const DraftCheck& draft_;
  bool ended_ = false;
};

}  // namespace lmhead
