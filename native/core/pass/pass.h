// The one pass: streams E once, makes logits tile by tile, and hands each tile to the sinks that a request names.
#pragma once

#include <atomic>
#include <cstring>
#include <memory>

#include "../dassert.h"
#include "../kernels/kernels.h"
#include "../kernels/quantized_activations.h"
#include "../numerics/aligned.h"
#include "../sampling/adjustments.h"
#include "../sampling/candidates.h"
#include "../sampling/filters.h"
#include "../sinks/target.h"
#include "../threads/parallel_for.h"

namespace lmhead {

// Where a pass gets its logits from: a product with E, or an array that the caller holds.
class LogitSource {
 public:
  virtual ~LogitSource() = default;
  virtual size_t columns() const = 0;     // n
  virtual size_t vocabulary() const = 0;  // V: how wide a dense result is
  virtual size_t valid() const = 0;       // local indices from here on are padding
  // Of the local indices, ascending; null: they are their local indices.
  virtual const uint32_t* ids() const { return nullptr; }
  // Of an id; `valid` where it is padding, or none of this source's.
  size_t local_index_of(uint32_t id) const;
  // How many columns are best made at once, and about how many multiply-adds a pass over all of it takes.
  virtual size_t group() const = 0;
  virtual double work() const = 0;
  // Says, from one thread, which columns the next logits are of: a chance to lay them out for the kernels, once. So a source
  // serves one pass at a time.
  virtual void prepare(size_t /*first_column*/, size_t /*columns*/) const {}
  struct Logits {
    const float* data;
    size_t stride;  // from column to column
  };
  // Logits [columns, rows], in scratch (columns * rows floats) or elsewhere.
  virtual Logits logits(size_t first_row, size_t rows, size_t first_column, size_t columns, float* scratch) const = 0;
};

// Hidden states as kernels take them: f32, [n, hidden_stride(d)], zeros beyond d.
void pack_hidden(const Kernels& kernels, const uint8_t* hidden, Dtype dtype, size_t n, size_t d, float* packed);
AlignedFloats pack_hidden(const Kernels& kernels, const uint8_t* hidden, Dtype dtype, size_t n, size_t d);

// Ids, ascending and each once, of the rows of E that a pass is about.
struct RowSubset {
  const uint32_t* ids = nullptr;  // null: all rows
  size_t count = 0;
};

class ProductSource final : public LogitSource {
 public:
  // activations: f32, or such as rounds_activations(e.dtype), or with weights in bf16 bf16.
  ProductSource(const Kernels& kernels, const Matrix& e, const Epilogue& epilogue, size_t valid, const float* packed_hidden,
                size_t n, RowSubset subset = {}, Activations activations = Activations::f32)
      : kernels_(kernels),
        e_(e),
        epilogue_(epilogue),
        valid_(valid),
        hidden_(packed_hidden),
        n_(n),
        subset_(subset),
        activations_(activations) {}
  size_t columns() const override { return n_; }
  size_t vocabulary() const override { return subset_.ids ? subset_.count : e_.rows; }
  size_t valid() const override { return subset_.ids ? subset_.count : valid_; }
  const uint32_t* ids() const override { return subset_.ids; }
  size_t group() const override;
  double work() const override {
    return static_cast<double>(n_) * static_cast<double>(vocabulary()) * static_cast<double>(e_.columns);
  }
  void prepare(size_t first_column, size_t columns) const override;
  Logits logits(size_t first_row, size_t rows, size_t first_column, size_t columns, float* scratch) const override;

 private:
  const Kernels& kernels_;
  const Matrix e_;
  const Epilogue epilogue_;
  const size_t valid_;
  const float* const hidden_;
  const size_t n_;
  const RowSubset subset_;
  const Activations activations_;
  // The columns that were prepared, if any: as kernels_.packed has them, or rounded.
  struct {
    AlignedFloats data, nearest;  // nearest: of bf16
    QuantizedActivations rounded;
    size_t first = 0, columns = 0;
  } mutable prepared_;

  // Logits of neighboring rows of a matrix, into out [columns, out_stride]; bias (if any) starts at its first_row.
  void make(const Matrix& e, size_t first_row, size_t rows, const float* bias, size_t first_column, size_t columns, float* out,
            size_t out_stride) const;
};

class MaterializedSource final : public LogitSource {
 public:
  // stays: nobody changes the logits during a pass. Else every tile is copied before it is looked at.
  MaterializedSource(const float* logits, size_t n, size_t vocabulary, bool stays = true)
      : logits_(logits), n_(n), vocabulary_(vocabulary), stays_(stays) {}
  size_t columns() const override { return n_; }
  size_t vocabulary() const override { return vocabulary_; }
  size_t valid() const override { return vocabulary_; }
  size_t group() const override { return 16; }
  // Reading a logit costs about as much as a few multiply-adds from cache.
  double work() const override { return 8.0 * static_cast<double>(n_) * static_cast<double>(vocabulary_); }
  Logits logits(size_t first_row, size_t rows, size_t first_column, size_t columns, float* scratch) const override {
    LMHEAD_DASSERT(first_row + rows <= vocabulary_ && first_column + columns <= n_);
    const float* const from = logits_ + first_column * vocabulary_ + first_row;
    if (stays_) return {from, vocabulary_};
    for (size_t c = 0; c < columns; c++) std::memcpy(scratch + c * rows, from + c * vocabulary_, rows * sizeof(float));
    return {scratch, rows};
  }

 private:
  const float* const logits_;
  const size_t n_, vocabulary_;
  const bool stays_;
};

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

// Throws std::bad_alloc. Outputs are complete only where the status is ok.
PassResult run_pass(const Kernels& kernels, const LogitSource& source, const PassRequest& request);

}  // namespace lmhead
