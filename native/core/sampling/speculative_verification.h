// Speculative verification: which of a draft's tokens stand, and the token that follows them. lib/reference/draft.ts defines it.
#pragma once

#include "../pass/pass.h"

namespace lmhead {

// Takes of the request: row_parameters, adjustments, draft, workers. The source has as many columns as the draft has ids,
// or one more. Holds logits of some rows, at most 32 MB. Throws std::bad_alloc.
PassResult verify_draft(const Kernels& kernels, const LogitSource& source, const PassRequest& request);

// What a request asks for: the verification of its draft, or else a pass.
inline PassResult run_request(const Kernels& kernels, const LogitSource& source, const PassRequest& request) {
  return request.draft.accepted ? verify_draft(kernels, source, request) : run_pass(kernels, source, request);
}

}  // namespace lmhead
