// Head queues whose tasks share turns: who joins whom, in which order, and that nobody waits for ever.
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "../core/threads/task_queue.h"
#include "check.h"
#include "tasks.h"

namespace lmhead::test {
namespace {

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
