// The sinks that write one number per id: logits, log-probabilities, probabilities.
#pragma once

#include "sink.h"

namespace lmhead {

enum class Dense { logits, log_probs, probs };

class DenseSink final : public Sink {
 public:
  // out: [columns, vocabulary]; ids from `valid` on are padding.
  DenseSink(const Kernels& kernels, Dense what, float* out, size_t columns, size_t vocabulary, size_t valid);
  void consume(const Tile& tile, unsigned slot) override;
  size_t finish_tasks() const override { return columns_ * segments_; }
  void finish(size_t task, const Distribution* distributions) override;

 private:
  const Kernels& kernels_;
  const Dense what_;
  float* const out_;
  const size_t columns_, vocabulary_, valid_, segments_;
};

}  // namespace lmhead
