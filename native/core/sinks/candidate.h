// A token that may be chosen, and the order that every choice goes by.
#pragma once

#include <cstdint>

namespace lmhead {

constexpr uint32_t kNoId = 0xffffffffu;  // no token has it, and every one that is as good comes before

struct Candidate {
  float logit;
  uint32_t id;
};

// Higher logit first; equal logits: lower id first.
inline bool better(const Candidate& a, const Candidate& b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

}  // namespace lmhead
