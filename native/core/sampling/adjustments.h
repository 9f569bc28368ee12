// What is done to a row's logits before a token is drawn from them, and for no other result: biases, penalties, ids that may not
// be drawn. lib/reference/adjust.ts defines it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../sinks/sink.h"
#include "filters.h"

namespace lmhead {

// u becomes penalized(u + add) - subtract, where penalized(x) is x / penalty above 0 and x * penalty below; computed in double
// and rounded once. add -inf: the id may not be drawn.
struct Patch {
  double add, penalty, subtract;
};

// What the tokens so far do to those that are among them: u becomes penalized(u) - (count * frequency + presence), with
// `repetition` for the penalty; where the count is 0, penalized(u).
struct Penalties {
  double repetition, frequency, presence;
};

// Sparse lists of ids, ascending and each once; rows may share one.
struct IdLists {
  const uint32_t* ranges = nullptr;  // [n, 2]: row i has [ranges[2i], ranges[2i + 1]); null: there are none at all
  const uint32_t* ids = nullptr;

  struct Part {
    const uint32_t *begin = nullptr, *end = nullptr;
  };
  // Of row `hidden`, those from `first` to `last`.
  Part part(size_t hidden, uint32_t first, uint32_t last) const;
};

// A view; see lib/backend/backend.ts.
struct Adjustments {
  // For an id that is patched, the patch is all; for another, the bias is what is added, and the penalties follow.
  IdLists patched, biased, counted;
  const Patch* patches = nullptr;        // one per id of `patched`
  const double* biases = nullptr;        // of `biased`
  const uint32_t* counts = nullptr;      // of `counted`
  const Penalties* penalties = nullptr;  // [n]; where there is `counted`
  const uint32_t* allowed = nullptr;     // bit id % 32 of word id / 32: may be drawn; null: all may
  size_t allowed_stride = 0;             // words from one row's mask to the next; 0: one for all
  IdSet xtc_protected;                   // see RowSampling
  size_t valid = 0;                      // ids from here on are padding, whatever masks say

  bool any() const { return patched.ranges || biased.ranges || counted.ranges || allowed; }

  // Whether a hidden state of the request has a mask that allows few ids: at most one in sixteen.
  bool has_sparse_mask(size_t hidden) const;
  // The ids that the masks of n hidden states allow, all of them together; none where these are not few.
  std::vector<uint32_t> sparse_allowed_ids(size_t n) const;
  // What happens to the logits of a tile's rows.
  struct Changes {
    size_t hidden = 0;
    IdLists::Part patched, biased, counted;  // from the tile's first id to its last
    const uint32_t* mask = nullptr;          // null: all of them may be drawn
    bool any_ids() const { return patched.begin != patched.end || biased.begin != biased.end || counted.begin != counted.end; }
    bool none() const { return !any_ids() && !mask; }
  };
  // For a hidden state of the request.
  Changes changes(size_t hidden, const Tile& tile) const;
  // u: those logits.
  void apply(const Changes& changes, const Tile& tile, float* u) const;

 private:
  void apply_to_ids(const Changes& changes, const Tile& tile, float* u) const;
  size_t sparse_limit() const { return valid / 16; }
  uint32_t word_of(const uint32_t* mask, size_t word) const;  // without padding
};

}  // namespace lmhead
