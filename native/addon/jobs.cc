#include "jobs.h"

#include <new>

#include "arguments.h"

namespace lmhead {

namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

void Job::run(Gate& gate) {
  const Clock::time_point start = Clock::now();
  request.crew.abort = &cancelled;
  request.crew.gate = &gate;
  try {
    result = quantisation ? core->quantise(*quantisation, request.crew) : core->run(hidden.data(), n, request, view);
    if (!core->intact()) status = weights_changed;
  } catch (const std::bad_alloc&) {
    status = out_of_memory;
  }
  if (times) {
    times[0] = seconds(start - sent);
    times[1] = seconds(Clock::now() - start);
  }
}

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
  if (job->ticket != 0) abortable_.emplace(job->ticket, job.get());
  if (pending_++ == 0) napi_ref_threadsafe_function(env_, function_);
  const std::shared_ptr<Lane> lane = job->lane;
  TaskQueue::instance().push(lane, std::move(job));
}

void Channel::close(Lane& lane) {
  TaskList waiting = TaskQueue::instance().withdraw(lane);
  while (std::unique_ptr<Task> task = waiting.take_first()) {
    static_cast<Job&>(*task).status = Job::closed;
    post(std::move(task));
  }
}

void Channel::abort(double ticket) {
  const auto at = abortable_.find(ticket);
  if (at == abortable_.end()) return;
  Job& job = *at->second;
  job.cancel();
  if (std::unique_ptr<Task> waiting = TaskQueue::instance().withdraw(*job.lane, job)) {
    job.result.status = PassResult::aborted;
    if (job.times) job.times[0] = seconds(Clock::now() - job.sent);
    job.hidden = {};  // where many are aborted, the next calls will hardly want all of this
    forget(job);
    waiting.release();
    settle(std::unique_ptr<Job>(&job));
  }
}

void Channel::post(std::unique_ptr<Task> job) {
  const std::lock_guard lock(mutex_);
  // In a closing environment the references die with it; they must not be touched from here.
  if (open_ && napi_call_threadsafe_function(function_, job.get(), napi_tsfn_nonblocking) == napi_ok) job.release();
}

void Channel::settle(napi_env env, napi_value, void* context, void* data) {
  std::unique_ptr<Job> job(static_cast<Job*>(static_cast<Task*>(data)));
  if (env == nullptr) return;  // torn down with the call still queued
  Channel& channel = *static_cast<Channel*>(context);
  channel.forget(*job);
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  channel.settle(std::move(job));
  napi_close_handle_scope(env, scope);
}

void Channel::forget(const Job& job) {
  if (--pending_ == 0) napi_unref_threadsafe_function(env_, function_);
  if (job.ticket != 0) abortable_.erase(job.ticket);
}

void Channel::settle(std::unique_ptr<Job> job) {
  for (napi_ref ref : job->kept) napi_delete_reference(env_, ref);
  buffers.give_back(std::move(job->hidden));
  const int status = job->status == Job::closed            ? kClosed
                     : job->status == Job::out_of_memory   ? kOutOfMemory
                     : job->status == Job::weights_changed ? kWeightsChanged
                                                           : static_cast<int>(job->result.status);
  if (status == 0 && job->request.candidates) {
    try {
      napi_resolve_deferred(env_, job->deferred, candidates_to_js(env_, job->candidates));
    } catch (const Napi::Error& error) {
      napi_reject_deferred(env_, job->deferred, error.Value());
    }
  } else {
    napi_resolve_deferred(env_, job->deferred, result_to_js(env_, status, job->result));
  }
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
