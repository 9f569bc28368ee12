// Tasks of the queue that tests are about.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "../core/threads/task_queue.h"

namespace lmhead::test {

using namespace std::chrono_literals;

// What has happened, in order, and a way to wait for it.
class Log {
 public:
  // ended: kept as long as the log, as whoever pushed it may do in life.
  void add(int event, std::unique_ptr<Task> ended) {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
    ended_.push_back(std::move(ended));
    changed_.notify_all();  // under the lock: whoever waits may end the log's life
  }
  // Waits until there are `count`, for as long as any machine may need.
  std::vector<int> wait(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 60s, [&] { return events_.size() >= count; });
    return events_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> events_;
  std::vector<std::unique_ptr<Task>> ended_;
};

class TestTask final : public Task {
 public:
  using Work = std::function<void(Turn&, const std::atomic<bool>& canceled)>;
  TestTask(int name, Log& finished, Work work, const void* owner = nullptr)
      : name_(name), finished_(finished), work_(std::move(work)), owner_(owner) {}
  void run(Turn& turn) override { work_(turn, canceled_); }
  void finish(std::unique_ptr<Task> self) override { finished_.add(name_, std::move(self)); }
  void refuse(std::unique_ptr<Task> self) override { finish(std::move(self)); }
  const void* owner() const override { return owner_; }
  bool is_wanted() const override { return wanted; }
  void cancel() override { canceled_ = true; }
  Share share() const override { return its_share; }
  int name() const { return name_; }
  bool wanted = true;
  Share its_share = {};

 private:
  const int name_;
  Log& finished_;
  const Work work_;
  const void* const owner_;
  std::atomic<bool> canceled_{false};
};

inline void push(const std::shared_ptr<HeadQueue>& head_queue, std::unique_ptr<Task> task) {
  TaskQueue::instance().push(head_queue, std::move(task));
}

inline std::unique_ptr<Task> task(int name, Log& log, TestTask::Work work) {
  return std::make_unique<TestTask>(name, log, std::move(work));
}

inline void nothing(Turn&, const std::atomic<bool>&) {}

}  // namespace lmhead::test
