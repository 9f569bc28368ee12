#include "logit_source.h"

#include <algorithm>

namespace lmhead {

size_t LogitSource::local_index_of(uint32_t id) const {
  const uint32_t* const all = ids();
  if (!all) return std::min<size_t>(id, valid());
  const uint32_t* const at = std::lower_bound(all, all + valid(), id);
  return at < all + valid() && *at == id ? static_cast<size_t>(at - all) : valid();
}

}  // namespace lmhead
