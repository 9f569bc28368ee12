// What a head is asked for asynchronously: a pass, which others may share, or rows to quantize.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "../threads/task_queue.h"
#include "head_core.h"
#include "hidden_buffers.h"

namespace lmhead {

class PassTask : public Task {
 public:
  PassTask() { call.task = this; }

  std::shared_ptr<HeadCore> core;
  HiddenBuffer hidden;  // packed; what `call` is about
  struct OfTask : SharedCall {
    PassTask* task;
  } call;
  PassView view;
  Apart apart = Apart::by_choice;
  std::optional<Quantization> quantization;  // instead of a pass
  std::atomic<int32_t> canceled{0};          // aborts it
  // Where it is to be told of its pass: seconds in the queue, seconds from start to end, how many calls and rows it served, and
  // why it served no others (Apart).
  static constexpr size_t kFacts = 5;
  double* facts = nullptr;

  enum Status { finished, closed, out_of_memory, weights_changed } status = finished;

  // Takes a call of that head's, whose hidden states are there.
  void ask(std::shared_ptr<HeadCore> head, size_t n, const PassRequest& request, const PassView& its_view, bool coalesces);
  // It has been taken back before it started.
  void abort_unstarted();

  void run(Turn& turn) final;
  Share share() const final { return apart == Apart::no ? Share{call.n, call.held} : Share{}; }
  void cancel() final { canceled = 1; }

 private:
  using Clock = std::chrono::steady_clock;
  class Sharing;
  void run_apart(Gate& gate);
  void end(size_t calls, size_t rows);

  Clock::time_point sent_ = Clock::now(), started_;
};

}  // namespace lmhead
