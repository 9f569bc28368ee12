#include "pass.h"

#include <optional>

#include "block.h"

namespace lmhead {

PassResult run_pass(const Kernels& kernels, const LogitSource& source, const PassRequest& request) {
  const size_t n = source.columns();
  if (request.candidates) request.candidates->assign(n, {});
  RowPlans plans(request, n, source.valid());
  const ParallelFor workers = workers_for(request.workers, source.work() + (request.normalizer ? request.normalizer->work() : 0));
  std::optional<Verification> draft;
  if (request.draft.accepted) draft.emplace(kernels, source, request);
  std::vector<size_t> unfinished;
  for (size_t begin = 0; begin < n && !(draft && draft->ended());) {
    const size_t end = plans.block_end(begin);
    const PassResult result =
        run_block(kernels, source, request, plans, begin, end, workers, draft ? &*draft : nullptr, unfinished);
    if (result.status != PassResult::ok) return result;
    begin = end;
  }
  return run_unfinished(kernels, source, request, plans, std::move(unfinished), workers);
}

}  // namespace lmhead
