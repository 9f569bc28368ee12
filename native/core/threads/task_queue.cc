#include "task_queue.h"

#include <algorithm>
#include <new>
#include <system_error>
#include <thread>

#include "relax.h"

namespace lmhead {

namespace {

using namespace std::chrono_literals;

// A turn must be long beside what a change of turns costs, and short beside what a person notices.
constexpr auto kTurn = 10ms;
// A turn is held by a thread. Where more than this have tasks, the others wait for one to run out of them.
constexpr size_t kMostRunners = 16;

}  // namespace

class TaskQueue::SharedTurn final : public Turn {
 public:
  // first: the group's task that it is given to.
  SharedTurn(TaskQueue& queue, SharingGroup& group, Task& first)
      : queue_(queue), group_(group), first_(&first), room_(group.room_) {
    take_room(first.share());
    seen_ = group.pushed_.load(std::memory_order_relaxed);
  }

  bool wanted() const override { return queue_.waiting_.load(std::memory_order_relaxed) > 0 && Clock::now() - since_ >= kTurn; }
  void yield_turn() override {
    Lock lock(queue_.mutex_);
    queue_.end_turn();
    queue_.take_turn(lock);
    since_ = Clock::now();
  }

  Task* join() override {
    if (room_.rows == 0) return nullptr;
    const Lock lock(queue_.mutex_);
    seen_ = group_.pushed_.load(std::memory_order_relaxed);
    for (std::shared_ptr<HeadQueue> head_queue = group_.first_, next; head_queue; head_queue = std::move(next)) {
      next = head_queue->next_;
      const Task* const task = queue_.first_of(*head_queue);
      if (!task) continue;
      const Task::Share share = task->share();
      if (share.rows == 0 || share.rows > room_.rows || share.bytes > room_.bytes) continue;
      take_room(share);
      return queue_.start_first(*head_queue);
    }
    return nullptr;
  }
  bool has_news() const override { return room_.rows > 0 && group_.pushed_.load(std::memory_order_relaxed) != seen_; }
  void done(Task& task) override {
    Lock lock(queue_.mutex_);
    if (&task == first_) first_ = nullptr;
    queue_.finish(task, lock);
  }

  // The task that it was given to, unless that is done.
  Task* first() const { return first_; }

 private:
  void take_room(const Task::Share& share) {
    room_.rows = share.rows == 0 ? 0 : room_.rows - std::min(share.rows, room_.rows);
    room_.bytes -= std::min(share.bytes, room_.bytes);
  }

  TaskQueue& queue_;
  SharingGroup& group_;
  Task* first_;
  Task::Share room_;  // that is left
  size_t seen_;       // of the tasks pushed, how many there were when somebody joined last
  Clock::time_point since_ = Clock::now();
};

void SharingGroup::add(std::shared_ptr<HeadQueue> head_queue) {
  HeadQueue* const added = head_queue.get();
  added->previous_ = last_;
  (last_ ? last_->next_ : first_) = std::move(head_queue);
  last_ = added;
}

std::shared_ptr<HeadQueue> SharingGroup::remove(HeadQueue& head_queue) {
  std::shared_ptr<HeadQueue>& place = head_queue.previous_ ? head_queue.previous_->next_ : first_;
  std::shared_ptr<HeadQueue> removed = std::move(place);
  place = std::move(head_queue.next_);
  (place ? place->previous_ : last_) = head_queue.previous_;
  return removed;
}

TaskQueue& TaskQueue::instance() {
  static TaskQueue* queue = new TaskQueue;
  return *queue;
}

void TaskQueue::push(const std::shared_ptr<HeadQueue>& head_queue, std::unique_ptr<Task> task) {
  {
    Lock lock(mutex_);
    const std::shared_ptr<SharingGroup>& group = head_queue->group_;
    if (!group->active_ && ready_count_ >= idle_ && runners_ < kMostRunners) start_worker();
    if (runners_ > 0) {
      if (head_queue->tasks_.empty()) group->add(head_queue);
      head_queue->tasks_.push_back(std::move(task));
      group->pushed_.fetch_add(1, std::memory_order_relaxed);
      if (group->active_) return;  // its runner will come to it
      group->active_ = true;
      make_ready(group);
      const bool spinners_suffice = ready_count_ <= idle_ - parked_;
      lock.unlock();
      if (!spinners_suffice) pushed_.notify_one();
      return;
    }
  }
  Task& refused = *task;
  refused.refuse(std::move(task));
}

TaskList TaskQueue::withdraw(HeadQueue& head_queue) {
  const Lock lock(mutex_);
  TaskList all;
  while (Task* const task = head_queue.tasks_.first()) all.push_back(remove(head_queue, *task));
  return all;
}

std::unique_ptr<Task> TaskQueue::withdraw(HeadQueue& head_queue, Task& task) {
  const Lock lock(mutex_);
  return head_queue.tasks_.has(task) ? remove(head_queue, task) : nullptr;
}

void TaskQueue::stop(const void* owner) {
  Lock lock(mutex_);
  const auto each_owned = [&](auto use) {
    running_.each([&](Task& task) {
      if (task.owner() == owner) use(task);
    });
  };
  each_owned([](Task& task) { task.cancel(); });
  stopped_.wait(lock, [&] {
    bool any = false;
    each_owned([&](Task&) { any = true; });
    return !any;
  });
}

// Threads are made as they are first wanted. Where the system grants no more, those that exist do the work.
void TaskQueue::start_worker() {
  try {
    std::thread([this] { work(); }).detach();
    runners_++;
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
}

void TaskQueue::make_ready(std::shared_ptr<SharingGroup> group) {
  SharingGroup* const last = group.get();
  (last_ready_ ? last_ready_->next_ : ready_) = std::move(group);
  last_ready_ = last;
  ready_count_.fetch_add(1, std::memory_order_relaxed);
}

void TaskQueue::work() {
  Lock lock(mutex_);
  for (;;) {
    std::shared_ptr<SharingGroup> group = next_group(lock);
    take_turn(lock);
    run_first(*group, lock);
    end_turn();
    group->active_ = group->first_ != nullptr;
    if (group->active_) make_ready(std::move(group));
  }
}

std::shared_ptr<SharingGroup> TaskQueue::next_group(Lock& lock) {
  idle_++;
  if (!ready_) {
    lock.unlock();
    const auto until = Clock::now() + kSpin;
    while (ready_count_.load(std::memory_order_relaxed) == 0 && Clock::now() < until) relax();
    lock.lock();
    parked_++;
    pushed_.wait(lock, [&] { return ready_ != nullptr; });
    parked_--;
  }
  idle_--;
  std::shared_ptr<SharingGroup> group = std::move(ready_);
  ready_ = std::move(group->next_);
  if (!ready_) last_ready_ = nullptr;
  ready_count_.fetch_sub(1, std::memory_order_relaxed);
  return group;
}

void TaskQueue::run_first(SharingGroup& group, Lock& lock) {
  Task* task = nullptr;
  while (!task && group.first_) task = start_first(*std::shared_ptr<HeadQueue>(group.first_));
  if (!task) return;
  SharedTurn turn(*this, group, *task);
  lock.unlock();
  task->run(turn);
  lock.lock();
  if (Task* const first = turn.first()) finish(*first, lock);
}

// A head queue without tasks is in no group; the head queue may go with its last one.
std::unique_ptr<Task> TaskQueue::remove(HeadQueue& head_queue, Task& task) {
  std::unique_ptr<Task> taken = head_queue.tasks_.remove(task);
  if (head_queue.tasks_.empty()) head_queue.group_->remove(head_queue);
  return taken;
}

// The head queue's first task that is wanted; the others go.
Task* TaskQueue::first_of(HeadQueue& head_queue) {
  while (Task* const task = head_queue.tasks_.first()) {
    if (task->is_wanted()) return task;
    remove(head_queue, *task);
  }
  return nullptr;
}

// That task, running now; the other head queues of a group come before the next one of this head queue.
Task* TaskQueue::start_first(HeadQueue& head_queue) {
  Task* const task = first_of(head_queue);
  if (!task) return nullptr;
  running_.push_back(remove(head_queue, *task));
  if (!head_queue.tasks_.empty()) head_queue.group_->add(head_queue.group_->remove(head_queue));
  return task;
}

// Before the turn ends, so that results of a head queue arrive in order.
void TaskQueue::finish(Task& task, Lock& lock) {
  std::unique_ptr<Task> ended = running_.remove(task);
  stopped_.notify_all();
  lock.unlock();
  task.finish(std::move(ended));
  lock.lock();
}

void TaskQueue::take_turn(Lock& lock) {
  const uint64_t ticket = next_ticket_++;
  if (serving_ == ticket) return;
  waiting_++;
  turn_.wait(lock, [&] { return serving_ == ticket; });
  waiting_--;
}

void TaskQueue::end_turn() {
  serving_++;
  if (waiting_ > 0) turn_.notify_all();
}

}  // namespace lmhead
