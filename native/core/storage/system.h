// What storage asks of the system: files to read and to map, and pages of memory. system_posix.cc and system_windows.cc answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace lmhead::system {

#if defined(_WIN32)
using FileHandle = void*;
#else
using FileHandle = int;
#endif

struct FileState {
  // What differs once bytes have been changed; but whoever changes them may put back the time, in the system's own units.
  uint64_t size;
  int64_t modified;
  // When anything about it was changed, which nobody can put back: bytes, times, or what follows. 0: not told.
  int64_t status_changed = 0;
  uint64_t links = 0, mode = 0, user = 0, group = 0;
};

// The text of the last error of this thread.
std::string error_text();

// Opens a file to be read; path is UTF-8. False, with an error text, where that fails.
bool open_file(const std::string& path, FileHandle& file);
void close_file(FileHandle file);
// False unless it is a regular file, whose state can be told.
bool file_state(FileHandle file, FileState& state);
// Where the open file is now; empty where the system does not tell.
std::string path_of(FileHandle file);
// Bytes read, 0 at the end of the file, -1 with an error text. size is at most 1 GiB.
int64_t read_at(FileHandle file, uint64_t offset, uint8_t* to, size_t size);

// What a map's offset has to be a multiple of.
uint64_t map_granularity();
// Maps part of a file read-only and has the system start to read it; nullptr, with an error text, where that fails.
const uint8_t* map_view(FileHandle file, uint64_t offset, size_t size);
void unmap_view(const uint8_t* base, size_t size);

// Zeroed memory; untouched pages cost nothing. nullptr where there is none.
uint8_t* allocate_pages(size_t size);
void free_pages(uint8_t* base, size_t size);

}  // namespace lmhead::system
