// The sinks that draw a token per column. Which of them a row takes depends on its filters:
//   none              Gumbel-max inside the pass: every id gets a key, the best wins; O(1) memory
//   top-k, or greedy  the k best (top_k.h), then filter and Gumbel-max among them; O(k)
//   min-p, few ids    those within reach of the maximum so far, then filter and Gumbel-max; else, when they are many, the row's
//   logits all else          the row's logits are materialized until the distribution is known (sampling/materialized_row.h)
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "../sampling/filtered_set.h"
#include "../sampling/filters.h"
#include "../sampling/gumbel_max.h"
#include "sink.h"

namespace lmhead {

// Gumbel-max inside the pass.
class GumbelMaxSink final : public Sink {
 public:
  // rows[c] is sampled where drawn[c].
  GumbelMaxSink(const Kernels& kernels, const RowSampling* rows, std::vector<bool> drawn, unsigned slots);
  void consume(const Tile& tile, unsigned slot) override;
  Candidate winner(size_t column) const;

 private:
  const Kernels& kernels_;
  const RowSampling* const rows_;
  const std::vector<bool> drawn_;
  std::vector<GumbelMaxLeader> leaders_;  // [slots, columns]
};

// What min-p may leave; all that is in without it. The maximum only grows, so an id that is out of reach now stays so.
class ReachSink final : public Sink {
 public:
  ReachSink(const Kernels& kernels, const RowSampling* rows, std::vector<bool> takes, unsigned slots);
  void consume(const Tile& tile, unsigned slot) override;
  // False where there were too many to keep: the row has to be materialized instead.
  bool complete(size_t column) const;
  std::vector<Candidate> candidates(size_t column) const;

 private:
  static constexpr size_t kMost = 4096;                  // per column and thread
  static constexpr size_t kLeast = 64;                   // that a list has room for, so that it need not grow often
  static constexpr size_t kMostBytes = size_t{4} << 20;  // of all lists together
  struct List {
    float max = kDropped;
    std::vector<Candidate> candidates;
  };
  // Makes room in a list for more; false where there is none to be had.
  bool grow(List& list, size_t more);
  void give_up(List& list);

  const Kernels& kernels_;
  const RowSampling* const rows_;
  const std::vector<bool> takes_;
  std::vector<List> lists_;                                      // [slots, columns]
  std::unique_ptr<std::atomic<bool>[]> overflown_;               // [columns]
  std::atomic<ptrdiff_t> room_{kMostBytes / sizeof(Candidate)};  // that no list has taken
};

// Materializes whole rows of logits.
class MaterializeSink final : public Sink {
 public:
  // ids: of the local indices; null: they are their local indices.
  MaterializeSink(std::vector<bool> takes, size_t vocabulary, const uint32_t* ids);
  void consume(const Tile& tile, unsigned slot) override;
  float* row(size_t column) { return rows_.get() + row_of_[column] * vocabulary_; }
  std::vector<Candidate> candidates(size_t column) const;

 private:
  const size_t vocabulary_;
  const uint32_t* const ids_;
  std::vector<size_t> row_of_;     // per column, or kNone
  std::unique_ptr<float[]> rows_;  // as long as nobody has written them, whatever was there
};

}  // namespace lmhead
