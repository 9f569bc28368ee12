// Rows that are held, against the same rows as lists of candidates; and the kernel that both stand on.
#include "../core/sampling/materialized_row.h"

#include "../core/threads/pool.h"
#include "check.h"
#include "naive.h"
#include "numbers.h"

namespace lmhead::test {
namespace {

enum class RowKind { spread, peaked, ties, equal, nearly_equal, holes, outlier, tiny, huge, count };

std::vector<float> row_of_kind(RowKind kind, size_t count, Random& random) {
  std::vector<float> u(count);
  for (float& x : u) {
    x = static_cast<float>(random.normal() * 3);
    if (kind == RowKind::ties) x = std::round(x);
    if (kind == RowKind::equal) x = -7.5f;
    if (kind == RowKind::nearly_equal) x = 20 + x * 1e-6f;
    if (kind == RowKind::holes && random.below(3) == 0) x = -kInf;
    if (kind == RowKind::tiny) x *= 1e-38f;
    if (kind == RowKind::huge) x *= 1e37f;
  }
  if (kind == RowKind::peaked) u[random.below(count)] = 18;
  if (kind == RowKind::outlier) u[random.below(count)] = -3e38f;
  if (kind != RowKind::equal) u[random.below(count)] += 1;
  if (std::isinf(*std::max_element(u.begin(), u.end()))) u[0] = 1;
  return u;
}

// One filter after the other, then some together, each with a few strengths.
std::vector<RowSampling> samplings() {
  std::vector<RowSampling> all(1);
  const auto add = [&](auto set) { set(all.emplace_back()); };
  for (const double p : {0.999, 0.9, 0.3, 1e-9, 0.0}) add([&](RowSampling& r) { r.top_p = p; });
  for (const double p : {0.95, 0.4, 1e-9, 0.0}) add([&](RowSampling& r) { r.typical_p = p; });
  for (const double log_p : {-0.1, -3.0, -9.0, -20.0}) {
    add([&](RowSampling& r) { r.log_min_p = log_p; });
    add([&](RowSampling& r) { r.log_epsilon = log_p; });
    add([&](RowSampling& r) { r.log_eta = log_p; });
    add([&](RowSampling& r) { r.max_surprisal = -log_p; });
    add([&](RowSampling& r) {
      r.xtc_probability = 1;
      r.log_xtc_threshold = log_p;
    });
  }
  // Of threshold 0, and after other stages have dropped some.
  for (const uint64_t order : {0x9ull, 0x94ull, 0x98ull, 0xBA9ull, 0x49ull, 0x9Aull})
    add([&](RowSampling& r) {
      r.xtc_probability = 1;
      r.log_xtc_threshold = -kInf;
      r.top_p = 0.9999;
      r.max_surprisal = 20;
      r.p_less = order == 0x98;
      r.order = order;
    });
  for (const double n : {0.5, 1.5, 4.0}) add([&](RowSampling& r) { r.top_n_sigma = n; });
  for (const size_t k : {1, 700, 1500, 4000}) add([&](RowSampling& r) { r.top_k = k; });
  add([](RowSampling& r) { r.p_less = true; });
  add([](RowSampling& r) { r.temperature_range = 0.6; });
  add([](RowSampling& r) { r.temperature = r.temperature_range = 1e-310; });
  add([](RowSampling& r) {
    r.xtc_probability = 1;
    r.log_xtc_threshold = -8;
    r.order = 0x6549BA;  // temperature, then XTC, and filters of what that leaves
    r.top_p = 0.97;
    r.log_min_p = -7;
    r.log_epsilon = -12;
  });
  add([](RowSampling& r) {
    r.top_n_sigma = 3;
    r.top_p = 0.99;
    r.log_min_p = -9;
    r.temperature_range = 0.3;
    r.max_surprisal = 11;
  });
  // Where filters would leave fewer; as few as are kept in place, and more.
  for (const size_t least : {2, 40, 1000, 1030, 100000})
    add([&](RowSampling& r) {
      r.min_keep = least;
      r.top_p = r.typical_p = 0.05;
      r.log_min_p = r.log_epsilon = -0.5;
      r.xtc_probability = 1;
      r.log_xtc_threshold = -9;
      r.xtc_protected = every_third_id();
      r.order = least == 40 ? 0xBA954 : kDefaultOrder;
    });
  for (RowSampling& row : all)
    if (row.temperature == 1) row.temperature = 0.7;
  return all;
}

std::vector<uint32_t> sorted_ids(std::vector<Candidate> candidates) {
  std::sort(candidates.begin(), candidates.end(), better);
  std::vector<uint32_t> ids;
  for (const Candidate& c : candidates) ids.push_back(c.id);
  return ids;
}

// every: that many kinds of rows share all samplings.
void check_all(const Kernels& kernels, std::initializer_list<size_t> counts, const ParallelFor& workers, size_t every = 1) {
  Random random(51);
  for (int kind = 0; kind < static_cast<int>(RowKind::count); kind++)
    for (const size_t count : counts) {
      const std::vector<float> u = row_of_kind(static_cast<RowKind>(kind), count, random);
      const float max = *std::max_element(u.begin(), u.end());
      const std::vector<RowSampling> all = samplings();
      for (size_t i = static_cast<size_t>(kind) % every; i < all.size(); i += every) {
        RowSampling row = all[i];
        row.stream = {static_cast<uint32_t>(random.bits()), static_cast<uint32_t>(random.bits()), 3};
        std::vector<Candidate> want = sorted_candidates(u.data(), count);
        const Left left = filter(want, row);
        const Choice choice = gumbel_max(want, left, row.stream);

        std::vector<float> overwritten = u;
        MaterializedRow held(kernels, overwritten.data(), count, nullptr, max, workers);
        const Left held_left = held.filter(row);
        CHECK(held_left.max == left.max && held_left.temperature == left.temperature, "kind=%d V=%zu: max %g, T %g; want %g, %g",
              kind, count, held_left.max, held_left.temperature, left.max, left.temperature);
        const Choice held_choice = held.gumbel_max(held_left, row.stream);
        CHECK(held_choice.id == choice.id && held_choice.log_prob == choice.log_prob, "kind=%d V=%zu: %u %.17g, want %u %.17g",
              kind, count, held_choice.id, held_choice.log_prob, choice.id, choice.log_prob);
        const std::vector<uint32_t> kept = sorted_ids(want);
        for (const size_t k : {0, 1, 20}) {
          std::vector<uint32_t> best = sorted_ids(held.best(k));
          best.resize(std::min(best.size(), std::min(k, kept.size())));
          CHECK(best == std::vector(kept.begin(), kept.begin() + static_cast<ptrdiff_t>(std::min(k, kept.size()))), "V=%zu",
                count);
        }
        CHECK(sorted_ids(held.list()) == kept, "kind=%d V=%zu: %zu left, want %zu", kind, count, held.list().size(), want.size());
        held.write_back();
        std::vector<float> wanted(count, -kInf);
        for (const Candidate& c : want) wanted[c.id] = c.logit;
        CHECK(overwritten == wanted, "kind=%d V=%zu", kind, count);
      }
    }
}

TEST_PER_TABLE(a_held_row_is_filtered_and_drawn_from_as_a_list) { check_all(kernels, {1, 1000, 1025, 3001}, {}); }

TEST(a_held_row_is_the_same_to_any_number_of_threads) { check_all(*available_kernels().front(), {20000}, {.threads = 3}, 3); }

TEST_PER_TABLE(a_held_row_of_other_ids_draws_among_them) {
  Random random(53);
  for (const size_t count : {4, 3000}) {
    std::vector<float> u = row_of_kind(RowKind::spread, count, random);
    std::vector<uint32_t> ids;
    std::vector<Candidate> want;
    for (size_t i = 0; i < count; i++) {
      ids.push_back(static_cast<uint32_t>(3 * i + random.below(3)));
      want.push_back({u[i], ids[i]});
    }
    RowSampling row;
    row.top_p = 0.999;
    row.stream = {1, 2, static_cast<uint32_t>(count)};
    const Choice choice = gumbel_max(want, filter(want, row), row.stream);
    MaterializedRow held(kernels, u.data(), count, ids.data(), *std::max_element(u.begin(), u.end()), {});
    const Choice held_choice = held.gumbel_max(held.filter(row), row.stream);
    CHECK(held_choice.id == choice.id && held_choice.log_prob == choice.log_prob, "V=%zu: %u, want %u", count, held_choice.id,
          choice.id);
    CHECK(sorted_ids(held.list()) == sorted_ids(want), "V=%zu", count);
  }
}

// Logits of at most 5, some of them -inf.
std::vector<float> far_and_near(size_t count, Random& random) {
  std::vector<float> u(count);
  for (float& x : u) {
    x = 5 - static_cast<float>(std::exp(random.uniform(-20, 7)));
    if (random.below(9) == 0) x = random.below(2) ? 5 : -kInf;
  }
  return u;
}
constexpr size_t kOddCounts[] = {0, 1, 7, 16, 33, 250, 256};
constexpr double kTermTemperatures[] = {1.0, 0.37, 1e-300, 1e30};

TEST_PER_TABLE(exact_terms_and_their_sums_have_the_bits_of_exact_math) {
  Random random(52);
  for (const size_t count : kOddCounts)
    for (const double temperature : kTermTemperatures) {
      const std::vector<float> u = far_and_near(count, random);
      std::vector<double> x(count + 16), e(count + 16);
      kernels.exact_terms(u.data(), count, 5, temperature, x.data(), e.data());
      FixedPointSum mass;
      MomentSums sums;
      for (size_t i = 0; i < count; i++) {
        const double want = (static_cast<double>(u[i]) - 5) / temperature;
        CHECK(x[i] == want && e[i] == exp_negative(want), "u=%g T=%g: %.17g %.17g, want %.17g %.17g", u[i], temperature, x[i],
              e[i], want, exp_negative(want));
        mass.add(e[i]);
        sums.add(want, e[i]);
      }
      const double got = kernels.exact_mass(u.data(), count, 5, temperature).value();
      CHECK(got == mass.value(), "V=%zu T=%g: %.17g, want %.17g", count, temperature, got, mass.value());
      if (mass.value() == 0) continue;
      const Moments moments = kernels.exact_moments(u.data(), count, 5, temperature).moments(), want = sums.moments();
      CHECK(moments.log_sum == want.log_sum && moments.entropy == want.entropy && moments.log_squares == want.log_squares,
            "V=%zu T=%g: %.17g %.17g %.17g, want %.17g %.17g %.17g", count, temperature, moments.log_sum, moments.entropy,
            moments.log_squares, want.log_sum, want.entropy, want.log_squares);
    }
}

TEST_PER_TABLE(exact_bins_are_those_of_each_key) {
  Random random(54);
  for (const Key& key : {Key{}, Key{0.75, 3.5}})
    for (const auto& [low, high] : {std::pair{0.0, 36.1}, {0.0, 1e-3}, {2.5, 4.0}, {3.0, 3.0}})
      for (const size_t count : kOddCounts)
        for (const double temperature : kTermTemperatures) {
          const std::vector<float> u = far_and_near(count, random);
          float least = kInf;
          const auto key_of = [&](float logit) { return key.of((static_cast<double>(logit) - 5) / temperature); };
          for (const float x : u)
            if (key_of(x) >= low && key_of(x) <= high) least = std::min(least, x);
          const KeyHistogram bins(key, low, high, least);
          std::vector<double> bin(count + kMaxLanes), low_part(count + kMaxLanes), high_part(count + kMaxLanes);
          FixedPointSum outside;
          const size_t binned =
              kernels.exact_bins(u.data(), count, 5, temperature, bins, bin.data(), low_part.data(), high_part.data(), outside);
          CHECK(binned <= count + kMaxLanes, "V=%zu: %zu", count, binned);
          std::vector<FixedPointSum> got(KeyHistogram::kCount), want(KeyHistogram::kCount);
          std::vector<size_t> got_count(KeyHistogram::kCount), want_count(KeyHistogram::kCount);
          FixedPointSum want_outside;
          for (size_t i = 0; i < binned; i++) {
            CHECK(bin[i] >= 0 && bin[i] < KeyHistogram::kAll && bin[i] == std::floor(bin[i]), "V=%zu: bin %g", count, bin[i]);
            const size_t at = static_cast<size_t>(bin[i]);
            (at < KeyHistogram::kCount ? got[at] : outside) += {low_part[i], high_part[i]};
            if (at < KeyHistogram::kCount) got_count[at]++;
          }
          for (const float x : u) {
            const bool inside = key_of(x) >= low && key_of(x) <= high;
            const size_t at = inside ? bins.index(key_of(x)) : 0;
            (inside ? want[at] : want_outside).add(exp_negative((static_cast<double>(x) - 5) / temperature));
            if (inside) want_count[at]++;
          }
          CHECK(outside.value() == want_outside.value(), "V=%zu T=%g %g..%g: outside %.17g, want %.17g", count, temperature, low,
                high, outside.value(), want_outside.value());
          for (size_t i = 0; i < KeyHistogram::kCount; i++)
            CHECK(got[i].value() == want[i].value() && got_count[i] == want_count[i],
                  "V=%zu T=%g %g..%g: bin %zu %.17g of %zu, want %.17g of %zu", count, temperature, low, high, i, got[i].value(),
                  got_count[i], want[i].value(), want_count[i]);
        }
}

TEST(bins_end_where_the_next_begin) {
  for (const auto& [low, high] : {std::pair{0.0, 14.8}, {0.0, 5e-324}, {1.0, 1.0}, {3.0, 3.0000000000000013}, {2.0, 1e30}}) {
    const KeyHistogram bins({}, low, high, 0);
    for (size_t bin = 0; bin < KeyHistogram::kCount; bin++) {
      const double first = bins.lowest_of(bin), last = bins.highest_of(bin);
      CHECK(bin == 0 ? first == low : bins.index(std::nextafter(first, 0.0)) < bin, "%g..%g: bin %zu from %.17g", low, high, bin,
            first);
      if (last < high) CHECK(bins.index(std::nextafter(last, high)) > bin, "%g..%g: bin %zu to %.17g", low, high, bin, last);
      if (first <= last) CHECK(bins.index(first) <= bin && bins.index(last) <= bin, "%g..%g: bin %zu", low, high, bin);
    }
  }
}

}  // namespace
}  // namespace lmhead::test
