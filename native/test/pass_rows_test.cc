// Passes over a subset of the rows of E: as those over these rows alone, and in part as one over the whole vocabulary.
#include <algorithm>
#include <cstdio>

#include "check.h"
#include "passes.h"

namespace lmhead::test {
namespace {

// The rows of E by these ids, packed: what a pass over the subset alone is about.
Problem gathered(const Problem& p, const std::vector<uint32_t>& ids) {
  Problem q{ids.size(), ids.size(), p.n, p.d, p.dtype, {}, {}, p.hidden, p.epilogue};
  const size_t row_bytes = p.d * bytes_per_element(p.dtype);
  for (const uint32_t id : ids) {
    q.weights.insert(q.weights.end(), &p.weights[id * row_bytes], &p.weights[id * row_bytes] + row_bytes);
    q.bias.push_back(p.bias[id]);
  }
  if (q.epilogue.bias) q.epilogue.bias = q.bias.data();
  return q;
}

TEST_PER_TABLE(a_subset_of_rows_is_as_a_pass_over_those_alone) {
  Random random(57);
  for (const size_t vocabulary : {3, 700, 5000})
    for (const unsigned one_in : {1u, 2u, 9u, 300u})
      for (int epilogue = 0; epilogue < kEpilogues; epilogue++) {
        const size_t n = 1 + random.below(9), d = 1 + random.below(40), valid = vocabulary - vocabulary / 20;
        const Problem p = make_problem(kernels, vocabulary, valid, n, d, Dtype::bf16, epilogue, random.bits());
        std::vector<uint32_t> ids;
        for (uint32_t id = 0; id < valid; id++)
          if (random.below(one_in) == 0) ids.push_back(id);
        if (ids.empty()) ids.push_back(static_cast<uint32_t>(valid - 1));
        const Problem alone = gathered(p, ids);
        char what[100];
        std::snprintf(what, sizeof what, "V=%zu rows=%zu n=%zu d=%zu epilogue=%d", vocabulary, ids.size(), n, d, epilogue);

        std::vector<RowSampling> rows;
        std::vector<uint32_t> places, targets;
        for (size_t i = 0; i < n; i++) {
          rows.push_back(kWays[random.below(kWayCount)]);
          rows.back().stream = {1, static_cast<uint32_t>(random.bits()), static_cast<uint32_t>(i)};
          places.push_back(static_cast<uint32_t>(random.below(ids.size())));
          targets.push_back(ids[places.back()]);
        }
        const std::vector<double> parameters = parameter_table(rows);
        const uint32_t k = static_cast<uint32_t>(ids.size());
        const ProductSource whole = p.source(kernels, 0, n);
        const ProductSource subset(kernels, p.e(), p.epilogue, valid, p.hidden.data(), n, {ids.data(), ids.size()});
        const ProductSource packed = alone.source(kernels, 0, n);
        const Results want = run(kernels, packed, parameters.data(), places.data(), k, kEverything & ~kSample, 1);
        for (const unsigned threads : {1u, 3u}) {
          Results got = run(kernels, Laborious(subset), parameters.data(), targets.data(), k, kEverything, threads);
          CHECK(got.result.status == PassResult::ok, "%s", what);
          for (size_t i = 0; i < n; i++) {
            std::vector<Candidate> candidates = sorted_candidates(&got.logits[i * k], k);
            for (Candidate& c : candidates) c.id = ids[c.id];
            if (rows[i].temperature != 0) {
              const Choice choice = naive_draw(candidates, rows[i]);
              CHECK(got.sample_ids[i] == choice.id, "%s row=%zu: %u, want %u", what, i, got.sample_ids[i], choice.id);
            } else {
              CHECK(got.sample_ids[i] == candidates[0].id, "%s row=%zu", what, i);
            }
            got.argmax[i] = static_cast<uint32_t>(std::lower_bound(ids.begin(), ids.end(), got.argmax[i]) - ids.begin());
          }
          for (uint32_t& id : got.top_ids) id = static_cast<uint32_t>(std::lower_bound(ids.begin(), ids.end(), id) - ids.begin());
          for (size_t i = 0; i < n; i++) {
            const char* const where = difference(want, i, got, i);
            CHECK(!where, "%s threads=%u row=%zu: %s", what, threads, i, where);
          }
        }

        // Probabilities over the vocabulary: as a pass over all of it has them; tokens all the same.
        const Results all = run(kernels, whole, parameters.data(), targets.data(), 1, kEverything & ~kSample, 1);
        const Results over =
            run(kernels, Laborious(subset), parameters.data(), targets.data(), k, kEverything, 2, nullptr, &whole);
        const Results own = run(kernels, subset, parameters.data(), targets.data(), k, kEverything, 1);
        for (size_t i = 0; i < n; i++) {
          bool alike = true;
          for (size_t j = 0; j < k; j++)
            alike &= over.log_probs[i * k + j] == all.log_probs[i * vocabulary + ids[j]] &&
                     over.probs[i * k + j] == all.probs[i * vocabulary + ids[j]] &&
                     over.top_log_probs[i * k + j] == all.log_probs[i * vocabulary + over.top_ids[i * k + j]];
          CHECK(alike, "%s row=%zu", what, i);
          CHECK(over.target_log_probs[i] == all.target_log_probs[i] && over.entropy[i] == all.entropy[i] &&
                    over.log_sum_exp[i] == all.log_sum_exp[i],
                "%s row=%zu", what, i);
          CHECK(over.sample_ids[i] == own.sample_ids[i] && over.sample_log_probs[i] == own.sample_log_probs[i] &&
                    over.argmax[i] == own.argmax[i] && over.ranks[i] == own.ranks[i],
                "%s row=%zu", what, i);
        }
      }
}

}  // namespace
}  // namespace lmhead::test
