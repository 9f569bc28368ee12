#include "head_core.h"

#include <utility>

namespace lmhead {

PassResult HeadCore::run(const float* packed_hidden, size_t n, const PassRequest& asked, const PassView& view) const {
  PassRequest request = asked;
  request.workers.threads = threads_;
  if (view.metric != Metric::logit) return run_similarity(packed_hidden, n, request, view);
  const ProductSource all(kernels_, output_->view, epilogue_, valid_, packed_hidden, n, {}, activations_);
  RowSubset rows = view.rows;
  std::vector<uint32_t> allowed;
  if (!rows.ids) {
    allowed = sparse_rows(n, request);
    if (!allowed.empty()) rows = {allowed.data(), allowed.size()};
  }
  if (!rows.ids) {
    if (const auto found = search({packed_hidden, n, &epilogue_, valid_, &request, in_use_})) return *found;
    return run_pass(kernels_, all, request);
  }
  const ProductSource subset(kernels_, output_->view, epilogue_, valid_, packed_hidden, n, rows, activations_);
  if (view.over_vocabulary && request.tells_of_all()) request.normalizer = &all;
  const PassResult result = run_pass(kernels_, subset, request);
  // Whether all of such a row is -inf, or what is allowed of it, these few do not say.
  if (!allowed.empty() && result.status == PassResult::unnormalized && result.id < 0) return run_pass(kernels_, all, request);
  return result;
}

std::optional<PassResult> HeadCore::search(screen::Query query) const {
  const Matrix& e = output_->view;
  if (!query.use || query.n > screen::most_states(e) || !screen::may_answer(query) || query.use->sits_out()) return std::nullopt;
  screen::search(kernels_, e, {&query, 1}, query.request->workers);
  if (query.rows.empty()) return std::nullopt;
  return screen::answer(kernels_, e, query);
}

std::vector<uint32_t> HeadCore::sparse_rows(size_t n, const PassRequest& request) {
  const bool needs_no_others = request.only_draws() || (request.draft.accepted && !request.draft.log_probs);
  return needs_no_others ? request.adjustments.sparse_allowed_ids(n) : std::vector<uint32_t>();
}

PassResult HeadCore::run_similarity(const float* packed_hidden, size_t n, const PassRequest& request,
                                    const PassView& view) const {
  const ProductSource dots(kernels_, output_->view, {}, valid_, packed_hidden, n, view.rows);
  const Epilogue none;
  screen::Query query{packed_hidden, n, &none, valid_, &request, view.rows.ids ? nullptr : in_use_.load()};
  if (view.metric == Metric::dot) {
    if (const auto found = search(query)) return *found;
    return run_pass(kernels_, dots, request);
  }
  const std::shared_ptr<const std::vector<double>> norms = norms_for(request.workers);
  if (!norms) return {PassResult::aborted};
  query.factors = norms->data();
  if (const auto found = search(query)) return *found;
  return run_pass(kernels_, ScaledSource(dots, norms->data()), request);
}

std::shared_ptr<const std::vector<double>> HeadCore::norms_for(const ParallelFor& workers) const {
  {
    const std::lock_guard lock(norms_mutex_);
    if (inverse_norms_) return inverse_norms_;
  }
  auto norms = std::make_shared<const std::vector<double>>(inverse_norms(kernels_, output_->view, workers));
  if (workers.aborted()) return nullptr;
  const std::lock_guard lock(norms_mutex_);
  if (!inverse_norms_) inverse_norms_ = std::move(norms);
  return inverse_norms_;
}

Apart HeadCore::apart(SharedCall& call, const PassView& view, size_t most_rows) {
  if (view.metric != Metric::logit) return Apart::nearest;
  if (view.rows.ids) return view.over_vocabulary ? Apart::subset_over : Apart::subset;
  if (call.n > most_rows) return Apart::many_rows;
  if (!sparse_rows(call.n, call.request).empty()) return Apart::sparse_mask;
  call.held = materialized_bytes(call);
  return call.held > kMaterializedBytes ? Apart::held : Apart::no;
}

SharedCall HeadCore::shared_call(const float* packed_hidden, size_t n, const PassRequest& request) const {
  SharedCall call;
  call.hidden = packed_hidden;
  call.n = n;
  call.epilogue = epilogue_;
  call.valid = valid_;
  call.request = request;
  call.request.workers.threads = threads_;
  call.screen = in_use_;
  return call;
}

bool HeadCore::make_copy(ParallelFor workers) const {
  workers.threads = threads_;
  if (output_->copy()) return true;
  copied_rows_ = 0;
  std::shared_ptr<const screen::Copy> copy = screen::Copy::quantize(kernels_, output_->view, workers, &copied_rows_);
  if (copy) output_->keep_copy(std::move(copy));
  return output_->copy() != nullptr;
}

bool HeadCore::load_copy(std::unique_ptr<Storage> saved) const {
  std::shared_ptr<const screen::Copy> copy = screen::Copy::load(std::move(saved), output_->view);
  if (copy) output_->keep_copy(std::move(copy));
  return output_->copy() != nullptr;
}

void HeadCore::use_copy() {
  std::shared_ptr<const screen::Copy> copy = output_->copy();
  if (screen_ || !copy) return;
  screen_ = std::make_unique<const screen::Use>(std::move(copy), output_->view.row_bytes(), epilogue_.bias);
  in_use_ = screen_.get();
}

PassResult HeadCore::quantize(const Quantization& q, ParallelFor workers) const {
  workers.threads = threads_;
  const size_t bad = quantize_rows(kernels_, output(), q.first, q.count, q.to, workers, q.bytes, q.errors);
  if (bad != output().rows) return {PassResult::nan, bad};
  return {workers.aborted() ? PassResult::aborted : PassResult::ok};
}

}  // namespace lmhead
