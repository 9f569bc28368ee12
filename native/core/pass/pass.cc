#include "pass.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>

#include "../sampling/filtered_set.h"
#include "../sampling/materialized_row.h"
#include "../sinks/dense.h"
#include "../sinks/distributions.h"
#include "../sinks/sample.h"
#include "../sinks/top_k.h"
#include "../sources/product.h"
#include "../storage/map_guard.h"

namespace lmhead {

size_t LogitSource::place_of(uint32_t id) const {
  const uint32_t* const all = ids();
  if (!all) return std::min<size_t>(id, valid());
  const uint32_t* const at = std::lower_bound(all, all + valid(), id);
  return at < all + valid() && *at == id ? static_cast<size_t>(at - all) : valid();
}

void pack_hidden(const Kernels& kernels, const uint8_t* hidden, Dtype dtype, size_t n, size_t d, float* packed) {
  const size_t stride = hidden_stride(d);
  for (size_t i = 0; i < n; i++) {
    float* const row = packed + i * stride;
    kernels.widen[static_cast<size_t>(dtype)](hidden + i * d * bytes_per_element(dtype), d, row);
    std::fill(row + d, row + stride, 0.0f);
  }
}

AlignedFloats pack_hidden(const Kernels& kernels, const uint8_t* hidden, Dtype dtype, size_t n, size_t d) {
  AlignedFloats packed(n * hidden_stride(d));
  pack_hidden(kernels, hidden, dtype, n, d, packed.data());
  return packed;
}

void ProductSource::prepare(size_t first_column, size_t columns) const {
  const size_t stride = hidden_stride(e_.columns);
  const float* const hidden = hidden_ + first_column * stride;
  const PackedProduct* const packed = kernels_.packed[static_cast<size_t>(e_.dtype)];
  prepared_.columns = 0;
  if (activations_ != Activations::f32) {
    prepared_.rounded.round(activations_, hidden, stride, columns, e_.columns);
    prepared_.rounded.pack(kernels_, e_.dtype);
  } else if (packed) {
    packed->pack(hidden, stride, columns, e_.columns, prepared_.data);
  } else {
    return;
  }
  prepared_.first = first_column;
  prepared_.columns = columns;
}

size_t ProductSource::group() const {
  if (prepared_.columns == 0) return n_;  // the product blocks its columns itself
  // Whole tiles of 16, as many as stay in a second-level cache of 2 MB beside E's tiles and the logits.
  constexpr size_t kPreparedBytes = size_t{1} << 20, kTile = 16, kMostTiles = 8;
  const size_t tiles = (prepared_.columns + kTile - 1) / kTile;
  const size_t bytes =
      activations_ != Activations::f32 ? kTile * prepared_.rounded.bytes_each() : prepared_.data.size() * sizeof(float) / tiles;
  return kTile * std::clamp(kPreparedBytes / bytes, size_t{1}, kMostTiles);
}

LogitSource::Logits ProductSource::logits(size_t first_row, size_t rows, size_t first_column, size_t columns,
                                          float* scratch) const {
  MapGuard::renew();
  if (!subset_.ids) {
    make(e_, first_row, rows, epilogue_.bias ? epilogue_.bias + first_row : nullptr, first_column, columns, scratch, rows);
    return {scratch, rows};
  }
  const uint32_t* const ids = subset_.ids + first_row;
  if (ids[rows - 1] - ids[0] == rows - 1) {  // all neighbors
    make(e_, ids[0], rows, epilogue_.bias ? epilogue_.bias + ids[0] : nullptr, first_column, columns, scratch, rows);
    return {scratch, rows};
  }
  // Scattered rows are gathered, some at a time: kernels like neighbors, and what they read ahead of a row is then not in vain.
  constexpr size_t kGatheredBytes = size_t{32} << 10, kMost = 64;
  const size_t row_bytes = e_.row_bytes(), most = std::clamp<size_t>(kGatheredBytes / row_bytes, 4, kMost);
  thread_local std::vector<uint8_t> gathered;
  if (gathered.size() < most * row_bytes) gathered.resize(most * row_bytes);
  float biases[kMost];
  for (size_t begin = 0; begin < rows; begin += most) {
    const size_t count = std::min(most, rows - begin);
    for (size_t i = 0; i < count; i++) {
      std::memcpy(gathered.data() + i * row_bytes, e_.row(ids[begin + i]), row_bytes);
      if (epilogue_.bias) biases[i] = epilogue_.bias[ids[begin + i]];
    }
    Matrix some = e_;
    some.data = gathered.data();
    some.rows = count;
    make(some, 0, count, epilogue_.bias ? biases : nullptr, first_column, columns, scratch + begin, rows);
  }
  return {scratch, rows};
}

void ProductSource::make(const Matrix& e, size_t first_row, size_t rows, const float* bias, size_t first_column, size_t columns,
                         float* out, size_t out_stride) const {
  LMHEAD_DASSERT(first_row + rows <= e.rows && first_column + columns <= n_);
  const size_t stride = hidden_stride(e.columns), dtype = static_cast<size_t>(e.dtype);
  const bool is_prepared = first_column >= prepared_.first && first_column + columns <= prepared_.first + prepared_.columns;
  if (activations_ != Activations::f32)
    kernels_.integer_product[dtype](e, first_row, rows, prepared_.rounded.view(), first_column - prepared_.first, columns, out,
                                    out_stride);
  else if (is_prepared)
    kernels_.packed[dtype]->product(e, first_row, rows, prepared_.data.data(), first_column - prepared_.first, columns, out,
                                    out_stride);
  else
    product(kernels_, e, first_row, rows, hidden_ + first_column * stride, stride, columns, out, out_stride);
  if (epilogue_.is_identity()) return;
  for (size_t c = 0; c < columns; c++) kernels_.epilogue(out + c * out_stride, rows, bias, epilogue_);
}

namespace {

constexpr size_t kBlockColumns = 256;     // columns whose state is held at once
constexpr double kWorkPerThread = 100e3;  // multiply-adds that are worth waking a thread for

enum class Sampling { none, greedy, race, top_k, reach, hold };

// whole: all that the filters leave is wanted, and not only the token that is drawn. few: hardly any id may be drawn; a sum over
// these in any order has the same bits, and so they need not be those of a pass over all.
Sampling way_to_sample(const RowSampling& row, size_t valid, bool whole, bool few) {
  if (row.temperature == 0) return Sampling::greedy;
  switch (row.first_filter().stage) {
    case Stage::none:
      return few ? Sampling::reach : whole ? Sampling::hold : Sampling::race;
    case Stage::top_k:
      if (row.top_k <= kMaxHeap && row.top_k < valid) return Sampling::top_k;
      return Sampling::hold;
    case Stage::min_p:
      return Sampling::reach;
    default:
      return Sampling::hold;
  }
}

// Rows of the request, [begin, end), whose results are made in one streaming of E.
class Block {
 public:
  Block(const Kernels& kernels, const LogitSource& source, const PassRequest& request, size_t begin, size_t end,
        const ParallelFor& workers, const RowSampling* rows, const double* inverse_temperatures, const Sampling* ways)
      : kernels_(kernels),
        source_(source),
        request_(request),
        begin_(begin),
        columns_(end - begin),
        chunks_(chunks_of(source)),
        workers_(workers),
        rows_(rows + begin),
        ways_(ways + begin),
        scaled_(std::any_of(inverse_temperatures + begin, inverse_temperatures + end, [](double t) { return t != 1; })),
        distributions_(kernels, columns_, chunks_, inverse_temperatures + begin,
                       races_raw() || (!request.normalizer && shows_sums()), request.score.entropy && !request.normalizer) {
    source.prepare(begin, columns_);
    if (request.normalizer) {
      request.normalizer->prepare(begin, columns_);
      normalizer_ = add_to<Distributions>(normalizing_, kernels, columns_, chunks_of(*request.normalizer),
                                          inverse_temperatures + begin, shows_sums(), request.score.entropy != nullptr);
    }
    if (request.sample.model_log_probs) add_raw();
    add_dense(Dense::logits, request.logits);
    add_dense(Dense::log_probs, request.log_probs);
    add_dense(Dense::probs, request.probs);
    if (request.top.ids) add_top();
    if (request.argmax) argmax_ = add<TopK>(kernels_, std::vector<uint32_t>(columns_, 1), workers_.threads);
    if (request.score.targets) add_targets();
    if (request.draws()) add_drawing(inverse_temperatures + begin);
  }

  PassResult run() {
    if (normalizer_) {
      const auto only = [&](const Tile& tile, unsigned slot) {
        for (Sink* sink : normalizing_) sink->consume(tile, slot);
      };
      workers_.parallel_for(chunks_of(*request_.normalizer),
                            [&](size_t chunk, unsigned slot) { make_chunk(*request_.normalizer, chunk, slot, only); });
      if (workers_.aborted()) return {PassResult::aborted};
      for (Sink* sink : normalizing_) finish(*sink);
    }
    const auto hand_out = [&](const Tile& tile, unsigned slot) {
      distributions_.consume(tile, slot);
      for (Sink* sink : sinks_) sink->consume(tile, slot);
      if (!drawing_.empty()) draw_from(tile, slot);
    };
    workers_.parallel_for(chunks_, [&](size_t chunk, unsigned slot) { make_chunk(source_, chunk, slot, hand_out); });
    if (workers_.aborted()) return {PassResult::aborted};
    finish(distributions_);
    if (adjusted_) finish(*adjusted_);
    if (const PassResult result = check(); result.status != PassResult::ok) return result;
    for (Sink* sink : sinks_) finish(*sink);
    if (request_.log_sum_exp) write_log_sum_exp();
    if (request_.top.ids) write_top();
    if (request_.argmax)
      for (size_t c = 0; c < columns_; c++) request_.argmax[begin_ + c] = argmax_->best(c)[0].id;
    if (request_.draws()) draw();
    return {workers_.aborted() ? PassResult::aborted : PassResult::ok};
  }

  // Rows whose sample could not be drawn from what was kept: they must be held.
  const std::vector<size_t>& unfinished() const { return unfinished_; }

 private:
  static size_t chunks_of(const LogitSource& source) { return (source.valid() + kChunkRows - 1) / kChunkRows; }
  // What log-probabilities are under.
  const Distribution* shown() const { return normalizer_ ? normalizer_->data() : distributions_.data(); }

  // Whether results show log-probabilities or their like at the rows' temperatures.
  bool shows_sums() const {
    const PassRequest& r = request_;
    return r.log_sum_exp || r.log_probs || r.probs || r.top.ids || r.score.targets || (r.sample.model_log_probs && !scaled_);
  }
  // Whether tokens race in the pass, whose log-probabilities are then of all its logits; and whether of these as they are.
  bool races() const { return std::count(ways_, ways_ + columns_, Sampling::race) > 0; }
  bool races_raw() const { return races() && !request_.adjustments.any(); }

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

  void add_dense(Dense what, float* out) {
    if (out) add<DenseSink>(kernels_, what, out + begin_ * source_.vocabulary(), columns_, source_.vocabulary(), source_.valid());
  }

  void add_top() {
    if (request_.top.k <= kMaxHeap)
      top_ = add<TopK>(kernels_, std::vector<uint32_t>(columns_, request_.top.k), workers_.threads);
    else
      top_held_ = add<HoldSink>(std::vector<bool>(columns_, true), source_.valid(), source_.ids());
  }

  // What is told of the raw distribution.
  void add_raw() {
    if (scaled_) {
      const std::vector<double> ones(columns_, 1.0);
      unscaled_ = add_to<Distributions>(normalizer_ ? normalizing_ : sinks_, kernels_, columns_,
                                        chunks_of(normalizer_ ? *request_.normalizer : source_), ones.data(), true, false);
    }
    model_top_ = add<TopK>(kernels_, std::vector<uint32_t>(columns_, request_.sample.k), workers_.threads);
  }

  void add_targets() {
    ScoreOutputs out = request_.score;
    out.targets += begin_;
    out.log_probs += begin_;
    out.ranks += begin_;
    if (out.entropy) out.entropy += begin_;
    std::vector<float> logits(columns_);
    workers_.parallel_for(columns_, [&](size_t c, unsigned) {
      if (out.targets[c] != kIgnored) logits[c] = logit_of(c, out.targets[c]);
    });
    add<TargetSink>(kernels_, out, std::move(logits), workers_.threads);
  }

  float logit_of(size_t column, uint32_t id) const {
    const size_t place = source_.place_of(id);
    LMHEAD_DASSERT(place < source_.valid());
    float u;
    return *source_.logits(place, 1, begin_ + column, 1, &u).data;
  }

  std::vector<bool> which(Sampling way) const {
    std::vector<bool> takes(columns_);
    for (size_t c = 0; c < columns_; c++) takes[c] = ways_[c] == way;
    return takes;
  }

  // The sinks that see the logits that tokens are drawn from.
  void add_drawing(const double* inverse_temperatures) {
    const auto add_drawn = [&]<class T>(T*& sink, auto&&... arguments) {
      sink = add_to<T>(drawing_, std::forward<decltype(arguments)>(arguments)...);
    };
    if (request_.adjustments.any()) add_drawn(adjusted_, kernels_, columns_, chunks_, inverse_temperatures, races(), false);
    std::vector<uint32_t> k(columns_);
    bool any[6] = {};
    for (size_t c = 0; c < columns_; c++) {
      any[static_cast<size_t>(ways_[c])] = true;
      if (ways_[c] == Sampling::greedy) k[c] = 1;
      if (ways_[c] == Sampling::top_k) k[c] = static_cast<uint32_t>(rows_[c].top_k);
      if (ways_[c] == Sampling::race) k[c] = request_.sample.k;  // to be told
    }
    const auto is_any = [&](Sampling way) { return any[static_cast<size_t>(way)]; };
    if (std::any_of(k.begin(), k.end(), [](uint32_t each) { return each > 0; }))
      add_drawn(drawn_top_, kernels_, std::move(k), workers_.threads);
    if (is_any(Sampling::race)) add_drawn(race_, kernels_, rows_, which(Sampling::race), workers_.threads);
    if (is_any(Sampling::reach)) add_drawn(reach_, kernels_, rows_, which(Sampling::reach), workers_.threads);
    if (is_any(Sampling::hold)) add_drawn(held_, which(Sampling::hold), source_.valid(), source_.ids());
  }

  // take(tile, slot)
  template <class Take>
  void make_chunk(const LogitSource& source, size_t chunk, unsigned slot, Take take) {
    const size_t first_row = chunk * kChunkRows, rows = std::min(kChunkRows, source.valid() - first_row);
    const size_t group = std::min(source.group(), columns_);
    const uint32_t* const ids = source.ids() ? source.ids() + first_row : nullptr;
    thread_local AlignedFloats scratch;
    thread_local std::vector<MaxResult> maxima;
    if (scratch.size() < group * kChunkRows) scratch.resize(group * kChunkRows);
    if (maxima.size() < group) maxima.resize(group);
    for (size_t c = 0; c < columns_; c += group) {
      const size_t columns = std::min(group, columns_ - c);
      const auto [logits, stride] = source.logits(first_row, rows, begin_ + c, columns, scratch.data());
      for (size_t i = 0; i < columns; i++) maxima[i] = kernels_.max(logits + i * stride, rows);
      take({chunk, static_cast<uint32_t>(first_row), ids, rows, c, columns, logits, stride, maxima.data()}, slot);
    }
  }

  // Hands the tile to the drawing sinks, adjusted. A tile in which nothing changes goes as it is.
  void draw_from(const Tile& tile, unsigned slot) {
    thread_local std::vector<Adjustments::Changes> changes;
    changes.clear();
    for (size_t c = 0; adjusted_ && c < tile.columns; c++)
      changes.push_back(request_.adjustments.changes(begin_ + tile.first_column + c, tile));
    if (std::all_of(changes.begin(), changes.end(), [](const Adjustments::Changes& each) { return each.none(); })) {
      for (Sink* sink : drawing_) sink->consume(tile, slot);
      return;
    }
    thread_local AlignedFloats scratch;
    thread_local std::vector<MaxResult> maxima;
    if (scratch.size() < tile.columns * tile.rows) scratch.resize(tile.columns * tile.rows);
    if (maxima.size() < tile.columns) maxima.resize(tile.columns);
    for (size_t c = 0; c < tile.columns; c++) {
      float* const u = scratch.data() + c * tile.rows;
      std::memcpy(u, tile.column(c), tile.rows * sizeof(float));
      request_.adjustments.apply(changes[c], tile, u);
      maxima[c] = kernels_.max(u, tile.rows);
    }
    Tile adjusted = tile;
    adjusted.logits = scratch.data();
    adjusted.stride = tile.rows;
    adjusted.maxima = maxima.data();
    for (Sink* sink : drawing_) sink->consume(adjusted, slot);
  }

  void finish(Sink& sink) {
    workers_.parallel_for(sink.finish_tasks(), [&](size_t task, unsigned) { sink.finish(task, shown()); });
  }

  // Of the logits that tokens are drawn from.
  const Distribution& drawn_from(size_t column) const { return (adjusted_ ? *adjusted_ : distributions_).data()[column]; }

  // Whether every row that a token is to be chosen from has one.
  PassResult check() const {
    const bool ranks_tokens = request_.argmax || request_.top.ids || request_.sample.model_log_probs;
    for (size_t c = 0; c < columns_; c++) {
      const Distribution& d = distributions_.data()[c];
      if (d.nan_id >= 0 && ranks_tokens) return {PassResult::nan, begin_ + c, d.nan_id};
      if (!request_.draws()) continue;
      const Distribution& drawn = drawn_from(c);
      const float max = drawn.max;
      if (drawn.nan_id >= 0) return {PassResult::nan, begin_ + c, drawn.nan_id};
      if (!std::isinf(max)) continue;
      if (max > 0) return {PassResult::unnormalized, begin_ + c, id_of_infinity(c)};
      // Where there was nothing before, it is not the adjustments that leave nothing.
      return {max == d.max ? PassResult::unnormalized : PassResult::nothing_left, begin_ + c};
    }
    return {};
  }

  // Among the logits that tokens are drawn from: an adjustment may have made it.
  int64_t id_of_infinity(size_t column) const {
    std::vector<float> scratch(kChunkRows), u(kChunkRows);
    for (size_t row = 0; row < source_.valid(); row += kChunkRows) {
      const size_t rows = std::min(kChunkRows, source_.valid() - row);
      std::copy_n(source_.logits(row, rows, begin_ + column, 1, scratch.data()).data, rows, u.data());
      const uint32_t* const ids = source_.ids() ? source_.ids() + row : nullptr;
      const Tile tile{row / kChunkRows, static_cast<uint32_t>(row), ids, rows, column, 1, u.data(), rows, nullptr};
      if (adjusted_) request_.adjustments.apply(request_.adjustments.changes(begin_ + column, tile), tile, u.data());
      for (size_t i = 0; i < rows; i++)
        if (u[i] == std::numeric_limits<float>::infinity()) return int64_t{tile.id(i)};
    }
    return -1;
  }

  void write_log_sum_exp() {
    for (size_t c = 0; c < columns_; c++) {
      const Distribution& d = shown()[c];
      const double scaled = static_cast<double>(d.max) * d.inverse_temperature;
      request_.log_sum_exp[begin_ + c] = static_cast<float>(std::isinf(d.max) ? d.max : scaled + d.log_sum);
    }
  }

  void write_top() {
    const TopOutputs& out = request_.top;
    workers_.parallel_for(columns_, [&](size_t c, unsigned) {
      std::vector<Candidate> best = top_ ? top_->best(c) : top_held_->candidates(c);
      if (!top_) {
        std::nth_element(best.begin(), best.begin() + (out.k - 1), best.end(), better);
        best.resize(out.k);
        std::sort(best.begin(), best.end(), better);
      }
      for (size_t i = 0; i < out.k; i++) {
        const size_t at = (begin_ + c) * out.k + i;
        out.ids[at] = best[i].id;
        out.logits[at] = best[i].logit;
        out.log_probs[at] = shown()[c].log_prob(best[i].logit);
      }
    });
  }

  void draw() {
    if (held_ && columns_ < 2 * workers_.threads) {  // all threads together on one row after the other
      for (size_t c = 0; c < columns_ && !workers_.aborted(); c++) write_drawn(c, workers_);
    } else {
      workers_.parallel_for(columns_, [&](size_t c, unsigned) { write_drawn(c, {}); });
    }
  }

  void write_drawn(size_t c, const ParallelFor& workers) {
    const Distribution& d = drawn_from(c);
    switch (ways_[c]) {
      case Sampling::none:
        return;
      case Sampling::greedy: {
        std::vector<Candidate> best = drawn_top_->best(c);
        write_sample(c, {best[0].id, 0}, best, [](float) { return 0; });
        if (request_.candidates) (*request_.candidates)[begin_ + c] = {{best[0].id}, {1}};
        return;
      }
      case Sampling::race: {
        const Candidate winner = race_->winner(c);
        std::vector<Candidate> best;
        if (drawn_top_) best = drawn_top_->best(c);
        std::erase_if(best, [](const Candidate& o) { return !is_in(o.logit); });
        const auto log_prob = [&](float logit) { return d.log_prob(logit); };
        return write_sample(c, {winner.id, log_prob(winner.logit)}, best, log_prob);
      }
      case Sampling::top_k:
        return write_filtered(c, drawn_top_->best(c));
      case Sampling::reach:
        return reach_->complete(c) ? write_filtered(c, reach_->candidates(c)) : unfinished_mark(c);
      case Sampling::hold: {
        MaterializedRow row(kernels_, held_->row(c), source_.valid(), source_.ids(), d.max, workers);
        const Left left = row.filter(rows_[c]);
        if (request_.sample.ids) {
          std::vector<Candidate> best = row.best(request_.sample.k);
          write_choice(c, row.race(left, rows_[c].stream), best, left);
        }
        if (request_.candidates) write_candidates(c, row.list(), left);
        return;
      }
    }
  }

  void write_filtered(size_t c, std::vector<Candidate> candidates) {
    const Left left = filter(candidates, rows_[c]);
    if (request_.sample.ids) write_choice(c, race(candidates, left, rows_[c].stream), candidates, left);
    if (request_.candidates) write_candidates(c, candidates, left);
  }

  void write_choice(size_t c, const Choice& choice, std::vector<Candidate>& best, const Left& left) {
    write_sample(c, choice, best, [&](float logit) { return left.log_prob(logit, choice.log_sum); });
  }

  void write_candidates(size_t c, std::vector<Candidate>& candidates, const Left& left) {
    CandidateRow& row = (*request_.candidates)[begin_ + c];
    std::sort(candidates.begin(), candidates.end(), better);
    for (const Candidate& candidate : candidates) row.ids.push_back(candidate.id);
    row.probs = probabilities(candidates, left);
  }

  // left: what the token was drawn from, or the likeliest of that, whose log-probabilities are to be told beside it.
  template <class LogProb>
  void write_sample(size_t c, const Choice& choice, std::vector<Candidate>& left, LogProb log_prob) {
    const SampleOutputs& out = request_.sample;
    if (!out.ids) return;
    LMHEAD_DASSERT(source_.place_of(choice.id) < source_.valid() && !std::isnan(choice.log_prob));
    out.ids[begin_ + c] = choice.id;
    out.log_probs[begin_ + c] = static_cast<float>(choice.log_prob);
    if (!out.model_log_probs) return;
    write_list(c, out.top, left, log_prob);
    const Distribution& raw = (unscaled_ ? unscaled_->data() : shown())[c];
    std::vector<Candidate> best = model_top_->best(c);
    write_list(c, out.model_top, best, [&](float logit) { return raw.log_prob(logit); });
    out.model_log_probs[begin_ + c] = raw.log_prob(logit_of(c, choice.id));
  }

  template <class LogProb>
  void write_list(size_t c, const ListOutputs& out, std::vector<Candidate>& from, LogProb log_prob) {
    const size_t k = request_.sample.k, count = std::min(k, from.size()), first = (begin_ + c) * k;
    std::partial_sort(from.begin(), from.begin() + static_cast<ptrdiff_t>(count), from.end(), better);
    out.counts[begin_ + c] = static_cast<uint32_t>(count);
    for (size_t i = 0; i < k; i++) {
      out.ids[first + i] = i < count ? from[i].id : kNoId;
      out.log_probs[first + i] =
          i < count ? static_cast<float>(log_prob(from[i].logit)) : -std::numeric_limits<float>::infinity();
    }
  }

  void unfinished_mark(size_t c) {
    const std::lock_guard lock(mutex_);
    unfinished_.push_back(begin_ + c);
  }

  const Kernels& kernels_;
  const LogitSource& source_;
  const PassRequest& request_;
  const size_t begin_, columns_, chunks_;
  const ParallelFor workers_;
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
  HoldSink* top_held_ = nullptr;
  TopK* argmax_ = nullptr;
  TopK* drawn_top_ = nullptr;
  RaceSink* race_ = nullptr;
  ReachSink* reach_ = nullptr;
  HoldSink* held_ = nullptr;
  std::mutex mutex_;
  std::vector<size_t> unfinished_;
};

}  // namespace

RowSampling parse_row(const double* p) {
  RowSampling row;
  row.temperature = p[0];
  row.top_k = static_cast<size_t>(p[1]);
  row.top_p = p[2];
  row.log_min_p = p[3];
  row.stream = {static_cast<uint32_t>(p[4]), static_cast<uint32_t>(p[5]), static_cast<uint32_t>(p[6])};
  row.typical_p = p[7];
  row.log_epsilon = p[8];
  row.log_eta = p[9];
  row.top_n_sigma = p[10];
  row.p_less = p[11] != 0;
  row.xtc_probability = p[12];
  row.log_xtc_threshold = p[13];
  row.temperature_range = p[14];
  row.temperature_exponent = p[15];
  row.max_surprisal = p[16];
  if (p[17] != 0) row.order = static_cast<uint64_t>(p[17]);
  row.stream.number = static_cast<uint32_t>(p[18]);
  return row;
}

PassResult run_pass(const Kernels& kernels, const LogitSource& source, const PassRequest& request) {
  const size_t n = source.columns(), valid = source.valid();
  if (request.candidates) request.candidates->assign(n, {});
  std::vector<RowSampling> rows(n);
  std::vector<double> inverse_temperatures(n, 1.0);
  std::vector<Sampling> ways(n, Sampling::none);
  for (size_t i = 0; i < n; i++) {
    if (request.row_parameters) rows[i] = parse_row(request.row_parameters + i * kRowParameters);
    // Of so low a temperature that this overflows, the largest number will do: unequal logits are as far apart as numbers get.
    if (rows[i].temperature != 0) inverse_temperatures[i] = std::min(1 / rows[i].temperature, std::numeric_limits<double>::max());
    if (request.draws())
      ways[i] = way_to_sample(rows[i], valid, request.candidates != nullptr, request.adjustments.allows_few(i));
  }

  const double worth = (source.work() + (request.normalizer ? request.normalizer->work() : 0)) / kWorkPerThread;
  ParallelFor workers = request.workers;
  if (worth < workers.threads) workers.threads = std::max(1u, static_cast<unsigned>(worth));
  const bool hold_all = request.top.ids && request.top.k > kMaxHeap;
  const size_t most_held = std::max<size_t>(1, kHeldBytes / (sizeof(float) * valid));

  std::vector<size_t> unfinished;
  for (size_t begin = 0; begin < n;) {
    size_t end = begin, held = 0;
    while (end < n && end - begin < kBlockColumns) {
      const size_t more = size_t{hold_all} + (ways[end] == Sampling::hold);
      if (held > 0 && held + more > most_held) break;
      held += more;
      end++;
    }
    Block block(kernels, source, request, begin, end, workers, rows.data(), inverse_temperatures.data(), ways.data());
    if (const PassResult result = block.run(); result.status != PassResult::ok) return result;
    unfinished.insert(unfinished.end(), block.unfinished().begin(), block.unfinished().end());
    begin = end;
  }

  // Once more, holding their logits; neighbors together.
  std::sort(unfinished.begin(), unfinished.end());
  PassRequest again;
  again.row_parameters = request.row_parameters;
  again.adjustments = request.adjustments;
  again.sample = request.sample;
  if (request.sample.model_log_probs) again.normalizer = request.normalizer;
  again.candidates = request.candidates;
  again.workers = request.workers;
  for (size_t i = 0; i < unfinished.size();) {
    size_t j = i;
    while (j < unfinished.size() && unfinished[j] == unfinished[i] + (j - i) && j - i < most_held)
      ways[unfinished[j++]] = Sampling::hold;
    Block block(kernels, source, again, unfinished[i], unfinished[i] + (j - i), workers, rows.data(), inverse_temperatures.data(),
                ways.data());
    if (const PassResult result = block.run(); result.status != PassResult::ok) return result;
    i = j;
  }
  return {};
}

}  // namespace lmhead
