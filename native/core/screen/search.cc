#include "search.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "../pass/block.h"
#include "../pass/pass.h"
#include "../sampling/filtered_set.h"
#include "../sampling/gumbel_max.h"
#include "../sources/product_source.h"
#include "../sources/similarity.h"
#include "../storage/map_guard.h"
#include "rounding.h"
#include "thresholds.h"

namespace lmhead::screen {

namespace {

// Of the rows that are best by their estimates, how many more than are asked for are multiplied: their k-th best is a threshold.
constexpr size_t kMore = 7;
// Of rows, one in so many may be left. Rows apart cost more than rows in a row, and the copy has been read.
constexpr size_t kMostLeft = 4;
// Bounds of a search that a thread keeps memory for.
constexpr size_t kKeptBounds = size_t{1} << 20;

// What a row's results depend on.
struct Asked {
  bool is_known = true;  // false: on others, too
  size_t k = 0;          // so many of the best ids
  bool reaches = false;  // and all within reach of the best
  bool draws = false;    // the id that wins by its key
};
Asked asked_of(const PassRequest& request, const RowPlans& plans, size_t row) {
  Asked asked;
  asked.k = std::max<size_t>(request.argmax ? 1 : 0, request.top.ids ? request.top.k : 0);
  if (request.draft.accepted) {
    asked.is_known = plans.rows[row].temperature == 0;
    asked.k = 1;
    return asked;
  }
  switch (plans.ways[row]) {
    case Sampling::none:
      return asked;
    case Sampling::reach:
      asked.reaches = true;
      [[fallthrough]];
    case Sampling::greedy:
      asked.k = std::max<size_t>(asked.k, 1);
      return asked;
    case Sampling::top_k:
      asked.k = std::max(asked.k, plans.rows[row].top_k);
      return asked;
    case Sampling::gumbel_max:  // log-probabilities of these are of all ids
      asked.draws = true;
      asked.is_known = !request.sample.log_probs;
      return asked;
    default:
      asked.is_known = false;
      return asked;
  }
}

template <class Consume>  // consume(id)
void adjusted_ids(const Adjustments& adjustments, size_t row, size_t first, size_t end, Consume consume) {
  for (const IdLists* list : {&adjustments.patched, &adjustments.biased, &adjustments.counted}) {
    if (!list->ranges) continue;
    const IdLists::Part part = list->part(row, static_cast<uint32_t>(first), static_cast<uint32_t>(end - 1));
    for (const uint32_t* id = part.begin; id != part.end; id++) consume(*id);
  }
}

// The best by estimate, in the making: one for each thread and hidden state.
struct Best {
  size_t most = 0;
  std::vector<Candidate> heap;  // the worst at the root

  float least() const { return heap.size() < most ? -kInfinity : heap[0].logit; }
  void offer(Candidate candidate) {
    if (heap.size() == most) {
      if (!better(candidate, heap[0])) return;
      std::pop_heap(heap.begin(), heap.end(), better);
      heap.pop_back();
    }
    heap.push_back(candidate);
    std::push_heap(heap.begin(), heap.end(), better);
  }
};

// A hidden state of a query.
struct Column {
  Query* query;
  size_t row;
  Asked asked;
  State state;
  RowSampling sampling;

  // Only of ids that nothing adjusts.
  void offer(const lmhead::Kernels& kernels, const float* u, size_t first, size_t count, GumbelMaxLeader& leader) const {
    const MaxResult max = kernels.max(u, count);
    if (max.nan_at >= 0) return;
    gumbel_max_chunk(kernels, {u, count, static_cast<uint32_t>(first), nullptr, max.max}, sampling.stream, sampling.temperature,
                     leader);
  }
};

class Search {
 public:
  Search(const lmhead::Kernels& kernels, const Matrix& e, const ParallelFor& workers)
      : kernels_(kernels), e_(e), workers_(workers) {}

  bool add(Query& query) {
    const RowPlans plans(*query.request, query.n, query.valid);
    const size_t before = columns_.size();
    for (size_t i = 0; i < query.n; i++) {
      columns_.push_back({&query, i, asked_of(*query.request, plans, i),
                          State(query.use->copy(), query.hidden + i * hidden_stride(e_.columns)), plans.rows[i]});
      if (columns_.back().state.is_usual()) continue;
      columns_.erase(columns_.begin() + static_cast<ptrdiff_t>(before), columns_.end());
      return false;
    }
    valid_ = std::max(valid_, query.valid);
    return true;
  }

  // Reads the copy.
  void bound(std::vector<float>& upper) {
    stride_ = (valid_ + kChunkRows - 1) / kChunkRows * kChunkRows;
    upper.resize(columns_.size() * stride_);
    upper_ = upper.data();
    best_.resize(workers_.threads * columns_.size());
    leaders_.resize(best_.size());
    for (size_t i = 0; i < best_.size(); i++) {
      const size_t k = columns_[i % columns_.size()].asked.k;
      best_[i].most = k > 0 ? k + kMore : 0;
    }
    workers_.parallel_for(stride_ / kChunkRows, [&](size_t chunk, unsigned slot) { bound_chunk(chunk, slot); });
  }

  // Ids of the rows that a column's results may depend on, added to `rows`. False where they are too many, or not known.
  bool find(size_t c, std::vector<uint32_t>& rows) const {
    const Column& column = columns_[c];
    if (column.asked.k > 0 && !find_best(c, rows)) return false;
    if (column.asked.draws && !find_winners(c, rows)) return false;
    const Query& query = *column.query;
    adjusted_ids(query.request->adjustments, column.row, 0, query.valid, [&](uint32_t id) { rows.push_back(id); });
    return true;
  }

 private:
  void bound_chunk(size_t chunk, unsigned slot) {
    const size_t first = chunk * kChunkRows, end = std::min(first + kChunkRows, valid_);
    const size_t columns = columns_.size();
    MapGuard::renew();
    thread_local AlignedFloats estimates;
    if (estimates.size() < columns * kChunkRows) estimates.resize(columns * kChunkRows);
    const Copy& copy = columns_[0].query->use->copy();
    const Kernels& own = kernels_for(kernels_);
    for (size_t row = first; row < end; row += kTileRows)
      for (size_t c = 0; c < columns; c++)
        own.bounds(copy.tile(row / kTileRows), copy.blocks(), columns_[c].state.view(),
                   estimates.data() + c * kChunkRows + (row - first), upper_ + c * stride_ + row);
    for (size_t c = 0; c < columns; c++) {
      const Query& query = *columns_[c].query;
      if (query.valid <= first) continue;
      const size_t count = std::min(end, query.valid) - first;
      float* const estimate = estimates.data() + c * kChunkRows;
      if (const float* const bias = query.epilogue->bias) {
        float* const upper = upper_ + c * stride_ + first;
        for (size_t i = 0; i < count; i++) {
          estimate[i] += bias[first + i];
          upper[i] += bias[first + i];
        }
      }
      if (query.factors) {
        float* const upper = upper_ + c * stride_ + first;
        for (size_t i = 0; i < count; i++) {
          estimate[i] = static_cast<float>(estimate[i] * query.factors[first + i]);
          if (upper[i] < kInfinity)
            upper[i] = static_cast<float>(upper[i] * query.factors[first + i]);  // rises with what it is of
        }
      }
      // They are looked at in any case, and their logits say nothing of others'.
      adjusted_ids(query.request->adjustments, columns_[c].row, first, first + count,
                   [&](uint32_t id) { estimate[id - first] = -kInfinity; });
      if (columns_[c].asked.draws) {
        thread_local AlignedFloats logits;
        logits.assign(estimate, estimate + count);
        finish(*query.epilogue, logits.data(), count);
        for (size_t i = 0; i < count; i++)  // of which a cap would make a number
          if (estimate[i] == -kInfinity) logits[i] = -kInfinity;
        columns_[c].offer(kernels_, logits.data(), first, count, leaders_[slot * columns + c]);
      }
      if (columns_[c].asked.k == 0) continue;
      Best& best = best_[slot * columns + c];
      uint32_t found[kChunkRows];
      const size_t above = kernels_.indices_above(estimate, count, best.least(), false, found);
      for (size_t i = 0; i < above; i++) best.offer({estimate[found[i]], static_cast<uint32_t>(first) + found[i]});
    }
  }

  // Makes logits of products to which the bias has been added.
  void finish(Epilogue epilogue, float* u, size_t count) const {
    epilogue.bias = nullptr;
    if (!epilogue.is_identity()) kernels_.epilogue(u, count, nullptr, epilogue);
  }

  // Of a column and some ids, ascending.
  AlignedFloats logits_of(const Column& column, const std::vector<uint32_t>& ids) const {
    const Query& query = *column.query;
    const ProductSource source(kernels_, e_, *query.epilogue, query.valid, query.hidden + column.row * hidden_stride(e_.columns),
                               1, {ids.data(), ids.size()});
    AlignedFloats logits(ids.size());
    const auto write_logits = [&](const LogitSource& from) {
      const PreparedColumns prepared;  // the rows are few
      for (size_t i = 0; i < ids.size(); i += kChunkRows)
        from.logits(prepared, i, std::min(kChunkRows, ids.size() - i), 0, 1, logits.data() + i);
    };
    if (query.factors)
      write_logits(ScaledSource(source, query.factors));
    else
      write_logits(source);
    return logits;
  }

  bool find_best(size_t c, std::vector<uint32_t>& rows) const {
    const Column& column = columns_[c];
    // These too, whatever the bounds say: k rows are left even of weights that have changed since they were copied.
    const float least = threshold(c, rows);
    if (!std::isfinite(least)) return false;
    const float bound = product_below(least, *column.query->epilogue);
    const float* const upper = upper_ + c * stride_;
    const size_t valid = column.query->valid, most = valid / kMostLeft;
    uint32_t found[kChunkRows];
    for (size_t first = 0, all = 0; first < valid; first += kChunkRows) {
      const size_t count = kernels_.indices_above(upper + first, std::min(kChunkRows, valid - first), bound, true, found);
      if ((all += count) > most) return false;
      for (size_t i = 0; i < count; i++) rows.push_back(static_cast<uint32_t>(first) + found[i]);
    }
    return true;
  }

  // Of a column: a logit such that no result depends on ids whose logits are below it. Not finite: there is none. The ids that it
  // was found by, k or more, are added to `rows`.
  float threshold(size_t c, std::vector<uint32_t>& rows) const {
    const Column& column = columns_[c];
    const size_t k = column.asked.k;
    std::vector<Candidate> best;
    for (size_t i = c; i < best_.size(); i += columns_.size())
      best.insert(best.end(), best_[i].heap.begin(), best_[i].heap.end());
    if (best.size() < k) return kInfinity;
    std::sort(best.begin(), best.end(), better);
    if (best.size() > k + kMore) best.resize(k + kMore);
    std::vector<uint32_t> ids;
    for (const Candidate& each : best) ids.push_back(each.id);
    std::sort(ids.begin(), ids.end());
    rows.insert(rows.end(), ids.begin(), ids.end());
    AlignedFloats logits = logits_of(column, ids);
    if (!std::all_of(logits.begin(), logits.end(), [](float u) { return std::isfinite(u); })) return kInfinity;
    std::sort(logits.begin(), logits.end(), std::greater<>());
    float least = logits[k - 1];
    if (column.asked.reaches) {
      const double reach = column.sampling.first_filter().temperature * column.sampling.log_min_p;
      least = std::min(least, Floor(static_cast<double>(logits[0]) + reach).least());
    }
    return least;
  }

  // Those whose key, with the largest logit that they may have, is not below that of an id whose logit is known.
  bool find_winners(size_t c, std::vector<uint32_t>& rows) const {
    const Column& column = columns_[c];
    const Query& query = *column.query;
    const double temperature = column.sampling.temperature, inverse_temperature = 1 / temperature;
    std::vector<uint32_t> ids;
    for (size_t i = c; i < leaders_.size(); i += columns_.size())
      if (leaders_[i].candidate.id != kNoId) ids.push_back(leaders_[i].candidate.id);
    std::sort(ids.begin(), ids.end());
    rows.insert(rows.end(), ids.begin(), ids.end());
    const AlignedFloats logits = logits_of(column, ids);
    GumbelMaxLeader leader;
    for (size_t i = 0; i < ids.size(); i++) {
      if (!std::isfinite(logits[i])) return false;
      leader.offer(Candidate{logits[i], ids[i]}, column.sampling.stream, temperature);
    }
    const double to_beat = leader.key - std::abs(leader.key) * 0x1p-49;
    if (!std::isfinite(to_beat) || !std::isfinite(inverse_temperature)) return false;
    const GumbelMaxState state{column.sampling.stream, inverse_temperature, to_beat};
    const float* const upper = upper_ + c * stride_;
    std::vector<std::vector<uint32_t>> found(workers_.threads);
    std::atomic<size_t> all{0};
    const size_t most = query.valid / kMostLeft;
    workers_.parallel_for((query.valid + kChunkRows - 1) / kChunkRows, [&](size_t chunk, unsigned slot) {
      if (all.load(std::memory_order_relaxed) > most) return;
      const size_t first = chunk * kChunkRows, count = std::min(kChunkRows, query.valid - first);
      alignas(64) float u[kChunkRows];
      uint32_t at[kChunkRows];
      std::copy_n(upper + first, count, u);
      finish(*query.epilogue, u, count);
      make_safe(*query.epilogue, u, count);
      for (size_t i = 0; i < count; i++)  // a cap would hide rows that are not finite
        if (upper[first + i] == kInfinity) u[i] = kInfinity;
      const uint32_t first_id = static_cast<uint32_t>(first) + state.stream.first_id;
      const size_t its = kernels_.gumbel_max_candidates(u, count, first_id, state, at);
      for (size_t i = 0; i < its; i++) found[slot].push_back(static_cast<uint32_t>(first) + at[i]);
      all.fetch_add(its, std::memory_order_relaxed);
    });
    if (all > most || workers_.aborted()) return false;
    for (const std::vector<uint32_t>& its : found) rows.insert(rows.end(), its.begin(), its.end());
    return true;
  }

  const lmhead::Kernels& kernels_;
  const Matrix& e_;
  const ParallelFor workers_;
  std::vector<Column> columns_;
  std::vector<Best> best_;                // [threads, columns]
  std::vector<GumbelMaxLeader> leaders_;  // the same, by estimates
  size_t valid_ = 0, stride_ = 0;
  float* upper_ = nullptr;  // [columns, stride]
};

}  // namespace

bool may_answer(const Query& query) {
  const PassRequest& r = *query.request;
  if (!query.use || query.n == 0 || !query.use->has_finite_bias() || !rises(*query.epilogue)) return false;
  if (r.logits || r.log_probs || r.probs || r.score.targets || r.log_sum_exp || r.sample.model_log_probs) return false;
  if (r.partial.sums || r.normalizer || r.draft.log_probs || r.adjustments.allowed) return false;
  if (r.top.ids && (r.top.log_probs || r.top.k > kMaxHeap)) return false;
  if (!r.argmax && !r.top.ids && !r.draws() && !r.draft.accepted) return false;
  const RowPlans plans(r, query.n, query.valid);
  for (size_t i = 0; i < query.n; i++) {
    const Asked asked = asked_of(r, plans, i);
    if (!asked.is_known || asked.k + kMore > query.valid / kMostLeft) return false;
  }
  return true;
}

size_t most_states(const Matrix& e) {
  const size_t bits = 8 * e.row_bytes() / e.columns;
  return bits >= 32 ? 16 : bits >= 16 ? 8 : 4;
}

void search(const lmhead::Kernels& kernels, const Matrix& e, std::span<Query> queries, const ParallelFor& workers) {
  Search all(kernels, e, workers);
  std::vector<Query*> searched;
  for (Query& query : queries) {
    if (all.add(query))
      searched.push_back(&query);
    else
      query.use->refused();
  }
  if (searched.empty()) return;
  thread_local std::vector<float> upper;
  all.bound(upper);
  size_t c = 0;
  for (Query* const query : searched) {
    if (workers.aborted()) break;
    bool is_found = true;
    uint64_t sum = 0, most = 0;
    for (size_t i = 0; i < query->n; i++, c++) {
      const size_t before = query->rows.size();
      is_found = is_found && all.find(c, query->rows);
      const auto its = query->rows.begin() + static_cast<ptrdiff_t>(before);
      std::sort(its, query->rows.end());
      query->rows.erase(std::unique(its, query->rows.end()), query->rows.end());
      sum += query->rows.size() - before;
      most = std::max<uint64_t>(most, query->rows.size() - before);
    }
    std::sort(query->rows.begin(), query->rows.end());
    query->rows.erase(std::unique(query->rows.begin(), query->rows.end()), query->rows.end());
    if (is_found && query->rows.size() <= query->valid / 2) {
      query->use->answered(query->n, sum, most);
    } else {
      query->use->in_vain(query->n);
      query->rows.clear();
    }
  }
  if (upper.capacity() > kKeptBounds) std::vector<float>().swap(upper);
}

PassResult answer(const lmhead::Kernels& kernels, const Matrix& e, const Query& query) {
  const ProductSource source(kernels, e, *query.epilogue, query.valid, query.hidden, query.n,
                             {query.rows.data(), query.rows.size()});
  if (query.factors) return run_pass(kernels, ScaledSource(source, query.factors), *query.request);
  return run_pass(kernels, source, *query.request);
}

}  // namespace lmhead::screen
