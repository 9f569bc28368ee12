// Biases, penalties and masks: single logits against their formula, and what few ids means.
#include "../core/sampling/adjustments.h"

#include <algorithm>

#include "adjusted.h"
#include "check.h"

namespace lmhead::test {
namespace {

TEST(adjustments_do_to_each_logit_what_its_patch_says_and_to_no_other) {
  Random random(81);
  for (int turn = 0; turn < 400; turn++) {
    const size_t valid = 1 + random.below(900), vocabulary = valid + random.below(70), n = 1 + random.below(4);
    const SomeAdjustments some(n, vocabulary, valid, static_cast<AdjustmentKind>(turn % kAdjustmentKinds), random);
    const Adjustments& a = some.view();
    // Neighboring ids, or some of them.
    std::vector<uint32_t> ids;
    const uint32_t first = static_cast<uint32_t>(random.below(valid) / 32 * 32);
    for (uint32_t id = first; id < std::min<size_t>(valid, first + kChunkRows); id++)
      if (turn % 2 || random.below(3) == 0) ids.push_back(id);
    if (ids.empty()) continue;
    std::vector<float> u(ids.size());
    for (float& x : u) x = static_cast<float>(random.normal() * 5);
    for (size_t row = 0; row < n; row++) {
      const Tile tile{0, ids[0], turn % 2 ? nullptr : ids.data(), ids.size(), 0, 1, u.data(), ids.size(), nullptr};
      std::vector<float> got = u, want = u;
      bool changes = false;
      for (size_t i = 0; i < ids.size(); i++) {
        want[i] = some.adjusted(row, ids[i], u[i]);
        changes |= some.touches(row, ids[i]);
      }
      a.apply(a.changes(row, tile), tile, got.data());
      CHECK(same(got.data(), want.data(), ids.size()), "turn=%d row=%zu", turn, row);
      // A patch of an id between those of the tile may keep it from being left alone.
      if (a.changes(row, tile).none() || !tile.ids) CHECK(a.changes(row, tile).none() == !changes, "turn=%d row=%zu", turn, row);
    }
  }
}

TEST(a_bias_comes_before_a_penalty_and_a_ban_before_both) {
  const uint32_t ranges[] = {0, 4}, ids[] = {1, 2, 3, 4};
  const Patch patches[] = {{-5, 2, 0.5}, {1, 2, 0}, {-kInf, 2, -1000}, {0, 2, 1}};
  Adjustments a;
  a.patched = {ranges, ids};
  a.patches = patches;
  a.valid = 6;
  float u[] = {1, 3, 3, 3, kInf, 7};
  const Tile tile{0, 0, nullptr, 6, 0, 1, u, 6, nullptr};
  a.apply(a.changes(0, tile), tile, u);
  const float want[] = {1, -4.5f, 2, -kInf, kInf, 7};  // 3 - 5 = -2, doubled, and 0.5 less; 4 halved
  CHECK(same(u, want, 6), "%g %g %g %g %g %g", u[0], u[1], u[2], u[3], u[4], u[5]);
}

TEST(few_is_one_id_in_sixteen_of_those_that_are_no_padding) {
  Random random(82);
  for (int turn = 0; turn < 500; turn++) {
    const size_t valid = 1 + random.below(2000), vocabulary = valid + random.below(40), n = 1 + random.below(3);
    const size_t words = (vocabulary + 31) / 32, most = valid / 16;
    std::vector<uint32_t> mask(n * words);
    std::vector<std::vector<bool>> allowed(n, std::vector<bool>(valid));
    for (size_t row = 0; row < n; row++)
      for (size_t left = random.below(2 * most + 3); left > 0; left--) {
        const size_t id = random.below(words * 32);
        mask[row * words + id / 32] |= uint32_t{1} << (id % 32);
        if (id < valid) allowed[row][id] = true;
      }
    Adjustments a;
    a.allowed = mask.data();
    a.allowed_stride = words;
    a.valid = valid;
    std::vector<uint32_t> together;
    for (uint32_t id = 0; id < valid; id++)
      if (std::any_of(allowed.begin(), allowed.end(), [&](const std::vector<bool>& row) { return row[id]; }))
        together.push_back(id);
    if (together.size() > most) together.clear();
    CHECK(a.sparse_allowed_ids(n) == together, "turn=%d", turn);
    for (size_t row = 0; row < n; row++) {
      const size_t count = static_cast<size_t>(std::count(allowed[row].begin(), allowed[row].end(), true));
      CHECK(a.has_sparse_mask(row) == (count <= most), "turn=%d: %zu of %zu", turn, count, valid);
    }
  }
  CHECK(Adjustments().sparse_allowed_ids(3).empty() && !Adjustments().has_sparse_mask(0));
}

}  // namespace
}  // namespace lmhead::test
