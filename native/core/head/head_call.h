// A call of a head's, with what it reads; and several that are made as one.
#pragma once

#include <memory>
#include <span>

#include "../threads/task_queue.h"
#include "head_core.h"
#include "hidden_buffers.h"

namespace lmhead {

class PassTask;

struct HeadCall : SharedCall {
  std::shared_ptr<HeadCore> core;
  HiddenBuffer states;  // packed; `hidden` is them, unless they lie elsewhere
  PassView view;
  Apart apart = Apart::by_choice;
  PassTask* task = nullptr;  // that it is part of, if any

  // Takes what is asked of that head, about hidden states that are there. Others may be in its pass where it has no more than
  // so many rows.
  void ask(std::shared_ptr<HeadCore> head, const float* packed, size_t its_n, const PassRequest& its_request,
           const PassView& its_view, size_t most_rows);
  // In a pass of its own.
  void run(Gate* gate) noexcept;
  bool failed() const { return out_of_memory || result.status != PassResult::ok; }
};

// Why calls that are made as one need more than one pass, or one that nobody else shares.
Apart apart_of(std::span<const HeadCall> calls);
// What they take of a pass.
Task::Share share_of(std::span<const HeadCall> calls);
// Answers them, of heads of one group: in as few passes as they fit in.
void run_calls(std::span<HeadCall> calls, Gate* gate) noexcept;

}  // namespace lmhead
