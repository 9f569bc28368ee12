// Rows of a request whose results are made in one streaming of E: its sinks, and what becomes of them when they have seen all.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "../sampling/speculative_verification.h"
#include "../sinks/argmax.h"
#include "../sinks/dense.h"
#include "../sinks/distributions.h"
#include "../sinks/sample.h"
#include "../sinks/top_k.h"
#include "plan.h"

namespace lmhead {

inline size_t chunks_of(const LogitSource& source) { return (source.valid() + kChunkRows - 1) / kChunkRows; }

// Logits of a chunk of a source's rows, for some columns of a block.
struct MadeLogits {
  size_t chunk, first_row, rows;
  size_t first_column, columns;
  const float* data;
  size_t stride;  // from column to column
};

// Makes a chunk's logits for some of a source's columns, as many at a time as it likes; consume(made), whose columns count from
// first_column.
template <class Consume>
void make_chunk(const PreparedSource& source, size_t chunk, size_t first_column, size_t columns, Consume consume) {
  const size_t first_row = chunk * kChunkRows, rows = std::min(kChunkRows, source.source().valid() - first_row);
  const size_t group = std::min(source.group(), columns);
  thread_local AlignedFloats scratch;
  if (scratch.size() < group * kChunkRows) scratch.resize(group * kChunkRows);
  for (size_t c = 0; c < columns; c += group) {
    const size_t count = std::min(group, columns - c);
    const auto [data, stride] = source.logits(first_row, rows, first_column + c, count, scratch.data());
    consume(MadeLogits{chunk, first_row, rows, c, count, data, stride});
  }
}

class Block {
 public:
  // Rows [begin, end) of the request, which the source is prepared for. slots: how many threads at most may stream at a time.
  // draft: where the request has one.
  Block(const Kernels& kernels, const PreparedSource& source, const PassRequest& request, const RowPlans& plans, size_t begin,
        size_t end, const ParallelFor& workers, unsigned slots, Verification* draft);

  // Streams the normalizer, if there is one: before all else.
  void normalize(const ParallelFor& workers);
  // Once for every chunk and column.
  void consume(const MadeLogits& made, unsigned slot);
  // When it has taken all.
  PassResult finish(const ParallelFor& workers);

  // Rows whose sample could not be drawn from what was kept: they must be materialized.
  const std::vector<size_t>& unfinished() const { return unfinished_; }

 private:
  // What log-probabilities are under.
  const Distribution* shown() const { return normalizer_ ? normalizer_->data() : distributions_.data(); }
  // Of the logits that tokens are drawn from.
  const Distribution& drawn_from(size_t column) const { return (adjusted_ ? *adjusted_ : distributions_).data()[column]; }
  bool shows_sums() const;
  bool tells_gumbel_max() const;
  bool tells_gumbel_max_of_raw() const { return tells_gumbel_max() && !request_.adjustments.any(); }

  template <class T, class... Arguments>
  T* add_to(std::vector<Sink*>& sinks, Arguments&&... arguments) {
    auto sink = std::make_unique<T>(std::forward<Arguments>(arguments)...);
    T* const raw = sink.get();
    sinks.push_back(raw);
    owned_.push_back(std::move(sink));
    return raw;
  }
  template <class T, class... Arguments>
  T* add(Arguments&&... arguments) {
    return add_to<T>(sinks_, std::forward<Arguments>(arguments)...);
  }
  void add_dense(Dense what, float* out);
  void add_top();
  void add_raw();
  void add_targets(const ParallelFor& workers);
  void add_drawing(const double* inverse_temperatures);
  std::vector<bool> sampled_by(Sampling way) const;
  float logit_of(size_t column, uint32_t id) const;

  template <class Use>  // use(tile)
  void with_tile(const LogitSource& source, const MadeLogits& made, Use use) const;
  void take_within(const MadeLogits& made, unsigned slot);
  void draw_from(const Tile& tile, unsigned slot);
  // Of a shard: the part of a tile that is its, with maxima of its own; and the sums of the whole tile.
  template <class Use>  // use(tile)
  void with_own_part(const Tile& tile, Use use) const;
  void write_sums(const Tile& tile, const Distributions& of, double* sums) const;

  void finish(Sink& sink, const ParallelFor& workers);
  PassResult check() const;
  int64_t id_of_infinity(size_t column) const;
  void write_log_sum_exp();
  void write_top(const ParallelFor& workers);
  void draw(const ParallelFor& workers);
  void write_drawn(size_t c, const ParallelFor& workers);
  void write_partial(size_t c);
  void write_filtered(size_t c, std::vector<Candidate> candidates);
  void write_choice(size_t c, const Choice& choice, std::vector<Candidate>& best, const Left& left);
  void write_candidates(size_t c, std::vector<Candidate>& candidates, const Left& left);
  template <class LogProb>
  void write_sample(size_t c, const Choice& choice, std::vector<Candidate>& left, LogProb log_prob);
  template <class LogProb>
  void write_list(size_t c, const ListOutputs& out, std::vector<Candidate>& from, LogProb log_prob);
  void unfinished_mark(size_t c);

  const Kernels& kernels_;
  const PreparedSource& prepared_;
  const LogitSource& source_;
  const PassRequest& request_;
  const size_t begin_, columns_, chunks_;
  const unsigned slots_;
  const RowSampling* const rows_;
  const Sampling* const ways_;
  const bool scaled_;  // has a row whose temperature is neither 1 nor 0
  Distributions distributions_;
  Distributions* normalizer_ = nullptr;
  Distributions* adjusted_ = nullptr;  // of the logits that tokens are drawn from, where these are adjusted
  Distributions* unscaled_ = nullptr;  // as shown(), but at temperature 1, where that is to be told too
  std::vector<Sink*> normalizing_;     // see the logits of the request's normalizer
  std::vector<Sink*> sinks_;           // see the logits as they are
  std::vector<Sink*> drawing_;         // see those that tokens are drawn from
  std::vector<std::unique_ptr<Sink>> owned_;
  TopK* top_ = nullptr;
  TopK* model_top_ = nullptr;
  MaterializeSink* top_materialized_ = nullptr;
  Argmax* argmax_ = nullptr;
  TopK* drawn_top_ = nullptr;
  GumbelMaxSink* gumbel_max_ = nullptr;
  ReachSink* reach_ = nullptr;
  MaterializeSink* materialized_ = nullptr;
  Verification* const draft_;
  MaterializeSink* draft_materialized_ = nullptr;
  std::mutex mutex_;
  std::vector<size_t> unfinished_;
};

// Makes the results of rows [begin, end); those left unfinished are added to the list.
PassResult run_block(const Kernels& kernels, const LogitSource& source, const PassRequest& request, const RowPlans& plans,
                     size_t begin, size_t end, const ParallelFor& workers, Verification* draft, std::vector<size_t>& unfinished);
// Draws for those rows once more, holding their logits.
PassResult run_unfinished(const Kernels& kernels, const LogitSource& source, const PassRequest& request, RowPlans& plans,
                          std::vector<size_t> unfinished, const ParallelFor& workers);

}  // namespace lmhead
