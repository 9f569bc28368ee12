// Passes that are aborted, give way, fail, have nothing to do, or run beside others.
#include <atomic>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "passes.h"

namespace lmhead::test {
namespace {

// Does something when a given chunk is asked for.
template <class Event>
class Eventful final : public Laborious {
 public:
  Eventful(const LogitSource& source, Event event) : Laborious(source), event_(std::move(event)) {}
  Logits logits(const PreparedColumns& prepared, size_t first_row, size_t rows, size_t first_column, size_t columns,
                float* scratch) const override {
    event_(first_row / kChunkRows);
    return Laborious::logits(prepared, first_row, rows, first_column, columns, scratch);
  }

 private:
  const Event event_;
};

TEST_PER_TABLE(an_abort_stops_the_pass) {
  constexpr size_t kVocabulary = 100 * kChunkRows;
  const std::vector<float> logits(kVocabulary, 1);
  const MaterializedSource held(logits.data(), 1, kVocabulary);
  std::atomic<int32_t> flag{1};
  for (const unsigned threads : {1u, 3u}) {
    flag = 1;
    CHECK(run(kernels, Laborious(held), nullptr, nullptr, 3, kLogits | kTop | kArgmax, threads, &flag).result.status ==
          PassResult::aborted);
    flag = 0;
    CHECK(run(kernels, Laborious(held), nullptr, nullptr, 3, kLogits | kTop | kArgmax, threads, &flag).result.status ==
          PassResult::ok);
    std::atomic<size_t> made{0};
    const Eventful source(held, [&](size_t chunk) {
      made++;
      if (chunk == 10) flag = 1;
    });
    const uint32_t target = 3;
    CHECK(run(kernels, source, nullptr, &target, 3, kEverything & ~kSample, threads, &flag).result.status == PassResult::aborted);
    // The target's own logit, eleven chunks, and one that each other thread may have begun. (A thread may sleep before it sets
    // the flag while others go on, so with several only the outcome is certain.)
    if (threads == 1) CHECK(made == 12, "%zu chunks", made.load());
  }
}

TEST_PER_TABLE(a_pass_that_gives_way_has_the_same_results) {
  const Problem problem = make_problem(kernels, 20 * kChunkRows + 7, 20 * kChunkRows + 1, 9, 13, Dtype::f32, 0, 4);
  const ProductSource source = problem.source(kernels, 0, problem.n);
  const std::vector<uint32_t> targets(problem.n, 5);
  const Results straight = run(kernels, source, nullptr, targets.data(), 3, kEverything & ~kSample, 1);
  for (const unsigned threads : {1u, 2u, 5u}) {
    Impatient gate;
    const Results r =
        run(kernels, Laborious(source), nullptr, targets.data(), 3, kEverything & ~kSample, threads, nullptr, nullptr, &gate);
    for (size_t i = 0; i < problem.n; i++) {
      const char* const what = difference(straight, i, r, i);
      CHECK(!what, "%s of row %zu", what, i);
    }
    CHECK(gate.times > (threads == 1 ? 3 : 0), "%zu times", gate.times);
  }
}

// Memory that can't be had in a worker thread is the caller's exception, and the pool is none the worse for it.
TEST_PER_TABLE(exceptions_of_workers_reach_the_caller) {
  constexpr size_t kVocabulary = 40 * kChunkRows;
  const std::vector<float> logits(kVocabulary, 1);
  const MaterializedSource held(logits.data(), 1, kVocabulary);
  for (const unsigned threads : {1u, 2u, 5u})
    for (int turn = 0; turn < 20; turn++) {
      bool thrown = false;
      try {
        run(kernels,
            Eventful(held,
                     [](size_t chunk) {
                       if (chunk % 7 == 3) throw std::bad_alloc();
                     }),
            nullptr, nullptr, 1, kLogits, threads);
      } catch (const std::bad_alloc&) {
        thrown = true;
      }
      CHECK(thrown);
      CHECK(run(kernels, Laborious(held), nullptr, nullptr, 1, kTop, threads).top_ids[0] == 0);
    }
}

TEST_PER_TABLE(an_empty_batch_is_done_at_once) {
  const MaterializedSource none(nullptr, 0, 100);
  CHECK(run(kernels, none, nullptr, nullptr, 5, kEverything, 4).result.status == PassResult::ok);
}

TEST_PER_TABLE(passes_of_several_callers_at_once_give_what_each_gives_alone) {
  constexpr size_t n = 8;
  const Problem p = make_problem(kernels, 2000, 1900, n, 17, Dtype::bf16, 0, 56);
  std::vector<RowSampling> rows;
  for (size_t i = 0; i < n; i++) rows.push_back(kWays[i]);
  const std::vector<double> parameters = parameter_table(rows);
  const std::vector<uint32_t> targets(n, 77);
  const auto pass = [&](unsigned threads) {
    const ProductSource product = p.source(kernels, 0, n);  // a source serves one pass at a time
    return run(kernels, Laborious(product), parameters.data(), targets.data(), 20, kEverything, threads);
  };
  const Results want = pass(1);
  std::atomic<int> different{0};
  std::vector<std::thread> callers;
  for (unsigned caller = 0; caller < 4; caller++)
    callers.emplace_back([&, caller] {
      for (unsigned turn = 0; turn < 10; turn++) {
        const Results got = pass(1 + (caller + turn) % 4);
        for (size_t i = 0; i < n; i++)
          if (difference(want, i, got, i)) different++;
      }
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(different == 0, "%d rows", different.load());
}

}  // namespace
}  // namespace lmhead::test
