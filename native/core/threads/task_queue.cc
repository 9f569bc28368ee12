#include "task_queue.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <utility>

#include "relax.h"

namespace lmhead {

namespace {

using namespace std::chrono_literals;

// A turn must be long beside what a change of turns costs, and short beside what a person notices.
constexpr auto kTurn = 10ms;
// A turn is held by a thread. Where more lanes than this have tasks, the others wait for one to run out of them.
constexpr size_t kMostRunners = 16;
// How long a runner without work looks out for more before it parks: about as long as JavaScript takes to act on a result.
constexpr auto kSpin = 50us;

}  // namespace

// A task's time to compute.
class TaskQueue::Turn final : public Gate {
 public:
  explicit Turn(TaskQueue& queue) : queue_(queue) {}
  bool wanted() const override { return queue_.waiting_.load(std::memory_order_relaxed) > 0 && Clock::now() - since_ >= kTurn; }
  void give_way() override {
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

void TaskQueue::push(const std::shared_ptr<Lane>& lane, std::unique_ptr<Task> task) {
  {
    Lock lock(mutex_);
    if (!lane->active_ && ready_.size() >= idle_ && runners_ < kMostRunners) hire();
    if (runners_ > 0) {
      lane->tasks_.push_back(std::move(task));
      if (lane->active_) return;  // its runner will come to it
      lane->active_ = true;
      make_ready(lane);
      const bool spinners_suffice = ready_.size() <= idle_ - parked_;
      lock.unlock();
      if (!spinners_suffice) pushed_.notify_one();
      return;
    }
  }
  Task& refused = *task;
  refused.refuse(std::move(task));
}

std::deque<std::unique_ptr<Task>> TaskQueue::withdraw(Lane& lane) {
  const Lock lock(mutex_);
  return std::exchange(lane.tasks_, {});
}

void TaskQueue::stop(const void* owner) {
  Lock lock(mutex_);
  const auto is_owned = [&](const Task* task) { return task->owner() == owner; };
  for (Task* task : running_)
    if (is_owned(task)) task->cancel();
  stopped_.wait(lock, [&] { return std::none_of(running_.begin(), running_.end(), is_owned); });
}

// Threads are made as they are first wanted. Where the system grants no more, those that exist do the work.
void TaskQueue::hire() {
  try {
    std::thread([this] { work(); }).detach();
    runners_++;
  } catch (const std::system_error&) {
  }
}

void TaskQueue::make_ready(std::shared_ptr<Lane> lane) {
  ready_.push_back(std::move(lane));
  ready_count_.store(ready_.size(), std::memory_order_relaxed);
}

void TaskQueue::work() {
  Lock lock(mutex_);
  for (;;) {
    const std::shared_ptr<Lane> lane = next_lane(lock);
    take_turn(lock);
    std::unique_ptr<Task> task = run_first(*lane, lock);
    end_turn();
    if (task) {
      // Before the lane goes on, so that results arrive in order.
      lock.unlock();
      Task& ended = *task;
      ended.finish(std::move(task));
      lock.lock();
    }
    lane->active_ = !lane->tasks_.empty();
    if (lane->active_) make_ready(lane);
  }
}

std::shared_ptr<Lane> TaskQueue::next_lane(Lock& lock) {
  idle_++;
  if (ready_.empty()) {
    ready_count_.store(0, std::memory_order_relaxed);
    lock.unlock();
    const auto until = Clock::now() + kSpin;
    while (ready_count_.load(std::memory_order_relaxed) == 0 && Clock::now() < until) relax();
    lock.lock();
    parked_++;
    pushed_.wait(lock, [&] { return !ready_.empty(); });
    parked_--;
  }
  idle_--;
  std::shared_ptr<Lane> lane = std::move(ready_.front());
  ready_.pop_front();
  ready_count_.store(ready_.size(), std::memory_order_relaxed);
  return lane;
}

// Null where the lane's tasks were withdrawn, or nobody wants them.
std::unique_ptr<Task> TaskQueue::run_first(Lane& lane, Lock& lock) {
  while (!lane.tasks_.empty()) {
    std::unique_ptr<Task> task = std::move(lane.tasks_.front());
    lane.tasks_.pop_front();
    if (!task->is_wanted()) continue;
    running_.push_back(task.get());
    lock.unlock();
    Turn turn(*this);
    task->run(turn);
    lock.lock();
    std::erase(running_, task.get());
    stopped_.notify_all();
    return task;
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
