#include "matrices.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "../core/head/head_core.h"
#include "../core/head/shared_matrices.h"
#include "../core/storage/storage.h"

namespace lmhead {

MatrixValues matrix_values(const Call& call, napi_value from) {
  return {call.property(from, "dtype"),       call.property(from, "token"),      call.property(from, "transposed"),
          call.property(from, "path"),        call.property(from, "offset"),     call.property(from, "length"),
          call.property(from, "mmap"),        call.property(from, "copy"),       call.property(from, "data"),
          call.property(from, "groupSize"),   call.property(from, "groupDtype"), call.property(from, "scalesOffset"),
          call.property(from, "biasesOffset")};
}

bool is_given_and_true(napi_env env, napi_value value) { return value && is_truthy(env, value); }

size_t product_or_throw(size_t a, size_t b, const char* name) {
  if (b != 0 && a > std::numeric_limits<size_t>::max() / b) throw bad_argument(name, "a smaller one");
  return a * b;
}

namespace {

bool is_string(napi_env env, napi_value value) { return value && type_of(env, value) == napi_string; }

// Another head's, perhaps of another environment; it must be what this one's handle says.
std::shared_ptr<StoredMatrix> shared_matrix(const std::string& token, Dtype dtype, size_t rows, size_t columns) {
  const auto [fate, matrix] = find_matrix(token);
  if (fate == TokenFate::foreign)
    throw Failure{"ARGUMENT", "handle: got one of another process or copy of lmhead; want one of this process"};
  if (fate == TokenFate::gone)
    throw Failure{"CLOSED", "handle: every head over its weights is closed; want one to stay open until this attaches"};
  const Matrix& view = matrix->view;
  if (view.dtype != dtype || view.rows != rows || view.columns != columns) throw bad_argument("handle", "one of these weights");
  return matrix;
}

std::unique_ptr<Storage> storage_from_file(napi_env env, const MatrixValues& source, size_t size) {
  const std::string path = text_of(env, source.path);
  const uint64_t offset = integer_between(env, source.offset, 0, size_t{1} << 53, "offset");
  // The header's reader has it from the file, and here it comes from the shape.
  if (integer_between(env, source.length, 0, size_t{1} << 53, "length") != size)
    throw bad_argument("length", std::to_string(size));
  return is_given_and_true(env, source.mmap) ? map_file(path, offset, size) : read_file(path, offset, size);
}

std::unique_ptr<Storage> storage_from_memory(Arrays& arrays, const MatrixValues& source, Dtype dtype, size_t size,
                                             bool transposed) {
  const size_t elements = is_float(dtype) ? size / bytes_per_element(dtype) : size;
  const Arrays::Bytes bytes = !is_float(dtype)      ? arrays.look_at<uint8_t>(source.data, elements, "weight")
                              : dtype == Dtype::f32 ? arrays.look_at<float>(source.data, elements, "weight")
                                                    : arrays.look_at<uint16_t>(source.data, elements, "weight");
  const bool copy = is_given_and_true(arrays.env(), source.copy);
  // An ArrayBuffer may be resized or transferred away, so what is not copied or repacked has to be shared memory.
  if (!copy && (transposed || !bytes.is_shared)) throw bad_argument("copy", "true, or a SharedArrayBuffer");
  if (!copy || transposed) return std::make_unique<BorrowedStorage>(bytes.data, size);
  auto owned = std::make_unique<OwnedStorage>(size);
  std::memcpy(owned->mutable_data(), bytes.data, size);
  return owned;
}

// Of a grouped format, whose rows, scales and biases lie in one file, mapped from the first of them to the end of the last; or
// one after another in memory.
std::shared_ptr<StoredMatrix> grouped_matrix(Arrays& arrays, const MatrixValues& source, Dtype dtype, size_t rows, size_t columns,
                                             int64_t& owned_bytes) {
  const napi_env env = arrays.env();
  Matrix view{nullptr, dtype, rows, columns};
  view.groups.size = integer_between(env, source.group_size, 32, 128, "groupSize");
  view.groups.dtype = static_cast<Dtype>(integer_between(env, source.group_dtype, 1, kFloatDtypes - 1, "groupDtype"));
  if ((view.groups.size & (view.groups.size - 1)) != 0 || columns % view.groups.size != 0)
    throw bad_argument("groupSize", "32, 64 or 128 that divides hiddenSize");
  const size_t size = product_or_throw(rows, view.row_bytes(), "shape");
  const size_t side = product_or_throw(rows, view.groups.row_bytes(columns), "shape");
  constexpr size_t kMost = size_t{1} << 53;
  if (size > kMost || side > kMost) throw bad_argument("shape", "a smaller one");
  std::unique_ptr<Storage> storage;
  if (is_string(env, source.path)) {
    const std::string path = text_of(env, source.path);
    const auto offset_of = [&](napi_value value) { return integer_between(env, value, 0, kMost, "offset"); };
    const size_t at = offset_of(source.offset), scales = offset_of(source.scales_offset),
                 biases = offset_of(source.biases_offset);
    const size_t first = std::min({at, scales, biases}), end = std::max({at + size, scales + side, biases + side});
    storage = map_file(path, first, end - first);
    view.data = storage->data() + (at - first);
    view.groups.scales = storage->data() + (scales - first);
    view.groups.biases = storage->data() + (biases - first);
  } else {
    storage = storage_from_memory(arrays, source, dtype, size + 2 * side, false);
    view.data = storage->data();
    view.groups.scales = view.data + size;
    view.groups.biases = view.groups.scales + side;
  }
  owned_bytes += static_cast<int64_t>(storage->owned_bytes());
  return std::make_shared<StoredMatrix>(std::move(storage), view);
}

}  // namespace

std::shared_ptr<StoredMatrix> matrix_from(Arrays& arrays, const MatrixValues& source, size_t rows, size_t columns,
                                          int64_t& owned_bytes) {
  const napi_env env = arrays.env();
  const Dtype dtype = dtype_from(env, source.dtype);
  if (is_string(env, source.token)) return shared_matrix(text_of(env, source.token), dtype, rows, columns);
  const bool transposed = is_given_and_true(env, source.transposed);
  if (columns % row_format(dtype).elements != 0 || (transposed && !is_float(dtype)))
    throw bad_argument("shape", "one that this dtype has");
  if (is_grouped(dtype)) return grouped_matrix(arrays, source, dtype, rows, columns, owned_bytes);
  const size_t size = product_or_throw(rows, row_bytes(dtype, columns), "shape");
  std::unique_ptr<Storage> storage = is_string(env, source.path) ? storage_from_file(env, source, size)
                                                                 : storage_from_memory(arrays, source, dtype, size, transposed);
  if (transposed) {
    std::unique_ptr<Storage> rows_first = transpose(storage->data(), dtype, rows, columns);
    if (!storage->intact()) throw FileError{"the file changed while it was read"};
    storage = std::move(rows_first);
  }
  owned_bytes += static_cast<int64_t>(storage->owned_bytes());
  const Matrix view{storage->data(), dtype, rows, columns};
  return std::make_shared<StoredMatrix>(std::move(storage), view);
}

}  // namespace lmhead
