// What a pass is asked for, and how it ended.
#pragma once

#include "../sampling/adjustments.h"
#include "../sampling/candidates.h"
#include "../sampling/filters.h"
#include "../sinks/target.h"
#include "../sources/logit_source.h"
#include "../threads/parallel_for.h"

namespace lmhead {

// Row parameters as they come from outside: [n, kRowParameters] doubles, in the order of RowParameter in lib/backend/backend.ts.
constexpr size_t kRowParameters = 21;
RowSampling parse_row(const double* parameters);

struct TopOutputs {
  uint32_t k = 0;
  uint32_t* ids = nullptr;
  float* logits = nullptr;
  float* log_probs = nullptr;  // null: no sum over the vocabulary is made for them
};
// The likeliest ids of each row's distribution.
struct ListOutputs {
  uint32_t* counts = nullptr;  // [n], at most k
  uint32_t* ids = nullptr;     // [n, k], best first; kNoId beyond the count
  float* log_probs = nullptr;  // [n, k]; -inf beyond the count
};
struct SampleOutputs {
  uint32_t* ids = nullptr;
  float* log_probs = nullptr;  // null: not told, and not computed beyond what the draw needs
  // What is told beside the token. Raw is the distribution of the logits as they are, at temperature 1; the normalizer's, where
  // there is one. A row with NaN is refused, as it is where ids are ranked.
  float* model_log_probs = nullptr;  // [n], of the token; null: nothing of all this
  uint32_t k = 0;                    // at most kMaxHeap, and no more than there are ids
  ListOutputs top;                   // of the distribution that the token was drawn from
  ListOutputs model_top;
};

// What results of a shard of the vocabulary are merged by; see PartialResults of lib/backend/backend.ts. A source then has whole
// chunks, which begin and end beyond the shard: it ranks, draws and normalizes over local indices [begin, end) alone.
struct PartialOutputs {
  size_t begin = 0, end = 0;
  double* sums = nullptr;         // [n, chunks, 3]: of whole chunks; null: it is no shard
  double* drawn_sums = nullptr;   // the same of the logits that tokens are drawn from; null: they are those
  float* drawn_logits = nullptr;  // [n], of the token that would be drawn here; -inf: there is none, and its id is kNoId
  uint32_t k = 0;                 // at most kMaxHeap
  uint32_t* counts = nullptr;     // [n], at most k
  uint32_t* ids = nullptr;        // [n, k]: of the best that tokens may be drawn from
  float* logits = nullptr;
  // Of the targets, which may lie beyond the shard: a target is then the first local index, or the one behind the last.
  const float* target_logits = nullptr;
};
// Values of a chunk: its maximum, the sum of e^x over it and that of x e^x, x = (u - max) / T.
constexpr size_t kSumsOfChunk = 3;

// A draft to be verified row by row; see sampling/speculative_verification.h. Shapes as in DraftJob of
// lib/backend/backend.ts.
struct DraftCheck {
  const uint32_t* ids = nullptr;  // [length]
  size_t length = 0;
  const float* log_probs = nullptr;  // [length, the source's vocabulary], or null: the draft is certain of its ids
  // Results.
  uint32_t* accepted = nullptr;  // how many; null: no draft is checked
  uint32_t* out_ids = nullptr;   // [n]
  float* out_log_probs = nullptr;
};

// What a pass may materialize of logits, for filters that need a whole row.
constexpr size_t kMaterializedBytes = size_t{32} << 20;

// What a pass is to compute; null pointers: not asked for. Shapes as in PassJob of lib/backend/backend.ts.
struct PassRequest {
  const double* row_parameters = nullptr;  // null: temperature 1
  Adjustments adjustments;                 // of the logits that sample and candidates see
  float* logits = nullptr;
  float* log_probs = nullptr;
  float* probs = nullptr;
  uint32_t* argmax = nullptr;
  TopOutputs top;
  SampleOutputs sample;
  std::vector<CandidateRow>* candidates = nullptr;  // gets one per row
  ScoreOutputs score;
  float* log_sum_exp = nullptr;
  DraftCheck draft;  // alone in its request
  PartialOutputs partial;
  // Whose distributions log_probs, probs, log_sum_exp, top's and score's values are of; null: the pass's own source. It has the
  // same columns. Tokens are ranked and drawn among those of the pass's source either way.
  const LogitSource* normalizer = nullptr;
  ParallelFor workers;  // looks at abort and gate before every chunk

  // Of a row; there are row_parameters.
  RowSampling sampling_of(size_t row) const;

  // Whether nothing is asked for but tokens drawn from each row.
  bool only_draws() const {
    return draws() && !partial.sums &&
           !(logits || log_probs || probs || argmax || top.ids || score.targets || log_sum_exp || sample.model_log_probs);
  }
  bool draws() const { return sample.ids || candidates; }
  // Whether anything is told that is under a distribution over all ids, and not only of single logits.
  bool tells_of_all() const {
    return log_probs || probs || top.log_probs || score.targets || log_sum_exp || sample.model_log_probs;
  }
};

struct PassResult {
  enum Status {
    ok,
    nan,           // row `row` has NaN at `id`, and a token was to be chosen
    unnormalized,  // row `row` has probabilities of NaN: +inf at `id`, or only -inf (id -1)
    aborted,
    nothing_left,  // row `row` has no id that may be drawn
  } status = ok;
  size_t row = 0;
  int64_t id = -1;
};

}  // namespace lmhead
