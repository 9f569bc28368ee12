// Log-probability, rank and entropy at given ids, in O(1) memory per column and thread.
#pragma once

#include <vector>

#include "sink.h"

namespace lmhead {

constexpr uint32_t kIgnored = 0xffffffffu;  // a target that counts in nothing

struct ScoreOutputs {
  const uint32_t* targets = nullptr;
  float* log_probs = nullptr;
  uint32_t* ranks = nullptr;
  float* entropy = nullptr;  // or none
};

class TargetSink final : public Sink {
 public:
  // logits: each column's logit at its target, which the ranks are counted against.
  TargetSink(const Kernels& kernels, const ScoreOutputs& out, std::vector<float> logits, unsigned slots);
  void consume(const Tile& tile, unsigned slot) override;
  size_t finish_tasks() const override { return logits_.size(); }
  void finish(size_t column, const Distribution* distributions) override;

 private:
  const Kernels& kernels_;
  const ScoreOutputs out_;
  const std::vector<float> logits_;
  std::vector<uint32_t> ahead_;  // [slots, columns]: how many ids rank before the target
};

}  // namespace lmhead
