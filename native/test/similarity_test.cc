// Lengths of rows: computed in turns, and not to the end for a call that is aborted.
#include "../core/sources/similarity.h"

#include "../core/head/head_core.h"
#include "check.h"
#include "passes.h"

namespace lmhead::test {
namespace {

constexpr size_t kWeightRows = 30 * kChunkRows + 5, kWeightDepth = 9;

std::vector<float> some_weights() {
  Random random(3);
  std::vector<float> w(kWeightRows * kWeightDepth);
  for (float& x : w) x = static_cast<float>(random.normal());
  return w;
}

TEST_PER_TABLE(lengths_are_the_same_where_their_making_gives_way) {
  const std::vector<float> w = some_weights();
  const Matrix e{reinterpret_cast<const uint8_t*>(w.data()), Dtype::f32, kWeightRows, kWeightDepth};
  const std::vector<double> straight = inverse_norms(kernels, e, {});
  for (const unsigned threads : {1u, 3u}) {
    Impatient gate;
    CHECK(inverse_norms(kernels, e, {.threads = threads, .gate = &gate}) == straight);
    CHECK(gate.times > (threads == 1 ? 3 : 0), "%zu times", gate.times);
  }
}

TEST_PER_TABLE(a_search_that_is_aborted_leaves_nothing_half_made) {
  const std::vector<float> w = some_weights();
  const size_t bytes = w.size() * sizeof(float);
  const auto storage = [&] { return std::make_unique<BorrowedStorage>(reinterpret_cast<const uint8_t*>(w.data()), bytes); };
  const Matrix e{reinterpret_cast<const uint8_t*>(w.data()), Dtype::f32, kWeightRows, kWeightDepth};
  const HeadCore head(kernels, std::make_shared<StoredMatrix>(storage(), e), nullptr, {}, {}, kWeightRows, Activations::f32, 3);
  AlignedFloats hidden(hidden_stride(kWeightDepth));
  std::copy_n(w.data() + 77 * kWeightDepth, kWeightDepth, hidden.data());
  uint32_t id;
  float logit, log_prob;
  PassRequest request;
  request.top = {1, &id, &logit, &log_prob};
  std::atomic<int32_t> abort{1};
  request.workers.abort = &abort;
  PassView view;
  view.metric = Metric::cosine;
  CHECK(head.run(hidden.data(), 1, request, view).status == PassResult::aborted);
  abort = 0;
  CHECK(head.run(hidden.data(), 1, request, view).status == PassResult::ok);
  CHECK(id == 77, "%u", id);
}

}  // namespace
}  // namespace lmhead::test
