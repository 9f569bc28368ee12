// What is done to a row's logits before a token is drawn from them, and for no other result: biases, penalties, ids that may not
// be drawn. lib/reference/adjust.ts defines it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../sinks/sink.h"

namespace lmhead {

// u becomes penalised(u + add) - subtract, where penalised(x) is x / penalty above 0 and x * penalty below; computed in double
// and rounded once. add -inf: the id may not be drawn.
struct Patch {
  double add, penalty, subtract;
};

// A view; see lib/backend/backend.ts. Patches are sparse: ids ascend within a row, each once.
struct Adjustments {
  const uint32_t* ranges = nullptr;  // [n, 2]: row i has patches [ranges[2i], ranges[2i + 1]); null: there are none at all
  const uint32_t* ids = nullptr;
  const Patch* patches = nullptr;
  const uint32_t* allowed = nullptr;  // bit id % 32 of word id / 32: may be drawn; null: all may
  size_t allowed_stride = 0;          // words from one row's mask to the next; 0: one for all
  size_t valid = 0;                   // ids from here on are padding, whatever masks say

  bool any() const { return ranges || allowed; }

  // Whether a hidden state of the request has a mask that allows few ids: at most one in sixteen.
  bool allows_few(size_t hidden) const;
  // The ids that the masks of n hidden states allow, all of them together; none where these are not few.
  std::vector<uint32_t> few_allowed(size_t n) const;
  // What happens to the logits of a tile's rows.
  struct Changes {
    const uint32_t *begin = nullptr, *end = nullptr;  // of `ids`: those from the tile's first to its last
    const uint32_t* mask = nullptr;                   // null: all of them may be drawn
    bool none() const { return begin == end && !mask; }
  };
  // For a hidden state of the request.
  Changes changes(size_t hidden, const Tile& tile) const;
  // u: those logits.
  void apply(const Changes& changes, const Tile& tile, float* u) const;

 private:
  size_t most_of_few() const { return valid / 16; }
  uint32_t word_of(const uint32_t* mask, size_t word) const;  // without padding
};

}  // namespace lmhead
