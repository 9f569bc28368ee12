// Which rows of E results may depend on, by its bounded copy: a pass over these alone then gives the same results, bit by bit.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "../kernels/kernels.h"
#include "../pass/request.h"
#include "bound.h"

namespace lmhead::screen {

// A head's use of the copy of its matrix.
class Use {
 public:
  // row_bytes: of the matrix. bias: of the head, or null.
  Use(std::shared_ptr<const Copy> its_copy, size_t row_bytes, const float* bias);
  const Copy& copy() const { return *copy_; }
  bool has_finite_bias() const { return has_finite_bias_; }

  // What it did: calls that it answered; those that a full pass answered though it might have, by why; and rows that were left,
  // for each hidden state.
  struct Counts {
    uint64_t passes, in_vain, sat_out, refused, states, rows, most_rows;

    uint64_t full_passes() const { return in_vain + sat_out + refused; }
  };
  Counts counts() const;

  // Whether a call is better not tried, as too many before it were in vain: what these read is at most what searches saved, and
  // 1/kAllowance of what the calls would have read of the matrix, whatever the hidden states are.
  bool sits_out() const;
  void answered(size_t states, uint64_t rows, uint64_t most_rows) const;
  void in_vain(size_t states) const;  // too many rows were left
  void refused() const;               // there was no bound for it

 private:
  static constexpr int64_t kAllowance = 25;
  static constexpr uint32_t kMostHalvings = 4;
  void earn(int64_t bytes) const;
  int64_t bytes_of_search(size_t states) const;

  const std::shared_ptr<const Copy> copy_;
  const int64_t row_bytes_, matrix_bytes_, copy_bytes_;
  bool has_finite_bias_ = true;
  mutable std::atomic<uint64_t> passes_{0}, in_vain_{0}, sat_out_{0}, refused_{0}, states_{0}, rows_{0}, most_rows_{0};
  mutable std::atomic<int64_t> credit_;        // bytes that may be read in vain
  mutable std::atomic<uint32_t> failures_{0};  // one after the other
};

// A call, as a search takes it.
struct Query {
  const float* hidden;  // packed
  size_t n;
  const Epilogue* epilogue;
  size_t valid;
  const PassRequest* request;
  const Use* use;  // null: it has no copy
  // Of each row of E, which its product is multiplied by, at least 0, in the place of an epilogue; or null.
  const double* factors = nullptr;
  // Found by the search; none where the call needs a full pass.
  std::vector<uint32_t> rows = {};
};

// Whether a search may answer it: what it asks for depends on its best rows alone.
bool may_answer(const Query& query);
// Of how many hidden states a search is cheaper than a full pass.
size_t most_states(const Matrix& e);
// Searches for all of them together. Throws std::bad_alloc.
void search(const lmhead::Kernels& kernels, const Matrix& e, std::span<Query> queries, const ParallelFor& workers);
// The answer to a call that has found its rows.
PassResult answer(const lmhead::Kernels& kernels, const Matrix& e, const Query& query);

}  // namespace lmhead::screen
