#include "task_queue.h"

#include <new>
#include <system_error>
#include <thread>

#include "relax.h"

namespace lmhead {

namespace {

using namespace std::chrono_literals;

// A turn must be long beside what a change of turns costs, and short beside what a person notices.
constexpr auto kTurn = 10ms;
// A turn is held by a thread. Where more head queues than this have tasks, the others wait for one to run out of them.
constexpr size_t kMostRunners = 16;
// How long a runner without work looks out for more before it parks: about as long as JavaScript takes to act on a result.
constexpr auto kSpin = 50us;

}  // namespace

// A task's time to compute.
class TaskQueue::Turn final : public Gate {
 public:
  explicit Turn(TaskQueue& queue) : queue_(queue) {}
  bool wanted() const override { return queue_.waiting_.load(std::memory_order_relaxed) > 0 && Clock::now() - since_ >= kTurn; }
  void yield_turn() override {
    Lock lock(queue_.mutex_);
    queue_.end_turn();
    queue_.take_turn(lock);
    since_ = Clock::now();
  }

 private:
  TaskQueue& queue_;
  Clock::time_point since_ = Clock::now();
};

TaskQueue& TaskQueue::instance() {
  static TaskQueue* queue = new TaskQueue;
  return *queue;
}

void TaskQueue::push(const std::shared_ptr<HeadQueue>& head_queue, std::unique_ptr<Task> task) {
  {
    Lock lock(mutex_);
    if (!head_queue->active_ && ready_count_ >= idle_ && runners_ < kMostRunners) start_worker();
    if (runners_ > 0) {
      head_queue->tasks_.push_back(std::move(task));
      if (head_queue->active_) return;  // its runner will come to it
      head_queue->active_ = true;
      make_ready(head_queue);
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
  return std::move(head_queue.tasks_);
}

std::unique_ptr<Task> TaskQueue::withdraw(HeadQueue& head_queue, Task& task) {
  const Lock lock(mutex_);
  return head_queue.tasks_.has(task) ? head_queue.tasks_.take(task) : nullptr;
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

void TaskQueue::make_ready(std::shared_ptr<HeadQueue> head_queue) {
  HeadQueue* const last = head_queue.get();
  (last_ready_ ? last_ready_->next_ : ready_) = std::move(head_queue);
  last_ready_ = last;
  ready_count_.fetch_add(1, std::memory_order_relaxed);
}

void TaskQueue::work() {
  Lock lock(mutex_);
  for (;;) {
    const std::shared_ptr<HeadQueue> head_queue = next_head_queue(lock);
    take_turn(lock);
    std::unique_ptr<Task> task = run_first(*head_queue, lock);
    end_turn();
    if (task) {
      // Before the head queue goes on, so that results arrive in order.
      lock.unlock();
      Task& ended = *task;
      ended.finish(std::move(task));
      lock.lock();
    }
    head_queue->active_ = !head_queue->tasks_.empty();
    if (head_queue->active_) make_ready(head_queue);
  }
}

std::shared_ptr<HeadQueue> TaskQueue::next_head_queue(Lock& lock) {
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
  std::shared_ptr<HeadQueue> head_queue = std::move(ready_);
  ready_ = std::move(head_queue->next_);
  if (!ready_) last_ready_ = nullptr;
  ready_count_.fetch_sub(1, std::memory_order_relaxed);
  return head_queue;
}

// Null where the head queue's tasks were withdrawn, or nobody wants them.
std::unique_ptr<Task> TaskQueue::run_first(HeadQueue& head_queue, Lock& lock) {
  while (std::unique_ptr<Task> task = head_queue.tasks_.take_first()) {
    if (!task->is_wanted()) continue;
    Task& started = *task;
    running_.push_back(std::move(task));
    lock.unlock();
    Turn turn(*this);
    started.run(turn);
    lock.lock();
    stopped_.notify_all();
    return running_.take(started);
  }
  return nullptr;
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
