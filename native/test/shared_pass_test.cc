// Calls that share a pass: each has the bits, the errors and the end that it has alone.
#include "../core/pass/shared_pass.h"

#include <memory>
#include <thread>

#include "../core/sinks/top_k.h"
#include "asking.h"

namespace lmhead::test {
namespace {

// Calls that come now and then; all of them are answered.
class Host final : public SharedPassHost {
 public:
  explicit Host(std::vector<std::unique_ptr<Asking>>& all) : all_(all) {}
  bool has_news() const override { return news; }
  void answered(SharedCall& call) noexcept override {
    for (const std::unique_ptr<Asking>& each : all_)
      if (&each->call == &call) each->is_answered = true;
    order.push_back(&call);
  }
  std::atomic<bool> news{false};
  std::vector<SharedCall*> order;

 private:
  std::vector<std::unique_ptr<Asking>>& all_;
};

std::vector<std::unique_ptr<Asking>> some_calls(const Kernels& kernels, const Weights& weights, Random& random) {
  std::vector<std::unique_ptr<Asking>> all;
  size_t rows = 0;
  for (size_t count = 1 + random.below(12); count > 0; count--) {
    const size_t n = random.below(3) ? 1 : 1 + random.below(5);
    all.push_back(std::make_unique<Asking>(kernels, weights, some_settings(weights, random),
                                           random.below(weights.problem.n - n + 1), n, random));
    rows += n;
  }
  return rows > kMostSharedRows ? some_calls(kernels, weights, random) : std::move(all);
}

TEST_PER_TABLE(calls_that_share_a_pass_have_the_bits_that_they_have_alone) {
  Random random(91);
  size_t turn = 0;
  for (const size_t vocabulary : {1, 255, 257, 1800})
    for (const Dtype dtype : kFloats)
      for (const size_t d : {7, 33}) {
        const Weights weights = make_weights(kernels, vocabulary, 16, d, dtype, ++turn);
        for (int round = 0; round < 3; round++) {
          std::vector<std::unique_ptr<Asking>> all = some_calls(kernels, weights, random);
          Host host(all);
          SharedPass pass(kernels, weights.e(), Activations::f32, nullptr);
          for (const std::unique_ptr<Asking>& each : all) pass.add(each->call);
          CHECK(pass.calls() == all.size() && pass.run(host));
          char what[100];
          std::snprintf(what, sizeof what, "V=%zu d=%zu turn %zu, %zu calls", vocabulary, d, turn, all.size());
          for (const std::unique_ptr<Asking>& each : all) each->check(what);
        }
      }
}

TEST_PER_TABLE(a_pass_begins_again_with_calls_that_come_while_it_has_hardly_begun) {
  const Weights weights = make_weights(kernels, 60 * kChunkRows + 3, 16, 5, Dtype::f32, 4);
  Random random(92);
  for (int round = 0; round < 4; round++) {
    std::vector<std::unique_ptr<Asking>> all;
    while (all.size() < 5)
      all.push_back(std::make_unique<Asking>(kernels, weights, some_settings(weights, random), all.size(), 1, random));
    Host host(all);
    host.news = true;
    SharedPass pass(kernels, weights.e(), Activations::f32, nullptr);
    size_t begun = 0;
    do {
      if (pass.calls() < all.size()) pass.add(all[pass.calls()]->call);
      host.news = pass.calls() < all.size();
      CHECK(host.order.empty());
      begun++;
    } while (!pass.run(host));
    // An eighth of 61 chunks in all: after 2 of them, then after 4 (one chunk is read ahead, and others by other threads).
    CHECK(begun >= 2 && begun <= 3 && host.order.size() == pass.calls(), "%zu times", begun);
    for (size_t i = 0; i < pass.calls(); i++) all[i]->check("begun again");
  }
}

TEST_PER_TABLE(a_call_that_is_aborted_leaves_the_others_alone) {
  const Weights weights = make_weights(kernels, 3000, 16, 9, Dtype::bf16, 5);
  Random random(93);
  for (int round = 0; round < 6; round++) {
    std::vector<std::unique_ptr<Asking>> all;
    while (all.size() < 6)
      all.push_back(std::make_unique<Asking>(kernels, weights, some_settings(weights, random), all.size(), 2, random));
    Host host(all);
    SharedPass pass(kernels, weights.e(), Activations::f32, nullptr);
    for (const std::unique_ptr<Asking>& each : all) pass.add(each->call);
    // Some before it runs, and the third while it does.
    all[0]->abort = all[4]->abort = 1;
    std::thread later([&] { all[2]->abort = 1; });
    pass.run(host);
    later.join();
    for (const size_t i : {1, 3, 5}) all[i]->check("beside aborted ones");
    for (const size_t i : {0, 2, 4}) {
      CHECK(all[i]->is_answered);
      const PassResult::Status status = all[i]->call.result.status;
      CHECK(status == PassResult::aborted || (i == 2 && status == PassResult::ok), "call %zu: %d", i, status);
    }
  }
}

TEST_PER_TABLE(an_error_is_the_error_of_one_call) {
  Weights weights = make_weights(kernels, 1000, 6, 9, Dtype::f32, 6);
  weights.problem.hidden[2 * hidden_stride(9) + 4] = kNan;  // row 2, and only that
  std::vector<uint32_t> best(6, 77);
  std::vector<SharedCall> calls(6);
  std::vector<std::unique_ptr<Asking>> none;
  Host host(none);
  SharedPass pass(kernels, weights.e(), Activations::f32, nullptr);
  for (size_t i = 0; i < calls.size(); i++) {
    calls[i].hidden = weights.problem.hidden.data() + i * hidden_stride(9);
    calls[i].n = 1;
    calls[i].valid = 1000;
    calls[i].request.argmax = &best[i];
    pass.add(calls[i]);
  }
  CHECK(pass.run(host));
  for (size_t i = 0; i < calls.size(); i++) {
    CHECK(calls[i].result.status == (i == 2 ? PassResult::nan : PassResult::ok), "call %zu: %d", i, calls[i].result.status);
    CHECK((best[i] == 77) == (i == 2));
    CHECK(host.order[i] == &calls[i]);  // in the order in which they were added
  }
}

// Whose rows spill, and are held in another streaming, is answered last.
TEST_PER_TABLE(a_call_that_needs_another_streaming_keeps_nobody_waiting) {
  constexpr size_t kVocabulary = 12000, d = 3;
  Weights weights = make_weights(kernels, kVocabulary, 3, d, Dtype::f32, 7);
  std::fill_n(weights.problem.hidden.data(), 3 * hidden_stride(d), 0.0f);  // all logits are the same
  const std::vector<double> parameters = parameter_table({{.temperature = 1, .log_min_p = -3}});
  uint32_t ids[3];
  float log_probs[3];
  std::vector<SharedCall> calls(3);
  std::vector<std::unique_ptr<Asking>> none;
  Host host(none);
  SharedPass pass(kernels, weights.e(), Activations::f32, nullptr);
  for (size_t i = 0; i < 3; i++) {
    calls[i].hidden = weights.problem.hidden.data() + i * hidden_stride(d);
    calls[i].n = 1;
    calls[i].valid = kVocabulary;
    if (i == 1) {
      calls[i].request.argmax = &ids[i];
    } else {
      calls[i].request.sample.ids = &ids[i];
      calls[i].request.sample.log_probs = &log_probs[i];
    }
    calls[i].request.row_parameters = parameters.data();
    pass.add(calls[i]);
  }
  CHECK(pass.run(host));
  CHECK(host.order == std::vector<SharedCall*>({&calls[1], &calls[0], &calls[2]}));
  for (const size_t i : {0, 2}) CHECK(log_probs[i] == static_cast<float>(-std::log(static_cast<double>(kVocabulary))));
}

TEST_PER_TABLE(a_shared_pass_gives_way) {
  const Weights weights = make_weights(kernels, 30 * kChunkRows, 16, 9, Dtype::f16, 8);
  Random random(94);
  for (int round = 0; round < 3; round++) {
    std::vector<std::unique_ptr<Asking>> all = some_calls(kernels, weights, random);
    const bool on_one_thread = round == 0;
    for (const std::unique_ptr<Asking>& each : all)
      if (on_one_thread) each->call.request.workers.threads = 1;
    Host host(all);
    Impatient gate;
    SharedPass pass(kernels, weights.e(), Activations::f32, &gate);
    for (const std::unique_ptr<Asking>& each : all) pass.add(each->call);
    CHECK(pass.run(host) && gate.times > (on_one_thread ? 3 : 0), "%zu times", gate.times);
    for (const std::unique_ptr<Asking>& each : all) each->check("giving way");
  }
}

TEST(what_a_call_has_held_is_known_before) {
  const auto held = [](const PassRequest& request, size_t n) {
    SharedCall call;
    call.n = n;
    call.valid = 1000;
    call.request = request;
    return materialized_bytes(call) / (1000 * sizeof(float));
  };
  const std::vector<double> parameters =
      parameter_table({{.top_p = 0.9}, {.temperature = 0.5}, {.top_k = 7}, {.typical_p = 0.5}});
  uint32_t ids[4], accepted;
  float values[4];
  PassRequest request;
  CHECK(held(request, 4) == 0);
  request.row_parameters = parameters.data();
  CHECK(held(request, 4) == 0);
  request.sample.ids = ids;
  request.sample.log_probs = values;
  CHECK(held(request, 4) == 2);
  request.top = {static_cast<uint32_t>(kMaxHeap) + 1, ids, values, values};
  CHECK(held(request, 4) == 6);
  PassRequest draft;
  draft.row_parameters = parameters.data();
  draft.draft = {ids, 4, nullptr, &accepted, ids, values};
  CHECK(held(draft, 4) == 4);
}

}  // namespace
}  // namespace lmhead::test
