// The k best ids of each column, in O(k) memory per column and thread.
#pragma once

#include <memory>
#include <vector>

#include "candidate.h"
#include "sink.h"

namespace lmhead {

// A heap's insertions get costly for large k; beyond this a row's logits are materialized and selected from.
constexpr size_t kMaxHeap = 1024;

class TopK final : public Sink {
 public:
  // k per column, at most kMaxHeap; 0: this column is left out.
  TopK(const Kernels& kernels, std::vector<uint32_t> k, unsigned slots);
  void consume(const Tile& tile, unsigned slot) override;
  // After the pass: the column's best k, best first (fewer where the row has NaN).
  std::vector<Candidate> best(size_t column) const;

 private:
  struct Heap {
    size_t size = 0;
    Candidate* entries = nullptr;  // the worst at the root
  };
  struct Slot {
    std::vector<Heap> heaps;  // made when the thread first shows up
    std::vector<Candidate> entries;
  };
  void insert(Heap& heap, uint32_t k, Candidate candidate);

  const Kernels& kernels_;
  const std::vector<uint32_t> k_;
  std::vector<Slot> slots_;
};

}  // namespace lmhead
