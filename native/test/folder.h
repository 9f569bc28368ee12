// Files that tests write, and remove.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "numbers.h"

namespace lmhead::test {

// A folder that is gone when the case is.
class Folder {
 public:
  Folder() {
    const char* const parent = std::getenv("TMPDIR");
    path_ = std::string(parent ? parent : "/tmp") + "/lmhead-test-XXXXXX";
    if (!::mkdtemp(path_.data())) throw std::bad_alloc();
  }
  ~Folder() {
    for (const std::string& name : files_) ::unlink(name.c_str());
    ::rmdir(path_.c_str());
  }
  std::string name(const char* file) {
    files_.push_back(path_ + "/" + file);
    return files_.back();
  }
  std::string file(const char* file, const std::vector<uint8_t>& bytes) {
    const std::string path = name(file);
    std::FILE* const f = std::fopen(path.c_str(), "wb");
    if (!f || (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), f) != bytes.size())) throw std::bad_alloc();
    std::fclose(f);
    return path;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::vector<std::string> files_;
};

inline std::vector<uint8_t> random_bytes(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.bits());
  return bytes;
}

}  // namespace lmhead::test
