// Speculative verification against its definition, id by id, on the same logits.
#include "../core/sampling/speculative_verification.h"

#include <algorithm>
#include <cmath>

#include "../core/pass/pass.h"
#include "../core/sources/materialized_source.h"
#include "../core/sources/product_source.h"
#include "check.h"
#include "naive.h"
#include "numbers.h"

namespace lmhead::test {
namespace {

struct Verified {
  PassResult result;
  uint32_t accepted = 0;
  std::vector<uint32_t> ids;
  std::vector<float> log_probs;
};

Verified verify(const Kernels& kernels, const LogitSource& source, const std::vector<double>& parameters,
                const std::vector<uint32_t>& draft, const float* log_probs, unsigned threads) {
  Verified v;
  const size_t n = source.columns();
  v.ids.assign(n + 1, 0xdeadbeef);  // one more, to be left alone
  v.log_probs.assign(n + 1, 77);
  PassRequest request;
  request.row_parameters = parameters.data();
  request.workers.threads = threads;
  request.draft = {draft.data(), draft.size(), log_probs, &v.accepted, v.ids.data(), v.log_probs.data()};
  v.result = run_pass(kernels, source, request);
  return v;
}

// p, as masses of sum `sum`, of what the filters leave.
std::vector<double> masses(const float* u, size_t count, const RowSampling& row, double& sum) {
  const std::vector<Candidate> kept = naive_filter(sorted_candidates(u, count), row);
  std::vector<double> mass(count);
  for (const Candidate& c : kept) mass[c.id] = exp_negative((static_cast<double>(c.logit) - kept[0].logit) / row.temperature);
  FixedPointSum total;
  for (const double each : mass) total.add(each);
  sum = total.value() / kMassUnits;
  return mass;
}

int64_t heaviest(const std::vector<double>& weights, const RowSampling& row) {
  Stream stream = row.stream;
  stream.purpose = Purpose::draft_correction;
  int64_t winner = -1;
  double best = 0;
  for (size_t id = 0; id < weights.size(); id++) {
    if (weights[id] < 0x1p-1022) continue;
    const Bits64 bits = token_bits(stream, static_cast<uint32_t>(id));
    const double key = gumbel_key(log_positive(weights[id]), bits.high, bits.low);
    if (winner < 0 || key > best) {
      winner = static_cast<int64_t>(id);
      best = key;
    }
  }
  return winner;
}

Verified naive_verify(const std::vector<float>& logits, size_t n, size_t vocabulary, const std::vector<RowSampling>& rows,
                      const std::vector<uint32_t>& draft, const float* log_probs) {
  Verified v;
  for (size_t i = 0; i < n; i++) {
    double sum;
    const std::vector<double> mass = masses(&logits[i * vocabulary], vocabulary, rows[i], sum);
    std::vector<double> left = mass;
    if (i < draft.size()) {
      std::vector<double> q(vocabulary);
      for (size_t id = 0; id < vocabulary; id++)
        q[id] = log_probs ? exp_negative(std::min<double>(log_probs[i * vocabulary + id], 0)) : id == draft[i];
      Stream stream = rows[i].stream;
      stream.purpose = Purpose::draft_coin;
      const Bits64 bits = token_bits(stream, 0);
      const double coin = (std::ldexp(bits.high, 20) + (bits.low >> 12) + 0.5) * 0x1p-52;
      const bool possible = !log_probs || log_probs[i * vocabulary + draft[i]] != -kInf;
      if (possible && coin * q[draft[i]] * sum < mass[draft[i]]) {
        v.ids.push_back(draft[i]);
        v.accepted++;
        continue;
      }
      for (size_t id = 0; id < vocabulary; id++) left[id] -= q[id] * sum;
    }
    int64_t next = heaviest(left, rows[i]);
    if (next < 0) next = heaviest(mass, rows[i]);
    v.ids.push_back(static_cast<uint32_t>(next));
    return v;
  }
  return v;
}

constexpr RowSampling kWays[] = {{.temperature = 1},      {.temperature = 0.2}, {.temperature = 5, .top_k = 7},
                                 {.top_p = 0.8},          {.log_min_p = -3},    {.temperature = 1e-300},
                                 {.temperature = 5e-324}, {.temperature = 1e4}};

TEST_PER_TABLE(drafts_are_verified_as_their_definition_says) {
  Random random(81);
  size_t accepted[4] = {};
  for (const size_t vocabulary : {1, 2, 40, 300, 2000})
    for (int turn = 0; turn < 40; turn++) {
      const size_t n = 1 + random.below(4), length = random.below(2) ? n : n - 1;
      const double spread = turn % 4 == 0 ? 0 : turn % 4 == 1 ? 1 : turn % 4 == 2 ? 6 : 400;
      std::vector<float> logits(n * vocabulary), log_probs(length * vocabulary);
      for (float& u : logits) u = static_cast<float>(random.normal() * spread);
      if (vocabulary > 2) logits[random.below(vocabulary)] = -kInf;
      std::vector<RowSampling> rows;
      std::vector<uint32_t> draft;
      for (size_t i = 0; i < n; i++) {
        rows.push_back(kWays[random.below(sizeof kWays / sizeof *kWays)]);
        rows.back().stream = {static_cast<uint32_t>(random.bits()), 5, static_cast<uint32_t>(random.bits())};
        if (i >= length) continue;
        const float* const u = &logits[i * vocabulary];
        // A draft that is like the target, the more so in some turns; and its likeliest token, or any.
        std::vector<double> shaken(vocabulary);
        double max = -1e300, sum = 0;
        for (size_t id = 0; id < vocabulary; id++) {
          shaken[id] = u[id] + random.normal() * (turn % 3);
          max = std::max(max, shaken[id]);
        }
        for (const double x : shaken) sum += std::exp(x - max);
        for (size_t id = 0; id < vocabulary; id++)
          log_probs[i * vocabulary + id] = static_cast<float>(shaken[id] - max - std::log(sum));
        const auto best = std::max_element(shaken.begin(), shaken.end()) - shaken.begin();
        draft.push_back(static_cast<uint32_t>(random.below(3) ? static_cast<size_t>(best) : random.below(vocabulary)));
      }
      const MaterializedSource source(logits.data(), n, vocabulary);
      for (const float* q : {static_cast<const float*>(log_probs.data()), static_cast<const float*>(nullptr)}) {
        const Verified want = naive_verify(logits, n, vocabulary, rows, draft, q);
        for (const unsigned threads : {1u, 3u}) {
          const Verified got = verify(kernels, source, parameter_table(rows), draft, q, threads);
          CHECK(got.result.status == PassResult::ok);
          CHECK(got.accepted == want.accepted && std::equal(want.ids.begin(), want.ids.end(), got.ids.begin()),
                "V=%zu n=%zu length=%zu turn=%d: %u accepted, want %u", vocabulary, n, length, turn, got.accepted, want.accepted);
          CHECK(got.ids[want.ids.size()] == 0xdeadbeef && got.log_probs[want.ids.size()] == 77);
        }
        accepted[std::min<uint32_t>(want.accepted, 3)]++;
      }
    }
  CHECK(*std::min_element(accepted, accepted + 4) > 0);
}

// Some rows of a product: the verdict is that of their logits alone, and speaks of their ids.
TEST_PER_TABLE(a_draft_is_held_against_some_rows) {
  Random random(82);
  for (const size_t count : {1, 5, 300, 1500}) {
    const size_t n = 3, vocabulary = 4 * count, d = 8;
    std::vector<uint32_t> ids;
    for (size_t i = 0; i < count; i++) ids.push_back(static_cast<uint32_t>(4 * i + random.below(4)));
    std::vector<float> weights(vocabulary * d), hidden(n * d);
    for (float& w : weights) w = static_cast<float>(random.normal());
    for (float& h : hidden) h = static_cast<float>(random.normal());
    const Matrix e{reinterpret_cast<const uint8_t*>(weights.data()), Dtype::f32, vocabulary, d};
    const AlignedFloats packed = pack_hidden(kernels, reinterpret_cast<const uint8_t*>(hidden.data()), Dtype::f32, n, d);
    const ProductSource some(kernels, e, {}, vocabulary, packed.data(), n, {ids.data(), count});
    std::vector<float> logits(n * count), all(n * vocabulary, -kInf);
    for (size_t i = 0; i < n; i++) {
      const PreparedSource prepared(some, 0, n);
      std::vector<float> scratch(count);
      const auto [u, stride] = prepared.logits(0, count, i, 1, scratch.data());
      for (size_t j = 0; j < count; j++) all[i * vocabulary + ids[j]] = logits[i * count + j] = u[j];
    }
    const MaterializedSource alone(all.data(), n, vocabulary);
    for (uint32_t turn = 0; turn < 30; turn++) {
      std::vector<RowSampling> rows(n);
      for (RowSampling& row : rows) {
        row = kWays[random.below(sizeof kWays / sizeof *kWays)];
        row.stream = {turn, 7, static_cast<uint32_t>(random.bits())};
      }
      const std::vector<uint32_t> draft = {ids[random.below(count)], static_cast<uint32_t>(random.below(vocabulary))};
      std::vector<float> q(2 * count), q_all(2 * vocabulary, -kInf);
      for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < count; j++)
          q_all[i * vocabulary + ids[j]] = q[i * count + j] = static_cast<float>(-5 * std::abs(random.normal()));
      for (const bool certain : {true, false}) {
        const Verified want = verify(kernels, alone, parameter_table(rows), draft, certain ? nullptr : q_all.data(), 1);
        const Verified got = verify(kernels, some, parameter_table(rows), draft, certain ? nullptr : q.data(), 2);
        CHECK(got.result.status == PassResult::ok && got.accepted == want.accepted && got.ids == want.ids &&
                  got.log_probs == want.log_probs,
              "count=%zu turn=%u: %u accepted, want %u", count, turn, got.accepted, want.accepted);
      }
    }
  }
}

TEST_PER_TABLE(a_greedy_draft_stands_while_it_is_the_argmax) {
  const std::vector<float> logits = {0, 3, 3, 1, 0, 0, 0, 2, 5, 5, 5, 5};
  const MaterializedSource source(logits.data(), 3, 4);
  const std::vector<double> parameters = parameter_table(std::vector<RowSampling>(3, {.temperature = 0}));
  const Verified all = verify(kernels, source, parameters, {1, 3}, nullptr, 1);
  CHECK(all.accepted == 2 && all.ids[0] == 1 && all.ids[1] == 3 && all.ids[2] == 0 && all.log_probs[2] == 0);
  const Verified none = verify(kernels, source, parameters, {2, 3}, nullptr, 1);
  CHECK(none.accepted == 0 && none.ids[0] == 1 && none.ids[1] == 0xdeadbeef);
  const Verified no_bonus = verify(kernels, source, parameters, {1, 3, 0}, nullptr, 1);
  CHECK(no_bonus.accepted == 3 && no_bonus.ids[2] == 0 && no_bonus.ids[3] == 0xdeadbeef);
}

// It cannot have been drawn, however likely it is; one of a probability that is only tiny can.
TEST_PER_TABLE(a_draft_of_probability_0_never_stands) {
  const std::vector<float> logits = {0, 9, -1, 0, 9, -1};
  const MaterializedSource source(logits.data(), 2, 3);
  for (const double temperature : {0.0, 0.5, 1.0, 30.0})
    for (uint32_t step = 0; step < 50; step++)
      for (const float log_prob : {-kInf, -1e4f}) {
        const std::vector<RowSampling> rows(2, {.temperature = temperature, .stream = {3, 3, step}});
        const std::vector<float> q = {0, log_prob, -kInf};
        const Verified v = verify(kernels, source, parameter_table(rows), {1}, q.data(), 1);
        CHECK(v.accepted == (log_prob != -kInf), "T=%g step=%u log q=%g: %u", temperature, step, log_prob, v.accepted);
        if (temperature == 0) CHECK(v.ids[0] == 1, "%u", v.ids[0]);
      }
}

TEST_PER_TABLE(a_draft_is_refused_where_no_token_is_right) {
  for (const float bad : {kNan, kInf, -kInf}) {
    std::vector<float> logits(2 * 300, bad == -kInf ? bad : 0);
    std::fill(logits.begin(), logits.begin() + 300, 0.0f);
    logits[7] = 50;  // so that the first id is accepted
    logits[300 + 290] = bad;
    const MaterializedSource source(logits.data(), 2, 300);
    const Verified v = verify(kernels, source, parameter_table({{}, {}}), {7}, nullptr, 1);
    CHECK(v.result.status == (std::isnan(bad) ? PassResult::nan : PassResult::unnormalized) && v.result.row == 1);
    CHECK(v.result.id == (bad == -kInf ? -1 : 290));
    // Where the draft ends before, that row counts in nothing.
    CHECK(verify(kernels, source, parameter_table({{}, {}}), {8}, nullptr, 1).result.status == PassResult::ok);
  }
}

}  // namespace
}  // namespace lmhead::test
