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

enum class AdjustmentKind { none, patches, one_patch_list, bans, mask, few_mask, one_mask, all, count };
constexpr int kAdjustmentKinds = static_cast<int>(AdjustmentKind::count);

class SomeAdjustments {
 public:
  // At least one id may be drawn in each of n rows.
  SomeAdjustments(size_t n, size_t vocabulary, size_t valid, AdjustmentKind kind, Random& random)
      : words_((vocabulary + 31) / 32), patches_by_row_(n) {
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
      view_.ranges = ranges_.data();
      view_.ids = ids_.data();
      view_.patches = list_.data();
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
    if (a.ranges) a.ranges += 2 * first_row;
    if (a.allowed) a.allowed += first_row * a.allowed_stride;
    return a;
  }

  bool touches(size_t row, uint32_t id) const { return !allows(row, id) || patches_by_row_[row].contains(id); }
  float adjusted(size_t row, uint32_t id, float u) const {
    if (!allows(row, id)) return -kInf;
    const auto at = patches_by_row_[row].find(id);
    if (at == patches_by_row_[row].end()) return u;
    const auto& [add, penalty, subtract] = at->second;
    if (add == -static_cast<double>(kInf)) return -kInf;
    const double x = u + add;
    return static_cast<float>((x > 0 ? x / penalty : x * penalty) - subtract);
  }

 private:
  bool allows(size_t row, uint32_t id) const {
    return mask_.empty() || mask_[row * view_.allowed_stride + id / 32] >> (id % 32) & 1;
  }

  const size_t words_;
  std::vector<std::map<uint32_t, Patch>> patches_by_row_;
  std::vector<uint32_t> ranges_, ids_, mask_;
  std::vector<Patch> list_;
  Adjustments view_;
};

}  // namespace lmhead::test
