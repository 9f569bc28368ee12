#include "storage.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>

#include "map_guard.h"

namespace lmhead {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

FileError file_error(const std::string& path, const char* what) {
  return {std::string(what) + " '" + path + "': " + std::strerror(errno)};
}

// An open file that is known to hold [offset, offset + size).
class File {
 public:
  File(const std::string& path, uint64_t offset, uint64_t size) {
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must be refused, not waited for
    if (fd_ < 0) throw file_error(path, "cannot open");
    if (::fstat(fd_, &status_) != 0) {
      const FileError error = file_error(path, "cannot stat");
      ::close(fd_);
      throw error;
    }
    const uint64_t length = static_cast<uint64_t>(status_.st_size);
    if (!S_ISREG(status_.st_mode) || offset > length || size > length - offset) {
      ::close(fd_);
      throw FileError{"'" + path + "' is no regular file of at least " + std::to_string(offset) + " + " + std::to_string(size) +
                      " bytes"};
    }
  }
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

  // Has it the size and the time of change that it had when it was opened?
  bool unchanged() const {
    struct stat now;
    return ::fstat(fd_, &now) == 0 && now.st_size == status_.st_size && same_time(now, status_);
  }

 private:
  static bool same_time(const struct stat& a, const struct stat& b) {
#if defined(__APPLE__)
    return a.st_mtimespec.tv_sec == b.st_mtimespec.tv_sec && a.st_mtimespec.tv_nsec == b.st_mtimespec.tv_nsec;
#else
    return a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
#endif
  }

  int fd_;
  struct stat status_;
};

class MappedStorage final : public Storage {
 public:
  MappedStorage(const std::string& path, uint64_t offset, uint64_t size) : file_(path, offset, size) {
    const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    const uint64_t start = offset / page * page;
    length_ = static_cast<size_t>(offset - start + size);
    base_ = ::mmap(nullptr, length_, PROT_READ, MAP_PRIVATE, file_.fd(), static_cast<off_t>(start));
    if (base_ == MAP_FAILED) throw file_error(path, "cannot map");
    guard_ = MapGuard::watch(base_, length_);
    ::madvise(base_, length_, MADV_WILLNEED);  // start reading now, without waiting
    data_ = static_cast<const uint8_t*>(base_) + (offset - start);
    size_ = static_cast<size_t>(size);
  }
  ~MappedStorage() override {
    guard_->unwatch();
    ::munmap(base_, length_);
  }
  MappedStorage(const MappedStorage&) = delete;
  MappedStorage& operator=(const MappedStorage&) = delete;
  // The guard has not seen it all: the rest of a file's last page reads as zeros, and bytes can be overwritten.
  bool intact() const override { return !guard_->lost() && file_.unchanged(); }

 private:
  const File file_;
  void* base_;
  size_t length_;
  MapGuard* guard_;
};

}  // namespace

OwnedStorage::OwnedStorage(size_t size) {
  if (size > std::numeric_limits<size_t>::max() - kHugePage) throw std::bad_alloc();
  // Room to start on a huge page; untouched pages cost nothing.
  mapped_ = std::max<size_t>(size, 1) + (size >= kHugePage ? kHugePage : 0);
  void* base = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<uint8_t*>(base);
  size_ = size;
#if defined(MADV_HUGEPAGE)
  if (size >= kHugePage) ::madvise(base, mapped_, MADV_HUGEPAGE);
#endif
}

OwnedStorage::~OwnedStorage() { ::munmap(const_cast<uint8_t*>(data_), mapped_); }

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
    const ssize_t got = ::pread(file.fd(), to + done, want, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
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
