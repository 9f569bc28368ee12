// From a logit back to the product that it came of.
#pragma once

#include <cstddef>

#include "../epilogue.h"

namespace lmhead::screen {

// Whether logits rise with products, and thresholds can be found.
bool rises(const Epilogue& epilogue);
// A number z, such that a product plus its bias (as float32 adds them) that is below z makes a logit below `logit`.
float product_below(float logit, const Epilogue& epilogue);

// Of logits that a kernel made of upper bounds of products and biases: no less than what any of these may make.
void make_safe(const Epilogue& epilogue, float* u, size_t count);

}  // namespace lmhead::screen
