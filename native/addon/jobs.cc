#include "jobs.h"

#include "callbacks.h"

namespace lmhead {

void Job::finish(std::unique_ptr<Task> self) {
  const std::shared_ptr<Channel> to = channel;  // the job may go at once
  to->post(std::move(self));
}

void Job::refuse(std::unique_ptr<Task> self) {
  status = out_of_memory;
  finish(std::move(self));
}

bool Job::is_wanted() const { return channel->is_open(); }

std::shared_ptr<Channel> Channel::open(napi_env env) {
  auto channel = std::make_shared<Channel>();
  channel->env_ = env;
  channel->function_ = make_completion<settle>(env, "lmhead", channel.get());
  // Hooks run last in, first out: this one before the function is torn down.
  at_tear_down<shut_down>(env, channel.get());
  return channel;
}

void Channel::expect(Job& job) {
  if (job.ticket != 0) abortable_.emplace(job.ticket, &job);
}

void Channel::send(std::unique_ptr<Job> job) noexcept {
  if (pending_++ == 0) napi_ref_threadsafe_function(env_, function_);
  const std::shared_ptr<HeadQueue> head_queue = job->head_queue;
  TaskQueue::instance().push(head_queue, std::move(job));
}

void Channel::close(HeadQueue& head_queue) {
  TaskList waiting = TaskQueue::instance().withdraw(head_queue);
  while (std::unique_ptr<Task> task = waiting.remove_first()) {
    static_cast<Job&>(*task).status = Job::closed;
    post(std::move(task));
  }
}

void Channel::abort(double ticket) {
  const auto at = abortable_.find(ticket);
  if (at == abortable_.end()) return;
  Job& job = *at->second;
  job.cancel();
  if (std::unique_ptr<Task> waiting = TaskQueue::instance().withdraw(*job.head_queue, job)) {
    job.abort_unstarted();
    waiting.release();
    settle(std::unique_ptr<Job>(&job));
  }
}

void Channel::post(std::unique_ptr<Task> job) {
  const std::lock_guard lock(mutex_);
  // In a closing environment the references die with it; they must not be touched from here.
  if (open_ && napi_call_threadsafe_function(function_, job.get(), napi_tsfn_nonblocking) == napi_ok) job.release();
}

void Channel::settle(napi_env env, void* context, void* data) {
  std::unique_ptr<Job> job(static_cast<Job*>(static_cast<Task*>(data)));
  if (env != nullptr) static_cast<Channel*>(context)->settle(std::move(job));  // else torn down with the call still queued
}

void Channel::settle(std::unique_ptr<Job> job) {
  if (--pending_ == 0) napi_unref_threadsafe_function(env_, function_);
  if (job->ticket != 0) abortable_.erase(job->ticket);
  for (napi_ref ref : job->kept) napi_delete_reference(env_, ref);
  // Whatever fails, the promise is settled.
  try {
    napi_resolve_deferred(env_, job->deferred, job->result_to_js(env_));
  } catch (...) {
    napi_value error = caught(env_, *job->binding);
    if (!error) napi_get_undefined(env_, &error);
    napi_reject_deferred(env_, job->deferred, error);
  }
  for (HeadCall& call : job->calls) buffers.give_back(std::move(call.states));
}

napi_value Job::result_to_js(napi_env env) const {
  const int code = status == closed            ? kClosed
                   : status == out_of_memory   ? kOutOfMemory
                   : status == weights_changed ? kWeightsChanged
                                               : 0;
  if (code != 0) return lmhead::result_to_js(env, code, {});
  if (!calls[0].failed() && calls[0].request.candidates) return candidates_to_js(env, candidates);
  return lmhead::result_to_js(env, calls);
}

void Channel::shut_down(void* data) {
  Channel& channel = *static_cast<Channel*>(data);
  {
    const std::lock_guard lock(channel.mutex_);
    channel.open_ = false;
  }
  // Result arrays live in the environment: no thread may write to them once this returns.
  TaskQueue::instance().stop(&channel);
}

}  // namespace lmhead
