// Passes to test: what goes into one, and what comes out.
#pragma once

#include <algorithm>
#include <atomic>

#include "../core/pass/pass.h"
#include "../core/sources/materialized_source.h"
#include "../core/sources/product_source.h"
#include "naive.h"
#include "numbers.h"

namespace lmhead::test {

// ---- what goes in ------------------------------------------------------------------------------------------------------------

// A source that claims so much work that a pass uses every thread it is given, however small it is.
class Laborious : public LogitSource {
 public:
  explicit Laborious(const LogitSource& source) : source_(source) {}
  size_t columns() const override { return source_.columns(); }
  size_t vocabulary() const override { return source_.vocabulary(); }
  size_t valid() const override { return source_.valid(); }
  const uint32_t* ids() const override { return source_.ids(); }
  size_t group(const PreparedColumns& prepared) const override { return source_.group(prepared); }
  double work() const override { return 1e15; }
  PreparedColumns prepare(size_t first_column, size_t columns) const override { return source_.prepare(first_column, columns); }
  Logits logits(const PreparedColumns& prepared, size_t first_row, size_t rows, size_t first_column, size_t columns,
                float* scratch) const override {
    return source_.logits(prepared, first_row, rows, first_column, columns, scratch);
  }

 private:
  const LogitSource& source_;
};

constexpr int kEpilogues = 5;
inline Epilogue make_epilogue(int which, const float* bias) {
  switch (which) {
    case 1:
      return {bias, 1, 0, false};
    case 2:
      return {nullptr, 0.37f, 0, false};
    case 3:
      return {bias, 1.5f, 10, false};
    case 4:
      return {nullptr, 0.5f, 6, true};
    default:
      return {};
  }
}

struct Problem {
  size_t vocabulary, valid, n, d;
  Dtype dtype;
  std::vector<uint8_t> weights;
  std::vector<float> bias;
  AlignedFloats hidden;
  Epilogue epilogue;

  Matrix e() const { return {weights.data(), dtype, vocabulary, d}; }
  // Rows [first, first + count) of the batch.
  ProductSource source(const Kernels& kernels, size_t first, size_t count) const {
    return {kernels, e(), epilogue, valid, hidden.data() + first * hidden_stride(d), count};
  }
};

inline Problem make_problem(const Kernels& kernels, size_t vocabulary, size_t valid, size_t n, size_t d, Dtype dtype,
                            int epilogue, uint64_t seed) {
  Random random(seed);
  Problem p{vocabulary, valid, n, d, dtype, {}, {}, {}, {}};
  const size_t row_bytes = d * bytes_per_element(dtype);
  p.weights.resize(vocabulary * row_bytes);
  fill_weights(dtype, p.weights.data(), vocabulary * d, random);
  for (size_t i = 3; i < valid; i++)  // equal rows make equal logits, near and far
    if (random.below(5) == 0) std::memcpy(&p.weights[i * row_bytes], &p.weights[random.below(i) * row_bytes], row_bytes);
  for (size_t i = valid; i < vocabulary; i++)  // padding must not be looked at: here it would show
    for (size_t k = 0; k < d; k++)
      put(dtype, &p.weights[i * row_bytes + k * bytes_per_element(dtype)], special_weights(dtype).nan);
  for (size_t i = 0; i < vocabulary; i++) p.bias.push_back(static_cast<float>(random.below(3)) * 0.5f);
  std::vector<float> h(n * d);
  for (float& x : h) x = static_cast<float>(random.normal() / std::sqrt(static_cast<double>(d)));
  p.hidden = pack_hidden(kernels, reinterpret_cast<const uint8_t*>(h.data()), Dtype::f32, n, d);
  p.epilogue = make_epilogue(epilogue, p.bias.data());
  return p;
}

// Every way that a row can be sampled. See way_to_sample in pass.cc; what is held, reached and spilled depends on V too.
constexpr RowSampling kWays[] = {
    {.temperature = 1},                                              // Gumbel-max
    {.temperature = 0},                                              // greedy
    {.temperature = 0.7, .top_k = 5},                                // the k best
    {.temperature = 1.5, .log_min_p = -2.3},                         // min-p: within reach
    {.temperature = 0.8, .top_p = 0.9},                              // top-p: held
    {.temperature = 100},                                            // Gumbel-max of nearly equals
    {.temperature = 1, .top_k = 40, .top_p = 0.7, .log_min_p = -3},  // all filters
    {.temperature = 1e-4},                                           // Gumbel-max that the best logit wins
    {.temperature = 2, .top_k = 1200},                               // k too large for a heap: held
    {.temperature = 1, .log_min_p = -1e4},                           // min-p that keeps nearly all: spills
    {.temperature = 1, .top_k = 1},                                  //
    {.temperature = 0.9, .top_k = 100000, .top_p = 0.99},            // k beyond V
    {.temperature = 1e-300},                                         // logits over it overflow
    {.temperature = 5e-324},                                         // and 1 over it
    {.temperature = 1, .log_min_p = 0},                              // only the best, and its equals
    {.temperature = 0.8, .typical_p = 0.6},
    {.log_epsilon = -6},
    {.log_eta = -4},
    {.temperature = 1.2, .top_n_sigma = 1.3},
    {.p_less = true},
    {.xtc_probability = 0.5, .log_xtc_threshold = -3},
    {.temperature = 1, .temperature_range = 0.7, .temperature_exponent = 1.7},
    {.temperature = 0.9, .max_surprisal = 4},
    {.temperature = 0.9, .log_min_p = -1, .min_keep = 40},
    {.temperature = 1.6, .top_p = 0.8, .order = 0x4A},       // the temperature first
    {.temperature = 1e308, .log_min_p = -3, .order = 0x5A},  // min-p's reach overflows
};
constexpr size_t kWayCount = sizeof kWays / sizeof *kWays;

// ---- what comes between -------------------------------------------------------------------------------------------------------

// Wants the pass to give way at every third question. One thread asks between all chunks; of several, those that hear it end
// their turn, and how often that comes to a pause of all is a matter of time.
class Impatient final : public Gate {
 public:
  bool wanted() const override { return ++asked_ % 3 == 0; }
  void yield_turn() override { times++; }
  size_t times = 0;

 private:
  mutable std::atomic<size_t> asked_{0};
};

// ---- what comes out ----------------------------------------------------------------------------------------------------------

enum SinkBit : unsigned {
  kLogits = 1,
  kLogProbs = 2,
  kProbs = 4,
  kArgmax = 8,
  kTop = 16,
  kSample = 32,
  kScore = 64,
  kEntropy = 128,  // part of a score
  kLogSumExp = 256,
  kEverything = 511,
  kNoLogProbs = 512,  // of kTop and kSample
};

struct Results {
  PassResult result;
  size_t vocabulary;
  uint32_t k;
  std::vector<float> logits, log_probs, probs, top_logits, top_log_probs, sample_log_probs, target_log_probs, entropy,
      log_sum_exp;
  std::vector<uint32_t> argmax, top_ids, sample_ids, ranks;
};

// For those sinks; the results go to r.
inline PassRequest request_for(Results& r, size_t n, size_t vocabulary, const double* parameters, const uint32_t* targets,
                               uint32_t k, unsigned sinks) {
  const size_t dense = n * vocabulary;
  r.vocabulary = vocabulary;
  r.k = k;
  PassRequest request;
  const auto ask = [&](unsigned bit, auto& vector, size_t size) {
    if (!(sinks & bit)) return static_cast<decltype(vector.data())>(nullptr);
    vector.assign(std::max<size_t>(size, 1), 77);
    return vector.data();
  };
  request.row_parameters = parameters;
  request.logits = ask(kLogits, r.logits, dense);
  request.log_probs = ask(kLogProbs, r.log_probs, dense);
  request.probs = ask(kProbs, r.probs, dense);
  request.argmax = ask(kArgmax, r.argmax, n);
  request.top = {k, ask(kTop, r.top_ids, n * k), ask(kTop, r.top_logits, n * k), nullptr};
  request.sample.ids = ask(kSample, r.sample_ids, n);
  if (!(sinks & kNoLogProbs)) {
    request.top.log_probs = ask(kTop, r.top_log_probs, n * k);
    request.sample.log_probs = ask(kSample, r.sample_log_probs, n);
  }
  if (sinks & kScore)
    request.score = {targets, ask(kScore, r.target_log_probs, n), ask(kScore, r.ranks, n), ask(kEntropy, r.entropy, n)};
  request.log_sum_exp = ask(kLogSumExp, r.log_sum_exp, n);
  return request;
}

inline Results run(const Kernels& kernels, const LogitSource& source, const double* parameters, const uint32_t* targets,
                   uint32_t k, unsigned sinks, unsigned threads, const std::atomic<int32_t>* abort = nullptr,
                   const LogitSource* normalizer = nullptr, Gate* gate = nullptr) {
  Results r;
  PassRequest request = request_for(r, source.columns(), source.vocabulary(), parameters, targets, k, sinks);
  request.workers.threads = threads;
  request.workers.abort = abort;
  request.normalizer = normalizer;
  request.workers.gate = gate;
  r.result = run_pass(kernels, source, request);
  return r;
}

// The first difference between row i of a and row j of b, in the sinks that both have; null if none.
inline const char* difference(const Results& a, size_t i, const Results& b, size_t j) {
  const auto differ = [&](const auto& x, const auto& y, size_t width) {
    if (x.empty() || y.empty()) return false;
    return std::memcmp(x.data() + i * width, y.data() + j * width, width * sizeof x[0]) != 0;
  };
  if (differ(a.logits, b.logits, a.vocabulary)) return "logits";
  if (differ(a.log_probs, b.log_probs, a.vocabulary)) return "log_probs";
  if (differ(a.probs, b.probs, a.vocabulary)) return "probs";
  if (differ(a.argmax, b.argmax, 1)) return "argmax";
  if (differ(a.top_ids, b.top_ids, a.k)) return "top ids";
  if (differ(a.top_logits, b.top_logits, a.k)) return "top logits";
  if (differ(a.top_log_probs, b.top_log_probs, a.k)) return "top log_probs";
  if (differ(a.sample_ids, b.sample_ids, 1)) return "sample ids";
  if (differ(a.sample_log_probs, b.sample_log_probs, 1)) return "sample log_probs";
  if (differ(a.target_log_probs, b.target_log_probs, 1)) return "target log_probs";
  if (differ(a.ranks, b.ranks, 1)) return "ranks";
  if (differ(a.entropy, b.entropy, 1)) return "entropy";
  if (differ(a.log_sum_exp, b.log_sum_exp, 1)) return "log_sum_exp";
  return nullptr;
}

}  // namespace lmhead::test
