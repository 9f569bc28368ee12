// A row of logits in memory, and filtered in place: what a filter drops becomes kDropped. Only when few are left, or a
// filter asks for it, they become a list. Nothing is sorted.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "../kernels/kernels.h"
#include "../numerics/fixed_point_sum.h"
#include "../sinks/sink.h"
#include "../threads/parallel_for.h"
#include "filtered_set.h"
#include "filters.h"

namespace lmhead {

class MaterializedRow {
 public:
  // logits [count], none NaN, of `ids` (ascending; null: of 0, 1, 2 ...); max: the largest, finite. They are overwritten.
  MaterializedRow(const Kernels& kernels, float* logits, size_t count, const uint32_t* ids, float max,
                  const ParallelFor& workers);

  Left filter(const RowSampling& row);
  // After filter. The logits given: those of what is left, and kDropped.
  void write_back();
  Choice gumbel_max(const Left& left, const Stream& stream) const;
  // Of what is left, in any order, the k best at least.
  std::vector<Candidate> best(size_t k) const;
  // What is left, in any order.
  std::vector<Candidate>& list();
  // Of what is left, after filter.
  FixedPointSum mass(const Left& left) const;

  // For Chain.
  static constexpr bool kIsList = false;
  bool does(Stage stage, const RowSampling& row);
  float max() const { return max_; }
  size_t count();
  Moments moments(double temperature) const;
  double deviation() const;
  void keep_at_least(const Floor& floor, size_t min_keep);
  void keep_share(double share, double temperature, size_t min_keep);
  void keep_typical(double share, double temperature, size_t min_keep);
  void keep_best();
  std::optional<Candidate> last_from(const Floor& floor) const;
  template <class Drops>  // drops(candidate)
  void drop_where(Drops drops) {
    drop([&](const Chunk& chunk) {
      for (size_t i = 0; i < chunk.rows; i++)
        if (is_in(chunk.logits[i]) && drops(chunk.candidate(i))) chunk.logits[i] = kDropped;
      return kernels_.max(chunk.logits, chunk.rows).max;
    });
    max_ = *std::max_element(maxima_.begin(), maxima_.end());
  }
  bool is_sound() const;

 private:
  // Logits of neighboring ids; what is not left is kDropped, or anything where nothing is (max is kDropped).
  struct Chunk {
    size_t index;
    float* logits;
    size_t rows;
    uint32_t first;
    const uint32_t* ids;
    float max;
    Candidate candidate(size_t i) const { return {logits[i], ids ? ids[i] : first + static_cast<uint32_t>(i)}; }
  };
  // In the order of their keys, and of `better` where these are equal.
  struct Keyed : Candidate {
    double key, mass;
    bool operator<(const Keyed& other) const { return key < other.key || (key == other.key && better(*this, other)); }
  };
  // The last one kept, and the mass of all that are.
  struct Last : Keyed {
    FixedPointSum through;
  };
  struct MassAt {
    double temperature;
    FixedPointSum mass;
  };

  size_t chunks() const { return (size_ + kChunkRows - 1) / kChunkRows; }
  Chunk chunk_at(size_t index) const;
  template <class Use>  // use(chunk, slot), for chunks in which something is left
  void each_chunk(Use use) const {
    constexpr size_t kTaskChunks = 16;  // that one thread takes at a time
    const size_t count = chunks();
    const auto work = [&](size_t task, unsigned slot) {
      for (size_t i = task * kTaskChunks; i < std::min(count, (task + 1) * kTaskChunks); i++)
        if (is_in(maxima_[i])) use(chunk_at(i), slot);
    };
    workers_.parallel_for((count + kTaskChunks - 1) / kTaskChunks, work, ParallelFor::To::the_end);
  }
  template <class T, class Use>  // use(chunk, T&), and the Ts' sum
  T sum_over_chunks(Use use) const;
  // Whether more are left than are filtered sooner as a list.
  bool is_long();
  template <class Drop>  // drop(chunk) returns the largest logit that it leaves, or kDropped whatever lies there then
  void drop(Drop drop) {
    each_chunk([&](const Chunk& chunk, unsigned) { maxima_[chunk.index] = drop(chunk); });
    count_.reset();
    mass_.reset();
  }
  // The worse one of `last` and of the `count` best that are left.
  Candidate at_least(const Candidate& last, size_t count) const;
  // Drops all that `last` is better than.
  void keep_to(const Candidate& last);
  FixedPointSum mass_in_place(double temperature) const;
  struct Range {
    double low, high;
  };
  // Finite ones, from least to most; none if that is below.
  struct Logits {
    float least, most;
  };
  double x_of(float u, double temperature) const;
  std::array<Logits, 2> logits_of(const Key& key, const Range& keys, double temperature) const;
  std::array<Logits, 2> logits_within(const Key& key, const Range& range, double temperature) const;
  Range keys_within(const Key& key, const Range& range, double temperature) const;
  std::vector<Keyed> candidates_within(const Key& key, const Range& keys, double temperature) const;
  std::optional<Last> last_among_equals(const Key& key, const Range& keys, FixedPointSum before, double wanted,
                                        double temperature) const;
  // Where the share is reached in the order of keys, of which those up to `high` can matter.
  Last last_by(const Key& key, double high, double share, double temperature) const;

  const Kernels& kernels_;
  float* const logits_;
  const size_t size_;
  const uint32_t* const ids_;
  const ParallelFor workers_;
  float max_;
  std::vector<float> maxima_;    // of chunks
  std::optional<size_t> count_;  // of what is left, where it is known
  std::optional<MassAt> mass_;   // of what is left, where it is known
  std::optional<std::vector<Candidate>> list_;
};

template <class T, class Use>
T MaterializedRow::sum_over_chunks(Use use) const {
  std::vector<T> parts(workers_.threads);
  each_chunk([&](const Chunk& chunk, unsigned slot) { use(chunk, parts[slot]); });
  T sum{};
  for (const T& part : parts) sum = sum + part;
  return sum;
}

}  // namespace lmhead
