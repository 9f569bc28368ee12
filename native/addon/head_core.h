// A head without its JavaScript: the weights and what a pass needs of them. Outlives the object where jobs still run.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "../core/storage/storage.h"
#include "pass_view.h"

namespace lmhead {

struct StoredMatrix {
  std::unique_ptr<Storage> storage;
  Matrix view;
};

class HeadCore {
 public:
  HeadCore(const Kernels& kernels, StoredMatrix output, std::unique_ptr<StoredMatrix> input, std::vector<float> bias,
           Epilogue epilogue, size_t valid, unsigned threads)
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
  const Matrix& output() const { return output_.view; }
  const Matrix& input() const { return input_ ? input_->view : output_.view; }
  unsigned threads() const { return threads_; }
  size_t valid() const { return valid_; }
  size_t owned_bytes() const { return output_.storage->owned_bytes() + (input_ ? input_->storage->owned_bytes() : 0); }

  // To be asked after the weights were read: were they still those of the beginning?
  bool intact() const { return output_.storage->intact() && (!input_ || input_->storage->intact()); }

  PassResult run(const float* packed_hidden, size_t n, PassRequest request, const PassView& view) const {
    request.threads = threads_;
    const ProductSource all(kernels_, output_.view, epilogue_, valid_, packed_hidden, n);
    if (!view.rows.ids) return run_pass(kernels_, all, request);
    const ProductSource subset(kernels_, output_.view, epilogue_, valid_, packed_hidden, n, view.rows);
    if (view.over_vocabulary) request.normaliser = &all;
    return run_pass(kernels_, subset, request);
  }

  // Queued jobs look at this before they start.
  bool closed() const { return closed_.load(); }
  void close() { closed_.store(true); }

 private:
  const Kernels& kernels_;
  const StoredMatrix output_;
  const std::unique_ptr<StoredMatrix> input_;
  const std::vector<float> bias_;
  Epilogue epilogue_;
  const size_t valid_;
  const unsigned threads_;
  std::atomic<bool> closed_{false};
};

}  // namespace lmhead
