// Matrices that heads of several environments share: JavaScript carries a token from one thread to another, and the addon finds
// the same matrix by it.
#pragma once

#include <memory>
#include <string>
#include <utility>

namespace lmhead {

struct StoredMatrix;

// Names the matrix for as long as any head has it, in this process only.
std::string token_of(const std::shared_ptr<StoredMatrix>& matrix);

enum class TokenFate {
  found,
  gone,     // no head has that matrix any more
  foreign,  // made by another process, or by nobody
};
// Any string may be asked for.
std::pair<TokenFate, std::shared_ptr<StoredMatrix>> find_matrix(const std::string& token);

}  // namespace lmhead
