#include "hidden_buffers.h"

#include <utility>

namespace lmhead {

namespace {

// Above this a buffer has pages of its own. Below, malloc keeps what is freed.
constexpr size_t kLarge = size_t{128} << 10;
// Kept at most.
constexpr size_t kMostBytes = size_t{64} << 20;

// Few sizes, so that buffers serve again; whole huge pages where that wastes no more than half.
size_t rounded(size_t bytes) {
  const size_t step = bytes >= size_t{1} << 20 ? size_t{2} << 20 : size_t{64} << 10;
  return (bytes + step - 1) / step * step;
}

}  // namespace

HiddenBuffer HiddenBuffers::acquire(size_t floats) {
  const size_t bytes = floats * sizeof(float);
  HiddenBuffer buffer;
  if (bytes < kLarge) {
    buffer.small_.resize(floats);
    return buffer;
  }
  auto best = kept_.end();
  for (auto it = kept_.begin(); it != kept_.end(); ++it)
    if ((*it)->size() >= bytes && (best == kept_.end() || (*it)->size() < (*best)->size())) best = it;
  if (best == kept_.end()) {
    buffer.large_ = std::make_unique<OwnedStorage>(rounded(bytes));
  } else {
    buffer.large_ = std::move(*best);
    kept_.erase(best);
    kept_bytes_ -= buffer.large_->size();
  }
  return buffer;
}

void HiddenBuffers::give_back(HiddenBuffer buffer) {
  if (!buffer.large_ || buffer.large_->size() > kMostBytes) return;
  kept_bytes_ += buffer.large_->size();
  kept_.push_back(std::move(buffer.large_));
  for (; kept_bytes_ > kMostBytes; kept_.erase(kept_.begin())) kept_bytes_ -= kept_.front()->size();
}

}  // namespace lmhead
