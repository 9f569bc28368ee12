#include "sample.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lmhead {

namespace {
constexpr size_t kNone = ~size_t{0};
}  // namespace

GumbelMaxSink::GumbelMaxSink(const Kernels& kernels, const RowSampling* rows, std::vector<bool> drawn, unsigned slots)
    : kernels_(kernels), rows_(rows), drawn_(std::move(drawn)), leaders_(slots * drawn_.size()) {}

void GumbelMaxSink::consume(const Tile& tile, unsigned slot) {
  for (size_t c = 0; c < tile.columns; c++) {
    const size_t column = tile.first_column + c;
    if (!drawn_[column] || tile.maxima[c].nan_at >= 0) continue;
    gumbel_max_chunk(kernels_, {tile.column(c), tile.rows, tile.first, tile.ids, tile.maxima[c].max}, rows_[column].stream,
                     rows_[column].temperature, leaders_[slot * drawn_.size() + column]);
  }
}

Candidate GumbelMaxSink::winner(size_t column) const {
  GumbelMaxLeader leader;
  for (size_t at = column; at < leaders_.size(); at += drawn_.size()) leader.offer(leaders_[at]);
  return leader.candidate;
}

ReachSink::ReachSink(const Kernels& kernels, const RowSampling* rows, std::vector<bool> takes, unsigned slots)
    : kernels_(kernels),
      rows_(rows),
      takes_(std::move(takes)),
      lists_(slots * takes_.size()),
      overflown_(new std::atomic<bool>[takes_.size()]()) {}

bool ReachSink::grow(List& list, size_t more) {
  const size_t size = list.candidates.size(), capacity = list.candidates.capacity();
  if (size + more <= capacity) return true;
  const size_t wanted = std::min(kMost, std::max({size + more, 2 * capacity, kLeast}));
  if (size + more > wanted) return false;
  const ptrdiff_t taken = static_cast<ptrdiff_t>(wanted - capacity);
  if (room_.fetch_sub(taken, std::memory_order_relaxed) < taken) {
    room_.fetch_add(taken, std::memory_order_relaxed);
    return false;
  }
  list.candidates.reserve(wanted);
  return true;
}

void ReachSink::give_up(List& list) {
  room_.fetch_add(static_cast<ptrdiff_t>(list.candidates.capacity()), std::memory_order_relaxed);
  std::vector<Candidate>().swap(list.candidates);
}

void ReachSink::consume(const Tile& tile, unsigned slot) {
  for (size_t c = 0; c < tile.columns; c++) {
    const size_t column = tile.first_column + c;
    List& list = lists_[slot * takes_.size() + column];
    if (!takes_[column]) continue;
    if (overflown_[column].load(std::memory_order_relaxed)) {  // perhaps another thread's
      if (list.candidates.capacity() > 0) give_up(list);
      continue;
    }
    const double reach = rows_[column].first_filter().temperature * rows_[column].log_min_p;
    list.max = std::max(list.max, tile.maxima[c].max);
    if (!std::isfinite(list.max)) continue;  // nothing is in yet; or the row is one that is refused in the end
    const Floor floor(static_cast<double>(list.max) + reach);
    uint32_t found[kChunkRows];
    const float* const u = tile.column(c);
    const size_t count = kernels_.indices_above(u, tile.rows, floor.least(), true, found);
    if (list.candidates.size() + count > list.candidates.capacity()) {
      std::erase_if(list.candidates, [&](const Candidate& held) { return !floor.admits(held.logit); });
      if (!grow(list, count)) {
        overflown_[column].store(true, std::memory_order_relaxed);
        give_up(list);
        continue;
      }
    }
    for (size_t i = 0; i < count; i++) list.candidates.push_back({u[found[i]], tile.id(found[i])});
  }
}

bool ReachSink::complete(size_t column) const { return !overflown_[column].load(std::memory_order_relaxed); }

std::vector<Candidate> ReachSink::candidates(size_t column) const {
  std::vector<Candidate> all;
  for (size_t at = column; at < lists_.size(); at += takes_.size())
    all.insert(all.end(), lists_[at].candidates.begin(), lists_[at].candidates.end());
  return all;
}

MaterializeSink::MaterializeSink(std::vector<bool> takes, size_t vocabulary, const uint32_t* ids)
    : vocabulary_(vocabulary), ids_(ids), row_of_(takes.size(), kNone) {
  size_t held = 0;
  for (size_t c = 0; c < takes.size(); c++)
    if (takes[c]) row_of_[c] = held++;
  rows_.reset(new float[held * vocabulary]);
}

void MaterializeSink::consume(const Tile& tile, unsigned) {
  for (size_t c = 0; c < tile.columns; c++) {
    const size_t row = row_of_[tile.first_column + c];
    if (row != kNone) std::memcpy(rows_.get() + row * vocabulary_ + tile.first, tile.column(c), tile.rows * sizeof(float));
  }
}

std::vector<Candidate> MaterializeSink::candidates(size_t column) const {
  std::vector<Candidate> all(vocabulary_);
  const float* const u = rows_.get() + row_of_[column] * vocabulary_;
  for (size_t i = 0; i < vocabulary_; i++) all[i] = {u[i], ids_ ? ids_[i] : static_cast<uint32_t>(i)};
  return all;
}

}  // namespace lmhead
