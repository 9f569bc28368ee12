// The order in which asynchronous passes run.
//
// A head queue's tasks run one after another, as they came. Head queues take turns: one task computes at a time, on as many
// threads as it likes, and when its turn has lasted kTurn it gives way, where its gate lets it, to those that wait.
//
// Head queues of a group take their turns together: a task that starts takes along those at the head of these head queues, one of
// each head queue in turn, for as long as there is room. So no task overtakes another of its head queue, and a head queue that
// was passed over comes first.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "task.h"

namespace lmhead {

class HeadQueue;

// Head queues that take their turns together. Everything in it is the queue's business.
class SharingGroup {
 public:
  // room: for the tasks of one turn. A task that needs more has it for itself.
  explicit SharingGroup(Task::Share room = {}) : room_(room) {}

 private:
  friend class TaskQueue;
  void add(std::shared_ptr<HeadQueue> head_queue);
  std::shared_ptr<HeadQueue> remove(HeadQueue& head_queue);

  const Task::Share room_;
  std::shared_ptr<HeadQueue> first_;  // of those with tasks, the one whose turn it is
  HeadQueue* last_ = nullptr;
  std::atomic<size_t> pushed_{0};       // tasks, so far
  bool active_ = false;                 // in the queue, or in a runner's hands
  std::shared_ptr<SharingGroup> next_;  // in the queue
};

// Tasks that have not started, oldest first. Everything in it is the queue's business.
class HeadQueue {
 public:
  explicit HeadQueue(std::shared_ptr<SharingGroup> group = std::make_shared<SharingGroup>()) : group_(std::move(group)) {}

 private:
  friend class SharingGroup;
  friend class TaskQueue;
  const std::shared_ptr<SharingGroup> group_;
  TaskList tasks_;
  // In its group, where it has tasks.
  std::shared_ptr<HeadQueue> next_;
  HeadQueue* previous_ = nullptr;
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
  class SharedTurn;

  TaskQueue() = default;
  void start_worker();
  void make_ready(std::shared_ptr<SharingGroup> group);
  void work();
  std::shared_ptr<SharingGroup> next_group(Lock& lock);
  void run_first(SharingGroup& group, Lock& lock);
  std::unique_ptr<Task> remove(HeadQueue& head_queue, Task& task);
  Task* first_of(HeadQueue& head_queue);
  Task* start_first(HeadQueue& head_queue);
  void finish(Task& task, Lock& lock);
  void take_turn(Lock& lock);
  void end_turn();

  std::mutex mutex_;
  std::condition_variable pushed_, turn_, stopped_;
  std::shared_ptr<SharingGroup> ready_;  // the first of those with tasks and without a runner
  SharingGroup* last_ready_ = nullptr;
  std::atomic<size_t> ready_count_{0};  // written under the lock, for those that spin
  size_t runners_ = 0, idle_ = 0, parked_ = 0;
  uint64_t next_ticket_ = 0, serving_ = 0;
  std::atomic<size_t> waiting_{0};  // for a turn
  TaskList running_;                // started, and perhaps giving way at the moment
};

}  // namespace lmhead
