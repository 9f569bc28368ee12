// Searches by the bounded copy: the same results with it and without, and what searches in vain cost.
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "../core/screen/search.h"
#include "asking.h"
#include "check.h"
#include "odd_matrices.h"
#include "quantized.h"

namespace lmhead::test {
namespace {

using screen::Copy;

// Rows that a search may be asked about: those of kWays whose results depend on the best alone.
constexpr size_t kBestWays[] = {1, 2, 3, 6, 10, 14};
constexpr size_t kDrawnWays[] = {0, 5, 7, 12, 13, 0};  // without log-probabilities, these too
constexpr AdjustmentKind kListKinds[] = {AdjustmentKind::none,    AdjustmentKind::none,     AdjustmentKind::patches,
                                         AdjustmentKind::bans,    AdjustmentKind::biases,   AdjustmentKind::one_patch_list,
                                         AdjustmentKind::counted, AdjustmentKind::penalties};

// A call that a search may answer.
struct BestCall {
  BestCall(const Weights& weights, const HeadSettings& its_head, size_t first_row, size_t its_n, Random& random)
      : head(its_head), n(its_n), hidden(weights.problem.hidden.data() + first_row * hidden_stride(weights.problem.d)) {
    std::vector<RowSampling> rows;
    tells = random.below(2) == 0;
    for (size_t i = 0; i < n; i++) {
      const bool draws = !tells && random.below(2);
      rows.push_back(kWays[(draws ? kDrawnWays : kBestWays)[random.below(std::size(kBestWays))]]);
      rows.back().stream = {static_cast<uint32_t>(random.bits()), 3, static_cast<uint32_t>(random.bits())};
    }
    sinks = random.below(4) == 0 ? kArgmax : random.below(3) ? kSample : kArgmax | kSample;
    if (!tells && random.below(3) == 0) sinks |= kTop;
    k = static_cast<uint32_t>(1 + random.below(std::min<size_t>(head.valid, 20)));
    if (tells && random.below(5) == 0) draft.assign(n - random.below(2), 0);
    for (uint32_t& id : draft) id = static_cast<uint32_t>(random.below(head.valid));
    if (!draft.empty())
      for (RowSampling& row : rows) row.temperature = 0;
    parameters = parameter_table(rows);
    adjustments.emplace(n, weights.problem.vocabulary, head.valid, kListKinds[random.below(std::size(kListKinds))], random);
  }
  PassRequest request(Results& results, size_t vocabulary, unsigned threads) const {
    PassRequest request = request_for(results, n, vocabulary, parameters.data(), nullptr, k, draft.empty() ? sinks : 0);
    if (!tells) request.top.log_probs = request.sample.log_probs = nullptr;
    if (request.draws() || !draft.empty()) request.adjustments = adjustments->view();
    if (!draft.empty()) {
      results.argmax.assign(n, 7);
      results.sample_ids.assign(n, 7);
      results.sample_log_probs.assign(n, 7);
      request.draft = {
          draft.data(), draft.size(), nullptr, results.argmax.data(), results.sample_ids.data(), results.sample_log_probs.data()};
    }
    request.workers.threads = threads;
    return request;
  }

  HeadSettings head;
  size_t n;
  const float* hidden;
  std::vector<double> parameters;
  std::vector<uint32_t> draft;
  bool tells;  // log-probabilities
  uint32_t k;
  unsigned sinks;
  std::optional<SomeAdjustments> adjustments;
};

void check_same(const BestCall& call, const PassResult& got, const Results& results, const PassResult& want, const Results& all,
                const char* what) {
  CHECK(got.status == want.status && got.row == want.row && got.id == want.id, "%s: status %d row %zu id %lld, want %d %zu %lld",
        what, got.status, got.row, static_cast<long long>(got.id), want.status, want.row, static_cast<long long>(want.id));
  if (want.status != PassResult::ok) return;
  for (size_t i = 0; i < call.n; i++) {
    const char* const where = difference(all, i, results, i);
    CHECK(!where, "%s row %zu: %s", what, i, where);
  }
}

// Rows that are not finite, near-duplicates, rows that win.
Weights screened_weights(const Kernels& kernels, size_t vocabulary, size_t d, Dtype dtype, bool with_nan, uint64_t seed) {
  Weights weights = make_weights(kernels, vocabulary, 24, d, dtype, seed);
  Random random(seed);
  const size_t bytes = bytes_per_element(dtype);
  for (size_t i = 0; i < 24; i++) {  // a state that is near a row has a best token
    const size_t row = random.below(vocabulary);
    float* const h = weights.problem.hidden.data() + i * hidden_stride(d);
    if (i % 4 == 0) continue;
    for (size_t k = 0; k < d; k++)
      h[k] = h[k] * 0.2f + static_cast<float>(value_of(weights.e(), row, k) * (i % 4 == 2 ? -0.3 : 0.3));
    if (i % 8 == 3) std::fill_n(h, d, 0.0f);
  }
  if (with_nan)
    for (int i = 0; i < 5; i++) {
      const SpecialWeights special = special_weights(dtype);
      const uint32_t bits[] = {special.nan, special.minus_infinity, special.largest, special.infinity, special.subnormal};
      put(dtype, &weights.problem.weights[(random.below(vocabulary) * d + random.below(d)) * bytes], bits[random.below(5)]);
    }
  return weights;
}

TEST_PER_TABLE(a_search_has_the_results_of_a_full_pass) {
  Random random(190);
  size_t tried = 0, answered = 0;
  for (uint64_t turn = 0; turn < 40; turn++) {
    constexpr size_t kVocabularies[] = {257, 1000, 2500, 4096};
    constexpr size_t kColumns[] = {33, 64, 130, 320};
    const size_t vocabulary = kVocabularies[random.below(4)], d = kColumns[random.below(4)];
    const Dtype dtype = kFloats[turn % 3];
    const Weights weights = screened_weights(kernels, vocabulary, d, dtype, turn % 4 == 3, turn + 1);
    const Matrix e = weights.e();
    const std::shared_ptr<const Copy> copy = Copy::quantize(kernels, e, ParallelFor{2});
    for (int round = 0; round < 8; round++) {
      const HeadSettings head = some_settings(weights, random);
      const screen::Use use(copy, e.row_bytes(), head.epilogue.bias);
      std::vector<std::unique_ptr<BestCall>> calls;
      std::vector<Results> results(3);
      std::vector<PassRequest> requests;
      std::vector<screen::Query> queries;
      const unsigned threads = static_cast<unsigned>(1 + random.below(7));
      for (size_t i = 0; i < 1 + random.below(3); i++) {
        const size_t n = random.below(3) ? 1 : 1 + random.below(16);
        calls.push_back(std::make_unique<BestCall>(weights, head, random.below(24 - n), n, random));
        requests.push_back(calls[i]->request(results[i], vocabulary, threads));
      }
      for (size_t i = 0; i < calls.size(); i++)
        queries.push_back({calls[i]->hidden, calls[i]->n, &head.epilogue, head.valid, &requests[i], &use});
      if (!std::all_of(queries.begin(), queries.end(), screen::may_answer)) continue;
      screen::search(kernels, e, queries, ParallelFor{threads});
      for (size_t i = 0; i < calls.size(); i++) {
        tried++;
        if (queries[i].rows.empty()) continue;
        answered++;
        const PassResult got = screen::answer(kernels, e, queries[i]);
        Results all;
        const PassRequest request = calls[i]->request(all, vocabulary, 2);
        const ProductSource source(kernels, e, head.epilogue, head.valid, calls[i]->hidden, calls[i]->n);
        char what[120];
        std::snprintf(what, sizeof what, "turn %d V=%zu d=%zu %s n=%zu %zu rows", static_cast<int>(turn), vocabulary, d,
                      name_of(dtype), calls[i]->n, queries[i].rows.size());
        check_same(*calls[i], got, results[i], run_pass(kernels, source, request), all, what);
      }
      const screen::Use::Counts counts = use.counts();
      CHECK(counts.passes + counts.full_passes() == calls.size());
    }
  }
  CHECK(answered > 70 && 3 * answered > tried, "%zu of %zu answered", answered, tried);
}

// Where a cap makes all logits much alike and noise decides, ids that are banned and rows that are not finite may all be drawn.
TEST_PER_TABLE(tokens_that_noise_decides_are_those_of_a_full_pass) {
  Random random(192);
  constexpr size_t kRows = 1500;
  size_t answered = 0;
  for (uint64_t turn = 0; turn < 60; turn++) {
    const Weights weights = screened_weights(kernels, kRows, 64, Dtype::f32, turn % 3 == 0, turn + 500);
    const HeadSettings head{make_epilogue(turn % 2 ? 4 : 3, weights.bias.data()), kRows - turn % 5};
    const std::shared_ptr<const Copy> copy = Copy::quantize(kernels, weights.e(), ParallelFor{2});
    const screen::Use use(copy, weights.e().row_bytes(), head.epilogue.bias);
    BestCall call(weights, head, random.below(23), 1, random);
    RowSampling row;
    row.temperature = turn % 4 ? 100 : 1;
    row.stream = {static_cast<uint32_t>(random.bits()), 1, static_cast<uint32_t>(turn)};
    call.parameters = parameter_table({row});
    call.tells = false;
    call.sinks = kSample;
    call.draft.clear();
    call.adjustments.emplace(1, kRows, head.valid, turn % 2 ? AdjustmentKind::bans : AdjustmentKind::penalties, random);
    Results results, all;
    const PassRequest request = call.request(results, kRows, 3), whole = call.request(all, kRows, 1);
    screen::Query query{call.hidden, 1, &head.epilogue, head.valid, &request, &use};
    if (!screen::may_answer(query)) continue;
    screen::search(kernels, weights.e(), {&query, 1}, request.workers);
    if (query.rows.empty()) continue;
    answered++;
    const PassResult got = screen::answer(kernels, weights.e(), query);
    const ProductSource source(kernels, weights.e(), head.epilogue, head.valid, call.hidden, 1);
    check_same(call, got, results, run_pass(kernels, source, whole), all, "by noise");
  }
  CHECK(answered > 20, "%zu", answered);
}

// Calls that may be searched for, beside those that may not: each is answered as alone.
TEST_PER_TABLE(searched_calls_that_share_a_pass_have_the_bits_that_they_have_alone) {
  class Counting final : public SharedPassHost {
   public:
    bool has_news() const override { return false; }
    void answered(SharedCall&) noexcept override { count++; }
    size_t count = 0;
  };
  Random random(191);
  uint64_t passes = 0;
  for (uint64_t turn = 0; turn < 30; turn++) {
    const Weights weights = screened_weights(kernels, 2000, 96, turn % 2 ? Dtype::bf16 : Dtype::f32, turn % 5 == 4, turn + 100);
    const Matrix e = weights.e();
    const std::shared_ptr<const Copy> copy = Copy::quantize(kernels, e, ParallelFor{2});
    std::vector<std::unique_ptr<BestCall>> calls;
    std::vector<std::unique_ptr<screen::Use>> uses;
    std::vector<Results> results(5);
    std::vector<SharedCall> shared(1 + random.below(5));
    SharedPass pass(kernels, e, Activations::f32, nullptr);
    for (size_t i = 0; i < shared.size(); i++) {
      const size_t n = 1 + random.below(2);
      calls.push_back(std::make_unique<BestCall>(weights, some_settings(weights, random), random.below(24 - n), n, random));
      uses.push_back(std::make_unique<screen::Use>(copy, e.row_bytes(), calls[i]->head.epilogue.bias));
      shared[i].hidden = calls[i]->hidden;
      shared[i].n = n;
      shared[i].epilogue = calls[i]->head.epilogue;
      shared[i].valid = calls[i]->head.valid;
      shared[i].request = calls[i]->request(results[i], 2000, static_cast<unsigned>(1 + random.below(4)));
      if (random.below(8)) shared[i].screen = uses[i].get();
      pass.add(shared[i]);
    }
    Counting host;
    CHECK(pass.run(host) && host.count == shared.size());
    for (size_t i = 0; i < shared.size(); i++) {
      Results all;
      const PassRequest request = calls[i]->request(all, 2000, 2);
      const ProductSource source(kernels, e, calls[i]->head.epilogue, calls[i]->head.valid, calls[i]->hidden, calls[i]->n);
      CHECK(!shared[i].out_of_memory);
      check_same(*calls[i], shared[i].result, results[i], run_pass(kernels, source, request), all, "shared");
      passes += uses[i]->counts().passes;
    }
  }
  CHECK(passes > 10, "%llu", static_cast<unsigned long long>(passes));
}

// Calls that too many rows are left for cost a search now and then, and no more.
TEST(searches_in_vain_are_ever_rarer) {
  Random random(3);
  constexpr size_t kRows = 1024, d = 64;
  const std::vector<float> e = matrix_of(Kind::normal, kRows, d, random);
  const Matrix matrix = view_of(e, kRows, d);
  const Kernels& kernels = *scalar_kernels();
  const screen::Use use(Copy::quantize(kernels, matrix, ParallelFor{1}), matrix.row_bytes(), nullptr);
  AlignedFloats h(hidden_stride(d));
  for (size_t k = 0; k < d; k++) h[k] = static_cast<float>(random.normal());
  uint32_t id = 0;
  float log_prob = 0;
  const std::vector<double> parameters = parameter_table({{.temperature = 1, .top_k = 240}});
  PassRequest request;
  request.row_parameters = parameters.data();
  request.sample.ids = &id;
  request.sample.log_probs = &log_prob;
  const Epilogue none;
  size_t searched = 0;
  for (int i = 0; i < 1000; i++) {
    screen::Query query{h.data(), 1, &none, kRows, &request, &use};
    CHECK(screen::may_answer(query));
    if (use.sits_out()) continue;
    searched++;
    screen::search(kernels, matrix, {&query, 1}, ParallelFor{1});
    CHECK(query.rows.empty());
  }
  CHECK(searched > 10 && searched < 30, "%zu", searched);
  const screen::Use::Counts counts = use.counts();
  CHECK(counts.full_passes() == 1000 && counts.passes == 0);
}

// Whoever knows how searches end, and chooses hidden states by that, makes them cost little more than full passes.
TEST(searches_cost_no_more_than_passes_whatever_states_come) {
  Random random(4);
  constexpr size_t kRows = 2048, d = 64;
  constexpr int kCalls = 5000;
  const std::vector<float> e = matrix_of(Kind::normal, kRows, d, random);
  const auto copy = Copy::quantize(*scalar_kernels(), view_of(e, kRows, d), ParallelFor{1});
  const auto copy_bytes = static_cast<double>(copy->bytes());
  // Every so manieth state is easy, and leaves this share of the rows.
  for (const size_t row_bytes : {4 * d, 2 * d, d + d / 16}) {
    const double full = static_cast<double>(row_bytes) * kRows;
    for (const size_t states : {1, 3, 16})
      for (const int easy : {1, 2, 3, 5, 30, 200, kCalls + 1}) {
        for (const double share : {0.001, 0.1, 0.25}) {
          const screen::Use use(copy, row_bytes, nullptr);
          const auto rows = static_cast<uint64_t>(share * kRows);
          const double search = copy_bytes * static_cast<double>(4 + states) / 5;
          double cost = 0;
          int tried = 0;
          for (int i = 0; i < kCalls; i++) {
            if (use.sits_out()) {
              cost += full;
            } else if (++tried % easy == 0) {
              use.answered(states, rows, rows);
              cost += search + 4 * static_cast<double>(rows * row_bytes);
            } else {
              use.in_vain(states);
              cost += search + full;
            }
          }
          CHECK(cost <= (1 + 0.05) * kCalls * full, "%zu bytes a row, each %d., %g left: %g", row_bytes, easy, share,
                cost / (kCalls * full));
          if (easy == 1 && share < 0.1 && states == 1) CHECK(tried == kCalls);
        }
      }
  }
}

}  // namespace
}  // namespace lmhead::test
