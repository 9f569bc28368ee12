#include "storage.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>

#include "map_guard.h"
#include "system.h"

namespace lmhead {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

FileError file_error(const std::string& path, const char* what) {
  return {std::string(what) + " '" + path + "': " + system::error_text()};
}

// An open file that is known to hold [offset, offset + size).
class File {
 public:
  File(const std::string& path, uint64_t offset, uint64_t size) {
    if (!system::open_file(path, handle_)) throw file_error(path, "cannot open");
    if (!system::file_state(handle_, state_) || offset > state_.size || size > state_.size - offset) {
      system::close_file(handle_);
      throw FileError{"'" + path + "' is no regular file of at least " + std::to_string(offset) + " + " + std::to_string(size) +
                      " bytes"};
    }
    path_ = system::path_of(handle_);
  }
  ~File() { system::close_file(handle_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  system::FileHandle handle() const { return handle_; }

  // Are its bytes those that it had when it was opened, as far as sizes and times tell?
  bool unchanged() const {
    const std::lock_guard lock(mutex_);
    system::FileState now;
    if (!system::file_state(handle_, now) || now.size != state_.size || now.modified != state_.modified) return false;
    if (now.status_changed == state_.status_changed) return true;
    // Either somebody has written to it and put back the time, or it was renamed, linked or unlinked, or given to others.
    std::string path = system::path_of(handle_);
    if (path == path_ && now.links == state_.links && now.mode == state_.mode && now.user == state_.user &&
        now.group == state_.group)
      return false;
    state_ = now;
    path_ = std::move(path);
    return true;
  }

 private:
  system::FileHandle handle_;
  mutable std::mutex mutex_;
  mutable system::FileState state_;
  mutable std::string path_;
};

class MappedStorage final : public Storage {
 public:
  MappedStorage(const std::string& path, uint64_t offset, uint64_t size) : file_(path, offset, size) {
    const uint64_t start = offset / system::map_granularity() * system::map_granularity();
    length_ = static_cast<size_t>(offset - start + size);
    base_ = system::map_view(file_.handle(), start, length_);
    if (!base_) throw file_error(path, "cannot map");
    guard_ = MapGuard::watch(base_, length_);
    data_ = base_ + (offset - start);
    size_ = static_cast<size_t>(size);
  }
  ~MappedStorage() override {
    guard_->unwatch();
    system::unmap_view(base_, length_);
  }
  MappedStorage(const MappedStorage&) = delete;
  MappedStorage& operator=(const MappedStorage&) = delete;
  // The guard has not seen it all: the rest of a file's last page reads as zeros, and bytes can be overwritten.
  bool intact() const override { return !guard_->lost() && file_.unchanged(); }

 private:
  const File file_;
  const uint8_t* base_;
  size_t length_;
  MapGuard* guard_;
};

}  // namespace

OwnedStorage::OwnedStorage(size_t size) {
  if (size > std::numeric_limits<size_t>::max() - kHugePage) throw std::bad_alloc();
  // Room to start on a huge page; untouched pages cost nothing.
  mapped_ = std::max<size_t>(size, 1) + (size >= kHugePage ? kHugePage : 0);
  data_ = system::allocate_pages(mapped_);
  if (!data_) throw std::bad_alloc();
  size_ = size;
}

OwnedStorage::~OwnedStorage() { system::free_pages(mutable_data(), mapped_); }

std::unique_ptr<Storage> map_file(const std::string& path, uint64_t offset, uint64_t size) {
  if (size == 0) return read_file(path, offset, 0);  // there are no maps of nothing
  return std::make_unique<MappedStorage>(path, offset, size);
}

std::unique_ptr<Storage> read_file(const std::string& path, uint64_t offset, uint64_t size) {
  const File file(path, offset, size);
  auto storage = std::make_unique<OwnedStorage>(static_cast<size_t>(size));
  uint8_t* to = storage->mutable_data();
  for (uint64_t done = 0; done < size;) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(size - done, uint64_t{1} << 30));
    const int64_t got = system::read_at(file.handle(), offset + done, to + done, want);
    if (got < 0) throw file_error(path, "cannot read");
    if (got == 0) throw FileError{"'" + path + "' ended while it was read"};
    done += static_cast<uint64_t>(got);
  }
  return storage;
}

namespace {
template <class Element>
void transpose_elements(const uint8_t* source, uint8_t* to, size_t rows, size_t columns) {
  // Square blocks, so that both sides stay in cache. memcpy: the source may be unaligned.
  constexpr size_t kBlock = 32;
  for (size_t r0 = 0; r0 < rows; r0 += kBlock)
    for (size_t c0 = 0; c0 < columns; c0 += kBlock)
      for (size_t r = r0; r < std::min(rows, r0 + kBlock); r++)
        for (size_t c = c0; c < std::min(columns, c0 + kBlock); c++)
          std::memcpy(to + (r * columns + c) * sizeof(Element), source + (c * rows + r) * sizeof(Element), sizeof(Element));
}
}  // namespace

std::unique_ptr<OwnedStorage> transpose(const uint8_t* source, Dtype dtype, size_t rows, size_t columns) {
  auto storage = std::make_unique<OwnedStorage>(rows * columns * bytes_per_element(dtype));
  if (dtype == Dtype::f32)
    transpose_elements<uint32_t>(source, storage->mutable_data(), rows, columns);
  else
    transpose_elements<uint16_t>(source, storage->mutable_data(), rows, columns);
  return storage;
}

}  // namespace lmhead
