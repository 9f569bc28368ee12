// The kernels over rows of logits, at every odd length and between guard pages. (Dot products: product_test.cc.)
#include <algorithm>
#include <numeric>

#include "../core/numerics/exact_math.h"
#include "check.h"
#include "guard.h"
#include "numbers.h"

namespace lmhead::test {
namespace {

// All lengths that end differently in vectors of up to 16 floats, unrolled up to four times; and a chunk's.
std::vector<size_t> lengths() {
  std::vector<size_t> all(71);
  std::iota(all.begin(), all.end(), 0);
  for (const size_t n : {100, 255, 256, 257, 700}) all.push_back(n);
  return all;
}

std::vector<float> random_logits(size_t count, Random& random, double spread = 4) {
  std::vector<float> u(count);
  for (float& x : u) x = static_cast<float>(random.normal() * spread);
  return u;
}

float largest(const std::vector<float>& u) { return u.empty() ? -kInf : *std::max_element(u.begin(), u.end()); }

TEST_PER_TABLE(max_finds_the_largest_or_the_first_NaN) {
  Random random(11);
  for (const size_t count : lengths()) {
    std::vector<float> u = random_logits(count, random);
    const auto check = [&] {
      at_both_edges(u.data(), count, [&](const float* p) {
        const MaxResult m = kernels.max(p, count);
        const auto nan = std::find_if(u.begin(), u.end(), [](float x) { return std::isnan(x); });
        if (nan == u.end())
          CHECK(m.max == largest(u) && m.nan_at == -1, "count=%zu", count);
        else
          CHECK(std::isnan(m.max) && m.nan_at == nan - u.begin(), "count=%zu: nan_at=%lld, want %td", count,
                static_cast<long long>(m.nan_at), nan - u.begin());
      });
    };
    check();
    if (count == 0) continue;
    const std::vector<float> finite = u;
    for (int i = 0; i < 8; i++) {  // the maximum anywhere, twice; then a NaN; then another NaN
      u = finite;
      u[random.below(count)] = 100;
      u[random.below(count)] = 100;
      check();
      u[random.below(count)] = kNan;
      check();
      u[random.below(count)] = -kNan;
      u[random.below(count)] = kInf;
      check();
    }
    u.assign(count, -kInf);
    check();
    u[count - 1] = kInf;
    check();
    u.assign(count, kNan);
    check();
    u.assign(count, -0.0f);
    u[count / 2] = 0.0f;
    check();
  }
}

// e^x is seen through probs: (u - 0) / 1, times 1.
TEST_PER_TABLE(exp_is_within_2_ULP_where_the_result_is_normal) {
  constexpr size_t kCount = 1 << 16;
  std::vector<float> x(kCount), e(kCount);
  Random random(12);
  for (int turn = 0; turn < 4; turn++) {
    for (float& value : x) {
      if (turn == 0) value = static_cast<float>(random.uniform(-87.4, 0));
      if (turn == 1) value = static_cast<float>(-std::exp(random.uniform(-90, 4.47)));
      // Around whole and half multiples of log 2, where the reduction changes its mind.
      if (turn == 2)
        value = -std::abs(
            static_cast<float>(static_cast<double>(random.below(253)) / 2 * 0.6931471805599453 + random.uniform(-1e-5, 1e-5)));
      if (turn == 3) value = static_cast<float>(random.uniform(-87.337, -87.32));  // the smallest normal results
    }
    if (turn == 0) {
      x[0] = 0;
      x[1] = -0.0f;
      x[2] = -std::numeric_limits<float>::denorm_min();
      x[3] = -std::numeric_limits<float>::max();
      x[4] = -kInf;
      x[5] = std::nextafter(-87.33654f, 0.0f);
      x[6] = -87.33654f;
      x[7] = std::nextafter(-87.33654f, -kInf);
      x[8] = -88;
      x[9] = -150;
    }
    kernels.probs(x.data(), kCount, 0, 1, 1, e.data());
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < kCount; i++) {
      const double want = std::exp(static_cast<double>(x[i]));
      const bool normal = want >= std::numeric_limits<float>::min();
      const double error = normal                                           ? std::abs(e[i] - want) / ulp_f(want)
                           : e[i] >= 0 && e[i] <= want * 1.00001 + 0x1p-149 ? 0  // subnormal, or flushed
                                                                            : 1e9;
      if (!(error <= worst)) {
        worst = error;
        at = i;
      }
    }
    CHECK(worst <= 2, "turn %d: %.3g ULP at %.9g: %.9g", turn, worst, x[at], e[at]);
    CHECK(turn != 0 || (e[0] == 1 && e[1] == 1), "e^0 must be 1");
  }
  const float nan = kNan;
  float got = 0;
  kernels.probs(&nan, 1, 0, 1, 1, &got);
  CHECK(std::isnan(got));
}

// One term's e^x is off by 2 ULP, and by half an ULP of x before that (relative: |x| eps / 2).
double term_error(double x) { return x < -87.5 ? 0x1p-126 : std::exp(x) * (2 * 0x1p-23 + std::abs(x) * 0x1p-24) + 0x1p-126; }

TEST_PER_TABLE(sums_of_exponentials_agree_with_double) {
  Random random(13);
  for (const size_t count : lengths())
    for (const double inverse_temperature : {1.0, 0.01, 3.7, 1e6}) {
      if (count == 0) continue;
      std::vector<float> u = random_logits(count, random);
      if (count > 3) u[random.below(count)] = -kInf;
      const float max = std::max(largest(u), -1e30f);
      double sum = 0, x_sum = 0, error = 0, x_error = 0;
      for (const float v : u) {
        if (v == -kInf) continue;
        const double x = (static_cast<double>(v) - max) * inverse_temperature, e = std::exp(x);
        sum += e;
        x_sum += e * x;
        error += term_error(x);
        x_error += term_error(x) * (1 + std::abs(x)) + e * std::abs(x) * 0x1p-23;
      }
      ExpSums first{};
      at_both_edges(u.data(), count, [&](const float* p) {
        const ExpSums got = kernels.exp_sums(p, count, max, inverse_temperature, true);
        CHECK(std::abs(got.sum - sum) <= error, "count=%zu 1/T=%g: %.17g, want %.17g", count, inverse_temperature, got.sum, sum);
        CHECK(std::abs(got.x_sum - x_sum) <= x_error, "count=%zu 1/T=%g: %.17g, want %.17g", count, inverse_temperature,
              got.x_sum, x_sum);
        CHECK(kernels.exp_sums(p, count, max, inverse_temperature, false).sum == got.sum,
              "asking for the entropy must not change the sum: count=%zu", count);
        if (first.sum == 0) first = got;
        CHECK(first.sum == got.sum && first.x_sum == got.x_sum, "the place in memory must not change the sum: count=%zu", count);
      });
    }
}

// log_probs is one expression in double, rounded once: the same bits as Distribution::log_prob, from every table.
TEST_PER_TABLE(log_probs_are_exact_to_the_bit) {
  Random random(14);
  for (const size_t count : lengths())
    for (const double inverse_temperature : {1.0, 0.3, 1e8}) {
      std::vector<float> u = random_logits(count, random);
      if (count > 3) u[random.below(count)] = -kInf;
      const float max = largest(u);
      const double log_sum = random.uniform(0, 12);
      at_both_edges(u.data(), count, [&](float* p) {
        const Guarded memory(count * sizeof(float));
        float* const out = memory.last_of<float>(count);
        kernels.log_probs(p, count, max, inverse_temperature, log_sum, out);
        for (size_t i = 0; i < count; i++)
          CHECK(same(out[i], static_cast<float>((static_cast<double>(u[i]) - max) * inverse_temperature - log_sum)),
                "count=%zu i=%zu", count, i);
        kernels.log_probs(p, count, max, inverse_temperature, log_sum, p);
        CHECK(same(p, out, count), "in place: count=%zu", count);
      });
    }
}

TEST_PER_TABLE(probs_agree_with_double) {
  Random random(15);
  for (const size_t count : lengths())
    for (const double inverse_temperature : {1.0, 0.3, 1e4}) {
      std::vector<float> u = random_logits(count, random);
      if (count > 3) u[random.below(count)] = -kInf;
      const float max = largest(u);
      const double inverse_sum = random.uniform(0.01, 1);
      at_both_edges(u.data(), count, [&](float* p) {
        const Guarded memory(count * sizeof(float));
        float* const out = memory.last_of<float>(count);
        kernels.probs(p, count, max, inverse_temperature, inverse_sum, out);
        for (size_t i = 0; i < count; i++) {
          const double x = (static_cast<double>(u[i]) - max) * inverse_temperature, want = std::exp(x) * inverse_sum;
          CHECK(std::abs(out[i] - want) <= term_error(x) * inverse_sum + want * 0x1p-23, "count=%zu i=%zu: %g, want %g", count, i,
                out[i], want);
        }
        kernels.probs(p, count, max, inverse_temperature, inverse_sum, p);
        CHECK(same(p, out, count), "in place: count=%zu", count);
      });
    }
}

TEST_PER_TABLE(epilogue_agrees_with_double) {
  Random random(16);
  for (const size_t count : lengths())
    for (const float scale : {1.0f, 0.25f, -3.3f})
      for (const float cap : {0.0f, 30.0f, 0.5f})
        for (const bool cap_first : {false, true})
          for (const bool with_bias : {false, true}) {
            std::vector<float> u = random_logits(count, random, 20), bias = random_logits(count, random, 1);
            if (count > 4) u[1] = 1e-30f, u[2] = kInf, u[3] = kNan, u[4] = -1e30f;
            const Guarded bias_memory(count * sizeof(float));
            float* const b = bias_memory.last_of<float>(count);
            std::copy(bias.begin(), bias.end(), b);
            const Epilogue epilogue{with_bias ? b : nullptr, scale, cap, cap_first};
            at_both_edges(u.data(), count, [&](float* p) {
              kernels.epilogue(p, count, epilogue.bias, epilogue);
              for (size_t i = 0; i < count; i++) {
                // Steps are rounded to f32 in this order; tanh is exact to well below half an ULP of f32.
                float x = with_bias ? u[i] + bias[i] : u[i];
                const auto capped = [&](float y) {
                  return cap == 0 ? y : static_cast<float>(static_cast<double>(cap) * std::tanh(y / static_cast<double>(cap)));
                };
                x = cap_first ? capped(x) * scale : capped(x * scale);
                const bool close = same(p[i], x) || std::abs(p[i] - x) <= ulp_f(x);
                CHECK(close, "count=%zu i=%zu scale=%g cap=%g first=%d bias=%d: %.9g, want %.9g", count, i, scale, cap, cap_first,
                      with_bias, p[i], x);
              }
            });
          }
}

TEST_PER_TABLE(above_counts_and_lists_the_same_ids) {
  Random random(17);
  for (const size_t count : lengths())
    for (int turn = 0; turn < 6; turn++) {
      std::vector<float> u = random_logits(count, random);
      for (float& x : u)
        if (random.below(4) == 0) x = std::round(x);  // ties
      float threshold = static_cast<float>(std::round(random.normal() * 3));
      if (turn == 1) threshold = -kInf;
      if (turn == 2) threshold = kInf;
      if (turn == 3) threshold = largest(u);
      if (turn == 4 && count > 0) u[random.below(count)] = kNan;  // above nothing
      if (turn == 5 && count > 0) u[random.below(count)] = threshold = kInf;
      for (const bool or_equal : {false, true}) {
        std::vector<uint32_t> want;
        for (size_t i = 0; i < count; i++)
          if (or_equal ? u[i] >= threshold : u[i] > threshold) want.push_back(static_cast<uint32_t>(i));
        at_both_edges(u.data(), count, [&](const float* p) {
          CHECK(kernels.count_above(p, count, threshold, or_equal) == want.size(), "count=%zu turn=%d", count, turn);
          const Guarded memory(count * sizeof(uint32_t));
          uint32_t* const found = memory.last_of<uint32_t>(count);
          const size_t n = kernels.indices_above(p, count, threshold, or_equal, found);
          CHECK(std::equal(found, found + n, want.begin(), want.end()), "count=%zu turn=%d", count, turn);
        });
      }
    }
}

// Against every id's key: none that beats the best one may be missing. And few others, or the kernel would be of no use.
TEST_PER_TABLE(gumbel_max_candidates_never_miss_a_winner) {
  Random random(18);
  size_t listed = 0, winners = 0;
  for (const size_t count : lengths())
    for (int turn = 0; turn < 40; turn++) {
      const double temperature = turn % 4 == 0 ? 1e-3 : turn % 4 == 1 ? 50 : 1;
      const double spread = turn % 3 == 0 ? 0 : turn % 3 == 1 ? 4 : 1000;
      std::vector<float> u = random_logits(count, random, spread);
      if (turn % 5 == 0 && count > 0) u[random.below(count)] = -kInf;
      const Stream stream{static_cast<uint32_t>(random.bits()), static_cast<uint32_t>(random.bits()),
                          static_cast<uint32_t>(random.bits()), turn % 2 ? Purpose::token : Purpose::draft_correction,
                          turn % 3 ? static_cast<uint32_t>(random.bits()) : 0};
      // Beyond 2^31 too: ids are unsigned.
      const uint32_t first_id = static_cast<uint32_t>(turn % 2 ? random.below(1000) * 256 : 0xfffffffeu - 1024);
      std::vector<double> keys;
      for (size_t i = 0; i < count; i++) {
        const Bits64 bits = token_bits(stream, first_id + static_cast<uint32_t>(i));
        keys.push_back(gumbel_key(static_cast<double>(u[i]) / temperature, bits.high, bits.low));
      }
      std::vector<double> sorted = keys;
      std::sort(sorted.rbegin(), sorted.rend());
      for (const size_t place : {size_t{0}, size_t{1}, size_t{10}, count - 1}) {
        if (place >= count || !std::isfinite(sorted[place])) continue;
        const double best = sorted[place];
        const double to_beat = best - std::abs(best) * 0x1p-49;  // as GumbelMaxSink has it: a key is of u/T, not of u * (1/T)
        at_both_edges(u.data(), count, [&](const float* p) {
          const Guarded memory(count * sizeof(uint32_t));
          uint32_t* const found = memory.last_of<uint32_t>(count);
          const size_t n = kernels.gumbel_max_candidates(p, count, first_id, {stream, 1 / temperature, to_beat}, found);
          CHECK(n <= count);
          CHECK(std::is_sorted(found, found + n) && std::adjacent_find(found, found + n) == found + n);
          CHECK(n == 0 || found[n - 1] < count);
          for (size_t i = 0; i < count; i++)
            CHECK(keys[i] <= best || std::binary_search(found, found + n, i), "count=%zu i=%zu key=%.17g best=%.17g", count, i,
                  keys[i], best);
          if (place == 0 && count >= 100) {
            listed += n;
            winners++;
          }
        });
      }
    }
  CHECK(listed <= 2 * winners, "%zu listed against a best key, in %zu draws", listed, winners);
}

TEST(tables_are_found_by_name) {
  CHECK(!available_kernels().empty());
  for (const Kernels* table : available_kernels()) CHECK(find_kernels(table->name) == table, "%s", table->name);
  CHECK(find_kernels("scalar") == available_kernels().back(), "scalar is always there, and the last choice");
  for (const Kernels* table : test_kernels()) CHECK(find_kernels(table->name) == table, "%s", table->name);
  CHECK(find_kernels("") == nullptr && find_kernels("mmx") == nullptr && find_kernels("SCALAR") == nullptr);
}

}  // namespace
}  // namespace lmhead::test
