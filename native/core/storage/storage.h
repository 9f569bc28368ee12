// The bytes behind a matrix: owned by us, mapped from a file, or borrowed by the caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "../matrix.h"

namespace lmhead {

class Storage {
 public:
  virtual ~Storage() = default;
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  // Bytes of this process's own memory, as opposed to a map's or a borrowed buffer's.
  virtual size_t owned_bytes() const { return 0; }
  // Are the bytes still those that were there at first? Not where a mapped file has been changed. To be asked after reading.
  virtual bool intact() const { return true; }

 protected:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// Zeroed memory of our own, aligned to a page, on huge pages where the system has them.
class OwnedStorage final : public Storage {
 public:
  explicit OwnedStorage(size_t size);  // throws std::bad_alloc
  ~OwnedStorage() override;
  OwnedStorage(const OwnedStorage&) = delete;
  OwnedStorage& operator=(const OwnedStorage&) = delete;
  uint8_t* mutable_data() { return const_cast<uint8_t*>(data_); }
  size_t owned_bytes() const override { return size_; }

 private:
  size_t mapped_ = 0;
};

// Memory that somebody else keeps alive and unchanged.
class BorrowedStorage final : public Storage {
 public:
  BorrowedStorage(const uint8_t* data, size_t size) {
    data_ = data;
    size_ = size;
  }
};

// size bytes of a file from offset, mapped read-only. Reading them is safe even if the file shrinks: see intact(). Throws
// FileError.
std::unique_ptr<Storage> map_file(const std::string& path, uint64_t offset, uint64_t size);
// The same bytes, read into memory of our own. Throws FileError, std::bad_alloc.
std::unique_ptr<Storage> read_file(const std::string& path, uint64_t offset, uint64_t size);

struct FileError {
  std::string message;
};

// Copies source [columns, rows] into a fresh matrix [rows, columns].
std::unique_ptr<OwnedStorage> transpose(const uint8_t* source, Dtype dtype, size_t rows, size_t columns);

}  // namespace lmhead
