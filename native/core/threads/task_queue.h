// The order in which asynchronous passes run.
//
// A head queue's tasks run one after another, as they came. Head queues take turns: one task computes at a time, on as many
// threads as it likes, and when its turn has lasted kTurn it gives way, where its gate lets it, to those that wait.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "task.h"

namespace lmhead {

// Tasks that have not started, oldest first. Everything in it is the queue's business.
class HeadQueue {
  friend class TaskQueue;
  TaskList tasks_;
  bool active_ = false;              // in the queue, or in a runner's hands
  std::shared_ptr<HeadQueue> next_;  // in the queue
};

class TaskQueue {
 public:
  // Never destroyed: its threads may be parked in it when the process ends.
  static TaskQueue& instance();

  void push(const std::shared_ptr<HeadQueue>& head_queue, std::unique_ptr<Task> task);
  // Takes back what has not started: all of a head queue's, or one of its tasks, which has been pushed and not been finished or
  // refused; null where that has started.
  TaskList withdraw(HeadQueue& head_queue);
  std::unique_ptr<Task> withdraw(HeadQueue& head_queue, Task& task);
  // Cancels the running tasks of an owner, and returns when they have ended. None that is not wanted starts after that.
  void stop(const void* owner);

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;
  class Turn;

  TaskQueue() = default;
  void start_worker();
  void make_ready(std::shared_ptr<HeadQueue> head_queue);
  void work();
  std::shared_ptr<HeadQueue> next_head_queue(Lock& lock);
  std::unique_ptr<Task> run_first(HeadQueue& head_queue, Lock& lock);
  void take_turn(Lock& lock);
  void end_turn();

  std::mutex mutex_;
  std::condition_variable pushed_, turn_, stopped_;
  std::shared_ptr<HeadQueue> ready_;  // the first of the head queues with tasks and without a runner
  HeadQueue* last_ready_ = nullptr;
  std::atomic<size_t> ready_count_{0};  // written under the lock, for those that spin
  size_t runners_ = 0, idle_ = 0, parked_ = 0;
  uint64_t next_ticket_ = 0, serving_ = 0;
  std::atomic<size_t> waiting_{0};  // for a turn
  TaskList running_;                // started, and perhaps giving way at the moment
};

}  // namespace lmhead
