#include "system.h"

#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

namespace lmhead::system {

std::string error_text() { return std::strerror(errno); }

bool open_file(const std::string& path, FileHandle& file) {
  file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must be refused, not waited for
  return file >= 0;
}

void close_file(FileHandle file) { ::close(file); }

bool file_state(FileHandle file, FileState& state) {
  struct stat status;
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) return false;
  const auto nanoseconds = [](const struct timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; };
  state.size = static_cast<uint64_t>(status.st_size);
#if defined(__APPLE__)
  // The time of status changes is of no use: programs of the system note in a file's attributes when it was last looked at.
  state.modified = nanoseconds(status.st_mtimespec);
#else
  state.modified = nanoseconds(status.st_mtim);
  state.status_changed = nanoseconds(status.st_ctim);
#endif
  state.links = status.st_nlink;
  state.mode = status.st_mode;
  state.user = status.st_uid;
  state.group = status.st_gid;
  return true;
}

std::string path_of([[maybe_unused]] FileHandle file) {
#if defined(__linux__)
  const std::string link = "/proc/self/fd/" + std::to_string(file);
  char path[PATH_MAX];
  const ssize_t length = ::readlink(link.c_str(), path, sizeof path);
  if (length > 0) return {path, static_cast<size_t>(length)};
#endif
  return {};
}

int64_t read_at(FileHandle file, uint64_t offset, uint8_t* to, size_t size) {
  ssize_t got;
  do got = ::pread(file, to, size, static_cast<off_t>(offset));
  while (got < 0 && errno == EINTR);
  return got;
}

uint64_t map_granularity() { return static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)); }

const uint8_t* map_view(FileHandle file, uint64_t offset, size_t size) {
  void* const base = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, static_cast<off_t>(offset));
  if (base == MAP_FAILED) return nullptr;
  ::madvise(base, size, MADV_WILLNEED);  // start reading now, without waiting
  return static_cast<const uint8_t*>(base);
}

void unmap_view(const uint8_t* base, size_t size) { ::munmap(const_cast<uint8_t*>(base), size); }

uint8_t* allocate_pages(size_t size) {
  void* const base = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
#if defined(MADV_HUGEPAGE)
  if (size >= size_t{2} << 20) ::madvise(base, size, MADV_HUGEPAGE);
#endif
  return static_cast<uint8_t*>(base);
}

void free_pages(uint8_t* base, size_t size) { ::munmap(base, size); }

}  // namespace lmhead::system
#endif
