#include "pass_task.h"

#include <algorithm>

namespace lmhead {

namespace {

double seconds(std::chrono::steady_clock::duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

// Tasks that share a pass. It outlives them all.
class PassTask::Sharing final : public SharedPassHost {
 public:
  Sharing(PassTask& first, Turn& turn) : core_(first.core), turn_(turn), pass_(core_->shared_pass(turn)) { add(first); }

  void run() {
    do {
      while (Task* const task = turn_.join()) add(static_cast<PassTask&>(*task));
    } while (!pass_.run(*this));
  }

  bool has_news() const override { return turn_.has_news(); }
  void answered(SharedCall& call) noexcept override {
    PassTask& task = *static_cast<OfTask&>(call).task;
    task.end(pass_.calls(), pass_.rows());
    turn_.done(task);
  }

 private:
  void add(PassTask& task) {
    task.started_ = Clock::now();
    pass_.add(task.call);
  }

  const std::shared_ptr<HeadCore> core_;
  Turn& turn_;
  SharedPass pass_;
};

void PassTask::ask(std::shared_ptr<HeadCore> head, size_t n, const PassRequest& request, const PassView& its_view,
                   bool coalesces) {
  core = std::move(head);
  view = its_view;
  static_cast<SharedCall&>(call) = core->shared_call(hidden.data(), n, request);
  call.request.workers.abort = &canceled;
  if (coalesces && n > 0) apart = HeadCore::apart(call, view);
}

void PassTask::abort_unstarted() {
  canceled = 1;
  call.result.status = PassResult::aborted;
  hidden = {};
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
  PassRequest& request = call.request;
  request.workers.gate = &gate;
  try {
    call.result = quantization ? core->quantize(*quantization, request.workers) : core->run(hidden.data(), call.n, request, view);
  } catch (...) {  // std::bad_alloc, or what a thread too many or a length too large throws
    call.out_of_memory = true;
  }
  end(1, call.n);
}

// It has run, in a pass of so many.
void PassTask::end(size_t calls, size_t rows) {
  if (call.out_of_memory)
    status = out_of_memory;
  else if (!core->intact())
    status = weights_changed;
  if (!facts) return;
  const double told[kFacts] = {seconds(started_ - sent_), seconds(Clock::now() - started_), static_cast<double>(calls),
                               static_cast<double>(rows), static_cast<double>(apart)};
  std::copy_n(told, kFacts, facts);
}

}  // namespace lmhead
