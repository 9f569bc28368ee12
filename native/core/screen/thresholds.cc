#include "thresholds.h"

#include <cmath>

#include "../numerics/float_order.h"

namespace lmhead::screen {

namespace {
// More than the epilogue rounds by, its tanh included: relative, of a cap, and of what underflows.
constexpr double kRounding = 0x1p-20, kTiny = 0x1p-120;
}  // namespace

bool rises(const Epilogue& e) { return e.scale > 0 && e.scale <= 0x1p60f && e.cap >= 0 && e.cap <= 0x1p60f; }

void make_safe(const Epilogue& e, float* u, size_t count) {
  if (e.scale == 1 && e.cap == 0) return;
  const float of_cap = e.cap_first ? e.cap * e.scale : e.cap, relative = static_cast<float>(2 * kRounding);
  const float rest = relative * of_cap + static_cast<float>(kTiny);
  for (size_t i = 0; i < count; i++) u[i] += std::fabs(u[i]) * relative + rest;
}

float product_below(float logit, const Epilogue& e) {
  if (e.scale == 1 && e.cap == 0) return logit;
  // At least the logit that any kernel makes of z, and no less for a larger z.
  const auto most = [&](double z) {
    double u = z;
    if (!e.cap_first) u *= e.scale;
    if (e.cap != 0) u = static_cast<double>(e.cap) * std::tanh(u / e.cap);
    if (e.cap_first) u *= e.scale;
    const double of_cap = e.cap_first ? static_cast<double>(e.cap) * e.scale : e.cap;
    return u + kRounding * (std::fabs(u) + of_cap) + kTiny;
  };
  return first_float([&](float z) { return most(z) >= logit; });
}

}  // namespace lmhead::screen
