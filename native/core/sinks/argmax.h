// The best id of each column: the k best for k = 1, in one candidate per column and thread.
#pragma once

#include <vector>

#include "candidate.h"
#include "sink.h"

namespace lmhead {

class Argmax final : public Sink {
 public:
  Argmax(const Kernels& kernels, size_t columns, unsigned slots);
  void consume(const Tile& tile, unsigned slot) override;
  // After the pass, of a row without NaN.
  uint32_t best(size_t column) const;

 private:
  const Kernels& kernels_;
  const size_t columns_;
  std::vector<Candidate> best_;  // [slots, columns]; kNoId: none yet
};

}  // namespace lmhead
