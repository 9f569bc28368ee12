// The threads of one pass, and how they share its work.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

#include "gate.h"
#include "pool.h"

namespace lmhead {

struct ParallelFor {
  unsigned threads = 1;
  const std::atomic<int32_t>* abort = nullptr;  // not 0: stop
  Gate* gate = nullptr;                         // null: the pass gives way to none

  bool aborted() const { return abort && abort->load(std::memory_order_relaxed) != 0; }

  // Calls work(i, slot) for every i below count, each once, giving way between them where that is wanted; until the pass is
  // aborted, or to the end. Slots at work at one time are distinct, and below `threads`.
  enum class To { abort, the_end };
  template <class Work>
  void parallel_for(size_t count, Work work, To to = To::abort) const {
    parallel_for_until(count, work, [&](size_t) { return to == To::abort && aborted(); });
  }
  // The same, until ended(i), which is asked before each.
  template <class Work, class Ended>
  void parallel_for_until(size_t count, Work work, Ended ended) const {
    if (threads == 1 || count == 1) {
      for (size_t i = 0; i < count && !ended(i); i++) {
        work(i, 0);
        if (should_yield()) gate->yield_turn();
      }
      return;
    }
    const unsigned most = static_cast<unsigned>(std::min<size_t>(threads, count));
    std::atomic<size_t> next{0};
    std::mutex mutex;
    std::exception_ptr failure;
    const auto share = [&](unsigned slot) {
      try {
        for (size_t i; !should_yield() && (i = next.fetch_add(1, std::memory_order_relaxed)) < count && !ended(i);) work(i, slot);
      } catch (...) {  // out of memory; the caller throws it on
        next.store(count, std::memory_order_relaxed);
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
      }
    };
    for (;;) {
      ThreadPool::instance().run(most, share);
      const size_t at = next.load(std::memory_order_relaxed);
      if (at >= count || ended(at)) break;
      gate->yield_turn();
    }
    if (failure) std::rethrow_exception(failure);
  }

 private:
  bool should_yield() const { return gate && gate->wanted(); }
};

}  // namespace lmhead
