#include "pool.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>
#include <thread>

#include "relax.h"

namespace lmhead {

ThreadPool& ThreadPool::instance() {
  static ThreadPool* pool = new ThreadPool;
  return *pool;
}

void ThreadPool::help() {
  Sleeper self;
  self.detour.begin();
  std::unique_lock lock(mutex_);
  for (;;) {
    if (!teams_) {
      const unsigned seen = opened_.load(std::memory_order_relaxed);
      lock.unlock();
      const auto until = std::chrono::steady_clock::now() + kSpin;
      while (opened_.load(std::memory_order_relaxed) == seen && std::chrono::steady_clock::now() < until)
        for (int i = 0; i < 16; i++) relax();
      lock.lock();
      while (!teams_) sleep(lock, self);
    }
    Team* const team = teams_;
    const unsigned slot = ++team->joined;
    places_--;
    if (team->joined == team->wanted) close(*team);
    awake_--;
    lock.unlock();
    if (current_cpu() == team->cpu) {  // while this one runs, its caller does not
      self.detour.avoid(team->cpu);
      self.detour.end();
    }
    (*team->work)(slot);
    lock.lock();
    awake_++;
    team->left++;
    finished_.notify_all();
  }
}

void ThreadPool::sleep(std::unique_lock<std::mutex>& lock, Sleeper& self) {
  self.cpu = current_cpu();
  self.next = sleepers_;
  sleepers_ = &self;
  awake_--;
  wake_.wait(lock);
  awake_++;
  Sleeper** at = &sleepers_;
  while (*at != &self) at = &(*at)->next;
  *at = self.next;
  self.detour.end();
}

void ThreadPool::open(Team& team) {
  places_ += team.wanted;
  Team** end = &teams_;
  while (*end) end = &(*end)->next;
  *end = &team;
}

void ThreadPool::close(Team& team) {
  places_ -= team.wanted - team.joined;
  Team** at = &teams_;
  while (*at != &team) at = &(*at)->next;
  *at = team.next;
}

void ThreadPool::run(unsigned threads, const std::function<void(unsigned)>& work) {
  if (threads <= 1) {
    work(0);
    return;
  }
  Team team{&work, threads - 1, current_cpu()};
  unsigned sleepers;
  {
    const std::lock_guard lock(mutex_);
    // Threads are made as they are first wanted. Where the system grants no more, those that exist do the work.
    try {
      for (; helpers_ < team.wanted; helpers_++, awake_++) std::thread([this] { help(); }).detach();
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
    open(team);
    sleepers = places_ > awake_ ? std::min(team.wanted, places_ - awake_) : 0;
    opened_.fetch_add(1, std::memory_order_relaxed);
    for (Sleeper* each = sleepers > 0 ? sleepers_ : nullptr; each; each = each->next)
      if (each->cpu == team.cpu) each->detour.avoid(team.cpu);
  }
  for (; sleepers > 0; sleepers--) wake_.notify_one();
  work(0);
  std::unique_lock lock(mutex_);
  if (team.joined < team.wanted) close(team);  // whoever has not joined by now would find nothing left to do
  finished_.wait(lock, [&] { return team.left == team.joined; });
}

}  // namespace lmhead
