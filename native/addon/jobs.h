// Asynchronous passes: a queue for the process, worked off in order by one thread (which the pool's threads help), and a channel
// back to each JavaScript environment.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <vector>

#include "pass_view.h"

namespace lmhead {

class HeadCore;
class Channel;

struct Job {
  std::shared_ptr<HeadCore> core;
  std::shared_ptr<Channel> channel;
  AlignedFloats hidden;  // packed copy: the caller's array may change or vanish meanwhile
  size_t n = 0;
  PassView view;
  PassRequest request;
  std::atomic<int32_t>* abort = nullptr;  // request.abort, writable

  // The JavaScript side; touched on its thread only. `kept` are the arrays that the request points into.
  napi_deferred deferred = nullptr;
  std::vector<napi_ref> kept;

  enum Status { finished, closed, out_of_memory, weights_changed } status = finished;
  PassResult result;

  void run();
};

// Carries finished jobs back to the thread of their environment.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  // Null on failure, with a pending exception.
  static std::shared_ptr<Channel> open(napi_env env);

  // On the JavaScript thread: queues a job.
  void send(std::unique_ptr<Job> job);
  // On the worker thread: hands a finished job back, or drops it where the environment is gone.
  void post(std::unique_ptr<Job> job);

 private:
  static void settle(napi_env env, napi_value, void* context, void* data);
  static void shut_down(void* channel);

  napi_env env_ = nullptr;
  napi_threadsafe_function function_ = nullptr;
  size_t pending_ = 0;  // on the JavaScript thread
  std::mutex mutex_;
  bool open_ = true;
};

// What lib/native-backend.ts gets where a pass gave no results: [status, row, id], the status one of PassResult's or of these.
// Undefined for success.
constexpr int kClosed = 4, kOutOfMemory = 5, kWeightsChanged = 6;
napi_value result_to_js(napi_env env, int status, const PassResult& result);

}  // namespace lmhead
