// A matrix and the memory that it lies in. Heads share it, in any number of environments; the last one frees it.
#pragma once

#include <memory>

#include "../storage/storage.h"

namespace lmhead {

struct StoredMatrix {
  StoredMatrix(std::unique_ptr<Storage> its_storage, const Matrix& its_view) : storage(std::move(its_storage)), view(its_view) {}
  ~StoredMatrix();  // in shared_matrices.cc
  StoredMatrix(const StoredMatrix&) = delete;
  StoredMatrix& operator=(const StoredMatrix&) = delete;

  const std::unique_ptr<Storage> storage;
  const Matrix view;
  uint64_t token_number = 0;  // of its token; 0: it has none. Under the lock of shared_matrices.cc
};

}  // namespace lmhead
