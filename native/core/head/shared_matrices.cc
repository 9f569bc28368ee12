#include "shared_matrices.h"

#include <cstdio>
#include <mutex>
#include <random>
#include <unordered_map>

#include "stored_matrix.h"

namespace lmhead {

namespace {

// A token is the process's random key and a number. Numbers up to the last one given are known, though their matrix be gone.
class Registry {
 public:
  // Never destroyed: a matrix may go after the statics.
  static Registry& instance() {
    static Registry* registry = new Registry;
    return *registry;
  }

  std::string token_of(const std::shared_ptr<StoredMatrix>& matrix) {
    const std::lock_guard lock(mutex_);
    if (matrix->token_number == 0) {
      matrix->token_number = ++last_;
      matrices_.emplace(last_, matrix);
    }
    return key_ + std::to_string(matrix->token_number);
  }

  std::pair<TokenFate, std::shared_ptr<StoredMatrix>> find(const std::string& token) {
    const std::lock_guard lock(mutex_);
    const uint64_t number = number_in(token);
    if (number == 0 || number > last_) return {TokenFate::foreign, nullptr};
    const auto at = matrices_.find(number);
    std::shared_ptr<StoredMatrix> matrix = at == matrices_.end() ? nullptr : at->second.lock();
    return {matrix ? TokenFate::found : TokenFate::gone, std::move(matrix)};
  }

  void forget(uint64_t number) {
    const std::lock_guard lock(mutex_);
    matrices_.erase(number);
  }

 private:
  Registry() {
    std::random_device random;
    for (int i = 0; i < 4; i++) {
      char word[9];
      std::snprintf(word, sizeof word, "%08x", static_cast<unsigned>(random()));
      key_ += word;
    }
    key_ += '-';
  }

  // 0 where it is no token of this process.
  uint64_t number_in(const std::string& token) const {
    constexpr size_t kMostDigits = 19;
    if (token.compare(0, key_.size(), key_) != 0) return 0;
    const std::string digits = token.substr(key_.size());
    if (digits.empty() || digits.size() > kMostDigits || digits.find_first_not_of("0123456789") != std::string::npos) return 0;
    return std::stoull(digits);
  }

  std::mutex mutex_;
  std::string key_;
  uint64_t last_ = 0;
  std::unordered_map<uint64_t, std::weak_ptr<StoredMatrix>> matrices_;
};

}  // namespace

std::string token_of(const std::shared_ptr<StoredMatrix>& matrix) { return Registry::instance().token_of(matrix); }

std::pair<TokenFate, std::shared_ptr<StoredMatrix>> find_matrix(const std::string& token) {
  return Registry::instance().find(token);
}

StoredMatrix::~StoredMatrix() {
  if (token_number != 0) Registry::instance().forget(token_number);
}

}  // namespace lmhead
