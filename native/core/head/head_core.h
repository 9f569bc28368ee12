// A head without its JavaScript: the weights and what a pass needs of them. Outlives the object where jobs still run.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "../quantize.h"
#include "../screen/search.h"
#include "../sources/similarity.h"
#include "pass_view.h"
#include "stored_matrix.h"

namespace lmhead {

// Rows of the output matrix, to be quantized: [first, first + count).
struct Quantization {
  size_t first, count;
  Dtype to;
  uint8_t* bytes;        // count rows
  WeightErrors* errors;  // [count]
};

// Why a call has passes of its own; the codes of APART in lib/backend/backend.ts.
enum class Apart : uint8_t {
  no,
  by_choice,    // of the head's
  many_rows,    // more than kMostSharingRows; or calls made as one that have more than a pass takes
  subset,       // of the rows of E, normalized over them
  subset_over,  // the whole vocabulary
  nearest,
  sparse_mask,  // only those rows of E are computed
  held,         // more logits have to be held than a pass may
};

class HeadCore {
 public:
  // input: null where the output matrix serves.
  HeadCore(const Kernels& kernels, std::shared_ptr<StoredMatrix> output, std::shared_ptr<StoredMatrix> input,
           std::vector<float> bias, Epilogue epilogue, size_t valid, Activations activations, unsigned threads)
      : kernels_(kernels),
        output_(std::move(output)),
        input_(std::move(input)),
        bias_(std::move(bias)),
        epilogue_(epilogue),
        valid_(valid),
        activations_(activations),
        threads_(threads) {
    epilogue_.bias = bias_.empty() ? nullptr : bias_.data();
  }

  const Kernels& kernels() const { return kernels_; }
  const Matrix& output() const { return output_->view; }
  const Matrix& input() const { return stored(1)->view; }
  // 0: the output matrix, 1: the input matrix.
  const std::shared_ptr<StoredMatrix>& stored(size_t which) const { return which == 1 && input_ ? input_ : output_; }
  unsigned threads() const { return threads_; }
  size_t valid() const { return valid_; }
  // To be asked after the weights were read: were they still those of the beginning?
  bool intact() const {
    const screen::Use* const use = in_use_;
    return output_->storage->intact() && (!input_ || input_->storage->intact()) && (!use || use->copy().intact());
  }

  PassResult run(const float* packed_hidden, size_t n, PassRequest request, const PassView& view) const {
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

  // Why a call cannot be answered by a pass that others share. Notes what it holds. most_rows: that it may have.
  static Apart apart(SharedCall& call, const PassView& view, size_t most_rows) {
    if (view.metric != Metric::logit) return Apart::nearest;
    if (view.rows.ids) return view.over_vocabulary ? Apart::subset_over : Apart::subset;
    if (call.n > most_rows) return Apart::many_rows;
    if (!sparse_rows(call.n, call.request).empty()) return Apart::sparse_mask;
    call.held = materialized_bytes(call);
    return call.held > kMaterializedBytes ? Apart::held : Apart::no;
  }
  // As one of those that share a pass.
  SharedCall shared_call(const float* packed_hidden, size_t n, const PassRequest& request) const {
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
  // Heads of one group share passes.
  const std::shared_ptr<SharingGroup>& sharing_group() const { return output_->groups[static_cast<size_t>(activations_)]; }
  SharedPass shared_pass(Gate* gate) const { return {kernels_, output_->view, activations_, gate}; }

  // Makes the bounded copy of the output matrix, where nobody has yet; done: see Copy::make. False where it was aborted.
  bool make_copy(ParallelFor workers) const {
    workers.threads = threads_;
    if (output_->copy()) return true;
    copied_rows_ = 0;
    std::shared_ptr<const screen::Copy> copy = screen::Copy::make(kernels_, output_->view, workers, &copied_rows_);
    if (copy) output_->keep_copy(std::move(copy));
    return output_->copy() != nullptr;
  }
  // How far it is.
  size_t copied_rows() const { return copied_rows_; }
  // The same, of a file; false where the bytes cannot be one.
  bool load_copy(std::unique_ptr<Storage> saved) const {
    std::shared_ptr<const screen::Copy> copy = screen::Copy::load(std::move(saved), output_->view);
    if (copy) output_->keep_copy(std::move(copy));
    return output_->copy() != nullptr;
  }
  // From now on calls use it, where there is one.
  void use_copy() {
    std::shared_ptr<const screen::Copy> copy = output_->copy();
    if (screen_ || !copy) return;
    screen_ = std::make_unique<const screen::Use>(std::move(copy), output_->view.row_bytes(), epilogue_.bias);
    in_use_ = screen_.get();
  }
  const screen::Use* screen() const { return in_use_; }  // null: there is none

  // nan: of row `row`, which has NaN or an infinity. workers: its threads are the head's.
  PassResult quantize(const Quantization& q, ParallelFor workers) const {
    workers.threads = threads_;
    const size_t bad = quantize_rows(kernels_, output(), q.first, q.count, q.to, workers, q.bytes, q.errors);
    if (bad != output().rows) return {PassResult::nan, bad};
    return {workers.aborted() ? PassResult::aborted : PassResult::ok};
  }

 private:
  // Rows whose ids may not be drawn need not be computed where they are few that may: these, else none. (A row apart costs more
  // than one of many.)
  static std::vector<uint32_t> sparse_rows(size_t n, const PassRequest& request) {
    const bool needs_no_others = request.only_draws() || (request.draft.accepted && !request.draft.log_probs);
    return needs_no_others ? request.adjustments.sparse_allowed_ids(n) : std::vector<uint32_t>();
  }

  // The answer, where the rows that a search leaves have it.
  std::optional<PassResult> search(screen::Query query) const {
    const Matrix& e = output_->view;
    if (query.n > screen::most_states(e) || !screen::may_answer(query) || query.use->sits_out()) return std::nullopt;
    screen::search(kernels_, e, {&query, 1}, query.request->workers);
    if (query.rows.empty()) return std::nullopt;
    return screen::answer(kernels_, e, query);
  }

  PassResult run_similarity(const float* packed_hidden, size_t n, const PassRequest& request, const PassView& view) const {
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

  // Null where the pass was aborted. Nobody waits for another's workers, which may have to yield: at worst, two make the same.
  std::shared_ptr<const std::vector<double>> norms_for(const ParallelFor& workers) const {
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

  const Kernels& kernels_;
  const std::shared_ptr<StoredMatrix> output_;
  const std::shared_ptr<StoredMatrix> input_;
  const std::vector<float> bias_;
  Epilogue epilogue_;
  const size_t valid_;
  const Activations activations_;
  const unsigned threads_;
  std::unique_ptr<const screen::Use> screen_;
  mutable std::atomic<size_t> copied_rows_{0};
  std::atomic<const screen::Use*> in_use_{nullptr};  // that, once it is there: jobs may run meanwhile
  mutable std::mutex norms_mutex_;
  mutable std::shared_ptr<const std::vector<double>> inverse_norms_;  // made when they are first asked for
};

}  // namespace lmhead
