// Passes over parts of a vocabulary: what they say, put together, is what a pass over all of it says.
#include "../core/sampling/gumbel_max.h"
#include "check.h"
#include "passes.h"

namespace lmhead::test {
namespace {

constexpr size_t kStates = 3, kStateDepth = 20;
constexpr uint32_t kListed = 9;

// A pass over the places [begin, end) of whole chunks.
struct Part {
  Results results;
  std::vector<double> sums;
  std::vector<float> drawn, listed_logits;
  std::vector<uint32_t> counts, listed;
  PassResult result;
};

Part run_part(const Kernels& kernels, const Problem& p, size_t base, size_t begin, size_t end,
              const std::vector<RowSampling>& ways, unsigned threads) {
  const size_t rows = std::min((end + kChunkRows - 1) / kChunkRows * kChunkRows, p.vocabulary) - base;
  const size_t valid = std::min(rows, p.valid - base);
  Matrix e = p.e();
  e.data = e.row(base);
  e.rows = rows;
  Epilogue epilogue = p.epilogue;
  if (epilogue.bias) epilogue.bias += base;
  const ProductSource source(kernels, e, epilogue, valid, p.hidden.data(), kStates);
  std::vector<RowSampling> own = ways;
  for (RowSampling& way : own) way.stream.first_id = static_cast<uint32_t>(base);
  const std::vector<double> parameters = parameter_table(own);
  Part part;
  PassRequest request =
      request_for(part.results, kStates, rows, parameters.data(), nullptr, kListed, kTop | kSample | kLogSumExp);
  const size_t chunks = (valid + kChunkRows - 1) / kChunkRows;
  part.sums.resize(kStates * chunks * kSumsOfChunk);
  part.drawn.resize(kStates);
  part.counts.resize(kStates);
  part.listed.resize(kStates * kListed);
  part.listed_logits.resize(kStates * kListed);
  request.partial = {.begin = begin - base,
                     .end = std::min(end - base, valid),
                     .sums = part.sums.data(),
                     .drawn_logits = part.drawn.data(),
                     .k = kListed,
                     .counts = part.counts.data(),
                     .ids = part.listed.data(),
                     .logits = part.listed_logits.data()};
  request.workers.threads = threads;
  part.result = run_pass(kernels, Laborious(source), request);
  return part;
}

TEST_PER_TABLE(parts_of_a_vocabulary_say_together_what_all_of_it_says) {
  for (uint64_t seed = 0; seed < 6; seed++) {
    Random random(seed);
    const size_t vocabulary = 900 + random.below(900), valid = vocabulary - random.below(300);
    const Dtype dtype = static_cast<Dtype>(random.below(kFloatDtypes));
    const Problem p =
        make_problem(kernels, vocabulary, valid, kStates, kStateDepth, dtype, static_cast<int>(random.below(kEpilogues)), seed);
    std::vector<RowSampling> ways = {kWays[0], kWays[5], kWays[1]};  // two by Gumbel-max, greedy
    for (RowSampling& way : ways) way.stream = {static_cast<uint32_t>(seed), 7, static_cast<uint32_t>(random.bits())};
    const std::vector<double> parameters = parameter_table(ways);
    const Results whole = run(kernels, p.source(kernels, 0, kStates), parameters.data(), nullptr, kListed, kTop | kSample, 1);
    const Part all = run_part(kernels, p, 0, 0, vocabulary, ways, 2);
    CHECK(whole.result.status == PassResult::ok && all.result.status == PassResult::ok);
    const size_t chunks = all.sums.size() / kStates / kSumsOfChunk;

    std::vector<std::vector<Candidate>> best(kStates), listed(kStates);
    std::vector<GumbelMaxLeader> leaders(kStates);
    for (size_t begin = 0; begin < valid;) {
      size_t end = begin + kListed + random.below(600);
      if (end + kListed > valid) end = valid;
      const size_t base = begin / kChunkRows * kChunkRows;
      const Part part = run_part(kernels, p, base, begin, end, ways, static_cast<unsigned>(1 + random.below(3)));
      CHECK(part.result.status == PassResult::ok);
      const size_t own = part.sums.size() / kStates;
      for (size_t row = 0; row < kStates; row++) {
        // A chunk that two parts share is whole in both.
        CHECK(std::memcmp(&part.sums[row * own], &all.sums[(row * chunks + base / kChunkRows) * kSumsOfChunk],
                          own * sizeof(double)) == 0,
              "seed=%d row=%zu [%zu, %zu)", static_cast<int>(seed), row, begin, end);
        for (size_t i = 0; i < kListed; i++) {
          const size_t at = row * kListed + i;
          best[row].push_back({part.results.top_logits[at], part.results.top_ids[at] + static_cast<uint32_t>(base)});
          if (i < part.counts[row])
            listed[row].push_back({part.listed_logits[at], part.listed[at] + static_cast<uint32_t>(base)});
        }
        const Candidate winner{part.drawn[row], part.results.sample_ids[row] + static_cast<uint32_t>(base)};
        if (ways[row].temperature > 0) leaders[row].offer(winner, ways[row].stream, ways[row].temperature);
      }
      begin = end;
    }
    for (size_t row = 0; row < kStates; row++) {
      for (std::vector<Candidate>* each : {&best[row], &listed[row]}) std::sort(each->begin(), each->end(), better);
      for (size_t i = 0; i < kListed; i++) CHECK(best[row][i].id == whole.top_ids[row * kListed + i]);
      const uint32_t drawn = ways[row].temperature > 0 ? leaders[row].candidate.id : best[row][0].id;
      CHECK(drawn == whole.sample_ids[row], "seed=%d row=%zu: %u", static_cast<int>(seed), row, drawn);
      if (ways[row].temperature > 0)
        for (size_t i = 0; i < kListed; i++) CHECK(listed[row][i].id == best[row][i].id);
    }
  }
}

}  // namespace
}  // namespace lmhead::test
