// Memory that somebody else writes to during a pass: any result, or an error, and nothing read or written outside of it.
#include <algorithm>
#include <thread>

#include "check.h"
#include "passes.h"

namespace lmhead::test {
namespace {

// ---- materialized logits
// -------------------------------------------------------------------------------------------------------------

// The logits under test, and what they are once somebody has looked at their maximum.
float* held;
size_t held_count;
float becomes;
bool has_changed;
const Kernels* real;

MaxResult max_and_change(const float* u, size_t count) {
  const MaxResult result = real->max(u, count);
  if (!has_changed) std::fill_n(held, held_count, becomes);
  has_changed = true;
  return result;
}

TEST_PER_TABLE(logits_that_change_while_a_pass_looks_at_them_give_ids_that_are_there) {
  real = &kernels;
  Kernels meddling = kernels;
  meddling.max = max_and_change;
  for (const size_t vocabulary : {1, 40, 257, 3000})
    for (const size_t n : {1, 18})
      for (const float to : {-1e30f, 1e30f, -kInf, kInf, kNan})
        for (size_t way = 0; way < kWayCount; way++) {
          Random random(way);
          std::vector<float> logits(n * vocabulary);
          for (float& u : logits) u = static_cast<float>(random.normal());
          held = logits.data();
          held_count = logits.size();
          becomes = to;
          has_changed = false;
          std::vector<RowSampling> rows(n, kWays[way]);
          for (RowSampling& row : rows) row.top_k = std::min(row.top_k, vocabulary);
          const std::vector<double> parameters = parameter_table(rows);
          const std::vector<uint32_t> targets(n, static_cast<uint32_t>(vocabulary - 1));
          const uint32_t k = static_cast<uint32_t>(std::min<size_t>(vocabulary, way % 2 ? 3 : 1200));
          const MaterializedSource source(logits.data(), n, vocabulary, false);
          const Results r = run(meddling, source, parameters.data(), targets.data(), k, kEverything & ~(kLogProbs | kProbs), 1);
          if (r.result.status != PassResult::ok) continue;
          const auto are_there = [&](const std::vector<uint32_t>& ids) {
            return std::all_of(ids.begin(), ids.end(), [&](uint32_t id) { return id < vocabulary; });
          };
          CHECK(are_there(r.argmax) && are_there(r.top_ids) && are_there(r.sample_ids), "V=%zu n=%zu way=%zu to %g", vocabulary,
                n, way, to);
        }
}

TEST_PER_TABLE(logits_that_might_change_but_do_not_have_the_bits_of_those_that_stay) {
  constexpr size_t kVocabulary = 700, kRows = 40;
  Random random(3);
  std::vector<float> logits(kRows * kVocabulary);
  for (float& u : logits) u = static_cast<float>(4 * random.normal());
  std::vector<RowSampling> rows;
  for (size_t i = 0; i < kRows; i++) rows.push_back(kWays[i % kWayCount]);
  for (RowSampling& row : rows) row.top_k = std::min(row.top_k, kVocabulary);
  const std::vector<double> parameters = parameter_table(rows);
  const std::vector<uint32_t> targets(kRows, 5);
  const auto results = [&](bool stay) {
    return run(kernels, MaterializedSource(logits.data(), kRows, kVocabulary, stay), parameters.data(), targets.data(), 9,
               kEverything, 3);
  };
  const Results a = results(true), b = results(false);
  for (size_t i = 0; i < kRows; i++) {
    const char* const different = difference(a, i, b, i);
    CHECK(!different, "row=%zu: %s", i, different ? different : "");
  }
}

// ---- hidden states -----------------------------------------------------------------------------------------------------------

// One number decides how many parts the unit's layout has.
TEST_PER_TABLE(hidden_states_that_change_while_they_are_packed_fit_their_layout) {
  constexpr size_t kDepth = 70, kColumns = 40, kRows = 33, kTimes = 600;
  const PackedProduct* const product = kernels.packed[static_cast<size_t>(Dtype::bf16)];
#if defined(__SANITIZE_THREAD__)
  return;  // it would see the race that this is about
#endif
  if (!product) return;
  const size_t stride = hidden_stride(kDepth);
  const std::vector<uint16_t> weights(kRows * kDepth, 0x3f80);
  const Matrix e = {reinterpret_cast<const uint8_t*>(weights.data()), Dtype::bf16, kRows, kDepth};
  AlignedFloats hidden(kColumns * stride, 1.0f);
  std::atomic_ref<float> one(hidden[(kColumns - 1) * stride + 3]);
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (size_t i = 0; !done.load(std::memory_order_relaxed); i++)
      one.store(i % 3 == 0 ? 1.0f : i % 3 == 1 ? 1.2345678f : kNan, std::memory_order_relaxed);
  });
  bool others_are_right = true;
  for (size_t i = 0; i < kTimes; i++) {
    AlignedFloats packed;
    product->pack(hidden.data(), stride, kColumns, kDepth, packed);
    std::vector<float> out(kColumns * kRows);
    product->product(e, 0, kRows, packed.data(), 0, kColumns, out.data(), kRows);
    others_are_right &= std::all_of(out.begin(), out.end() - kRows, [](float x) { return x == kDepth; });
  }
  done = true;
  writer.join();
  CHECK(others_are_right);
}

}  // namespace
}  // namespace lmhead::test
