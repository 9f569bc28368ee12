#include "head_call.h"

namespace lmhead {

namespace {

class NobodyWaits final : public SharedPassHost {
 public:
  bool has_news() const override { return false; }
  void answered(SharedCall&) noexcept override {}
};

}  // namespace

void HeadCall::ask(std::shared_ptr<HeadCore> head, const float* packed, size_t its_n, const PassRequest& its_request,
                   const PassView& its_view, size_t most_rows) {
  core = std::move(head);
  view = its_view;
  static_cast<SharedCall&>(*this) = core->shared_call(packed, its_n, its_request);
  if (n > 0 && most_rows > 0) apart = HeadCore::apart(*this, view, most_rows);
}

void HeadCall::run(Gate* gate) noexcept {
  request.workers.gate = gate;
  try {
    result = core->run(hidden, n, request, view);
  } catch (...) {  // std::bad_alloc, or what a thread too many or a length too large throws
    out_of_memory = true;
  }
}

Task::Share share_of(std::span<const HeadCall> calls) {
  Task::Share all;
  for (const HeadCall& call : calls) {
    all.rows += call.n;
    all.bytes += call.held;
  }
  return all;
}

Apart apart_of(std::span<const HeadCall> calls) {
  for (const HeadCall& call : calls)
    if (call.apart != Apart::no) return call.apart;
  const Task::Share all = share_of(calls);
  if (all.rows > kSharedRoom.rows) return Apart::many_rows;
  return all.bytes > kSharedRoom.bytes ? Apart::held : Apart::no;
}

void run_calls(std::span<HeadCall> calls, Gate* gate) noexcept {
  NobodyWaits nobody;
  for (auto next = calls.begin(); next != calls.end();) {
    SharedPass pass = next->core->shared_pass(gate);
    Task::Share room = kSharedRoom;
    for (; next != calls.end(); ++next) {
      if (next->apart != Apart::no) continue;
      if (next->n > room.rows || next->held > room.bytes) break;
      room.rows -= next->n;
      room.bytes -= next->held;
      pass.add(*next);
    }
    if (pass.calls() > 0) pass.run(nobody);
  }
  for (HeadCall& call : calls)
    if (call.apart != Apart::no) call.run(gate);
}

}  // namespace lmhead
