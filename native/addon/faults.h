// In builds with LMHEAD_FAULTS (test/asan makes one), tests have one allocation of the addon's, or one call of Node-API, fail.
#pragma once

#include <cstdint>

namespace lmhead::faults {

#if defined(LMHEAD_FAULTS)
enum class Kind { allocation, node_api };
// Fails the one that comes after `count` others, on whatever thread; a negative count: none. Returns how many the last order had
// still to wait for; negative where it has been carried out.
int64_t arm(Kind kind, int64_t count) noexcept;
// Whether this is the one. Every call of Node-API asks.
bool is_due(Kind kind) noexcept;
inline bool node_api_fails() noexcept { return is_due(Kind::node_api); }
#else
constexpr bool node_api_fails() { return false; }
#endif

}  // namespace lmhead::faults
