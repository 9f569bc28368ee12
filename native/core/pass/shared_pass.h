// Several calls about the same weights, answered in one streaming of E: each with the bits that it has alone.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "../sources/product_source.h"
#include "pass.h"

namespace lmhead {

namespace screen {
class Use;
}

// What shares a pass: calls of so few rows that they cost about as much as reading E, and no more rows and materialized logits
// together than a pass takes well.
constexpr size_t kMostSharingRows = 16, kMostSharedRows = 64;

// One of them: a pass over all rows of E, with an epilogue of its own.
struct SharedCall {
  const float* hidden = nullptr;  // packed, [n, hidden_stride(d)]
  size_t n = 0;
  Epilogue epilogue;
  size_t valid = 0;                     // local indices from here on are padding
  PassRequest request;                  // its workers: threads that it may have, and its own abort; it has no normalizer
  const screen::Use* screen = nullptr;  // where its head has a bounded copy of E
  size_t held = 0;                      // bytes of logits that it has held at a time; at most kMaterializedBytes

  // The answer.
  PassResult result;
  bool out_of_memory = false;
};

// Bytes of logits that a call would have held, all its rows together.
size_t materialized_bytes(const SharedCall& call);

// Who has the calls of a shared pass.
class SharedPassHost {
 public:
  virtual ~SharedPassHost() = default;
  // Whether others have come that would join. Asked now and then, by any thread.
  virtual bool has_news() const = 0;
  // Has the answer, and may end the call's life.
  virtual void answered(SharedCall& call) noexcept = 0;
};

// Calls join before it runs; and while it has hardly begun, as then it may begin again with them.
class SharedPass {
 public:
  SharedPass(const Kernels& kernels, const Matrix& e, Activations activations, Gate* gate);

  // No more than kMostSharedRows rows in all, but for a call that is alone.
  void add(SharedCall& call);
  size_t calls() const { return count_; }
  size_t rows() const { return rows_; }
  // Answers them all. False where it should begin again with others first: then nobody has been answered.
  bool run(SharedPassHost& host) noexcept;

 private:
  struct Seat;
  bool run_together(SharedPassHost& host);
  bool stream(const PreparedSource& products, const std::vector<Seat*>& seats, const ParallelFor& workers,
              const SharedPassHost& host);
  void run_alone(SharedCall& call) const;
  // Those that the rows which are left of E can answer.
  void answer_by_search(SharedPassHost& host);

  const Kernels& kernels_;
  const Matrix e_;
  const Activations activations_;
  Gate* const gate_;
  std::array<SharedCall*, kMostSharedRows> calls_;
  size_t count_ = 0, rows_ = 0;  // rows: of those that have been answered, too
  bool is_searched_ = false;     // for all of them
  // Chunks that were streamed in vain, and how many have to be before it looks for others again.
  size_t spent_ = 0, patience_;
};

}  // namespace lmhead
