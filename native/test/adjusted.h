// Adjustments to test with, and what each does to one logit by its formula.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "../core/sampling/adjustments.h"
#include "numbers.h"

namespace lmhead::test {

enum class AdjustmentKind {
  none,
  patches,
  one_patch_list,
  bans,
  biases,
  counted,
  penalties,
  mask,
  few_mask,
  one_mask,
  all,
  count
};
constexpr int kAdjustmentKinds = static_cast<int>(AdjustmentKind::count);

class SomeAdjustments {
 public:
  // At least one id may be drawn in each of n rows.
  SomeAdjustments(size_t n, size_t vocabulary, size_t valid, AdjustmentKind kind, Random& random)
      : words_((vocabulary + 31) / 32), patches_by_row_(n), biases_by_row_(n), counts_by_row_(n) {
    const bool all = kind == AdjustmentKind::all, one_list = kind == AdjustmentKind::one_patch_list;
    const size_t kept = random.below(valid);  // never banned
    if (all || one_list || kind == AdjustmentKind::patches || kind == AdjustmentKind::bans) {
      for (size_t row = 0; row < n; row++) {
        std::map<uint32_t, Patch>& patches = patches_by_row_[row];
        if (one_list && row > 0) {
          patches = patches_by_row_[0];
          ranges_.insert(ranges_.end(), {ranges_[0], ranges_[1]});
          continue;
        }
        for (size_t i = random.below(valid / 3 + 2); i > 0; i--) {
          const uint32_t id = static_cast<uint32_t>(random.below(valid));
          const bool bans = id != kept && (kind == AdjustmentKind::bans || random.below(9) == 0);
          patches[id] = {bans ? -kInf : random.normal(), random.below(2) ? 1 : random.uniform(0.5, 2), random.normal()};
        }
        ranges_.push_back(static_cast<uint32_t>(ids_.size()));
        for (const auto& [id, patch] : patches) {
          ids_.push_back(id);
          list_.push_back(patch);
        }
        ranges_.push_back(static_cast<uint32_t>(ids_.size()));
      }
      view_.patched = {ranges_.data(), ids_.data()};
      view_.patches = list_.data();
    }
    if (all || kind == AdjustmentKind::biases || kind == AdjustmentKind::penalties) {
      make_lists(valid, random, biases_by_row_, biased_, biases_,
                 [&](uint32_t id) { return id != kept && random.below(9) == 0 ? -static_cast<double>(kInf) : random.normal(); });
      view_.biased = biased_.view();
      view_.biases = biases_.data();
    }
    if (all || kind == AdjustmentKind::counted || kind == AdjustmentKind::penalties) {
      make_lists(valid, random, counts_by_row_, counted_, counts_,
                 [&](uint32_t) { return static_cast<uint32_t>(random.below(4)); });
      for (size_t row = 0; row < n; row++) penalties_.push_back({random.uniform(0.5, 2), random.normal(), random.normal()});
      view_.counted = counted_.view();
      view_.counts = counts_.data();
      view_.penalties = penalties_.data();
    }
    const bool few = kind == AdjustmentKind::few_mask, one = kind == AdjustmentKind::one_mask;
    if (all || few || one || kind == AdjustmentKind::mask) {
      const size_t masks = one ? 1 : n;
      mask_.resize(masks * words_);
      for (size_t row = 0; row < masks; row++) {
        for (size_t id = 0; id < valid; id++)
          if (id == kept || random.below(few ? 50 : 3) == (few ? 1u : 0u) || (!few && random.below(2)))
            mask_[row * words_ + id / 32] |= uint32_t{1} << (id % 32);
      }
      view_.allowed = mask_.data();
      view_.allowed_stride = one ? 0 : words_;
    }
    view_.valid = valid;
  }
  SomeAdjustments(const SomeAdjustments&) = delete;

  const Adjustments& view() const { return view_; }
  // Those of some of the rows.
  Adjustments from(size_t first_row) const {
    Adjustments a = view_;
    for (IdLists* lists : {&a.patched, &a.biased, &a.counted})
      if (lists->ranges) lists->ranges += 2 * first_row;
    if (a.penalties) a.penalties += first_row;
    if (a.allowed) a.allowed += first_row * a.allowed_stride;
    return a;
  }

  bool touches(size_t row, uint32_t id) const {
    return !allows(row, id) || patches_by_row_[row].contains(id) || biases_by_row_[row].contains(id) ||
           counts_by_row_[row].contains(id);
  }
  float adjusted(size_t row, uint32_t id, float u) const {
    if (!allows(row, id)) return -kInf;
    if (!touches(row, id)) return u;
    double add = 0, penalty = 1, subtract = 0;
    if (patches_by_row_[row].contains(id)) {
      const Patch& patch = patches_by_row_[row].at(id);
      add = patch.add, penalty = patch.penalty, subtract = patch.subtract;
    } else {
      if (biases_by_row_[row].contains(id)) add = biases_by_row_[row].at(id);
      if (counts_by_row_[row].contains(id)) {
        const uint32_t count = counts_by_row_[row].at(id);
        penalty = penalties_[row].repetition;
        subtract = count == 0 ? 0 : count * penalties_[row].frequency + penalties_[row].presence;
      }
    }
    if (add == -static_cast<double>(kInf)) return -kInf;
    const double x = u + add;
    return static_cast<float>((x > 0 ? x / penalty : x * penalty) - subtract);
  }

 private:
  bool allows(size_t row, uint32_t id) const {
    return mask_.empty() || mask_[row * view_.allowed_stride + id / 32] >> (id % 32) & 1;
  }

  struct Lists {
    std::vector<uint32_t> ranges, ids;
    IdLists view() const { return {ranges.data(), ids.data()}; }
  };
  // For each row a list of its own, or that of the row before.
  template <class T, class Make>
  static void make_lists(size_t valid, Random& random, std::vector<std::map<uint32_t, T>>& by_row, Lists& lists,
                         std::vector<T>& values, Make make) {
    for (size_t row = 0; row < by_row.size(); row++) {
      if (row > 0 && random.below(3) == 0) {
        by_row[row] = by_row[row - 1];
        const size_t last = lists.ranges.size() - 2;
        lists.ranges.insert(lists.ranges.end(), {lists.ranges[last], lists.ranges[last + 1]});
        continue;
      }
      for (size_t i = random.below(valid / 3 + 2); i > 0; i--) {
        const uint32_t id = static_cast<uint32_t>(random.below(valid));
        by_row[row][id] = make(id);
      }
      lists.ranges.push_back(static_cast<uint32_t>(lists.ids.size()));
      for (const auto& [id, value] : by_row[row]) {
        lists.ids.push_back(id);
        values.push_back(value);
      }
      lists.ranges.push_back(static_cast<uint32_t>(lists.ids.size()));
    }
  }

  const size_t words_;
  std::vector<std::map<uint32_t, Patch>> patches_by_row_;
  std::vector<std::map<uint32_t, double>> biases_by_row_;
  std::vector<std::map<uint32_t, uint32_t>> counts_by_row_;
  Lists biased_, counted_;
  std::vector<double> biases_;
  std::vector<uint32_t> counts_;
  std::vector<Penalties> penalties_;
  std::vector<uint32_t> ranges_, ids_, mask_;
  std::vector<Patch> list_;
  Adjustments view_;
};

}  // namespace lmhead::test
