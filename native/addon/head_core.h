// A head without its JavaScript: the weights and what a pass needs of them. Outlives the object where jobs still run.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "pass_view.h"
#include "stored_matrix.h"

namespace lmhead {

class HeadCore {
 public:
  // input: null where the output matrix serves.
  HeadCore(const Kernels& kernels, std::shared_ptr<StoredMatrix> output, std::shared_ptr<StoredMatrix> input,
           std::vector<float> bias, Epilogue epilogue, size_t valid, unsigned threads)
      : kernels_(kernels),
        output_(std::move(output)),
        input_(std::move(input)),
        bias_(std::move(bias)),
        epilogue_(epilogue),
        valid_(valid),
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
  bool intact() const { return output_->storage->intact() && (!input_ || input_->storage->intact()); }

  PassResult run(const float* packed_hidden, size_t n, PassRequest request, const PassView& view) const {
    request.threads = threads_;
    const ProductSource all(kernels_, output_->view, epilogue_, valid_, packed_hidden, n);
    if (!view.rows.ids) return run_pass(kernels_, all, request);
    const ProductSource subset(kernels_, output_->view, epilogue_, valid_, packed_hidden, n, view.rows);
    if (view.over_vocabulary) request.normaliser = &all;
    return run_pass(kernels_, subset, request);
  }

 private:
  const Kernels& kernels_;
  const std::shared_ptr<StoredMatrix> output_;
  const std::shared_ptr<StoredMatrix> input_;
  const std::vector<float> bias_;
  Epilogue epilogue_;
  const size_t valid_;
  const unsigned threads_;
};

}  // namespace lmhead
