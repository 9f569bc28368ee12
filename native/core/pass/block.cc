#include "block.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace lmhead {

Block::Block(const Kernels& kernels, const PreparedSource& source, const PassRequest& request, const RowPlans& plans,
             size_t begin, size_t end, const ParallelFor& workers, unsigned slots, Verification* draft)
    : kernels_(kernels),
      prepared_(source),
      source_(source.source()),
      request_(request),
      begin_(begin),
      columns_(end - begin),
      chunks_(chunks_of(source_)),
      slots_(slots),
      rows_(plans.rows.data() + begin),
      ways_(plans.ways.data() + begin),
      scaled_(std::any_of(plans.inverse_temperatures.begin() + static_cast<ptrdiff_t>(begin),
                          plans.inverse_temperatures.begin() + static_cast<ptrdiff_t>(end), [](double t) { return t != 1; })),
      distributions_(kernels, columns_, chunks_, plans.inverse_temperatures.data() + begin,
                     tells_gumbel_max_of_raw() || (!request.normalizer && shows_sums()),
                     request.score.entropy && !request.normalizer),
      draft_(draft) {
  const double* const inverse_temperatures = plans.inverse_temperatures.data() + begin;
  if (request.normalizer)
    normalizer_ = add_to<Distributions>(normalizing_, kernels, columns_, chunks_of(*request.normalizer), inverse_temperatures,
                                        shows_sums(), request.score.entropy != nullptr);
  if (request.sample.model_log_probs) add_raw();
  add_dense(Dense::logits, request.logits);
  add_dense(Dense::log_probs, request.log_probs);
  add_dense(Dense::probs, request.probs);
  if (request.top.ids) add_top();
  if (request.argmax) argmax_ = add<Argmax>(kernels_, columns_, slots_);
  if (request.score.targets) add_targets(workers);
  if (request.draws()) add_drawing(inverse_temperatures);
  if (draft) draft_materialized_ = add<MaterializeSink>(std::vector<bool>(columns_, true), source_.valid(), source_.ids());
}

void Block::normalize(const ParallelFor& workers) {
  if (!normalizer_) return;
  const PreparedSource normalizer(*request_.normalizer, begin_, columns_);
  workers.parallel_for(chunks_of(normalizer.source()), [&](size_t chunk, unsigned slot) {
    make_chunk(normalizer, chunk, begin_, columns_, [&](const MadeLogits& made) {
      with_tile(normalizer.source(), made, [&](const Tile& tile) {
        for (Sink* sink : normalizing_) sink->consume(tile, slot);
      });
    });
  });
  if (workers.aborted()) return;
  for (Sink* sink : normalizing_) finish(*sink, workers);
}

void Block::consume(const MadeLogits& made, unsigned slot) {
  with_tile(source_, made, [&](const Tile& tile) {
    with_own_part(tile, [&](const Tile& own) {
      distributions_.consume(own, slot);
      if (own.rows == 0) return;
      for (Sink* sink : sinks_) sink->consume(own, slot);
    });
    if (request_.partial.sums) write_sums(tile, distributions_, request_.partial.sums);
    if (!drawing_.empty()) draw_from(tile, slot);
  });
}

template <class Use>
void Block::with_own_part(const Tile& tile, Use use) const {
  const PartialOutputs& partial = request_.partial;
  const size_t first = std::clamp<size_t>(partial.begin, tile.first, tile.first + tile.rows);
  const size_t end = std::clamp<size_t>(partial.end, first, tile.first + tile.rows);
  if (!partial.sums || end - first == tile.rows) return use(tile);
  thread_local std::vector<MaxResult> maxima;
  if (maxima.size() < tile.columns) maxima.resize(tile.columns);
  Tile own = tile;
  own.first = static_cast<uint32_t>(first);
  own.rows = end - first;
  own.logits = tile.logits + (first - tile.first);
  own.maxima = maxima.data();
  for (size_t c = 0; c < tile.columns; c++) maxima[c] = kernels_.max(own.column(c), own.rows);
  use(own);
}

void Block::write_sums(const Tile& tile, const Distributions& of, double* sums) const {
  const bool consumed = request_.partial.begin <= tile.first && tile.first + tile.rows <= request_.partial.end;
  for (size_t c = 0; c < tile.columns; c++)
    of.write_sums(tile, c, consumed, sums + ((begin_ + tile.first_column + c) * chunks_ + tile.chunk) * kSumsOfChunk);
}

PassResult Block::finish(const ParallelFor& workers) {
  if (workers.aborted()) return {PassResult::aborted};
  if (draft_) return draft_->verify(draft_materialized_->row(0), source_.valid(), begin_, columns_, workers);
  finish(distributions_, workers);
  if (adjusted_) finish(*adjusted_, workers);
  if (const PassResult result = check(); result.status != PassResult::ok) return result;
  for (Sink* sink : sinks_) finish(*sink, workers);
  if (request_.log_sum_exp) write_log_sum_exp();
  if (request_.top.ids) write_top(workers);
  if (request_.argmax)
    for (size_t c = 0; c < columns_; c++) request_.argmax[begin_ + c] = argmax_->best(c);
  if (request_.draws()) draw(workers);
  return {workers.aborted() ? PassResult::aborted : PassResult::ok};
}

// Whether results show log-probabilities or their like at the rows' temperatures.
bool Block::shows_sums() const {
  const PassRequest& r = request_;
  return r.log_sum_exp || r.log_probs || r.probs || r.top.log_probs || r.score.targets || (r.sample.model_log_probs && !scaled_);
}

// Whether log-probabilities are told of tokens that are drawn by Gumbel-max in the pass: these are of all its logits.
bool Block::tells_gumbel_max() const {
  return request_.sample.log_probs && std::count(ways_, ways_ + columns_, Sampling::gumbel_max) > 0;
}

void Block::add_dense(Dense what, float* out) {
  if (out) add<DenseSink>(kernels_, what, out + begin_ * source_.vocabulary(), columns_, source_.vocabulary(), source_.valid());
}

void Block::add_top() {
  if (request_.top.k <= kMaxHeap)
    top_ = add<TopK>(kernels_, std::vector<uint32_t>(columns_, request_.top.k), slots_);
  else
    top_materialized_ = add<MaterializeSink>(std::vector<bool>(columns_, true), source_.valid(), source_.ids());
}

// What is told of the raw distribution.
void Block::add_raw() {
  if (scaled_) {
    const std::vector<double> ones(columns_, 1.0);
    unscaled_ = add_to<Distributions>(normalizer_ ? normalizing_ : sinks_, kernels_, columns_,
                                      chunks_of(normalizer_ ? *request_.normalizer : source_), ones.data(), true, false);
  }
  model_top_ = add<TopK>(kernels_, std::vector<uint32_t>(columns_, request_.sample.k), slots_);
}

void Block::add_targets(const ParallelFor& workers) {
  ScoreOutputs out = request_.score;
  out.targets += begin_;
  out.log_probs += begin_;
  out.ranks += begin_;
  if (out.entropy) out.entropy += begin_;
  std::vector<float> logits(columns_);
  workers.parallel_for(columns_, [&](size_t c, unsigned) {
    if (out.targets[c] == kIgnored) return;
    const float* const given = request_.partial.target_logits;
    logits[c] = given ? given[begin_ + c] : logit_of(c, out.targets[c]);
  });
  add<TargetSink>(kernels_, out, std::move(logits), slots_);
}

float Block::logit_of(size_t column, uint32_t id) const {
  const size_t index = source_.local_index_of(id);
  LMHEAD_DASSERT(index < source_.valid());
  float u;
  return *prepared_.logits(index, 1, begin_ + column, 1, &u).data;
}

std::vector<bool> Block::sampled_by(Sampling way) const {
  std::vector<bool> takes(columns_);
  for (size_t c = 0; c < columns_; c++) takes[c] = ways_[c] == way;
  return takes;
}

// The sinks that see the logits that tokens are drawn from.
void Block::add_drawing(const double* inverse_temperatures) {
  const auto add_drawn = [&]<class T>(T*& sink, auto&&... arguments) {
    sink = add_to<T>(drawing_, std::forward<decltype(arguments)>(arguments)...);
  };
  if (request_.adjustments.any())
    add_drawn(adjusted_, kernels_, columns_, chunks_, inverse_temperatures, tells_gumbel_max(), false);
  std::vector<uint32_t> k(columns_);
  bool any[6] = {};
  for (size_t c = 0; c < columns_; c++) {
    any[static_cast<size_t>(ways_[c])] = true;
    if (ways_[c] == Sampling::greedy) k[c] = 1;
    if (ways_[c] == Sampling::top_k) k[c] = static_cast<uint32_t>(rows_[c].top_k);
    if (ways_[c] == Sampling::gumbel_max) k[c] = std::max(request_.sample.k, request_.partial.k);  // to be told
  }
  const auto is_any = [&](Sampling way) { return any[static_cast<size_t>(way)]; };
  if (std::any_of(k.begin(), k.end(), [](uint32_t each) { return each > 0; }))
    add_drawn(drawn_top_, kernels_, std::move(k), slots_);
  if (is_any(Sampling::gumbel_max)) add_drawn(gumbel_max_, kernels_, rows_, sampled_by(Sampling::gumbel_max), slots_);
  if (is_any(Sampling::reach)) add_drawn(reach_, kernels_, rows_, sampled_by(Sampling::reach), slots_);
  if (is_any(Sampling::materialize)) add_drawn(materialized_, sampled_by(Sampling::materialize), source_.valid(), source_.ids());
}

template <class Use>
void Block::with_tile(const LogitSource& source, const MadeLogits& made, Use use) const {
  thread_local std::vector<MaxResult> maxima;
  if (maxima.size() < made.columns) maxima.resize(made.columns);
  for (size_t i = 0; i < made.columns; i++) maxima[i] = kernels_.max(made.data + i * made.stride, made.rows);
  use(Tile{made.chunk, static_cast<uint32_t>(made.first_row), source.ids() ? source.ids() + made.first_row : nullptr, made.rows,
           made.first_column, made.columns, made.data, made.stride, maxima.data()});
}

// Hands the tile to the drawing sinks, adjusted. A tile in which nothing changes goes as it is.
void Block::draw_from(const Tile& tile, unsigned slot) {
  thread_local std::vector<Adjustments::Changes> changes;
  changes.clear();
  for (size_t c = 0; adjusted_ && c < tile.columns; c++)
    changes.push_back(request_.adjustments.changes(begin_ + tile.first_column + c, tile));
  const auto draw = [&](const Tile& adjusted) {
    with_own_part(adjusted, [&](const Tile& own) {
      for (Sink* sink : drawing_)
        if (own.rows > 0 || sink == adjusted_) sink->consume(own, slot);
    });
    if (request_.partial.drawn_sums) write_sums(adjusted, *adjusted_, request_.partial.drawn_sums);
  };
  if (std::all_of(changes.begin(), changes.end(), [](const Adjustments::Changes& each) { return each.none(); }))
    return draw(tile);

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
  draw(adjusted);
}

void Block::finish(Sink& sink, const ParallelFor& workers) {
  workers.parallel_for(sink.finish_tasks(), [&](size_t task, unsigned) { sink.finish(task, shown()); });
}

// Whether every row that a token is to be chosen from has one.
PassResult Block::check() const {
  const bool ranks_tokens = request_.argmax || request_.top.ids || request_.sample.model_log_probs;
  for (size_t c = 0; c < columns_; c++) {
    const Distribution& d = distributions_.data()[c];
    if (d.nan_id >= 0 && ranks_tokens) return {PassResult::nan, begin_ + c, d.nan_id};
    if (!request_.draws()) continue;
    const Distribution& drawn = drawn_from(c);
    const float max = drawn.max;
    if (drawn.nan_id >= 0) return {PassResult::nan, begin_ + c, drawn.nan_id};
    if (!std::isinf(max) || (max < 0 && request_.partial.sums)) continue;  // other shards may have what can be drawn
    if (max > 0) return {PassResult::unnormalized, begin_ + c, id_of_infinity(c)};
    // Where there was nothing before, it is not the adjustments that leave nothing.
    return {max == d.max ? PassResult::unnormalized : PassResult::nothing_left, begin_ + c};
  }
  return {};
}

// Among the logits that tokens are drawn from: an adjustment may have made it.
int64_t Block::id_of_infinity(size_t column) const {
  std::vector<float> scratch(kChunkRows), u(kChunkRows);
  for (size_t row = 0; row < source_.valid(); row += kChunkRows) {
    const size_t rows = std::min(kChunkRows, source_.valid() - row);
    std::copy_n(prepared_.logits(row, rows, begin_ + column, 1, scratch.data()).data, rows, u.data());
    const uint32_t* const ids = source_.ids() ? source_.ids() + row : nullptr;
    const Tile tile{row / kChunkRows, static_cast<uint32_t>(row), ids, rows, column, 1, u.data(), rows, nullptr};
    if (adjusted_) request_.adjustments.apply(request_.adjustments.changes(begin_ + column, tile), tile, u.data());
    for (size_t i = 0; i < rows; i++)
      if (u[i] == std::numeric_limits<float>::infinity()) return int64_t{tile.id(i)};
  }
  return -1;
}

void Block::write_log_sum_exp() {
  for (size_t c = 0; c < columns_; c++) {
    const Distribution& d = shown()[c];
    const double scaled = static_cast<double>(d.max) * d.inverse_temperature;
    request_.log_sum_exp[begin_ + c] = static_cast<float>(std::isinf(d.max) ? d.max : scaled + d.log_sum);
  }
}

void Block::write_top(const ParallelFor& workers) {
  const TopOutputs& out = request_.top;
  workers.parallel_for(columns_, [&](size_t c, unsigned) {
    std::vector<Candidate> best = top_ ? top_->best(c) : top_materialized_->candidates(c);
    if (!top_) {
      std::nth_element(best.begin(), best.begin() + (out.k - 1), best.end(), better);
      best.resize(out.k);
      std::sort(best.begin(), best.end(), better);
    }
    LMHEAD_DASSERT(best.size() >= out.k);
    for (size_t i = 0; i < out.k; i++) {
      const size_t at = (begin_ + c) * out.k + i;
      out.ids[at] = best[i].id;
      out.logits[at] = best[i].logit;
      if (out.log_probs) out.log_probs[at] = shown()[c].log_prob(best[i].logit);
    }
  });
}

PassResult run_block(const Kernels& kernels, const LogitSource& source, const PassRequest& request, const RowPlans& plans,
                     size_t begin, size_t end, const ParallelFor& workers, Verification* draft, std::vector<size_t>& unfinished) {
  const PreparedSource prepared(source, begin, end - begin);
  Block block(kernels, prepared, request, plans, begin, end, workers, workers.threads, draft);
  block.normalize(workers);
  workers.parallel_for(chunks_of(source), [&](size_t chunk, unsigned slot) {
    make_chunk(prepared, chunk, begin, end - begin, [&](const MadeLogits& made) { block.consume(made, slot); });
  });
  const PassResult result = block.finish(workers);
  unfinished.insert(unfinished.end(), block.unfinished().begin(), block.unfinished().end());
  return result;
}

PassResult run_unfinished(const Kernels& kernels, const LogitSource& source, const PassRequest& request, RowPlans& plans,
                          std::vector<size_t> unfinished, const ParallelFor& workers) {
  if (unfinished.empty()) return {};
  std::sort(unfinished.begin(), unfinished.end());
  PassRequest again;
  again.row_parameters = request.row_parameters;
  again.adjustments = request.adjustments;
  again.sample = request.sample;
  if (request.sample.model_log_probs) again.normalizer = request.normalizer;
  again.candidates = request.candidates;
  for (size_t i = 0; i < unfinished.size();) {  // neighbors together
    size_t j = i;
    while (j < unfinished.size() && unfinished[j] == unfinished[i] + (j - i) && j - i < plans.most_materialized)
      plans.ways[unfinished[j++]] = Sampling::materialize;
    std::vector<size_t> none;
    const PassResult result =
        run_block(kernels, source, again, plans, unfinished[i], unfinished[i] + (j - i), workers, nullptr, none);
    if (result.status != PassResult::ok) return result;
    i = j;
  }
  return {};
}

}  // namespace lmhead
