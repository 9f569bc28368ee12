// From a logit back to the product that it came of.
#pragma once

#include <limits>

#include "../epilogue.h"

namespace lmhead::screen {

// Whether logits rise with products, and thresholds can be found.
bool rises(const Epilogue& epilogue);
// A number z, such that a product plus its bias (as float32 adds them) that is below z makes a logit below `logit`.
float product_below(float logit, const Epilogue& epilogue);

}  // namespace lmhead::screen
