#include "pool.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>

#include "relax.h"

namespace lmhead {

namespace {

// How long an idle helper looks for work before it parks. Waking a parked thread costs about as much; an idle process must not
// use CPU.
constexpr auto kSpin = std::chrono::microseconds(50);

}  // namespace

ThreadPool& ThreadPool::instance() {
  static ThreadPool* pool = new ThreadPool;
  return *pool;
}

void ThreadPool::help() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (teams_.empty()) {
      const unsigned seen = opened_.load(std::memory_order_relaxed);
      lock.unlock();
      const auto until = std::chrono::steady_clock::now() + kSpin;
      while (opened_.load(std::memory_order_relaxed) == seen && std::chrono::steady_clock::now() < until)
        for (int i = 0; i < 16; i++) relax();
      lock.lock();
      wake_.wait(lock, [&] { return !teams_.empty(); });
    }
    Team* team = teams_.front();
    const unsigned slot = ++team->joined;
    if (team->joined == team->wanted) teams_.erase(teams_.begin());
    lock.unlock();
    (*team->work)(slot);
    lock.lock();
    team->left++;
    finished_.notify_all();
  }
}

void ThreadPool::run(unsigned threads, const std::function<void(unsigned)>& work) {
  if (threads <= 1) {
    work(0);
    return;
  }
  Team team{&work, threads - 1};
  {
    const std::lock_guard lock(mutex_);
    // Threads are made as they are first wanted. Where the system grants no more, those that exist do the work.
    try {
      for (; helpers_ < team.wanted; helpers_++) std::thread([this] { help(); }).detach();
    } catch (const std::system_error&) {
    }
    teams_.push_back(&team);
    opened_.fetch_add(1, std::memory_order_relaxed);
  }
  wake_.notify_all();
  work(0);
  std::unique_lock lock(mutex_);
  const auto at = std::find(teams_.begin(), teams_.end(), &team);
  if (at != teams_.end()) teams_.erase(at);  // whoever has not joined by now would find nothing left to do
  finished_.wait(lock, [&] { return team.left == team.joined; });
}

}  // namespace lmhead
