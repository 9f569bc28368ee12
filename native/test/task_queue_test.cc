// The queue of asynchronous passes. Some of what these cases find, they find under -DLMHEAD_SANITIZE=thread.
#include "../core/threads/task_queue.h"

#include <algorithm>
#include <functional>
#include <thread>
#include <vector>

#include "check.h"

namespace lmhead::test {
namespace {

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

void push(const std::shared_ptr<HeadQueue>& head_queue, std::unique_ptr<Task> task) {
  TaskQueue::instance().push(head_queue, std::move(task));
}

std::unique_ptr<Task> task(int name, Log& log, TestTask::Work work) {
  return std::make_unique<TestTask>(name, log, std::move(work));
}

void nothing(Turn&, const std::atomic<bool>&) {}

TEST(a_head_queue_runs_its_tasks_in_order) {
  Log log;
  const auto head_queue = std::make_shared<HeadQueue>();
  std::vector<int> wanted;
  for (int i = 0; i < 2000; i++) {
    wanted.push_back(i);
    push(head_queue, task(i, log, nothing));
  }
  CHECK(log.wait(2000) == wanted);
}

TEST(one_task_computes_at_a_time) {
  Log log;
  std::atomic<int> computing{0}, together{0};
  int unguarded = 0;  // a race, if two did
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 5; caller++)
    callers.emplace_back([&] {
      const auto head_queue = std::make_shared<HeadQueue>();
      for (int i = 0; i < 200; i++)
        push(head_queue, task(i, log, [&](Turn&, const std::atomic<bool>&) {
               if (computing.fetch_add(1) != 0) together++;
               unguarded++;
               computing--;
             }));
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(log.wait(1000).size() == 1000);
  CHECK(together == 0 && unguarded == 1000);
}

// A task that would never end by itself gives way to others that come after it, in as many head queues as may wait. (What ends is
// reported by several threads, so between head queues no order is promised.)
TEST(a_long_task_gives_way_to_other_head_queues) {
  Log log;
  std::atomic<bool> enough{false};
  const auto endless = [&](Turn& gate, const std::atomic<bool>&) {
    while (!enough) {
      if (gate.wanted()) gate.yield_turn();
      std::this_thread::yield();
    }
  };
  const auto long_head_queue = std::make_shared<HeadQueue>(), other_long_head_queue = std::make_shared<HeadQueue>();
  push(long_head_queue, task(100, log, endless));
  push(other_long_head_queue, task(101, log, endless));
  push(long_head_queue, task(102, log, nothing));
  std::vector<std::shared_ptr<HeadQueue>> head_queues;
  for (int i = 0; i < 8; i++) push(head_queues.emplace_back(std::make_shared<HeadQueue>()), task(i, log, nothing));
  std::vector<int> others = log.wait(8);
  std::sort(others.begin(), others.end());
  CHECK(others == std::vector<int>({0, 1, 2, 3, 4, 5, 6, 7}));
  enough = true;
  const std::vector<int> all = log.wait(11);
  const auto at = [&](int name) { return std::find(all.begin(), all.end(), name); };
  CHECK(all.size() == 11 && at(100) < at(102));
}

TEST(a_task_that_is_alone_is_not_asked_to_yield) {
  Log log;
  std::atomic<int> asked{0};
  push(std::make_shared<HeadQueue>(), task(0, log, [&](Turn& gate, const std::atomic<bool>&) {
         const auto until = std::chrono::steady_clock::now() + 30ms;
         while (std::chrono::steady_clock::now() < until) asked += gate.wanted();
       }));
  log.wait(1);
  CHECK(asked == 0);
}

TEST(more_head_queues_than_threads_all_get_their_turn) {
  Log log;
  for (int i = 0; i < 500; i++) push(std::make_shared<HeadQueue>(), task(i, log, nothing));
  CHECK(log.wait(500).size() == 500);
}

TEST(what_has_not_started_can_be_taken_back) {
  Log log;
  std::atomic<bool> started{false}, go{false};
  const auto head_queue = std::make_shared<HeadQueue>();
  push(head_queue, task(0, log, [&](Turn&, const std::atomic<bool>&) {
         started = true;
         while (!go) std::this_thread::yield();
       }));
  while (!started) std::this_thread::yield();
  for (int i = 1; i < 5; i++) push(head_queue, task(i, log, nothing));
  TaskList waiting = TaskQueue::instance().withdraw(*head_queue);
  int count = 0;
  for (; waiting.take_first(); count++) {
  }
  CHECK(count == 4);
  CHECK(TaskQueue::instance().withdraw(*head_queue).empty());
  go = true;
  log.wait(1);
  push(head_queue, task(9, log, nothing));
  CHECK(log.wait(2) == std::vector<int>({0, 9}));
}

TEST(one_task_can_be_taken_back) {
  Log log;
  std::atomic<bool> started{false}, go{false};
  const auto head_queue = std::make_shared<HeadQueue>();
  std::unique_ptr<Task> first = task(0, log, [&](Turn&, const std::atomic<bool>&) {
    started = true;
    while (!go) std::this_thread::yield();
  });
  Task& running = *first;
  push(head_queue, std::move(first));
  while (!started) std::this_thread::yield();
  std::vector<Task*> waiting;
  for (int i = 1; i < 6; i++) {
    std::unique_ptr<Task> next = task(i, log, nothing);
    waiting.push_back(next.get());
    push(head_queue, std::move(next));
  }
  CHECK(!TaskQueue::instance().withdraw(*head_queue, running));
  for (const size_t i : {0, 2, 4}) {  // the first, one in the middle, the last
    const std::unique_ptr<Task> taken = TaskQueue::instance().withdraw(*head_queue, *waiting[i]);
    CHECK(taken.get() == waiting[i]);
  }
  go = true;
  CHECK(log.wait(3) == std::vector<int>({0, 2, 4}));
}

// Each is run, or taken back, and never both.
TEST(tasks_are_taken_back_while_others_start) {
  Log log;
  const auto head_queue = std::make_shared<HeadQueue>();
  size_t left = 0;
  for (int round = 0; round < 300; round++) {
    std::vector<Task*> all;
    for (int i = 0; i < 20; i++) {
      std::unique_ptr<Task> next = task(round * 20 + i, log, nothing);
      all.push_back(next.get());
      push(head_queue, std::move(next));
    }
    left += all.size();
    for (Task* each : all)
      if (TaskQueue::instance().withdraw(*head_queue, *each)) left--;
    CHECK(log.wait(left).size() == left);
  }
  const std::vector<int> ran = log.wait(left);
  CHECK(std::is_sorted(ran.begin(), ran.end()) && std::adjacent_find(ran.begin(), ran.end()) == ran.end());
}

TEST(stopping_an_owner_ends_what_runs_for_it) {
  Log log;
  const int owner = 0, other = 0;
  std::atomic<int> running{0}, ended{0};
  const auto until_canceled = [&](Turn& gate, const std::atomic<bool>& canceled) {
    running++;
    while (!canceled) {
      if (gate.wanted()) gate.yield_turn();
      std::this_thread::yield();
    }
    ended++;
  };
  for (int i = 0; i < 3; i++) push(std::make_shared<HeadQueue>(), std::make_unique<TestTask>(i, log, until_canceled, &owner));
  auto unwanted = std::make_unique<TestTask>(3, log, nothing, &owner);
  unwanted->wanted = false;
  push(std::make_shared<HeadQueue>(), std::move(unwanted));
  push(std::make_shared<HeadQueue>(), std::make_unique<TestTask>(4, log, nothing, &other));
  while (running < 3) std::this_thread::yield();
  TaskQueue::instance().stop(&owner);
  CHECK(ended == 3);
  CHECK(log.wait(4).size() == 4);
  TaskQueue::instance().stop(&owner);  // nothing to wait for
}

// ---- sharing groups ---------------------------------------------------------------------------------------------------------

// A task that takes along whom it can, and says of each turn who had it.
std::unique_ptr<Task> sharing(int name, Log& log, std::vector<std::vector<int>>& turns, Task::Share share = {1, 0}) {
  auto task = std::make_unique<TestTask>(name, log, [&turns, name](Turn& turn, const std::atomic<bool>&) {
    std::vector<int> together = {name};
    std::vector<Task*> joined;
    while (Task* const each = turn.join()) {
      joined.push_back(each);
      together.push_back(static_cast<TestTask*>(each)->name());
    }
    turns.push_back(together);
    for (Task* const each : joined) turn.done(*each);
  });
  task->its_share = share;
  return task;
}

// Keeps the group's turn until it is let go.
class Plug {
 public:
  Plug(const std::shared_ptr<HeadQueue>& head_queue, Log& log) {
    push(head_queue, task(-1, log, [this](Turn&, const std::atomic<bool>&) {
           started_ = true;
           while (!go_) std::this_thread::yield();
         }));
    while (!started_) std::this_thread::yield();
  }
  void pull() { go_ = true; }

 private:
  std::atomic<bool> started_{false}, go_{false};
};

std::vector<std::shared_ptr<HeadQueue>> head_queues_of_a_group(size_t count, Task::Share room) {
  const auto group = std::make_shared<SharingGroup>(room);
  std::vector<std::shared_ptr<HeadQueue>> head_queues;
  while (head_queues.size() < count) head_queues.push_back(std::make_shared<HeadQueue>(group));
  return head_queues;
}

using Turns = std::vector<std::vector<int>>;

TEST(head_queues_of_a_group_share_a_turn_one_task_of_each_after_the_other) {
  Log log;
  Turns turns;
  const auto head_queues = head_queues_of_a_group(3, {100, 100});
  Plug plug(head_queues[0], log);
  for (int head_queue = 0; head_queue < 3; head_queue++)
    for (int i = 0; i <= head_queue; i++)
      push(head_queues[static_cast<size_t>(head_queue)], sharing(10 * head_queue + i, log, turns));
  plug.pull();
  log.wait(7);
  CHECK(turns == Turns({{0, 10, 20, 11, 21, 22}}));
}

TEST(a_turn_has_room_for_so_many_rows) {
  Log log;
  Turns turns;
  const auto head_queues = head_queues_of_a_group(2, {5, 0});
  Plug plug(head_queues[0], log);
  for (int i = 0; i < 3; i++) push(head_queues[0], sharing(i, log, turns, {2, 0}));
  push(head_queues[0], sharing(3, log, turns, {1, 0}));
  push(head_queues[1], sharing(10, log, turns, {2, 0}));
  push(head_queues[1], sharing(11, log, turns, {1, 0}));
  push(head_queues[1], sharing(12, log, turns, {9, 0}));  // more than there is room for: a turn for itself
  plug.pull();
  log.wait(8);
  // There is room for one row beside 0 and 10: not for 1, nor for 3, which would overtake it.
  CHECK(turns == Turns({{0, 10, 11}, {1, 2, 3}, {12}}));
}

TEST(a_turn_has_room_for_so_many_bytes) {
  Log log;
  Turns turns;
  const auto head_queues = head_queues_of_a_group(2, {100, 100});
  Plug plug(head_queues[0], log);
  push(head_queues[0], sharing(0, log, turns, {1, 60}));
  push(head_queues[0], sharing(1, log, turns, {1, 40}));
  push(head_queues[1], sharing(10, log, turns, {1, 60}));
  push(head_queues[1], sharing(11, log, turns, {1, 0}));
  push(head_queues[0], sharing(2, log, turns, {1, 500}));
  plug.pull();
  log.wait(6);
  CHECK(turns == Turns({{0, 1}, {10, 11}, {2}}));
}

TEST(a_head_queue_that_was_passed_over_comes_first) {
  Log log;
  Turns turns;
  const auto head_queues = head_queues_of_a_group(3, {3, 100});
  Plug plug(head_queues[2], log);
  push(head_queues[0], sharing(0, log, turns, {1, 0}));
  push(head_queues[1], sharing(10, log, turns, {3, 0}));  // there is no room for it beside others
  push(head_queues[2], sharing(20, log, turns, {1, 0}));
  for (int i = 1; i < 6; i++) push(head_queues[0], sharing(i, log, turns, {1, 0}));
  plug.pull();
  log.wait(9);
  CHECK(turns == Turns({{0, 20, 1}, {10}, {2, 3, 4}, {5}}));
}

TEST(a_task_that_shares_nothing_has_a_turn_of_its_own) {
  Log log;
  Turns turns;
  const auto head_queues = head_queues_of_a_group(2, {9, 9});
  Plug plug(head_queues[0], log);
  push(head_queues[0], sharing(0, log, turns));
  push(head_queues[0], sharing(1, log, turns, {}));
  push(head_queues[0], sharing(2, log, turns));
  push(head_queues[1], sharing(10, log, turns));
  push(head_queues[1], sharing(11, log, turns));
  plug.pull();
  log.wait(6);
  CHECK(turns == Turns({{0, 10, 11}, {1}, {2}}));
}

TEST(what_is_taken_back_or_unwanted_joins_nobody) {
  Log log;
  Turns turns;
  const auto head_queues = head_queues_of_a_group(3, {9, 9});
  Plug plug(head_queues[0], log);
  push(head_queues[0], sharing(0, log, turns));
  std::unique_ptr<Task> unwanted = sharing(10, log, turns);
  static_cast<TestTask&>(*unwanted).wanted = false;
  push(head_queues[1], std::move(unwanted));
  push(head_queues[1], sharing(11, log, turns, {99, 0}));
  std::unique_ptr<Task> task = sharing(20, log, turns);
  Task& taken = *task;
  push(head_queues[2], std::move(task));
  push(head_queues[2], sharing(21, log, turns));
  CHECK(TaskQueue::instance().withdraw(*head_queues[2], taken).get() == &taken);
  plug.pull();
  log.wait(4);
  CHECK(turns == Turns({{0, 21}, {11}}));
}

TEST(tasks_that_come_while_others_run_are_news_and_can_join) {
  Log log;
  const auto head_queues = head_queues_of_a_group(2, {2, 9});
  std::vector<bool> news;
  Turns others;
  auto first = std::make_unique<TestTask>(0, log, [&](Turn& turn, const std::atomic<bool>&) {
    news.push_back(turn.has_news() || turn.join());
    push(head_queues[1], sharing(10, log, others));
    push(head_queues[1], sharing(11, log, others));
    news.push_back(turn.has_news());
    Task* const joined = turn.join();
    news.push_back(joined && static_cast<TestTask*>(joined)->name() == 10);
    news.push_back(turn.has_news());  // there is no room for more
    news.push_back(turn.join() != nullptr);
    turn.done(*joined);
  });
  first->its_share = {1, 0};
  push(head_queues[0], std::move(first));
  CHECK(log.wait(3) == std::vector<int>({10, 0, 11}));
  CHECK(news == std::vector<bool>({false, true, true, false, false}));
}

TEST(stopping_an_owner_waits_for_its_task_in_the_turn_of_another) {
  Log log;
  const int owner = 0;
  const auto head_queues = head_queues_of_a_group(2, {9, 9});
  Plug plug(head_queues[0], log);
  std::atomic<bool> go{false}, running{false}, stopped{false}, too_soon{false};
  auto first = std::make_unique<TestTask>(0, log, [&](Turn& turn, const std::atomic<bool>&) {
    Task* const joined = turn.join();
    running = true;
    while (!go) std::this_thread::yield();
    too_soon = stopped.load();
    turn.done(*joined);
  });
  first->its_share = {1, 0};
  push(head_queues[0], std::move(first));
  auto owned = std::make_unique<TestTask>(1, log, nothing, &owner);
  owned->its_share = {1, 0};
  push(head_queues[1], std::move(owned));
  plug.pull();
  while (!running) std::this_thread::yield();
  std::thread stopper([&] {
    TaskQueue::instance().stop(&owner);
    stopped = true;
  });
  std::this_thread::sleep_for(5ms);
  go = true;
  stopper.join();
  CHECK(log.wait(3) == std::vector<int>({-1, 1, 0}) && !too_soon);
}

// The rule: they take turns. Short tasks that come without end do not keep a long one from its end, nor does it keep them.
TEST(neither_a_long_task_nor_short_ones_without_end_keep_the_other_waiting) {
  Log log;
  const auto shared = head_queues_of_a_group(1, {64, 64})[0];
  const auto long_head_queue = std::make_shared<HeadQueue>();
  std::atomic<bool> long_ended{false};
  std::atomic<int> turns_given{0};
  std::atomic<size_t> pushed{0};
  // It needs its turn five times.
  push(long_head_queue, task(-1, log, [&](Turn& turn, const std::atomic<bool>&) {
         while (turns_given < 5) {
           if (turn.wanted()) {
             turns_given++;
             turn.yield_turn();
           }
           std::this_thread::yield();
         }
         long_ended = true;
       }));
  // Each is followed by another, as soon as it has ended, until the long one has.
  std::function<void(int)> push_next = [&](int name) {
    auto next = std::make_unique<TestTask>(name, log, [&, name](Turn& turn, const std::atomic<bool>&) {
      if (!long_ended) push_next(name + 1);
      const auto until = std::chrono::steady_clock::now() + 1ms;
      while (std::chrono::steady_clock::now() < until)
        if (turn.wanted()) turn.yield_turn();
    });
    next->its_share = {1, 0};
    pushed++;
    push(shared, std::move(next));
  };
  push_next(0);
  while (!long_ended) std::this_thread::yield();
  for (size_t all = 0; all != pushed;) {
    all = pushed;
    log.wait(all + 1);
  }
  CHECK(turns_given == 5 && pushed >= 5, "%d and %zu", turns_given.load(), pushed.load());
}

// Many threads push, take back and stop, in head queues with and without a group; each task runs, is taken back, or was not
// wanted.
TEST(nothing_is_lost_where_all_happens_at_once) {
  Log log;
  const auto head_queues = head_queues_of_a_group(4, {6, 40});
  std::atomic<size_t> taken{0};
  const auto run = [&](Turn& turn, const std::atomic<bool>&) {
    std::vector<Task*> joined;
    for (int round = 0; round < 3; round++) {
      while (Task* const each = turn.join()) joined.push_back(each);
      if (turn.wanted()) turn.yield_turn();
    }
    for (Task* const each : joined) turn.done(*each);
  };
  constexpr size_t kPushers = 4, kTasks = 400;
  std::vector<std::thread> pushers;
  for (size_t pusher = 0; pusher < kPushers; pusher++)
    pushers.emplace_back([&, pusher] {
      const auto alone = std::make_shared<HeadQueue>();
      std::vector<std::pair<std::shared_ptr<HeadQueue>, Task*>> mine;
      for (size_t i = 0; i < kTasks; i++) {
        const auto& head_queue = i % 7 == 0 ? alone : head_queues[(pusher + i) % head_queues.size()];
        auto next = std::make_unique<TestTask>(static_cast<int>(i), log, run);
        next->its_share = {i % 5, i % 3 * 10};
        mine.emplace_back(head_queue, next.get());
        push(head_queue, std::move(next));
        if (i % 11 == 0)
          for (size_t j = 0; j < 5 && j < mine.size(); j++)
            if (TaskQueue::instance().withdraw(*mine[mine.size() - 1 - j].first, *mine[mine.size() - 1 - j].second)) taken++;
      }
    });
  for (std::thread& pusher : pushers) pusher.join();
  const size_t left = kPushers * kTasks - taken;
  CHECK(log.wait(left).size() == left);
}

}  // namespace
}  // namespace lmhead::test
