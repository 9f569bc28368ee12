#include "jobs.h"

#include <condition_variable>
#include <deque>
#include <new>
#include <thread>

#include "head_core.h"

namespace lmhead {

namespace {

class JobQueue {
 public:
  // Never destroyed: its thread may be parked in it when the process ends.
  static JobQueue& instance() {
    static JobQueue* queue = new JobQueue;
    return *queue;
  }

  void push(std::unique_ptr<Job> job) {
    const std::lock_guard lock(mutex_);
    if (!started_) {
      std::thread([this] { work(); }).detach();
      started_ = true;
    }
    jobs_.push_back(std::move(job));
    wake_.notify_one();
  }

  // Forgets a channel's queued jobs, stops its running one, and returns when that has stopped.
  void drop(const Channel* channel) {
    std::unique_lock lock(mutex_);
    std::erase_if(jobs_, [&](const std::unique_ptr<Job>& job) { return job->channel.get() == channel; });
    if (running_ && running_->channel.get() == channel) running_->abort->store(1);
    stopped_.wait(lock, [&] { return !running_ || running_->channel.get() != channel; });
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return !jobs_.empty(); });
      std::unique_ptr<Job> job = std::move(jobs_.front());
      jobs_.pop_front();
      running_ = job.get();
      lock.unlock();
      job->run();
      lock.lock();
      running_ = nullptr;
      stopped_.notify_all();
      lock.unlock();
      const std::shared_ptr<Channel> channel = job->channel;
      channel->post(std::move(job));
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, stopped_;
  std::deque<std::unique_ptr<Job>> jobs_;
  Job* running_ = nullptr;
  bool started_ = false;
};

}  // namespace

void Job::run() {
  if (core->closed()) {
    status = closed;
    return;
  }
  try {
    result = core->run(hidden.data(), n, request, view);
    if (!core->intact()) status = weights_changed;
  } catch (const std::bad_alloc&) {
    status = out_of_memory;
  }
}

std::shared_ptr<Channel> Channel::open(napi_env env) {
  auto channel = std::make_shared<Channel>();
  channel->env_ = env;
  napi_value name;
  if (napi_create_string_utf8(env, "lmhead", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, channel.get(), settle,
                                      &channel->function_) != napi_ok)
    return nullptr;
  napi_unref_threadsafe_function(env, channel->function_);
  // Hooks run last in, first out: this one before the function is torn down.
  napi_add_env_cleanup_hook(env, shut_down, channel.get());
  return channel;
}

void Channel::send(std::unique_ptr<Job> job) {
  if (pending_++ == 0) napi_ref_threadsafe_function(env_, function_);
  JobQueue::instance().push(std::move(job));
}

void Channel::post(std::unique_ptr<Job> job) {
  const std::lock_guard lock(mutex_);
  // In a closing environment the references die with it; they must not be touched from here.
  if (open_ && napi_call_threadsafe_function(function_, job.get(), napi_tsfn_nonblocking) == napi_ok) job.release();
}

void Channel::settle(napi_env env, napi_value, void* context, void* data) {
  const std::unique_ptr<Job> job(static_cast<Job*>(data));
  if (env == nullptr) return;  // torn down with the call still queued
  Channel& channel = *static_cast<Channel*>(context);
  if (--channel.pending_ == 0) napi_unref_threadsafe_function(env, channel.function_);
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  for (napi_ref ref : job->kept) napi_delete_reference(env, ref);
  const int status = job->status == Job::closed            ? kClosed
                     : job->status == Job::out_of_memory   ? kOutOfMemory
                     : job->status == Job::weights_changed ? kWeightsChanged
                                                           : static_cast<int>(job->result.status);
  napi_resolve_deferred(env, job->deferred, result_to_js(env, status, job->result));
  napi_close_handle_scope(env, scope);
}

void Channel::shut_down(void* data) {
  Channel& channel = *static_cast<Channel*>(data);
  {
    const std::lock_guard lock(channel.mutex_);
    channel.open_ = false;
  }
  // Result arrays live in the environment: no thread may write to them once this returns.
  JobQueue::instance().drop(&channel);
}

napi_value result_to_js(napi_env env, int status, const PassResult& result) {
  napi_value value;
  if (status == 0) {
    napi_get_undefined(env, &value);
    return value;
  }
  const double parts[] = {static_cast<double>(status), static_cast<double>(result.row), static_cast<double>(result.id)};
  napi_create_array_with_length(env, 3, &value);
  for (uint32_t i = 0; i < 3; i++) {
    napi_value number;
    napi_create_double(env, parts[i], &number);
    napi_set_element(env, value, i, number);
  }
  return value;
}

}  // namespace lmhead
