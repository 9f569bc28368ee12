// Whole passes: every sink against its definition on the same logits, and the same bits for any number of threads, any batch
// and any set of sinks.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "../core/sinks/sink.h"
#include "../core/sinks/top_k.h"
#include "check.h"
#include "passes.h"

namespace lmhead::test {
namespace {

// All rows of a pass against the definitions, from the logits that the pass itself gave.
void check_against_definitions(const Results& r, const Problem& p, const std::vector<RowSampling>& rows,
                               const std::vector<uint32_t>& targets, const char* what) {
  for (size_t i = 0; i < p.n; i++) {
    const float* const u = &r.logits[i * p.vocabulary];
    const float* const log_probs = &r.log_probs[i * p.vocabulary];
    const float* const probs = &r.probs[i * p.vocabulary];
    const std::vector<Candidate> sorted = sorted_candidates(u, p.valid);
    const RowSampling& row = rows[i];
    const double t = row.temperature == 0 ? 1 : row.temperature, max = sorted[0].logit;
    double sum = 0, x_sum = 0, probs_sum = 0;
    for (size_t id = 0; id < p.valid; id++) {
      const double x = (u[id] - max) / t, e = std::exp(x);
      sum += e;
      if (e > 0) x_sum += e * x;
      probs_sum += probs[id];
    }
    const double log_sum = std::log(sum), entropy = log_sum - x_sum / sum;
    const auto near = [](double got, double want, double relative) {
      return got == want || std::abs(got - want) <= relative * (1 + std::abs(want));
    };

    CHECK(r.argmax[i] == sorted[0].id, "%s row=%zu", what, i);
    // exp's 2 ULP, and log_prob's own rounding.
    const double lse = static_cast<float>(max / t + log_sum);
    CHECK(near(r.log_sum_exp[i], lse, 1e-6), "%s row=%zu: %.9g, want %.9g", what, i, r.log_sum_exp[i], lse);
    bool log_probs_near = true, probs_near = true;
    for (size_t id = 0; id < p.valid; id++) {
      const double x = (u[id] - max) / t;
      log_probs_near &= near(log_probs[id], static_cast<float>(x - log_sum), 1e-6);
      probs_near &= std::abs(probs[id] - std::exp(x) / sum) <= 1e-5 * std::exp(x) / sum + 1e-37;
    }
    CHECK(log_probs_near, "%s row=%zu", what, i);
    CHECK(probs_near && std::abs(probs_sum - 1) < 1e-5, "%s row=%zu: sum %.9g", what, i, probs_sum);
    bool padded = true;
    for (size_t id = p.valid; id < p.vocabulary; id++) padded &= u[id] == -kInf && log_probs[id] == -kInf && probs[id] == 0;
    CHECK(padded, "%s row=%zu", what, i);

    bool top_right = true;
    for (size_t j = 0; j < r.k; j++) {
      const size_t at = i * r.k + j;
      top_right &= r.top_ids[at] == sorted[j].id && r.top_logits[at] == sorted[j].logit;
      top_right &= r.top_log_probs[at] == log_probs[sorted[j].id];  // the same number has the same bits
    }
    CHECK(top_right, "%s row=%zu k=%u", what, i, r.k);

    if (targets[i] == kIgnored) {
      CHECK(r.target_log_probs[i] == 0 && r.ranks[i] == 0 && r.entropy[i] == 0, "%s row=%zu", what, i);
    } else {
      const auto at = std::find_if(sorted.begin(), sorted.end(), [&](const Candidate& c) { return c.id == targets[i]; });
      CHECK(r.ranks[i] == at - sorted.begin() + 1, "%s row=%zu target=%u: %u", what, i, targets[i], r.ranks[i]);
      CHECK(r.target_log_probs[i] == log_probs[targets[i]], "%s row=%zu", what, i);
      CHECK(near(r.entropy[i], entropy, 1e-5), "%s row=%zu: %.9g, want %.9g", what, i, r.entropy[i], entropy);
    }

    if (row.temperature == 0) {
      CHECK(r.sample_ids[i] == sorted[0].id && r.sample_log_probs[i] == 0, "%s row=%zu", what, i);
    } else {
      const Choice want = naive_draw(sorted, row);
      CHECK(r.sample_ids[i] == want.id, "%s row=%zu: %u, want %u", what, i, r.sample_ids[i], want.id);
      CHECK(near(r.sample_log_probs[i], static_cast<float>(want.log_prob), 1e-6), "%s row=%zu: %.9g, want %.9g", what, i,
            r.sample_log_probs[i], want.log_prob);
    }
  }
}

// Logits against double: the dot product's bound, and an ULP or so for each step after it.
void check_logits(const Results& r, const Problem& p) {
  const Matrix e = p.e();
  for (size_t i = 0; i < p.n; i++)
    for (size_t id = 0; id < p.valid; id++) {
      double dot = 0, absolute = 0;
      for (size_t k = 0; k < p.d; k++) {
        const double term = value_of(e, id, k) * p.hidden[i * hidden_stride(p.d) + k];
        dot += term;
        absolute += std::abs(term);
      }
      const double cap = p.epilogue.cap, scale = p.epilogue.scale;
      const auto capped = [&](double x) { return cap == 0 ? x : cap * std::tanh(x / cap); };
      const double biased = p.epilogue.bias ? dot + p.epilogue.bias[id] : dot;
      const double want = p.epilogue.cap_first ? capped(biased) * scale : capped(biased * scale);
      const double error =
          (product_bound(p.d, absolute) + 0x1p-23 * std::abs(biased)) * std::abs(scale) + 0x1p-22 * std::abs(want) + 1e-30;
      CHECK(std::abs(r.logits[i * p.vocabulary + id] - want) <= error, "row=%zu id=%zu: %.9g, want %.9g", i, id,
            r.logits[i * p.vocabulary + id], want);
    }
}

// ---- cases -------------------------------------------------------------------------------------------------------------------

constexpr size_t kVocabularies[] = {1, 2, 255, 256, 257, 700, 3000};
constexpr size_t kBatches[] = {1, 2, 3, 7, 20};
constexpr size_t kDepths[] = {1, 3, 9, 17};

TEST_PER_TABLE(passes_agree_with_definitions_and_do_not_depend_on_threads_batch_or_neighbors) {
  Random random(51);
  size_t turn = 0;
  for (const size_t vocabulary : kVocabularies)
    for (const size_t n : kBatches)
      for (int epilogue = 0; epilogue < kEpilogues; epilogue++)
        for (const bool padded : {false, true}) {
          const size_t valid = padded ? std::max<size_t>(1, vocabulary - vocabulary / 5 - 1) : vocabulary;
          turn++;
          // Of the largest, every third problem, and a third of what is compared with it.
          const size_t step = vocabulary == 3000 ? 3 : 1, at = turn / step, start = at % step;
          if (turn % step != 0) continue;
          const size_t d = kDepths[at % 4];
          const Problem p = make_problem(kernels, vocabulary, valid, n, d, kFloats[at % 3], epilogue, turn);
          const uint32_t ks[] = {1, 5, static_cast<uint32_t>(valid), 1100};
          const uint32_t k = std::min(ks[(at / 3) % 4], static_cast<uint32_t>(valid));
          std::vector<RowSampling> rows;
          std::vector<uint32_t> targets;
          for (size_t i = 0; i < n; i++) {
            rows.push_back(kWays[(at + i) % kWayCount]);
            rows.back().stream = {static_cast<uint32_t>(random.bits()), static_cast<uint32_t>(random.bits()),
                                  static_cast<uint32_t>(random.bits())};
            targets.push_back(random.below(5) == 0 ? kIgnored : static_cast<uint32_t>(random.below(valid)));
          }
          const std::vector<double> parameters = parameter_table(rows);
          char what[100];
          std::snprintf(what, sizeof what, "V=%zu valid=%zu n=%zu d=%zu epilogue=%d k=%u", vocabulary, valid, n, d, epilogue, k);

          const ProductSource product = p.source(kernels, 0, n);
          const Laborious source(product);
          const Results all = run(kernels, source, parameters.data(), targets.data(), k, kEverything, 1);
          CHECK(all.result.status == PassResult::ok, "%s", what);
          if (all.result.status != PassResult::ok) continue;
          check_logits(all, p);
          check_against_definitions(all, p, rows, targets, what);

          for (const unsigned threads : {2u, 3u, 7u}) {
            const Results again = run(kernels, source, parameters.data(), targets.data(), k, kEverything, threads);
            for (size_t i = 0; i < n; i++) {
              const char* const where = difference(all, i, again, i);
              CHECK(!where, "%s threads=%u row=%zu: %s", what, threads, i, where);
            }
          }
          for (size_t i = start; n > 1 && i < n; i += step) {
            const ProductSource alone = p.source(kernels, i, 1);
            const Results one = run(kernels, Laborious(alone), &parameters[i * kRowParameters], &targets[i], k, kEverything,
                                    1 + static_cast<unsigned>(i) % 3);
            const char* const where = difference(all, i, one, 0);
            CHECK(!where, "%s row=%zu alone: %s", what, i, where);
          }
          constexpr unsigned kSinks[] = {kLogits, kLogProbs, kProbs, kArgmax, kTop, kSample, kScore, kLogSumExp};
          for (size_t which = start; which < std::size(kSinks); which += step) {
            const unsigned sink = kSinks[which];
            const Results one = run(kernels, source, parameters.data(), targets.data(), k, sink, 1 + sink % 3);
            for (size_t i = 0; i < n; i++) {
              const char* const where = difference(all, i, one, i);
              CHECK(!where, "%s sink=%u row=%zu: %s", what, sink, i, where);
            }
          }
        }
}

TEST_PER_TABLE(every_set_of_sinks_gives_the_same_bits) {
  for (const size_t vocabulary : {300, 1500}) {
    const size_t n = 4;
    const Problem p = make_problem(kernels, vocabulary, vocabulary - 20, n, 9, Dtype::bf16, 1, vocabulary);
    const ProductSource product = p.source(kernels, 0, n);
    const Laborious source(product);
    std::vector<uint32_t> targets = {5, kIgnored, 0, 279};
    const uint32_t k = vocabulary == 1500 ? 1200 : 10;
    for (size_t first_way = 0; first_way < kWayCount; first_way += n) {
      std::vector<RowSampling> rows;
      for (size_t i = 0; i < n; i++) rows.push_back(kWays[(first_way + i) % kWayCount]);
      const std::vector<double> parameters = parameter_table(rows);
      const Results all = run(kernels, source, parameters.data(), targets.data(), k, kEverything, 2);
      CHECK(all.result.status == PassResult::ok);
      // A third of the sets for each group of ways, or a seventh: together, all of them.
      const unsigned step = vocabulary == 1500 ? 7 : 3;
      for (unsigned sinks = 1 + static_cast<unsigned>(first_way / n) % step; sinks < kEverything; sinks += step) {
        const Results some = run(kernels, source, parameters.data(), targets.data(), k, sinks, 1 + sinks % 4);
        for (size_t i = 0; i < n; i++) {
          const char* const where = difference(all, i, some, i);
          CHECK(!where, "V=%zu sinks=%#x row=%zu: %s", vocabulary, sinks, i, where);
        }
      }
    }
  }
}

// Min-p keeps at most 4096 candidates per thread; beyond that rows are held in a second streaming. Which rows spill depends on
// the threads, so results must not depend on spilling.
TEST_PER_TABLE(min_p_rows_that_spill_give_the_same_bits) {
  constexpr size_t kVocabulary = 12000, n = 5;
  std::vector<float> logits(n * kVocabulary);
  Random random(52);
  for (size_t i = 0; i < n; i++)
    for (size_t id = 0; id < kVocabulary; id++)
      logits[i * kVocabulary + id] = i % 2 ? 1 : static_cast<float>(random.normal() * 0.3 - (i == 2 ? 30.0 * (id % 3) : 0));
  const MaterializedSource held(logits.data(), n, kVocabulary);
  const Laborious source(held);
  std::vector<RowSampling> rows;
  for (size_t i = 0; i < n; i++)
    rows.push_back({.temperature = 1, .log_min_p = i == 4 ? -1e-3 : -20, .stream = {9, 9, static_cast<uint32_t>(i)}});
  const std::vector<double> parameters = parameter_table(rows);
  const Results want = run(kernels, source, parameters.data(), nullptr, 0, kSample, 1);
  CHECK(want.result.status == PassResult::ok);
  for (size_t i = 0; i < n; i++) {
    const std::vector<Candidate> all = sorted_candidates(&logits[i * kVocabulary], kVocabulary);
    CHECK(want.sample_ids[i] == naive_gumbel_max(naive_filter(all, rows[i]), rows[i]).id, "row=%zu", i);
  }
  for (const unsigned threads : {2u, 3u, 7u}) {
    const Results got = run(kernels, source, parameters.data(), nullptr, 0, kSample | kLogSumExp, threads);
    for (size_t i = 0; i < n; i++) CHECK(!difference(want, i, got, i), "threads=%u row=%zu", threads, i);
  }
}

// More rows than a block has columns; targets, samples and outputs must stay with their rows.
TEST_PER_TABLE(batches_of_several_blocks_are_as_their_rows) {
  constexpr size_t n = 600, kVocabulary = 300;
  const Problem p = make_problem(kernels, kVocabulary, 280, n, 5, Dtype::f16, 3, 53);
  const ProductSource product = p.source(kernels, 0, n);
  const Laborious source(product);
  std::vector<RowSampling> rows;
  std::vector<uint32_t> targets;
  for (size_t i = 0; i < n; i++) {
    rows.push_back(kWays[i % kWayCount]);
    rows.back().stream = {1, 2, static_cast<uint32_t>(i)};
    targets.push_back(static_cast<uint32_t>(i * 7 % 280));
  }
  const std::vector<double> parameters = parameter_table(rows);
  const Results all = run(kernels, source, parameters.data(), targets.data(), 6, kEverything, 3);
  CHECK(all.result.status == PassResult::ok);
  check_against_definitions(all, p, rows, targets, "600 rows");
  for (size_t i = 0; i < n; i += 17) {
    const ProductSource alone = p.source(kernels, i, 1);
    const Results one = run(kernels, alone, &parameters[i * kRowParameters], &targets[i], 6, kEverything, 1);
    CHECK(!difference(all, i, one, 0), "row=%zu", i);
  }
}

// A vocabulary so large that only a few rows' logits may be held at once.
TEST(rows_that_do_not_fit_in_memory_together_are_held_in_turn) {
  constexpr size_t kVocabulary = (size_t{3} << 20) + 5, n = 4;  // two rows in 32 MB
  std::vector<float> row(kVocabulary);
  Random random(54);
  for (float& u : row) u = static_cast<float>(static_cast<double>(random.bits() >> 40) * 0x1p-22);
  class SameRow final : public LogitSource {
   public:
    explicit SameRow(const std::vector<float>& row) : row_(row) {}
    size_t columns() const override { return n; }
    size_t vocabulary() const override { return kVocabulary; }
    size_t valid() const override { return kVocabulary; }
    size_t group(const PreparedColumns&) const override { return 16; }
    double work() const override { return 1e15; }
    Logits logits(const PreparedColumns&, size_t first_row, size_t, size_t, size_t, float*) const override {
      return {row_.data() + first_row, 0};
    }

   private:
    const std::vector<float>& row_;
  };
  const std::vector<RowSampling> rows = {{.top_p = 0.9, .stream = {4, 4, 4}},
                                         {.temperature = 1, .stream = {4, 4, 4}},
                                         {.top_p = 0.9, .stream = {4, 4, 4}},
                                         {.top_p = 0.9, .stream = {4, 4, 4}}};
  const Results r = run(*available_kernels()[0], SameRow(row), parameter_table(rows).data(), nullptr, 0, kSample, 2);
  CHECK(r.result.status == PassResult::ok);
  CHECK(!difference(r, 0, r, 2) && !difference(r, 0, r, 3));
}

// ---- numbers that have no token ----------------------------------------------------------------------------------------------

TEST_PER_TABLE(NaN_is_carried_by_numbers_and_refused_by_choices) {
  constexpr size_t kVocabulary = 700, n = 6;
  Random random(55);
  std::vector<float> logits(n * kVocabulary);
  for (float& u : logits) u = static_cast<float>(random.normal());
  const std::vector<float> healthy = logits;
  for (const size_t id : {0, 255, 256, 300, 699}) {
    logits = healthy;
    logits[2 * kVocabulary + id] = kNan;
    logits[2 * kVocabulary + 699] = kNan;  // the first one is reported
    logits[4 * kVocabulary] = kNan;
    const MaterializedSource held(logits.data(), n, kVocabulary);
    const Laborious source(held);
    const std::vector<uint32_t> targets(n, 5);
    std::vector<RowSampling> rows(n);
    for (size_t way = 0; way < kWayCount; way++) {
      rows.assign(n, kWays[way]);
      for (const unsigned sinks : {unsigned{kArgmax}, unsigned{kTop}, unsigned{kSample}, unsigned{kEverything}})
        for (const unsigned threads : {1u, 3u}) {
          const PassResult r = run(kernels, source, parameter_table(rows).data(), targets.data(), 3, sinks, threads).result;
          CHECK(r.status == PassResult::nan && r.row == 2 && r.id == static_cast<int64_t>(id), "way=%zu sinks=%u: %d %zu %lld",
                way, sinks, r.status, r.row, static_cast<long long>(r.id));
        }
    }
    const Results r =
        run(kernels, source, nullptr, targets.data(), 0, kLogits | kLogProbs | kProbs | kScore | kEntropy | kLogSumExp, 2);
    CHECK(r.result.status == PassResult::ok);
    for (size_t i = 0; i < n; i++) {
      const bool sick = i == 2 || i == 4;
      CHECK(same(&r.logits[i * kVocabulary], &logits[i * kVocabulary], kVocabulary), "row=%zu", i);
      CHECK(std::isnan(r.log_sum_exp[i]) == sick && std::isnan(r.target_log_probs[i]) == sick, "row=%zu", i);
      CHECK(std::isnan(r.entropy[i]) == sick && (r.ranks[i] == 0) == sick, "row=%zu", i);
      for (size_t j = 0; j < kVocabulary; j++)
        CHECK(std::isnan(r.probs[i * kVocabulary + j]) == sick && std::isnan(r.log_probs[i * kVocabulary + j]) == sick, "row=%zu",
              i);
    }
  }
}

TEST_PER_TABLE(infinite_logits_have_the_probabilities_that_they_can_have) {
  constexpr size_t kVocabulary = 600, n = 4;
  std::vector<float> logits(n * kVocabulary, 0);
  std::fill(&logits[0], &logits[kVocabulary - 1], -kInf);            // one finite logit
  std::fill(&logits[kVocabulary], &logits[2 * kVocabulary], -kInf);  // none
  logits[2 * kVocabulary + 400] = kInf;
  logits[3 * kVocabulary + 7] = -kInf;
  const uint32_t targets[] = {599, 1, 1, 7};
  const MaterializedSource held(logits.data(), n, kVocabulary);
  const Laborious source(held);
  const Results r = run(kernels, source, nullptr, targets, 2, kEverything & ~kSample, 2);
  CHECK(r.result.status == PassResult::ok);
  CHECK(r.log_sum_exp[0] == 0 && r.probs[599] == 1 && r.probs[0] == 0 && r.log_probs[0] == -kInf && r.log_probs[599] == 0);
  CHECK(r.argmax[0] == 599 && r.top_ids[1] == 0 && r.entropy[0] == 0 && r.ranks[0] == 1);
  CHECK(r.log_sum_exp[1] == -kInf && std::isnan(r.probs[kVocabulary]) && std::isnan(r.log_probs[kVocabulary]));
  CHECK(r.argmax[1] == 0 && r.ranks[1] == 2);
  CHECK(r.log_sum_exp[2] == kInf && r.argmax[2] == 400 && r.log_probs[2 * kVocabulary] == -kInf && r.ranks[2] == 3);
  CHECK(r.target_log_probs[3] == -kInf && r.ranks[3] == 600 && std::abs(r.entropy[3] - std::log(599.0)) < 1e-5);

  for (size_t way = 0; way < kWayCount; way++) {
    const auto draw = [&](size_t row) {
      const MaterializedSource one(&logits[row * kVocabulary], 1, kVocabulary);
      return run(kernels, one, parameter_table({kWays[way]}).data(), nullptr, 0, kSample, 1);
    };
    CHECK(draw(0).sample_ids[0] == 599, "way=%zu", way);
    const Results none = draw(1), infinite = draw(2), some = draw(3);
    CHECK(none.result.status == PassResult::unnormalized && none.result.id == -1, "way=%zu", way);
    CHECK(infinite.result.status == PassResult::unnormalized && infinite.result.id == 400, "way=%zu", way);
    CHECK(some.result.status == PassResult::ok && some.sample_ids[0] != 7, "way=%zu", way);
  }
}

}  // namespace
}  // namespace lmhead::test
