#include "pass_task.h"

#include <algorithm>

namespace lmhead {

namespace {

double seconds(std::chrono::steady_clock::duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

// Tasks that share a pass. It outlives them all.
class PassTask::Sharing final : public SharedPassHost {
 public:
  Sharing(PassTask& first, Turn& turn) : core_(first.calls[0].core), turn_(turn), pass_(core_->shared_pass(&turn)) { add(first); }

  void run() {
    do {
      while (Task* const task = turn_.join()) add(static_cast<PassTask&>(*task));
    } while (!pass_.run(*this));
  }

  bool has_news() const override { return turn_.has_news(); }
  void answered(SharedCall& call) noexcept override {
    PassTask& task = *static_cast<HeadCall&>(call).task;
    if (++task.answered_ < task.calls.size()) return;
    task.end(tasks_, pass_.rows());
    turn_.done(task);
  }

 private:
  void add(PassTask& task) {
    task.started_ = Clock::now();
    tasks_++;
    for (HeadCall& call : task.calls) pass_.add(call);
  }

  const std::shared_ptr<HeadCore> core_;
  Turn& turn_;
  SharedPass pass_;
  size_t tasks_ = 0;
};

void PassTask::made(bool coalesces) {
  for (HeadCall& call : calls) call.request.workers.abort = &canceled;
  if (coalesces) apart = apart_of(calls);
  if (apart == Apart::no) share_ = share_of(calls);
}

void PassTask::abort_unstarted() {
  canceled = 1;
  for (HeadCall& call : calls) {
    call.result.status = PassResult::aborted;
    call.states = {};
  }
  if (facts) facts[0] = seconds(Clock::now() - sent_);
}

void PassTask::run(Turn& turn) {
  if (apart == Apart::no)
    Sharing(*this, turn).run();  // and it may be gone
  else
    run_apart(turn);
}

void PassTask::run_apart(Gate& gate) {
  started_ = Clock::now();
  if (quantization || makes_copy) {
    HeadCall& call = calls[0];
    try {
      const ParallelFor workers{1, &canceled, &gate};
      if (makes_copy)
        call.result = {call.core->make_copy(workers) ? PassResult::ok : PassResult::aborted};
      else
        call.result = call.core->quantize(*quantization, workers);
    } catch (...) {
      call.out_of_memory = true;
    }
  } else {
    run_calls(calls, &gate);
  }
  end(1, share_of(calls).rows);
}

// It has run, in a pass of so many.
void PassTask::end(size_t tasks, size_t rows) {
  if (!calls[0].core->intact()) status = weights_changed;
  if (!facts) return;
  const double told[kFacts] = {seconds(started_ - sent_), seconds(Clock::now() - started_), static_cast<double>(tasks),
                               static_cast<double>(rows), static_cast<double>(apart)};
  std::copy_n(told, kFacts, facts);
}

}  // namespace lmhead
