// How far an estimate is from a product: a hidden state as a search of the copy takes it.
#pragma once

#include "copy.h"

namespace lmhead::screen {

// The bound, for a state h and row i of E, all of it in real numbers:
//   y = Qh, held as sigma v in integers of eight bits, eta = |y - sigma v|
//   u = h . mu + y . Q x_i is the product; the estimate is h . mu + sigma v . x^, x^ what is held of Q x_i
//   u - estimate = y . (Q x_i - x^) + (y - sigma v) . x^, so it is at most |y| rho + eta (N + rho)
// To that come the rounding of the product that it is a bound of (lib/reference/logits.ts), at most c eps |h| |E_i| + 5 d 2^-126
// with |E_i| <= N + |mu|; and that of estimate and bound themselves in float32, a few ulp of |h . mu| + (|y| + eta) (N + rho).
class State {
 public:
  State(const Copy& copy, const float* hidden);
  State(State&&) = default;
  State& operator=(State&&) = default;

  // Whether there is a bound at all: not where h is zero or not finite, or so large or small that float32 may not hold what
  // comes.
  bool is_usual() const { return is_usual_; }
  const StateView& view() const { return view_; }

 private:
  bool is_usual_ = false;
  AlignedBytes values_;
  std::vector<int32_t> sums_;
  StateView view_{};
};

}  // namespace lmhead::screen
