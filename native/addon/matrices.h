// Weights of a head, as lib/backend/native.ts describes them.
#pragma once

#include <memory>

#include "arguments.h"

namespace lmhead {

struct StoredMatrix;

// A MatrixSource of lib/backend/backend.ts; null: not given.
struct MatrixValues {
  napi_value dtype, token, transposed, path, offset, length, mmap, copy, data;
  napi_value group_size, group_dtype, scales_offset, biases_offset;
};

MatrixValues matrix_values(const Call& call, napi_value from);

// Adds what it allocates to `owned_bytes`.
std::shared_ptr<StoredMatrix> matrix_from(Arrays& arrays, const MatrixValues& source, size_t rows, size_t columns,
                                          int64_t& owned_bytes);

// Throws a bad argument of that name where the product is too large.
size_t product_or_throw(size_t a, size_t b, const char* name);
bool is_given_and_true(napi_env env, napi_value value);

}  // namespace lmhead
