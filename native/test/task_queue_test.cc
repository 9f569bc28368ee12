// The queue of asynchronous passes. Some of what these cases find, they find under -DLMHEAD_SANITIZE=thread.
#include "../core/threads/task_queue.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "check.h"
#include "tasks.h"

namespace lmhead::test {
namespace {

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
  for (; waiting.remove_first(); count++) {
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

}  // namespace
}  // namespace lmhead::test
