// The JavaScript class behind a native head. Its methods are called by lib/backend/native.ts and by nobody else.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "../core/threads/task_queue.h"
#include "arguments.h"
#include "jobs.h"

namespace lmhead {

class Head {
 public:
  static napi_value make_class(napi_env env, Binding& binding);
  void finalize(napi_env env);

 private:
  Head(std::shared_ptr<HeadCore> core, bool coalesces);
  template <napi_value (Head::*method)(Call&)>
  static napi_value on_this(Call& call);
  static Head& head_of(napi_env env, napi_value value, const char* name);
  static napi_value construct(Call& call);
  napi_value run(Call& call);
  napi_value run_async(Call& call);
  napi_value run_all(Call& call);
  napi_value run_all_async(Call& call);
  napi_value quantize(Call& call);
  napi_value make_copy(Call& call);
  napi_value use_copy(Call& call);
  napi_value copied_rows(Call& call);
  napi_value screening(Call& call);
  napi_value read_copy(Call& call);
  napi_value load_copy(Call& call);
  napi_value abort(Call& call);
  napi_value read_rows(Call& call);
  napi_value read_bytes(Call& call);
  napi_value time_read(Call& call);
  napi_value token(Call& call);
  napi_value close(Call& call);
  static void tell_of_memory(napi_env env, int64_t change);
  bool coalesces() const { return shared_head_queue_ != own_head_queue_; }
  // To be asked when no JavaScript runs any more, which could close the head, and held as long as it is used. Throws CLOSED.
  std::shared_ptr<HeadCore> core() const;
  // Of the calls of a list, which are this head's or another's over the same weights.
  struct ListedValues;
  static std::vector<ListedValues> listed_values(Call& call);
  void ask(Call& call, Arrays& arrays, const std::vector<ListedValues>& list, std::span<HeadCall> calls) const;
  const std::shared_ptr<HeadQueue>& head_queue_of(const Job& job) const;
  // Sends a job of this head's to a head queue, whose result the promise gets. The arrays that results go to are kept until then,
  // and the objects of other heads that it is about.
  napi_value send(Call& call, Arrays& arrays, std::unique_ptr<Job> job, const std::shared_ptr<HeadQueue>& head_queue,
                  const std::vector<napi_value>& others = {});

  std::shared_ptr<HeadCore> core_;
  // Of calls that share passes, of those that don't, and of what takes long. All the same one where the head does not coalesce.
  const std::shared_ptr<HeadQueue> shared_head_queue_, own_head_queue_, long_head_queue_;
  int64_t external_bytes_ = 0;  // that this object has told V8 of: weights that it loaded, not those that it shares
};

}  // namespace lmhead
