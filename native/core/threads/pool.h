// The threads that passes run on. One pool for the process; any number of passes may use it at once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>

#include "detour.h"

namespace lmhead {

class ThreadPool {
 public:
  // Never destroyed: threads may still be parked in it when the process ends.
  static ThreadPool& instance();

  // Runs work(slot) on up to `threads` threads at once, the caller being slot 0; returns when all have returned. Slots are
  // distinct and below `threads`. Helpers join as they wake, or never: work must share itself out (an atomic counter), so that
  // the caller alone would finish it. `work` must not throw. Of the threads that sleep, no more are woken than may join.
  void run(unsigned threads, const std::function<void(unsigned slot)>& work);

 private:
  struct Team {
    const std::function<void(unsigned)>* work;
    unsigned wanted;      // helpers that may join
    int cpu;              // the caller's, when it opened
    unsigned joined = 0;  // helpers that have joined
    unsigned left = 0;    // helpers that have returned
    Team* next = nullptr;
  };

  struct Sleeper {
    int cpu;  // that it ran on last
    Detour detour;
    Sleeper* next = nullptr;
  };

  ThreadPool() = default;
  void sleep(std::unique_lock<std::mutex>& lock, Sleeper& self);
  void help();
  void open(Team& team);
  void close(Team& team);

  std::mutex mutex_;
  std::condition_variable wake_;      // a team has opened
  std::condition_variable finished_;  // a helper has left its team
  Team* teams_ = nullptr;             // with places left, oldest first
  std::atomic<unsigned> opened_{0};   // counts teams, for those who spin
  unsigned places_ = 0;               // left in all of them
  Sleeper* sleepers_ = nullptr;       // all helpers that sleep
  unsigned helpers_ = 0, awake_ = 0;  // awake: about to look for a team
};

}  // namespace lmhead
