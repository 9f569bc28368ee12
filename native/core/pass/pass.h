// The one pass: streams E once, makes logits tile by tile, and hands each tile to the sinks that a request names.
#pragma once

#include "../kernels/kernels.h"
#include "request.h"

namespace lmhead {

// Throws std::bad_alloc. Outputs are complete only where the status is ok.
PassResult run_pass(const Kernels& kernels, const LogitSource& source, const PassRequest& request);

}  // namespace lmhead
