#include "search.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "../pass/block.h"
#include "../sampling/filtered_set.h"
#include "thresholds.h"

namespace lmhead::screen {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Of the rows that are best by their estimates, how many more than are asked for are multiplied: their k-th best is a threshold.
constexpr size_t kMore = 7;
// Of rows, one in so many may be left. Rows apart cost more than rows in a row, and the copy has been read.
constexpr size_t kMostLeft = 4;
// Bounds of a search that a thread keeps memory for.
constexpr size_t kKeptBounds = size_t{1} << 20;

// How many of a row's best ids its results depend on; 0: on others too.
size_t best_of(const PassRequest& request, const RowPlans& plans, size_t row) {
  size_t k = std::max<size_t>(request.argmax ? 1 : 0, request.top.ids ? request.top.k : 0);
  switch (plans.ways[row]) {
    case Sampling::none:
      return k;
    case Sampling::greedy:
    case Sampling::reach:
      return std::max<size_t>(k, 1);
    case Sampling::top_k:
      return std::max(k, plans.rows[row].top_k);
    default:
      return 0;
  }
}

template <class Take>  // take(id)
void adjusted_ids(const Adjustments& adjustments, size_t row, size_t first, size_t end, Take take) {
  for (const IdLists* list : {&adjustments.patched, &adjustments.biased, &adjustments.counted}) {
    if (!list->ranges) continue;
    const IdLists::Part part = list->part(row, static_cast<uint32_t>(first), static_cast<uint32_t>(end - 1));
    for (const uint32_t* id = part.begin; id != part.end; id++) take(*id);
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
  size_t row, k;
  State state;
  RowSampling sampling;
  bool reaches;  // it asks for all within reach of its best
};

class Search {
 public:
  Search(const lmhead::Kernels& kernels, const Matrix& e, const ParallelFor& workers)
      : kernels_(kernels), e_(e), workers_(workers) {}

  bool add(Query& query) {
    const RowPlans plans(*query.request, query.n, query.valid);
    const size_t before = columns_.size();
    for (size_t i = 0; i < query.n; i++) {
      columns_.push_back({&query, i, best_of(*query.request, plans, i),
                          State(query.use->copy(), query.hidden + i * hidden_stride(e_.columns)), plans.rows[i],
                          plans.ways[i] == Sampling::reach});
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
    for (size_t i = 0; i < best_.size(); i++) best_[i].most = columns_[i % columns_.size()].k + kMore;
    workers_.parallel_for(stride_ / kChunkRows, [&](size_t chunk, unsigned slot) { bound_chunk(chunk, slot); });
  }

  // Ids of the rows that a column's results may depend on, added to `rows`. False where they are too many, or not known.
  bool find(size_t c, std::vector<uint32_t>& rows) const {
    const Column& column = columns_[c];
    const float least = threshold(c);
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
    adjusted_ids(column.query->request->adjustments, column.row, 0, valid, [&](uint32_t id) { rows.push_back(id); });
    return true;
  }

 private:
  void bound_chunk(size_t chunk, unsigned slot) {
    const size_t first = chunk * kChunkRows, end = std::min(first + kChunkRows, valid_);
    const size_t columns = columns_.size();
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
      // They are looked at in any case, and their logits say nothing of others'.
      adjusted_ids(query.request->adjustments, columns_[c].row, first, first + count,
                   [&](uint32_t id) { estimate[id - first] = -kInfinity; });
      Best& best = best_[slot * columns + c];
      uint32_t found[kChunkRows];
      const size_t above = kernels_.indices_above(estimate, count, best.least(), false, found);
      for (size_t i = 0; i < above; i++) best.offer({estimate[found[i]], static_cast<uint32_t>(first) + found[i]});
    }
  }

  // Of a column: a logit such that no result depends on ids whose logits are below it. Not finite: there is none.
  float threshold(size_t c) const {
    const Column& column = columns_[c];
    const Query& query = *column.query;
    std::vector<Candidate> best;
    for (size_t i = c; i < best_.size(); i += columns_.size())
      best.insert(best.end(), best_[i].heap.begin(), best_[i].heap.end());
    if (best.size() < column.k) return kInfinity;
    std::sort(best.begin(), best.end(), better);
    if (best.size() > column.k + kMore) best.resize(column.k + kMore);
    std::vector<uint32_t> ids;
    for (const Candidate& each : best) ids.push_back(each.id);
    std::sort(ids.begin(), ids.end());
    const ProductSource source(kernels_, e_, *query.epilogue, query.valid, query.hidden + column.row * hidden_stride(e_.columns),
                               1, {ids.data(), ids.size()});
    AlignedFloats logits(ids.size());
    for (size_t i = 0; i < ids.size(); i += kChunkRows)
      source.logits(i, std::min(kChunkRows, ids.size() - i), 0, 1, logits.data() + i);
    if (!std::all_of(logits.begin(), logits.end(), [](float u) { return std::isfinite(u); })) return kInfinity;
    std::sort(logits.begin(), logits.end(), std::greater<>());
    float least = logits[column.k - 1];
    if (column.reaches) {
      const double reach = column.sampling.first_filter().temperature * column.sampling.log_min_p;
      least = std::min(least, Floor(static_cast<double>(logits[0]) + reach).least());
    }
    return least;
  }

  const lmhead::Kernels& kernels_;
  const Matrix& e_;
  const ParallelFor workers_;
  std::vector<Column> columns_;
  std::vector<Best> best_;  // [threads, columns]
  size_t valid_ = 0, stride_ = 0;
  float* upper_ = nullptr;  // [columns, stride]
};

}  // namespace

Use::Use(std::shared_ptr<const Copy> its_copy, const float* bias) : copy_(std::move(its_copy)) {
  for (size_t i = 0; bias && i < copy_->rows(); i++) has_finite_bias_ &= std::isfinite(bias[i]);
}

Use::Counts Use::counts() const { return {passes_, full_passes_, states_, rows_, most_rows_}; }

bool Use::sits_out() const {
  uint32_t left = skips_.load();
  while (left > 0 && !skips_.compare_exchange_weak(left, left - 1)) {
  }
  if (left == 0) return false;
  full_passes_++;
  return true;
}

void Use::answered(size_t states, uint64_t rows, uint64_t most_rows) const {
  passes_++;
  states_ += states;
  rows_ += rows;
  uint64_t before = most_rows_.load();
  while (before < most_rows && !most_rows_.compare_exchange_weak(before, most_rows)) {
  }
  next_skips_ = 0;
}

void Use::in_vain() const {
  full_passes_++;
  const uint32_t next = std::clamp(2 * next_skips_.load(), 2u, kMostSkipped);
  next_skips_ = next;
  skips_ = next;
}

void Use::refused() const { full_passes_++; }

bool may_answer(const Query& query) {
  const PassRequest& r = *query.request;
  if (!query.use || query.n == 0 || !query.use->has_finite_bias() || !rises(*query.epilogue)) return false;
  if (r.logits || r.log_probs || r.probs || r.score.targets || r.log_sum_exp || r.sample.model_log_probs) return false;
  if (r.partial.sums || r.normalizer || r.draft.accepted || r.adjustments.allowed) return false;
  if (r.top.ids && (r.top.log_probs || r.top.k > kMaxHeap)) return false;
  if (!r.argmax && !r.top.ids && !r.draws()) return false;
  const RowPlans plans(r, query.n, query.valid);
  for (size_t i = 0; i < query.n; i++) {
    const size_t k = best_of(r, plans, i);
    if (k == 0 || k + kMore > query.valid / kMostLeft) return false;
  }
  return true;
}

size_t most_states(const Matrix& e) {
  const size_t bits = 8 * e.row_bytes() / e.columns;
  return bits >= 32 ? 8 : bits >= 16 ? 4 : 1;
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
      sum += query->rows.size() - before;
      most = std::max<uint64_t>(most, query->rows.size() - before);
    }
    std::sort(query->rows.begin(), query->rows.end());
    query->rows.erase(std::unique(query->rows.begin(), query->rows.end()), query->rows.end());
    if (is_found && query->rows.size() <= query->valid / 2) {
      query->use->answered(query->n, sum, most);
    } else {
      query->use->in_vain();
      query->rows.clear();
    }
  }
  if (upper.capacity() > kKeptBounds) std::vector<float>().swap(upper);
}

PassResult answer(const lmhead::Kernels& kernels, const Matrix& e, const Query& query) {
  const ProductSource source(kernels, e, *query.epilogue, query.valid, query.hidden, query.n,
                             {query.rows.data(), query.rows.size()});
  return run_pass(kernels, source, *query.request);
}

}  // namespace lmhead::screen
