// What comes between a dot product and a logit, in float32:
//   scale-then-cap: u = cap * tanh((dot + bias) * scale / cap)
//   cap-then-scale: u = cap * tanh((dot + bias) / cap) * scale
#pragma once

#include <cstddef>

namespace lmhead {

struct Epilogue {
  const float* bias = nullptr;  // [rows], or none
  float scale = 1;
  float cap = 0;  // 0: none
  bool cap_first = false;

  bool is_identity() const { return !bias && scale == 1 && cap == 0; }
};

}  // namespace lmhead
