#include "jobs.h"

#include <new>

#include "arguments.h"

namespace lmhead {

void Job::run(Gate& gate) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  request.crew.gate = &gate;
  try {
    result = quantisation ? core->quantise(*quantisation) : core->run(hidden.data(), n, request, view);
    if (!core->intact()) status = weights_changed;
  } catch (const std::bad_alloc&) {
    status = out_of_memory;
  }
  if (times) {
    times[0] = std::chrono::duration<double>(start - sent).count();
    times[1] = std::chrono::duration<double>(Clock::now() - start).count();
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

void Channel::send(const std::shared_ptr<Lane>& lane, std::unique_ptr<Job> job) {
  if (pending_++ == 0) napi_ref_threadsafe_function(env_, function_);
  TaskQueue::instance().push(lane, std::move(job));
}

void Channel::close(Lane& lane) {
  for (std::unique_ptr<Task>& task : TaskQueue::instance().withdraw(lane)) {
    static_cast<Job&>(*task).status = Job::closed;
    post(std::move(task));
  }
}

void Channel::post(std::unique_ptr<Task> job) {
  const std::lock_guard lock(mutex_);
  // In a closing environment the references die with it; they must not be touched from here.
  if (open_ && napi_call_threadsafe_function(function_, job.get(), napi_tsfn_nonblocking) == napi_ok) job.release();
}

void Channel::settle(napi_env env, napi_value, void* context, void* data) {
  const std::unique_ptr<Job> job(static_cast<Job*>(static_cast<Task*>(data)));
  if (env == nullptr) return;  // torn down with the call still queued
  Channel& channel = *static_cast<Channel*>(context);
  if (--channel.pending_ == 0) napi_unref_threadsafe_function(env, channel.function_);
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  for (napi_ref ref : job->kept) napi_delete_reference(env, ref);
  channel.buffers.give_back(std::move(job->hidden));
  const int status = job->status == Job::closed            ? kClosed
                     : job->status == Job::out_of_memory   ? kOutOfMemory
                     : job->status == Job::weights_changed ? kWeightsChanged
                                                           : static_cast<int>(job->result.status);
  if (status == 0 && job->request.candidates) {
    try {
      napi_resolve_deferred(env, job->deferred, candidates_to_js(env, job->candidates));
    } catch (const Napi::Error& error) {
      napi_reject_deferred(env, job->deferred, error.Value());
    }
  } else {
    napi_resolve_deferred(env, job->deferred, result_to_js(env, status, job->result));
  }
  napi_close_handle_scope(env, scope);
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
