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

  PassResult run(const float* packed_hidden, size_t n, const PassRequest& request, const PassView& view) const;

  // Why a call cannot be answered by a pass that others share. Notes what it holds. most_rows: that it may have.
  static Apart apart(SharedCall& call, const PassView& view, size_t most_rows);
  // As one of those that share a pass.
  SharedCall shared_call(const float* packed_hidden, size_t n, const PassRequest& request) const;
  // Heads of one group share passes.
  const std::shared_ptr<SharingGroup>& sharing_group() const { return output_->groups[static_cast<size_t>(activations_)]; }
  SharedPass shared_pass(Gate* gate) const { return {kernels_, output_->view, activations_, gate}; }

  // Makes the bounded copy of the output matrix, where nobody has yet; done: see Copy::quantize. False where it was aborted.
  bool make_copy(ParallelFor workers) const;
  // How far it is.
  size_t copied_rows() const { return copied_rows_; }
  // The same, of a file; false where the bytes cannot be one.
  bool load_copy(std::unique_ptr<Storage> saved) const;
  // From now on calls use it, where there is one.
  void use_copy();
  const screen::Use* screen() const { return in_use_; }  // null: there is none

  // nan: of row `row`, which has NaN or an infinity. workers: its threads are the head's.
  PassResult quantize(const Quantization& q, ParallelFor workers) const;

 private:
  // Rows whose ids may not be drawn need not be computed where they are few that may: these, else none. (A row apart costs more
  // than one of many.)
  static std::vector<uint32_t> sparse_rows(size_t n, const PassRequest& request);

  // The answer, where the rows that a search leaves have it.
  std::optional<PassResult> search(screen::Query query) const;
  PassResult run_similarity(const float* packed_hidden, size_t n, const PassRequest& request, const PassView& view) const;

  // Null where the pass was aborted. Nobody waits for another's workers, which may have to yield: at worst, two make the same.
  std::shared_ptr<const std::vector<double>> norms_for(const ParallelFor& workers) const;

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
