// Every stage against a sorted walk, alone and in any order; and Gumbel-max among what they leave.
#include "../core/sampling/filters.h"

#include <cfloat>

#include "../core/pass/pass.h"
#include "../core/sampling/materialized_row.h"
#include "../core/sources/materialized_source.h"
#include "check.h"
#include "naive.h"
#include "numbers.h"

namespace lmhead::test {
namespace {

enum class FilteredKind { spread, peaked, ties, flat, with_infinities, count };

std::vector<float> row_to_filter(FilteredKind kind, size_t count, Random& random) {
  std::vector<float> u(count);
  for (float& x : u) {
    x = static_cast<float>(random.normal() * (kind == FilteredKind::peaked ? 15 : 3));
    if (kind == FilteredKind::ties) x = std::round(x);
    if (kind == FilteredKind::flat) x = 1.25f;
    if (kind == FilteredKind::with_infinities && random.below(3) == 0) x = -kInf;
  }
  u[random.below(count)] = 2;  // one at least is finite
  return u;
}

void shuffle(std::vector<Candidate>& candidates, Random& random) {
  for (size_t i = candidates.size(); i > 1; i--) std::swap(candidates[i - 1], candidates[random.below(i)]);
}

bool same_ids(std::vector<Candidate> a, std::vector<Candidate> b) {
  std::sort(a.begin(), a.end(), better);
  std::sort(b.begin(), b.end(), better);
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](auto& x, auto& y) { return x.id == y.id; });
}

// Every kind of row under every filter and all of them at once.
template <class Body>
void for_all_filters(uint64_t seed, Body body) {
  Random random(seed);
  for (int kind = 0; kind < static_cast<int>(FilteredKind::count); kind++)
    for (const size_t count : {1, 2, 3, 7, 50, 300, 1500})
      for (const size_t top_k : {0, 1, 2, 5, 40, 2000})
        for (const double top_p : {1.0, 0.95, 0.5, 1e-3, 0.0})
          for (const double min_p : {0.0, 0.05, 0.6, 1.0}) {
            RowSampling row;
            row.top_k = top_k;
            row.top_p = top_p;
            row.log_min_p = std::log(min_p);
            row.temperature = min_p == 0.05 ? 0.6 : 1.3;
            row.stream = {static_cast<uint32_t>(random.bits()), static_cast<uint32_t>(random.bits()), 0};
            const std::vector<float> u = row_to_filter(static_cast<FilteredKind>(kind), count, random);
            body(u, row, random);
          }
}

TEST(filters_keep_what_a_sorted_walk_keeps_in_any_order_of_candidates) {
  for_all_filters(31, [](const std::vector<float>& u, const RowSampling& row, Random& random) {
    const std::vector<Candidate> all = sorted_candidates(u.data(), u.size());
    const std::vector<Candidate> want = naive_filter(all, row);
    std::vector<Candidate> shuffled = all;
    for (int turn = 0; turn < 2; turn++) {
      shuffle(shuffled, random);
      std::vector<Candidate> got = shuffled;
      filter(got, row);
      CHECK(same_ids(got, want), "V=%zu k=%zu p=%g log minP=%g: %zu kept, want %zu", u.size(), row.top_k, row.top_p,
            row.log_min_p, got.size(), want.size());
    }
  });
}

// What a stage keeps of every kind of row, at several strengths. `set` puts a strength from 0 to 1 into a row's parameters.
template <class Set>
void check_stage(uint64_t seed, Set set) {
  Random random(seed);
  for (int kind = 0; kind < static_cast<int>(FilteredKind::count); kind++)
    for (const size_t count : {1, 2, 3, 7, 50, 300, 1500})
      for (const double strength : {0.0, 0.03, 0.2, 0.5, 0.8, 0.97, 1.0}) {
        RowSampling row;
        row.stream = {static_cast<uint32_t>(random.bits()), static_cast<uint32_t>(random.bits()), 0};
        set(row, strength);
        const std::vector<float> u = row_to_filter(static_cast<FilteredKind>(kind), count, random);
        std::vector<Candidate> got = sorted_candidates(u.data(), count);
        const NaiveLeft want = NaiveChain(got, row).run();
        shuffle(got, random);
        const Left left = filter(got, row);
        CHECK(same_ids(got, want.kept), "kind=%d V=%zu strength=%g: %zu kept, want %zu", kind, count, strength, got.size(),
              want.kept.size());
        CHECK(std::abs(left.temperature - want.temperature) <= 1e-9 * want.temperature && left.max == want.kept[0].logit,
              "kind=%d V=%zu strength=%g: T=%.17g max=%g, want %.17g, %g", kind, count, strength, left.temperature, left.max,
              want.temperature, want.kept[0].logit);
      }
}

TEST(typical_keeps_what_a_sorted_walk_keeps) {
  check_stage(71, [](RowSampling& row, double strength) { row.typical_p = 1 - strength; });
}

TEST(epsilon_keeps_what_a_sorted_walk_keeps) {
  check_stage(72, [](RowSampling& row, double strength) { row.log_epsilon = std::log(strength); });
}

TEST(eta_keeps_what_a_sorted_walk_keeps) {
  check_stage(73, [](RowSampling& row, double strength) { row.log_eta = std::log(strength); });
}

TEST(top_n_sigma_keeps_what_a_sorted_walk_keeps) {
  check_stage(74, [](RowSampling& row, double strength) { row.top_n_sigma = 3.3 * strength; });
}

TEST(p_less_keeps_what_a_sorted_walk_keeps) {
  check_stage(75, [](RowSampling& row, double strength) {
    row.p_less = true;
    row.temperature = 0.5 + strength;
    if (strength > 0.5) row.order = 0x8A;  // at that temperature
  });
}

TEST(xtc_keeps_what_a_sorted_walk_keeps) {
  check_stage(76, [](RowSampling& row, double strength) {
    row.xtc_probability = 0.7;
    row.log_xtc_threshold = std::log(strength / 3);
  });
}

TEST(a_dynamic_temperature_is_what_the_entropy_says) {
  check_stage(77, [](RowSampling& row, double strength) {
    row.temperature = 1.2;
    row.temperature_range = 2 * strength;
    row.temperature_exponent = 3 * strength;
    row.order = 0xBA;  // and the surprisals are at that temperature
    row.max_surprisal = 6;
  });
}

TEST(surprisals_keep_what_a_sorted_walk_keeps) {
  check_stage(78, [](RowSampling& row, double strength) { row.max_surprisal = 12 * (1 - strength); });
}

// All stages at once, or some, in any order.
TEST(stages_in_any_order_keep_what_a_sorted_walk_keeps) {
  Random random(79);
  for (int turn = 0; turn < 3000; turn++) {
    RowSampling row;
    row.temperature = random.uniform(0.3, 2);
    row.top_k = 1 + random.below(200);
    row.top_p = random.uniform(0.5, 1);
    row.log_min_p = std::log(random.uniform(0, 0.1));
    row.typical_p = random.uniform(0.5, 1);
    row.log_epsilon = std::log(random.uniform(0, 0.02));
    row.log_eta = std::log(random.uniform(0, 0.02));
    row.top_n_sigma = random.uniform(0.5, 4);
    row.p_less = random.below(8) == 0;
    row.xtc_probability = 0.5;
    row.log_xtc_threshold = std::log(random.uniform(0.02, 0.4));
    row.temperature_range = random.below(2) ? random.uniform(0, 1) : 0;
    row.max_surprisal = random.uniform(1, 12);
    row.min_keep = random.below(3) == 0 ? 1 + random.below(60) : 1;
    if (random.below(2)) row.xtc_protected = every_third_id();
    row.stream = {static_cast<uint32_t>(random.bits()), static_cast<uint32_t>(random.bits()), static_cast<uint32_t>(turn)};
    std::vector<uint64_t> stages = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    for (size_t i = stages.size(); i > 1; i--) std::swap(stages[i - 1], stages[random.below(i)]);
    stages.resize(1 + random.below(stages.size()));
    row.order = 0;
    for (const uint64_t stage : stages) row.order = row.order << 4 | stage;
    const FilteredKind kind = static_cast<FilteredKind>(turn % static_cast<int>(FilteredKind::count));
    const size_t count = 1 + random.below(400);
    const std::vector<float> u = row_to_filter(kind, count, random);
    std::vector<Candidate> got = sorted_candidates(u.data(), count);
    const NaiveLeft want = NaiveChain(got, row).run();
    shuffle(got, random);
    const Left left = filter(got, row);
    CHECK(same_ids(got, want.kept) && std::abs(left.temperature - want.temperature) <= 1e-9 * want.temperature,
          "turn=%d V=%zu order=%#llx: %zu kept, want %zu", turn, count, static_cast<unsigned long long>(row.order), got.size(),
          want.kept.size());
  }
}

// The naive walk shares the core's units of mass; here are the definitions that a user knows.
TEST(top_p_keeps_the_smallest_set_that_reaches_p) {
  Random random(32);
  for (int turn = 0; turn < 300; turn++) {
    const size_t count = 1 + random.below(500);
    const std::vector<Candidate> all = sorted_candidates(row_to_filter(FilteredKind::spread, count, random).data(), count);
    RowSampling row;
    row.top_p = random.uniform(0, 1);
    std::vector<Candidate> kept = all;
    filter(kept, row);
    std::sort(kept.begin(), kept.end(), better);
    double total = 0, mass = 0;
    for (const Candidate& c : all) total += std::exp(static_cast<double>(c.logit) - all[0].logit);
    for (const Candidate& c : kept) mass += std::exp(static_cast<double>(c.logit) - all[0].logit) / total;
    const double last = std::exp(static_cast<double>(kept.back().logit) - all[0].logit) / total;
    CHECK(mass >= row.top_p * (1 - 0x1p-21), "%g of %g", mass, row.top_p);
    CHECK(mass - last < row.top_p, "%g - %g, of %g", mass, last, row.top_p);
  }
}

TEST(gumbel_max_does_not_depend_on_the_order_of_candidates) {
  for_all_filters(33, [](const std::vector<float>& u, const RowSampling& row, Random& random) {
    if (u.size() > 300) return;
    std::vector<Candidate> kept = naive_filter(sorted_candidates(u.data(), u.size()), row);
    const Left left{kept[0].logit, row.temperature};
    const Choice want = naive_gumbel_max(kept, row), first = gumbel_max(kept, left, row.stream);
    CHECK(first.id == want.id && std::abs(first.log_prob - want.log_prob) <= 1e-12 * (1 + std::abs(want.log_prob)),
          "V=%zu: %u %.17g, want %u %.17g", u.size(), first.id, first.log_prob, want.id, want.log_prob);
    shuffle(kept, random);
    const Choice again = gumbel_max(kept, left, row.stream);
    CHECK(again.id == first.id && again.log_prob == first.log_prob, "V=%zu", u.size());
  });
}

TEST_PER_TABLE(gumbel_max_in_place_draws_what_a_list_does_at_any_temperature) {
  Random random(34);
  for (const double temperature : {DBL_TRUE_MIN, 1e-310, 1e-300, 1e-40, 1.0, 1e30, DBL_MAX})
    for (const float size : {-0x1p-149f, 0x1p-149f, -1e-40f, 1e-30f, -1.0f, 1.0f, -3e38f})
      for (const bool equal : {true, false}) {
        const size_t count = 2500;
        std::vector<float> u(count, size);
        for (float& x : u) x = equal ? size : static_cast<float>(size * random.uniform(0.5, 1));
        const Stream stream = {static_cast<uint32_t>(random.bits()), 9, 1};
        const Choice want = naive_gumbel_max(sorted_candidates(u.data(), count), stream, temperature);
        const float max = *std::max_element(u.begin(), u.end());
        RowSampling row;
        row.temperature = temperature;
        MaterializedRow held(kernels, u.data(), count, nullptr, max, {});
        const Choice got = held.gumbel_max(held.filter(row), stream);
        CHECK(got.id == want.id, "T=%g u=%g equal=%d: %u, want %u", temperature, size, equal, got.id, want.id);
      }
}

// Pearson's chi-squared over 9 degrees of freedom; 33 is passed by chance once in 10,000 runs, and the seed is fixed.
TEST(gumbel_max_draws_by_probability) {
  const std::vector<float> u = {0, 1, -1, 2, 0.5f, -3, 1.5f, 0, -0.5f, 1};
  const std::vector<Candidate> all = sorted_candidates(u.data(), u.size());
  for (const double temperature : {1.0, 0.5, 3.0}) {
    RowSampling row;
    row.temperature = temperature;
    constexpr int kDraws = 40000;
    std::vector<int> drawn(u.size());
    for (uint32_t step = 0; step < kDraws; step++) {
      row.stream = {12345, 678, step};
      drawn[gumbel_max(all, {2, temperature}, row.stream).id]++;
    }
    double sum = 0, chi_squared = 0;
    for (const float x : u) sum += std::exp(x / temperature);
    for (size_t i = 0; i < u.size(); i++) {
      const double expected = kDraws * std::exp(u[i] / temperature) / sum;
      chi_squared += (drawn[i] - expected) * (drawn[i] - expected) / expected;
    }
    CHECK(chi_squared < 33, "T=%g: %g", temperature, chi_squared);
  }
}

TEST(probabilities_are_renormalized_in_order) {
  const std::vector<Candidate> candidates = {{2, 7}, {1, 3}, {-50, 1}};
  const std::vector<float> probs = probabilities(candidates, {2, 0.5});
  const double sum = 1 + std::exp(-2.0);
  CHECK(std::abs(probs[0] - 1 / sum) < 1e-7 && std::abs(probs[1] - std::exp(-2.0) / sum) < 1e-7 && probs[2] < 1e-40);
}

PassResult find_candidates(const Kernels& kernels, const std::vector<float>& logits, size_t vocabulary, const double* parameters,
                           std::vector<CandidateRow>& out) {
  PassRequest request;
  request.row_parameters = parameters;
  request.candidates = &out;
  return run_pass(kernels, MaterializedSource(logits.data(), logits.size() / vocabulary, vocabulary), request);
}

TEST_PER_TABLE(candidate_rows_are_what_the_filters_leave_best_first) {
  for_all_filters(34, [&](const std::vector<float>& u, const RowSampling& row, Random&) {
    if (u.size() > 300) return;
    // Two rows: the second greedy.
    std::vector<float> logits = u;
    logits.insert(logits.end(), u.begin(), u.end());
    RowSampling greedy;
    greedy.temperature = 0;
    const std::vector<double> parameters = parameter_table({row, greedy});
    std::vector<CandidateRow> out;
    CHECK(find_candidates(kernels, logits, u.size(), parameters.data(), out).status == PassResult::ok);
    const std::vector<Candidate> want = naive_filter(sorted_candidates(u.data(), u.size()), row);
    CHECK(out.size() == 2 && out[0].ids.size() == want.size() && out[0].probs.size() == want.size());
    if (out[0].ids.size() != want.size() || out[0].probs.size() != want.size()) return;
    double sum = 0;
    for (size_t i = 0; i < want.size(); i++) {
      CHECK(out[0].ids[i] == want[i].id);
      sum += out[0].probs[i];
    }
    CHECK(std::abs(sum - 1) < 1e-4, "%g", sum);
    CHECK(out[1].ids == std::vector{want[0].id} && out[1].probs == std::vector{1.0f}, "greedy");
  });
}

TEST_PER_TABLE(candidate_rows_refuse_what_has_no_distribution) {
  const std::vector<double> parameters = parameter_table({{}, {}});
  const auto status = [&](std::vector<float> second) {
    std::vector<float> logits = {1, 2, 3};
    logits.insert(logits.end(), second.begin(), second.end());
    std::vector<CandidateRow> out;
    return find_candidates(kernels, logits, 3, parameters.data(), out);
  };
  const PassResult nan = status({1, kNan, kNan}), infinite = status({1, 2, kInf}), nothing = status({-kInf, -kInf, -kInf});
  CHECK(nan.status == PassResult::nan && nan.row == 1 && nan.id == 1);
  CHECK(infinite.status == PassResult::unnormalized && infinite.row == 1 && infinite.id == 2);
  CHECK(nothing.status == PassResult::unnormalized && nothing.row == 1 && nothing.id == -1);
}

}  // namespace
}  // namespace lmhead::test
