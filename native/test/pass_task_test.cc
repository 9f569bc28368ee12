// Calls through the queue, of several heads and threads at once: those that share passes, those that do not, those that are
// aborted. Each is answered as if it were alone. Some of what these cases find, they find under -DLMHEAD_SANITIZE=thread.
#include "../core/head/pass_task.h"

#include <condition_variable>
#include <thread>

#include "asking.h"

namespace lmhead::test {
namespace {

// Tasks that have ended.
class Ended {
 public:
  void add(std::unique_ptr<Task> task) {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    changed_.notify_all();
  }
  void wait(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(200), [&] { return tasks_.size() >= count; });
  }
  size_t size() {
    const std::lock_guard lock(mutex_);
    return tasks_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Task>> tasks_;
};

class TestPass final : public PassTask {
 public:
  TestPass(std::unique_ptr<Asking> its_asking, Ended& ended) : asking(std::move(its_asking)), ended_(ended) {}
  void finish(std::unique_ptr<Task> self) override { ended_.add(std::move(self)); }
  void refuse(std::unique_ptr<Task> self) override { finish(std::move(self)); }
  const void* owner() const override { return &ended_; }
  bool is_wanted() const override { return true; }

  const std::unique_ptr<Asking> asking;
  std::shared_ptr<HeadQueue> head_queue;
  double told[kFacts] = {};

 private:
  Ended& ended_;
};

struct TestHead {
  HeadSettings settings;
  std::shared_ptr<HeadCore> core;
  bool coalesces;
  std::shared_ptr<HeadQueue> shared, own;
};

TestHead some_head(const Kernels& kernels, const Weights& weights, const std::shared_ptr<StoredMatrix>& matrix, Random& random) {
  const HeadSettings settings = some_settings(weights, random);
  std::vector<float> bias;
  if (settings.epilogue.bias) bias = weights.bias;
  const auto core = std::make_shared<HeadCore>(kernels, matrix, nullptr, std::move(bias), settings.epilogue, settings.valid,
                                               Activations::f32, static_cast<unsigned>(1 + random.below(7)));
  return {settings, core, random.below(4) != 0, std::make_shared<HeadQueue>(core->sharing_group()),
          std::make_shared<HeadQueue>()};
}

std::unique_ptr<TestPass> some_call(const Kernels& kernels, const Weights& weights, const TestHead& head, Random& random,
                                    Ended& ended) {
  const size_t n = random.below(3) ? 1 : 1 + random.below(random.below(5) ? 6 : weights.problem.n);
  const size_t first = random.below(weights.problem.n - n + 1);
  auto task = std::make_unique<TestPass>(std::make_unique<Asking>(kernels, weights, head.settings, first, n, random), ended);
  const SharedCall& call = task->asking->call;
  const size_t floats = n * hidden_stride(weights.problem.d);
  HiddenBuffers buffers;
  HeadCall& own = task->calls[0];
  own.states = buffers.acquire(floats);
  std::copy_n(call.hidden, floats, own.states.data());
  task->facts = task->told;
  own.ask(head.core, own.states.data(), n, call.request, {}, head.coalesces ? kMostSharingRows : 0);
  task->made(head.coalesces);
  task->head_queue = task->apart == Apart::no ? head.shared : head.own;
  return task;
}

TEST_PER_TABLE(calls_of_many_threads_and_heads_are_answered_as_if_alone) {
  constexpr size_t kThreads = 3, kCalls = 120;
  Random seeds(95);
  const Weights weights[] = {make_weights(kernels, 1500, 20, 33, Dtype::bf16, 1),
                             make_weights(kernels, 700, 20, 9, Dtype::f32, 2)};
  std::vector<std::vector<TestHead>> heads;
  for (const Weights& each : weights) {
    const auto bytes = each.problem.weights.size();
    const auto matrix =
        std::make_shared<StoredMatrix>(std::make_unique<BorrowedStorage>(each.problem.weights.data(), bytes), each.e());
    std::vector<TestHead>& over = heads.emplace_back();
    while (over.size() < 3) over.push_back(some_head(kernels, each, matrix, seeds));
  }
  Ended ended;
  // All tasks, which live in `ended` once they have ended; those that were taken back are kept here.
  std::vector<std::vector<TestPass*>> sent(kThreads);
  std::vector<std::vector<std::unique_ptr<Task>>> taken(kThreads);
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; thread++)
    threads.emplace_back([&, thread, seed = seeds.bits()] {
      Random random(seed);
      for (size_t i = 0; i < kCalls; i++) {
        const size_t which = random.below(2);
        std::unique_ptr<TestPass> task = some_call(kernels, weights[which], heads[which][random.below(3)], random, ended);
        TestPass& pushed = *task;
        sent[thread].push_back(&pushed);
        TaskQueue::instance().push(pushed.head_queue, std::move(task));
        // Abort one of the last few, waiting or running or over.
        if (random.below(6) == 0) {
          TestPass& victim = *sent[thread][sent[thread].size() - 1 - random.below(std::min<size_t>(sent[thread].size(), 8))];
          victim.cancel();
          if (std::unique_ptr<Task> back = TaskQueue::instance().withdraw(*victim.head_queue, victim)) {
            victim.abort_unstarted();
            taken[thread].push_back(std::move(back));
          }
        }
        if (random.below(20) == 0) std::this_thread::sleep_for(std::chrono::microseconds(random.below(2000)));
      }
    });
  for (std::thread& thread : threads) thread.join();
  size_t left = kThreads * kCalls, aborted = 0, shared = 0;
  for (const auto& each : taken) left -= each.size();
  ended.wait(left);
  CHECK(ended.size() == left, "%zu of %zu ended", ended.size(), left);
  for (const std::vector<TestPass*>& each : sent)
    for (TestPass* const task : each) {
      CHECK(task->status == PassTask::finished);
      if (task->calls[0].result.status == PassResult::aborted) {
        CHECK(task->canceled != 0);
        aborted++;
        continue;
      }
      task->asking->check("through the queue", task->calls[0].result);
      const double calls = task->told[2], rows = task->told[3];
      CHECK(calls >= 1 && rows >= calls && rows <= static_cast<double>(std::max(kMostSharedRows, task->calls[0].n)));
      CHECK(calls == 1 || task->apart == Apart::no);
      shared += calls > 1;
    }
  CHECK(aborted > 0 && aborted < left && shared > 0, "%zu aborted, %zu shared", aborted, shared);
}

TEST_PER_TABLE(why_a_call_has_a_pass_of_its_own) {
  const Weights weights = make_weights(kernels, 600, 20, 9, Dtype::f32, 3);
  const auto matrix = std::make_shared<StoredMatrix>(
      std::make_unique<BorrowedStorage>(weights.problem.weights.data(), weights.problem.weights.size()), weights.e());
  const HeadCore head(kernels, matrix, nullptr, {}, {}, 600, Activations::f32, 1);
  const auto apart = [&](size_t n, const PassRequest& request, const PassView& view) {
    SharedCall call = head.shared_call(nullptr, n, request);
    return HeadCore::apart(call, view, kMostSharingRows);
  };
  uint32_t ids[20];
  float log_probs[20];
  const std::vector<double> parameters = parameter_table(std::vector<RowSampling>(20));
  PassRequest request;
  request.row_parameters = parameters.data();
  request.sample.ids = ids;
  request.sample.log_probs = log_probs;
  CHECK(apart(kMostSharingRows, request, {}) == Apart::no);
  CHECK(apart(kMostSharingRows + 1, request, {}) == Apart::many_rows);
  PassView view;
  view.metric = Metric::cosine;
  CHECK(apart(1, request, view) == Apart::nearest);
  view = {};
  const uint32_t some[] = {1, 5, 9};
  view.rows = {some, 3};
  CHECK(apart(1, request, view) == Apart::subset);
  view.over_vocabulary = true;
  CHECK(apart(1, request, view) == Apart::subset_over);
  std::vector<uint32_t> mask(19);
  mask[3] = 0xff;
  request.adjustments.allowed = mask.data();
  request.adjustments.valid = 600;
  CHECK(apart(1, request, {}) == Apart::sparse_mask);
  std::fill(mask.begin(), mask.end(), 0xffffffff);
  CHECK(apart(1, request, {}) == Apart::no);
  // Heads over the same weights share passes, but not with other activations.
  const HeadCore other(kernels, matrix, nullptr, {}, {}, 50, Activations::f32, 3);
  CHECK(head.sharing_group() == other.sharing_group());
}

}  // namespace
}  // namespace lmhead::test
