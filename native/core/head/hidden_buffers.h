// Memory for copies of hidden states.
#pragma once

#include <memory>
#include <vector>

#include "../numerics/aligned.h"
#include "../storage/storage.h"

namespace lmhead {

// Floats that start on a cache line; what they are is not defined.
class HiddenBuffer {
 public:
  float* data() { return large_ ? reinterpret_cast<float*>(large_->mutable_data()) : small_.data(); }

 private:
  friend class HiddenBuffers;
  AlignedFloats small_;
  std::unique_ptr<OwnedStorage> large_;
};

// Keeps some large ones for the calls that follow: to touch fresh pages can take much longer than to copy. Of one thread.
class HiddenBuffers {
 public:
  HiddenBuffer acquire(size_t floats);  // throws std::bad_alloc
  void give_back(HiddenBuffer buffer);

 private:
  std::vector<std::unique_ptr<OwnedStorage>> kept_;  // the last to come is the last
  size_t kept_bytes_ = 0;
};

}  // namespace lmhead
