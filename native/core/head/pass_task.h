// What a head is asked for asynchronously: passes, which others may share, rows to quantize, or the copy that searches read.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "../threads/task_queue.h"
#include "head_call.h"

namespace lmhead {

class PassTask : public Task {
 public:
  // calls: that are made as one.
  explicit PassTask(size_t its_calls = 1) : calls(its_calls) {
    for (HeadCall& call : calls) call.task = this;
  }

  std::vector<HeadCall> calls;
  Apart apart = Apart::by_choice;
  std::optional<Quantization> quantization;  // instead of a pass; of the first call's head
  bool makes_copy = false;                   // instead of a pass: makes the copy of the first call's head
  std::atomic<int32_t> canceled{0};          // aborts it
  // Where it is to be told of its pass: seconds in the queue, seconds from start to end, how many calls and rows it served, and
  // why it served no others (Apart).
  static constexpr size_t kFacts = 5;
  double* facts = nullptr;

  enum Status { finished, closed, out_of_memory, weights_changed } status = finished;

  // When its calls have been asked. coalesces: it may share its pass.
  void made(bool coalesces);
  // It has been taken back before it started.
  void abort_unstarted();

  void run(Turn& turn) final;
  Share share() const final { return share_; }
  void cancel() final { canceled = 1; }

 private:
  using Clock = std::chrono::steady_clock;
  class Sharing;
  void run_apart(Gate& gate);
  void end(size_t tasks, size_t rows);

  Share share_;
  size_t answered_ = 0;
  Clock::time_point sent_ = Clock::now(), started_;
};

}  // namespace lmhead
