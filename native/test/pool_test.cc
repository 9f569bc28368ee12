// The thread pool. Most of what these cases find, they find under -DLMHEAD_SANITIZE=thread.
#include "../core/threads/pool.h"

#include <chrono>
#include <memory>
#include <thread>

#ifdef __linux__
#include <sched.h>
#include <sys/resource.h>
#endif

#include "check.h"

namespace lmhead::test {
namespace {

// Runs `tasks` tasks as passes do; returns whether each ran exactly once and slots were distinct and in range.
bool shares_out_well(unsigned threads, size_t tasks) {
  std::vector<int> ran(tasks);  // not atomic: each element belongs to the one thread that drew its number
  std::vector<std::atomic<int>> in_slot(threads);
  std::atomic<size_t> next{0};
  std::atomic<bool> good{true};
  ThreadPool::instance().run(threads, [&](unsigned slot) {
    if (slot >= threads || in_slot[slot].fetch_add(1) != 0) good = false;
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) ran[i]++;
  });
  // run() has returned: whatever the helpers wrote is visible here without further ado.
  for (const int times : ran) good = good && times == 1;
  return good;
}

TEST(many_short_jobs_run_every_task_once) {
  for (int job = 0; job < 3000; job++) CHECK(shares_out_well(1 + static_cast<unsigned>(job) % 5, static_cast<size_t>(job) % 40));
}

TEST(more_threads_than_tasks_and_than_cores) {
  for (int job = 0; job < 200; job++) CHECK(shares_out_well(16, 2));
  for (int job = 0; job < 200; job++) CHECK(shares_out_well(33, 0));
}

TEST(the_caller_is_slot_0_and_alone_where_one_thread_is_asked_for) {
  const std::thread::id caller = std::this_thread::get_id();
  for (const unsigned threads : {0u, 1u}) {
    int calls = 0;
    ThreadPool::instance().run(threads, [&](unsigned slot) { calls += slot == 0 && std::this_thread::get_id() == caller; });
    CHECK(calls == 1);
  }
  std::atomic<bool> right{true};
  for (int job = 0; job < 100; job++)
    ThreadPool::instance().run(4, [&](unsigned slot) {
      if ((slot == 0) != (std::this_thread::get_id() == caller)) right = false;
    });
  CHECK(right.load());
}

// Any number of passes may use the pool at once; each gets its own tasks done, and nobody waits for a stranger's team.
TEST(several_callers_share_the_pool) {
  std::atomic<int> bad{0};
  std::vector<std::thread> callers;
  for (unsigned caller = 0; caller < 6; caller++)
    callers.emplace_back([&bad, caller] {
      for (unsigned job = 0; job < 400; job++)
        if (!shares_out_well(2 + (caller + job) % 4, 1 + job % 17)) bad++;
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(bad.load() == 0, "%d jobs", bad.load());
}

// Helpers that come late must not touch a team whose caller has gone: its memory is the caller's stack.
TEST(a_team_is_not_touched_after_its_run) {
  for (int job = 0; job < 500; job++) {
    auto counter = std::make_unique<std::atomic<int>>(0);
    ThreadPool::instance().run(7, [&](unsigned) { counter->fetch_add(1); });
    const int joined = counter->load();
    CHECK(joined >= 1 && joined <= 7);
    counter.reset();
    if (job % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // so that helpers park in between
  }
}

TEST(helpers_do_help) {
  // Slot 0 waits for another thread, for as long as any machine may need to schedule one.
  std::atomic<bool> helped{false};
  ThreadPool::instance().run(2, [&](unsigned slot) {
    if (slot != 0) helped = true;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!helped && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  });
  CHECK(helped.load());
}

#ifdef __linux__
// Of many threads that sleep, a run wakes those that it needs: the others' sleep would be interrupted for nothing.
TEST(threads_that_are_not_needed_sleep_on) {
  CHECK(shares_out_well(64, 200));
  const auto switches = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
  };
  constexpr int kRuns = 100;
  long total = 0;
  for (int run = 0; run < kRuns; run++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // so that helpers park
    const long before = switches();
    CHECK(shares_out_well(2, 8));
    total += switches() - before;
  }
  CHECK(total < 16 * kRuns, "%ld context switches in %d runs of two threads", total, kRuns);
}
#endif

// The pool is never destroyed; a caller's thread is, with everything that is local to it.
TEST(callers_come_and_go) {
  for (int i = 0; i < 50; i++) {
    bool good = false;
    std::thread([&] { good = shares_out_well(3, 10); }).join();
    CHECK(good);
  }
}

#ifdef __linux__
cpu_set_t affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  return set;
}
bool same_set(const cpu_set_t& a, const cpu_set_t& b) { return CPU_EQUAL(&a, &b); }

TEST(a_detour_leads_to_another_cpu_and_pins_nobody) {
  const cpu_set_t usual = affinity();
  bool left = true, free_again = true;
  std::thread([&] {
    Detour detour;
    detour.begin();
    for (int i = 0; i < 20; i++) {
      const int cpu = current_cpu();
      detour.avoid(cpu);
      left = left && (CPU_COUNT(&usual) == 1 || current_cpu() != cpu);
      detour.end();
      free_again = free_again && same_set(affinity(), usual);
    }
  }).join();
  CHECK(left && free_again);
  CHECK(same_set(affinity(), usual), "nobody else is concerned");
}

TEST(a_detour_leaves_alone_who_may_run_on_one_cpu_and_who_was_moved_meanwhile) {
  bool stayed = true, kept = true;
  std::thread([&] {
    const cpu_set_t usual = affinity();
    const int cpu = current_cpu();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<size_t>(cpu), &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) return;
    Detour detour;
    detour.begin();
    detour.avoid(cpu);
    stayed = same_set(affinity(), one) && current_cpu() == cpu;
    detour.avoid(-1);
    detour.end();
    stayed = stayed && same_set(affinity(), one);
    if (CPU_COUNT(&usual) < 2) return;
    sched_setaffinity(0, sizeof usual, &usual);
    detour.avoid(cpu);
    sched_setaffinity(0, sizeof one, &one);  // as an administrator might
    detour.end();
    kept = same_set(affinity(), one);
  }).join();
  CHECK(stayed);
  CHECK(kept);
}

// After pauses helpers have slept, and wake perhaps where their caller runs.
TEST(helpers_that_were_led_elsewhere_may_run_everywhere) {
  const cpu_set_t usual = affinity();
  std::atomic<bool> all_usual{true};
  for (int burst = 0; burst < 20; burst++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    for (int call = 0; call < 3; call++) {
      CHECK(shares_out_well(3, 50));
      ThreadPool::instance().run(3, [&](unsigned) {
        if (!same_set(affinity(), usual)) all_usual = false;
      });
    }
  }
  CHECK(all_usual.load());
}
#endif

}  // namespace
}  // namespace lmhead::test
