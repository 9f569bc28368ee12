#include "system.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>

namespace lmhead::system {

namespace {

std::wstring wide(const std::string& utf8) {
  const int size = static_cast<int>(utf8.size());
  std::wstring text(static_cast<size_t>(::MultiByteToWideChar(CP_UTF8, 0, utf8.data(), size, nullptr, 0)), L'\0');
  ::MultiByteToWideChar(CP_UTF8, 0, utf8.data(), size, text.data(), static_cast<int>(text.size()));
  return text;
}

std::string narrow(const wchar_t* text, int length) {
  std::string utf8(static_cast<size_t>(::WideCharToMultiByte(CP_UTF8, 0, text, length, nullptr, 0, nullptr, nullptr)), '\0');
  ::WideCharToMultiByte(CP_UTF8, 0, text, length, utf8.data(), static_cast<int>(utf8.size()), nullptr, nullptr);
  return utf8;
}

}  // namespace

std::string error_text() {
  const DWORD code = ::GetLastError();
  wchar_t text[256];
  DWORD length = ::FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                                  nullptr, code, 0, text, 256, nullptr);
  while (length > 0 && (text[length - 1] == L' ' || text[length - 1] == L'.')) length--;
  return length > 0 ? narrow(text, static_cast<int>(length)) : "error " + std::to_string(code);
}

bool open_file(const std::string& path, FileHandle& file) {
  // Others may go on writing, renaming and deleting, as on other systems; a change is noticed, see Storage::intact().
  file = ::CreateFileW(wide(path).c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                       OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  return file != INVALID_HANDLE_VALUE;
}

void close_file(FileHandle file) { ::CloseHandle(file); }

bool file_state(FileHandle file, FileState& state) {
  BY_HANDLE_FILE_INFORMATION info;
  if (::GetFileType(file) != FILE_TYPE_DISK || !::GetFileInformationByHandle(file, &info)) return false;
  if (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) return false;
  const auto join = [](DWORD high, DWORD low) { return (uint64_t{high} << 32) | low; };
  state.size = join(info.nFileSizeHigh, info.nFileSizeLow);
  state.modified = static_cast<int64_t>(join(info.ftLastWriteTime.dwHighDateTime, info.ftLastWriteTime.dwLowDateTime));
  return true;
}

std::string path_of(FileHandle) { return {}; }

int64_t read_at(FileHandle file, uint64_t offset, uint8_t* to, size_t size) {
  OVERLAPPED at = {};
  at.Offset = static_cast<DWORD>(offset);
  at.OffsetHigh = static_cast<DWORD>(offset >> 32);
  DWORD got = 0;
  if (::ReadFile(file, to, static_cast<DWORD>(size), &got, &at)) return got;
  return ::GetLastError() == ERROR_HANDLE_EOF ? 0 : -1;
}

uint64_t map_granularity() {
  SYSTEM_INFO info;
  ::GetSystemInfo(&info);
  return info.dwAllocationGranularity;
}

const uint8_t* map_view(FileHandle file, uint64_t offset, size_t size) {
  const HANDLE mapping = ::CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
  if (!mapping) return nullptr;
  void* const base = ::MapViewOfFile(mapping, FILE_MAP_READ, static_cast<DWORD>(offset >> 32), static_cast<DWORD>(offset), size);
  const DWORD error = ::GetLastError();
  ::CloseHandle(mapping);  // the view keeps it
  ::SetLastError(error);
  return static_cast<const uint8_t*>(base);
}

void unmap_view(const uint8_t* base, size_t) { ::UnmapViewOfFile(base); }

uint8_t* allocate_pages(size_t size) {
  return static_cast<uint8_t*>(::VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
}

void free_pages(uint8_t* base, size_t) { ::VirtualFree(base, 0, MEM_RELEASE); }

}  // namespace lmhead::system
#endif
