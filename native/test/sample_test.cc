// Samples of adjusted logits by every way and chain, and what they tell beside their tokens.
#include "adjusted.h"
#include "check.h"
#include "passes.h"

namespace lmhead::test {
namespace {

// A sample, and all that it tells.
struct Told {
  PassResult result;
  size_t k;
  std::vector<uint32_t> ids, counts, top, model_counts, model_top;
  std::vector<float> log_probs, model_log_probs, top_log_probs, model_top_log_probs;
};

Told sample(const Kernels& kernels, const LogitSource& source, const double* parameters, const Adjustments& adjustments,
            uint32_t k, unsigned threads, const LogitSource* normalizer = nullptr) {
  const size_t n = source.columns();
  Told t;
  t.k = k;
  for (auto* each : {&t.ids, &t.counts, &t.model_counts}) each->assign(n, 77);
  for (auto* each : {&t.log_probs, &t.model_log_probs}) each->assign(n, 77);
  for (auto* each : {&t.top, &t.model_top}) each->assign(n * k + 1, 77);  // one more, to be left alone
  for (auto* each : {&t.top_log_probs, &t.model_top_log_probs}) each->assign(n * k + 1, 77);
  PassRequest request;
  request.row_parameters = parameters;
  request.adjustments = adjustments;
  request.sample.ids = t.ids.data();
  request.sample.log_probs = t.log_probs.data();
  request.sample.model_log_probs = t.model_log_probs.data();
  request.sample.k = k;
  request.sample.top = {t.counts.data(), t.top.data(), t.top_log_probs.data()};
  request.sample.model_top = {t.model_counts.data(), t.model_top.data(), t.model_top_log_probs.data()};
  request.workers.threads = threads;
  request.normalizer = normalizer;
  t.result = run_pass(kernels, source, request);
  return t;
}

bool same_row(const Told& a, size_t i, const Told& b, size_t j) {
  const auto alike = [&](const auto& x, const auto& y, size_t width) {
    return std::memcmp(x.data() + i * width, y.data() + j * width, width * sizeof x[0]) == 0;
  };
  return alike(a.ids, b.ids, 1) && alike(a.log_probs, b.log_probs, 1) && alike(a.model_log_probs, b.model_log_probs, 1) &&
         alike(a.counts, b.counts, 1) && alike(a.top, b.top, a.k) && alike(a.top_log_probs, b.top_log_probs, a.k) &&
         alike(a.model_counts, b.model_counts, 1) && alike(a.model_top, b.model_top, a.k) &&
         alike(a.model_top_log_probs, b.model_top_log_probs, a.k);
}

// One row against the definitions. u: its logits, of `ids`, before adjustment.
void check_row(const Told& t, size_t row, const float* u, const std::vector<uint32_t>& ids, const RowSampling& sampling,
               const SomeAdjustments& adjustments, const char* what) {
  std::vector<Candidate> all;
  for (size_t i = 0; i < ids.size(); i++) all.push_back({adjustments.adjusted(row, ids[i], u[i]), ids[i]});
  std::sort(all.begin(), all.end(), better);
  const bool greedy = sampling.temperature == 0;
  const NaiveLeft left = greedy ? NaiveLeft{{all[0]}, 1} : NaiveChain(all, sampling).run();
  const Choice want = greedy ? Choice{all[0].id, 0} : naive_gumbel_max(left.kept, sampling.stream, left.temperature);
  const auto near = [](double got, double wanted) {
    return got == static_cast<float>(wanted) || std::abs(got - wanted) <= 1e-6 * (1 + std::abs(wanted));
  };
  CHECK(t.ids[row] == want.id && near(t.log_probs[row], want.log_prob), "%s row=%zu: %u %.9g, want %u %.9g", what, row,
        t.ids[row], t.log_probs[row], want.id, want.log_prob);
  const size_t count = std::min(t.k, left.kept.size());
  CHECK(t.counts[row] == count, "%s row=%zu: %u, want %zu", what, row, t.counts[row], count);
  for (size_t i = 0; i < t.k; i++) {
    const uint32_t id = t.top[row * t.k + i];
    const float log_prob = t.top_log_probs[row * t.k + i];
    if (i >= count) {
      CHECK(id == kNoId && log_prob == -kInf, "%s row=%zu i=%zu", what, row, i);
      continue;
    }
    const double x = (static_cast<double>(left.kept[i].logit) - left.kept[0].logit) / left.temperature;
    CHECK(id == left.kept[i].id && near(log_prob, x - want.log_sum), "%s row=%zu i=%zu: %u %.9g, want %u %.9g", what, row, i, id,
          log_prob, left.kept[i].id, x - want.log_sum);
    if (id == t.ids[row]) CHECK(same(log_prob, t.log_probs[row]), "%s row=%zu", what, row);  // the same number
  }
}

TEST_PER_TABLE(samples_of_adjusted_logits_and_what_they_tell_agree_with_definitions_and_other_results) {
  Random random(91);
  int turn = 0;
  for (const size_t vocabulary : {3, 60, 700, 5000})
    for (int kind = 0; kind < kAdjustmentKinds; kind++)
      for (const int view : {0, 1, 2}) {  // all rows; some; some, over the vocabulary
        turn++;
        const size_t n = 1 + random.below(9), valid = vocabulary - vocabulary / 20;
        const Problem p = make_problem(kernels, vocabulary, valid, n, 1 + random.below(40), kFloats[turn % 3], turn % kEpilogues,
                                       random.bits());
        const SomeAdjustments adjustments(n, vocabulary, valid, static_cast<AdjustmentKind>(kind), random);
        std::vector<uint32_t> ids;
        for (uint32_t id = 0; id < valid; id++) {
          bool drawable = false;  // so that every row keeps one
          for (size_t row = 0; row < n; row++) drawable |= adjustments.adjusted(row, id, 0) == -kInf;
          if (view == 0 || !drawable || random.below(3) == 0) ids.push_back(id);
        }
        std::vector<RowSampling> rows;
        for (size_t i = 0; i < n; i++) {
          rows.push_back(kWays[random.below(kWayCount)]);
          rows.back().stream = {2, static_cast<uint32_t>(random.bits()), static_cast<uint32_t>(i), Purpose::token,
                                static_cast<uint32_t>(random.below(3))};
        }
        if (turn % 4 == 0)
          for (RowSampling& row : rows) row.temperature = 1;  // as the raw distribution
        const std::vector<double> parameters = parameter_table(rows);
        const uint32_t ks[] = {0, 1, 7, 20};
        const uint32_t k = std::min(ks[random.below(4)], static_cast<uint32_t>(ids.size()));
        char what[100];
        std::snprintf(what, sizeof what, "V=%zu rows=%zu n=%zu kind=%d view=%d k=%u", vocabulary, ids.size(), n, kind, view, k);

        const RowSubset subset = view == 0 ? RowSubset{} : RowSubset{ids.data(), ids.size()};
        const auto source = [&](size_t first, size_t count) {
          return ProductSource(kernels, p.e(), p.epilogue, valid, p.hidden.data() + first * hidden_stride(p.d), count, subset);
        };
        const ProductSource whole = p.source(kernels, 0, n), product = source(0, n);
        const Laborious laborious(product);
        const LogitSource* const normalizer = view == 2 ? &whole : nullptr;
        const Told all = sample(kernels, laborious, parameters.data(), adjustments.view(), k, 1, normalizer);
        CHECK(all.result.status == PassResult::ok, "%s: %d", what, all.result.status);
        if (all.result.status != PassResult::ok) continue;
        const Results raw =
            run(kernels, product, nullptr, all.ids.data(), std::max(k, 1u), kLogits | kTop | kScore, 1, nullptr, normalizer);
        const size_t width = view == 0 ? vocabulary : ids.size();
        for (size_t i = 0; i < n; i++) {
          check_row(all, i, &raw.logits[i * width], ids, rows[i], adjustments, what);
          CHECK(same(all.model_log_probs[i], raw.target_log_probs[i]), "%s row=%zu", what, i);
          CHECK(all.model_counts[i] == k && same(&all.model_top_log_probs[i * k], &raw.top_log_probs[i * raw.k], k) &&
                    std::equal(&all.model_top[i * k], &all.model_top[i * k] + k, &raw.top_ids[i * raw.k]),
                "%s row=%zu", what, i);
        }
        CHECK(all.top.back() == 77 && all.model_top_log_probs.back() == 77, "%s", what);

        for (const unsigned threads : {2u, 5u}) {
          const Told again = sample(kernels, laborious, parameters.data(), adjustments.view(), k, threads, normalizer);
          for (size_t i = 0; i < n; i++) CHECK(same_row(all, i, again, i), "%s threads=%u row=%zu", what, threads, i);
        }
        for (size_t i = 0; i < n; i++) {
          const ProductSource alone = source(i, 1), alone_whole = p.source(kernels, i, 1);
          const Told one = sample(kernels, alone, &parameters[i * kRowParameters], adjustments.from(i), k, 1 + i % 3,
                                  view == 2 ? &alone_whole : nullptr);
          CHECK(same_row(all, i, one, 0), "%s row=%zu alone", what, i);
        }
      }
}

TEST_PER_TABLE(a_row_that_is_held_after_all_tells_the_same) {
  constexpr size_t kVocabulary = 12000, n = 3;
  std::vector<float> logits(n * kVocabulary);
  Random random(92);
  for (float& u : logits) u = static_cast<float>(random.normal() * 0.3);
  const MaterializedSource held(logits.data(), n, kVocabulary);
  const Laborious source(held);
  std::vector<uint32_t> ids(kVocabulary);
  for (uint32_t id = 0; id < kVocabulary; id++) ids[id] = id;
  const SomeAdjustments none(n, kVocabulary, kVocabulary, AdjustmentKind::none, random);
  for (const double temperature : {1.0, 0.7}) {
    std::vector<RowSampling> rows(n, {.temperature = temperature, .log_min_p = -20, .stream = {9, 9, 9}});
    rows[1].log_min_p = -0.01;  // few: this one is not
    const std::vector<double> parameters = parameter_table(rows);
    const Told want = sample(kernels, source, parameters.data(), {}, 9, 1, &held);
    for (size_t i = 0; i < n; i++) check_row(want, i, &logits[i * kVocabulary], ids, rows[i], none, "held after all");
    const Results raw = run(kernels, held, nullptr, want.ids.data(), 9, kTop | kScore, 1);
    CHECK(std::equal(raw.top_ids.begin(), raw.top_ids.end(), want.model_top.begin()) &&
          same(raw.top_log_probs.data(), want.model_top_log_probs.data(), 9 * n) &&
          same(raw.target_log_probs.data(), want.model_log_probs.data(), n));
    for (const unsigned threads : {3u, 7u}) {
      const Told got = sample(kernels, source, parameters.data(), {}, 9, threads);
      for (size_t i = 0; i < n; i++) CHECK(same_row(want, i, got, i), "threads=%u row=%zu", threads, i);
    }
  }
}

// More tokens than min-p may keep: in one row on one thread, and in all rows together on many.
TEST_PER_TABLE(rows_that_min_p_has_no_room_for_tell_the_same) {
  constexpr size_t kVocabulary = 12000, n = 120;
  std::vector<float> logits(n * kVocabulary);
  Random random(93);
  for (size_t i = 0; i < logits.size(); i++) {
    const bool flat = i / kVocabulary % 4 != 0;
    logits[i] = static_cast<float>(random.normal() * (flat ? 0.3 : 6));
  }
  const MaterializedSource held(logits.data(), n, kVocabulary);
  const Laborious source(held);
  std::vector<uint32_t> ids(kVocabulary);
  for (uint32_t id = 0; id < kVocabulary; id++) ids[id] = id;
  const SomeAdjustments none(n, kVocabulary, kVocabulary, AdjustmentKind::none, random);
  std::vector<RowSampling> rows(n, {.temperature = 0.8, .log_min_p = -3, .stream = {9, 9, 9}});
  for (size_t i = 0; i < n; i += 7) rows[i].log_min_p = 0;
  const std::vector<double> parameters = parameter_table(rows);
  const Told want = sample(kernels, source, parameters.data(), {}, 3, 1);
  for (size_t i = 0; i < n; i += 13) check_row(want, i, &logits[i * kVocabulary], ids, rows[i], none, "no room");
  for (const unsigned threads : {3u, 20u}) {
    const Told got = sample(kernels, source, parameters.data(), {}, 3, threads);
    for (size_t i = 0; i < n; i++) CHECK(same_row(want, i, got, i), "threads=%u row=%zu", threads, i);
  }
}

// A NaN that cannot be drawn is in the raw distribution still.
TEST_PER_TABLE(NaN_is_refused_by_what_is_told) {
  std::vector<float> logits = {1, kNan, 3, 4};
  const MaterializedSource held(logits.data(), 1, 4);
  const uint32_t mask = 0b1101;
  Adjustments adjustments;
  adjustments.allowed = &mask;
  adjustments.valid = 4;
  const std::vector<double> parameters = parameter_table({{}});
  for (const uint32_t k : {0u, 2u}) {
    const PassResult r = sample(kernels, held, parameters.data(), adjustments, k, 1).result;
    CHECK(r.status == PassResult::nan && r.row == 0 && r.id == 1, "k=%u: %d", k, r.status);
  }
}

// Where nobody asks for log-probabilities, no exponential is taken for them, and all else has the same bits.
TEST_PER_TABLE(without_log_probabilities_there_is_no_sum_over_the_vocabulary) {
  static std::atomic<size_t> sums;
  static const Kernels* real;
  real = &kernels;
  Kernels counting = kernels;
  counting.exp_sums = [](const float* u, size_t count, float max, double inverse_temperature, bool with_x) {
    sums++;
    return real->exp_sums(u, count, max, inverse_temperature, with_x);
  };
  const std::vector<RowSampling> rows = {{},           {.temperature = 0},         {.temperature = 0.5},
                                         {.top_k = 7}, {.top_k = 7, .top_p = 0.6}, {.log_min_p = -4}};
  const std::vector<double> parameters = parameter_table(rows);
  const Problem p = make_problem(kernels, 5 * kChunkRows + 3, 5 * kChunkRows + 1, rows.size(), 19, Dtype::f32, 0, 8);
  const ProductSource source = p.source(kernels, 0, p.n);
  for (const unsigned sinks : {0u + kTop, 0u + kSample, kTop | kSample | kArgmax | kLogits}) {
    for (const unsigned threads : {1u, 3u}) {
      const Results want = run(kernels, source, parameters.data(), nullptr, 9, sinks, threads);
      sums = 0;
      const Results got = run(counting, source, parameters.data(), nullptr, 9, sinks | kNoLogProbs, threads);
      CHECK(got.result.status == PassResult::ok && sums == 0, "sinks %u: %zu sums", sinks, sums.load());
      CHECK(got.top_log_probs.empty() && got.sample_log_probs.empty());
      for (size_t i = 0; i < p.n; i++) {
        const char* const what = difference(want, i, got, i);
        CHECK(!what, "%s of row %zu", what, i);
      }
    }
  }
  run(counting, source, nullptr, nullptr, 9, kLogSumExp, 1);
  CHECK(sums > 0);
}

}  // namespace
}  // namespace lmhead::test
