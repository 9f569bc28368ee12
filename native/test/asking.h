// Random calls about weights that they share, and whether their answers are those that each has alone.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "../core/pass/shared_pass.h"
#include "adjusted.h"
#include "check.h"
#include "passes.h"

namespace lmhead::test {

// Weights that calls share, and their hidden states.
struct Weights {
  Problem problem;
  std::vector<float> bias;
  Matrix e() const { return problem.e(); }
};

inline Weights make_weights(const Kernels& kernels, size_t vocabulary, size_t rows, size_t d, Dtype dtype, uint64_t seed) {
  Weights w{make_problem(kernels, vocabulary, vocabulary, rows, d, dtype, 0, seed), {}};
  w.bias = w.problem.bias;
  return w;
}

// What a head over them has of its own.
struct HeadSettings {
  Epilogue epilogue;
  size_t valid;
};

inline HeadSettings some_settings(const Weights& weights, Random& random) {
  const size_t vocabulary = weights.problem.vocabulary;
  return {make_epilogue(static_cast<int>(random.below(kEpilogues)), weights.bias.data()),
          random.below(2) ? vocabulary : 1 + random.below(vocabulary)};
}

// A call, and what it is answered. Everything lies where it stays.
class Asking {
 public:
  Asking(const Kernels& kernels, const Weights& weights, const HeadSettings& head, size_t first_row, size_t n, Random& random)
      : kernels_(kernels), weights_(weights), n_(n) {
    const size_t vocabulary = weights.problem.vocabulary;
    call.hidden = weights.problem.hidden.data() + first_row * hidden_stride(weights.problem.d);
    call.n = n;
    call.epilogue = head.epilogue;
    call.valid = head.valid;
    std::vector<RowSampling> rows;
    for (size_t i = 0; i < n; i++) {
      rows.push_back(kWays[random.below(kWayCount)]);
      rows.back().stream = {static_cast<uint32_t>(random.bits()), 7, static_cast<uint32_t>(random.bits())};
      targets_.push_back(random.below(5) == 0 ? kIgnored : static_cast<uint32_t>(random.below(call.valid)));
    }
    parameters_ = parameter_table(rows);
    k_ = static_cast<uint32_t>(1 + random.below(random.below(4) == 0 ? call.valid : std::min<size_t>(call.valid, 50)));
    sinks_ = static_cast<unsigned>(1 + random.below(kEverything));
    if (k_ % 3 == 0) sinks_ |= kNoLogProbs;
    drafts_ = random.below(6) == 0;
    lists_ = random.below(4) == 0;
    wants_candidates_ = random.below(6) == 0;
    if (drafts_)
      for (size_t i = 0; i + random.below(2) < n; i++) draft_.push_back(static_cast<uint32_t>(random.below(call.valid)));
    if (draft_.size() + 1 < n) draft_.resize(n - 1, 0);
    if (drafts_ && random.below(2))
      for (size_t i = 0; i < draft_.size() * vocabulary; i++)
        draft_log_probs_.push_back(static_cast<float>(-random.uniform(0, 12)));
    const auto kind = static_cast<AdjustmentKind>(random.below(kAdjustmentKinds));
    adjustments_.emplace(n, vocabulary, call.valid, kind, random);
    call.request = ask(shared_);
    call.request.workers.threads = static_cast<unsigned>(1 + random.below(7));
    call.request.workers.abort = &abort;
  }
  Asking(const Asking&) = delete;

  SharedCall call;
  std::atomic<int32_t> abort{0};
  bool is_answered = false;

  // Alone, with the same answer?
  void check(const char* what) {
    CHECK(is_answered && !call.out_of_memory, "%s", what);
    check(what, call.result);
  }
  void check(const char* what, const PassResult& got) {
    PassRequest request = ask(alone_);
    request.workers.threads = 2;
    const ProductSource source(kernels_, weights_.e(), call.epilogue, call.valid, call.hidden, n_);
    const PassResult result = run_pass(kernels_, source, request);
    CHECK(got.status == result.status && got.row == result.row && got.id == result.id,
          "%s: status %d row %zu id %lld, alone %d %zu %lld", what, got.status, got.row, static_cast<long long>(got.id),
          result.status, result.row, static_cast<long long>(result.id));
    if (result.status != PassResult::ok || got.status != PassResult::ok) return;
    if (drafts_) {
      CHECK(shared_.accepted == alone_.accepted, "%s: %u accepted, alone %u", what, shared_.accepted, alone_.accepted);
      const size_t count = std::min<size_t>(alone_.accepted + 1, n_);
      for (size_t i = 0; i < count; i++)
        CHECK(shared_.draft_ids[i] == alone_.draft_ids[i] && same(shared_.draft_log_probs[i], alone_.draft_log_probs[i]),
              "%s: draft", what);
      return;
    }
    for (size_t i = 0; i < n_; i++) {
      const char* const where = difference(alone_.results, i, shared_.results, i);
      CHECK(!where, "%s row %zu: %s", what, i, where);
    }
    CHECK(shared_.lists == alone_.lists, "%s: lists", what);
    CHECK(std::equal(shared_.list_log_probs.begin(), shared_.list_log_probs.end(), alone_.list_log_probs.begin(),
                     alone_.list_log_probs.end(), same),
          "%s: log-probabilities of lists", what);
    CHECK(shared_.candidates.size() == alone_.candidates.size());
    for (size_t i = 0; i < alone_.candidates.size(); i++)
      CHECK(shared_.candidates[i].ids == alone_.candidates[i].ids && shared_.candidates[i].probs == alone_.candidates[i].probs,
            "%s row %zu: candidates", what, i);
  }

 private:
  struct Answer {
    Results results;
    uint32_t accepted = 0;
    std::vector<uint32_t> draft_ids, lists;
    std::vector<float> draft_log_probs, list_log_probs;
    std::vector<CandidateRow> candidates;
  };

  static bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

  PassRequest ask(Answer& answer) {
    if (drafts_) {
      answer.draft_ids.assign(n_, 0);
      answer.draft_log_probs.assign(n_, 0);
      PassRequest request;
      request.row_parameters = parameters_.data();
      request.adjustments = adjustments_->view();
      request.draft = {draft_.data(),    draft_.size(),           draft_log_probs_.empty() ? nullptr : draft_log_probs_.data(),
                       &answer.accepted, answer.draft_ids.data(), answer.draft_log_probs.data()};
      return request;
    }
    PassRequest request =
        request_for(answer.results, n_, weights_.problem.vocabulary, parameters_.data(), targets_.data(), k_, sinks_);
    if (request.draws()) request.adjustments = adjustments_->view();
    if (request.sample.ids && lists_) {
      const size_t k = std::min<size_t>(5, call.valid);
      answer.lists.assign(n_ * (2 + 2 * k), 0);
      answer.list_log_probs.assign(n_ * (1 + 2 * k), 0);
      uint32_t* const ids = answer.lists.data();
      float* const log_probs = answer.list_log_probs.data();
      request.sample.k = static_cast<uint32_t>(k);
      request.sample.model_log_probs = log_probs;
      request.sample.top = {ids, ids + 2 * n_, log_probs + n_};
      request.sample.model_top = {ids + n_, ids + 2 * n_ + n_ * k, log_probs + n_ + n_ * k};
    }
    if (wants_candidates_) {
      request.candidates = &answer.candidates;
      request.adjustments = adjustments_->view();
    }
    return request;
  }

  const Kernels& kernels_;
  const Weights& weights_;
  const size_t n_;
  std::vector<double> parameters_;
  std::vector<uint32_t> targets_, draft_;
  std::vector<float> draft_log_probs_;
  uint32_t k_;
  unsigned sinks_;
  bool drafts_, lists_, wants_candidates_;
  std::optional<SomeAdjustments> adjustments_;
  Answer shared_, alone_;
};

}  // namespace lmhead::test
