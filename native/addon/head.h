// The JavaScript class behind a native head. Its methods are called by lib/backend/native.ts and by nobody else.
#pragma once

#include <napi.h>

#include <memory>

#include "../core/threads/task_queue.h"
#include "jobs.h"

namespace lmhead {

class Head : public Napi::ObjectWrap<Head> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit Head(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;

 private:
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value run_async(const Napi::CallbackInfo& info);
  Napi::Value quantise(const Napi::CallbackInfo& info);
  Napi::Value read_rows(const Napi::CallbackInfo& info);
  Napi::Value read_bytes(const Napi::CallbackInfo& info);
  Napi::Value time_read(const Napi::CallbackInfo& info);
  void abort(const Napi::CallbackInfo& info);
  Napi::Value token(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  HeadCore& core(Napi::Env env);  // throws CLOSED
  // Sends a job of this head's, whose result the promise gets. Arguments from info[first] on are kept until then.
  Napi::Value send(const Napi::CallbackInfo& info, std::unique_ptr<Job> job, size_t first);

  std::shared_ptr<HeadCore> core_;
  const std::shared_ptr<Lane> lane_ = std::make_shared<Lane>();
  int64_t external_bytes_ = 0;  // that this object has told V8 of: weights that it loaded, not those that it shares
};

}  // namespace lmhead
