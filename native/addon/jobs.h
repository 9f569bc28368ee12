// Asynchronous passes and quantization, and the channel that brings their results back to each JavaScript environment.
#pragma once

#include <node_api.h>

#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "../core/head/pass_task.h"

namespace lmhead {

class Channel;
struct Binding;

struct Job final : PassTask {
  using PassTask::PassTask;

  std::shared_ptr<Channel> channel;
  std::shared_ptr<HeadQueue> head_queue;             // that it is sent to
  double ticket = 0;                                 // what it is aborted by; 0: nothing
  std::vector<CandidateRow> candidates;              // where they are asked for, of its only call
  std::vector<std::unique_ptr<std::byte[]>> inputs;  // copies of what the request reads, for as long as it does

  // The JavaScript side; touched on its thread only. `kept` are the arrays that results go to.
  const Binding* binding = nullptr;
  napi_deferred deferred = nullptr;
  std::vector<napi_ref> kept;

  void finish(std::unique_ptr<Task> self) override;
  void refuse(std::unique_ptr<Task> self) override;
  const void* owner() const override { return channel.get(); }
  bool is_wanted() const override;
  // On the JavaScript thread, once it has ended. Throws Pending, Failure, std::bad_alloc.
  napi_value result_to_js(napi_env env) const;
};

// Carries finished jobs back to the thread of their environment.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  // Throws Pending, Failure, std::bad_alloc.
  static std::shared_ptr<Channel> open(napi_env env);

  // On the JavaScript thread: will be told to abort this job, which is sent next. Throws std::bad_alloc.
  void expect(Job& job);
  // On the JavaScript thread: queues a job, in its head queue.
  void send(std::unique_ptr<Job> job) noexcept;
  // On the JavaScript thread: hands back, as closed, that head's jobs that have not started.
  void close(HeadQueue& head_queue);
  // On the JavaScript thread: ends the job of that ticket, if there is one still. What has not started is settled here, and
  // nothing of it is kept.
  void abort(double ticket);
  // On any thread: hands a job back, or drops it where the environment is gone.
  void post(std::unique_ptr<Task> job);
  bool is_open() const { return open_.load(); }

  HiddenBuffers buffers;  // on the JavaScript thread

 private:
  static void settle(napi_env env, void* context, void* data);
  void settle(std::unique_ptr<Job> job);  // on the JavaScript thread
  static void shut_down(void* channel);

  napi_env env_ = nullptr;
  napi_threadsafe_function function_ = nullptr;
  size_t pending_ = 0;  // on the JavaScript thread, as this is:
  std::unordered_map<double, Job*> abortable_;
  std::mutex mutex_;
  std::atomic<bool> open_{true};  // false once the environment is going; written under the lock
};

// What lib/backend/native.ts gets where a pass gave no results: [status, row, id, call], the status one of PassResult's or of
// these; call: which one of those that were made as one. Undefined for success.
constexpr int kClosed = 5, kOutOfMemory = 6, kWeightsChanged = 7;
napi_value result_to_js(napi_env env, int status, const PassResult& result, size_t call = 0);
// Of calls that have been answered, the first that failed.
napi_value result_to_js(napi_env env, std::span<const HeadCall> calls);

// { ids, probs, offsets }: row after row. Throws Failure where they don't fit into memory.
napi_value candidates_to_js(napi_env env, const std::vector<CandidateRow>& rows);

}  // namespace lmhead
