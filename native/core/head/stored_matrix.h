// A matrix and the memory that it lies in. Heads share it, in any number of environments; the last one frees it.
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "../pass/shared_pass.h"
#include "../screen/copy.h"
#include "../storage/storage.h"
#include "../threads/task_queue.h"

namespace lmhead {

// Of a pass that calls share.
constexpr Task::Share kSharedRoom = {kMostSharedRows, kMaterializedBytes};

struct StoredMatrix {
  StoredMatrix(std::unique_ptr<Storage> its_storage, const Matrix& its_view) : storage(std::move(its_storage)), view(its_view) {
    for (std::shared_ptr<SharingGroup>& group : groups) group = std::make_shared<SharingGroup>(kSharedRoom);
  }
  ~StoredMatrix();  // in shared_matrices.cc
  StoredMatrix(const StoredMatrix&) = delete;
  StoredMatrix& operator=(const StoredMatrix&) = delete;

  const std::unique_ptr<Storage> storage;
  const Matrix view;
  // Of the heads over it that share passes: those with the same activations.
  std::array<std::shared_ptr<SharingGroup>, kActivations> groups;
  // Its bounded copy, where a head has asked for one; made by whoever asks first.
  std::shared_ptr<const screen::Copy> copy() const {
    const std::lock_guard lock(copy_mutex_);
    return copy_;
  }
  void keep_copy(std::shared_ptr<const screen::Copy> made) {
    const std::lock_guard lock(copy_mutex_);
    if (!copy_) copy_ = std::move(made);
  }
  uint64_t token_number = 0;  // of its token; 0: it has none. Under the lock of shared_matrices.cc

 private:
  mutable std::mutex copy_mutex_;
  std::shared_ptr<const screen::Copy> copy_;
};

}  // namespace lmhead
