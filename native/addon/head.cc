// The JavaScript class behind a native head: checks arguments, owns the core, starts passes.
#include "head.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "../core/head/shared_matrices.h"
#include "../core/roofline.h"
#include "../core/storage/map_guard.h"
#include "arguments.h"
#include "environment.h"

namespace lmhead {

namespace {

size_t product_or_throw(Napi::Env env, size_t a, size_t b, const char* name) {
  if (b != 0 && a > std::numeric_limits<size_t>::max() / b) throw bad_argument(env, name);
  return a * b;
}

// Another head's, perhaps of another environment; it must be what this one's handle says.
std::shared_ptr<StoredMatrix> shared_matrix(Napi::Env env, const std::string& token, Dtype dtype, size_t rows, size_t columns) {
  const auto [fate, matrix] = find_matrix(token);
  if (fate == TokenFate::foreign)
    throw coded_error(env, "ARGUMENT", "handle: got one of another process or copy of lmhead; want one of this process");
  if (fate == TokenFate::gone)
    throw coded_error(env, "CLOSED", "handle: every head over its weights is closed; want one to stay open until this attaches");
  const Matrix& view = matrix->view;
  if (view.dtype != dtype || view.rows != rows || view.columns != columns) throw bad_argument(env, "handle");
  return matrix;
}

// A MatrixSource of lib/backend/backend.ts. Adds what it allocates to `owned_bytes`.
// Of a typed array. Node-API says "no" of a SharedArrayBuffer.
bool is_over_array_buffer(Napi::Value array) {
  napi_value buffer;
  bool is_array_buffer;
  return napi_get_typedarray_info(array.Env(), array, nullptr, nullptr, nullptr, &buffer, nullptr) != napi_ok ||
         napi_is_arraybuffer(array.Env(), buffer, &is_array_buffer) != napi_ok || is_array_buffer;
}

std::shared_ptr<StoredMatrix> matrix_from(Napi::Object source, size_t rows, size_t columns, int64_t& owned_bytes) {
  const Napi::Env env = source.Env();
  const Dtype dtype = dtype_from(source.Get("dtype"));
  if (source.Get("token").IsString()) return shared_matrix(env, source.Get("token").As<Napi::String>(), dtype, rows, columns);
  const bool transposed = source.Get("transposed").ToBoolean();
  if (columns % row_format(dtype).numbers != 0 || (transposed && !is_float(dtype))) throw bad_argument(env, "shape");
  const size_t size = product_or_throw(env, rows, row_bytes(dtype, columns), "shape");
  std::unique_ptr<Storage> storage;
  if (source.Get("path").IsString()) {
    const std::string path = source.Get("path").As<Napi::String>();
    const uint64_t offset = whole_number(source.Get("offset"), 0, size_t{1} << 53, "offset");
    // The header's reader has it from the file, and here it comes from the shape.
    if (whole_number(source.Get("length"), 0, size_t{1} << 53, "length") != size) throw bad_argument(env, "length");
    storage = source.Get("mmap").ToBoolean() ? map_file(path, offset, size) : read_file(path, offset, size);
  } else {
    const bool in_bytes = !is_float(dtype);
    const napi_typedarray_type type = in_bytes ? napi_uint8_array : dtype == Dtype::f32 ? napi_float32_array : napi_uint16_array;
    const size_t elements = in_bytes ? size : size / bytes_per_element(dtype);
    const bool copy = source.Get("copy").ToBoolean();
    const Napi::Value array = source.Get("data");
    const uint8_t* data = static_cast<const uint8_t*>(typed_array(array, type, elements, "weight"));
    // An ArrayBuffer may be resized or transferred away, so what is not copied or repacked has to be shared memory.
    if (!copy && (transposed || is_over_array_buffer(array))) throw bad_argument(env, "copy");
    storage = std::make_unique<LentStorage>(data, size);
    if (copy && !transposed) {
      auto owned = std::make_unique<OwnedStorage>(size);
      std::memcpy(owned->mutable_data(), data, size);
      storage = std::move(owned);
    }
  }
  if (transposed) {
    std::unique_ptr<Storage> rows_first = transpose(storage->data(), dtype, rows, columns);
    if (!storage->intact()) throw FileError{"the file changed while it was read"};
    storage = std::move(rows_first);
  }
  owned_bytes += static_cast<int64_t>(storage->owned_bytes());
  const Matrix view{storage->data(), dtype, rows, columns};
  return std::make_shared<StoredMatrix>(std::move(storage), view);
}

float finite_float(Napi::Value value, const char* name) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!std::isfinite(number)) throw bad_argument(value.Env(), name);
  return static_cast<float>(number);
}

std::shared_ptr<HeadCore> core_from(Napi::Object spec, int64_t& owned_bytes) {
  const Napi::Env env = spec.Env();
  constexpr size_t kMostRows = 0xffffffff;  // ids are 32 bits, and the last one means "ignored"
  const size_t rows = whole_number(spec.Get("vocabSize"), 1, kMostRows, "vocabSize");
  const size_t columns = whole_number(spec.Get("hiddenSize"), 1, kMostRows, "hiddenSize");
  const size_t valid = whole_number(spec.Get("validVocabSize"), 1, rows, "validVocabSize");
  const unsigned threads = static_cast<unsigned>(whole_number(spec.Get("threads"), 1, 1024, "threads"));
  std::shared_ptr<StoredMatrix> output = matrix_from(spec.Get("output").As<Napi::Object>(), rows, columns, owned_bytes);
  const Activations activations =
      static_cast<Activations>(whole_number(spec.Get("activations"), 0, kActivations - 1, "activations"));
  if (activations != Activations::f32 && (!rounds_activations(output->view.dtype) || columns > kMostWholeNumbers))
    throw bad_argument(env, "activations");
  std::shared_ptr<StoredMatrix> input;
  if (spec.Get("input").IsObject()) input = matrix_from(spec.Get("input").As<Napi::Object>(), rows, columns, owned_bytes);
  std::vector<float> bias;
  if (const float* b = optional_array<float>(spec.Get("bias"), napi_float32_array, rows, "bias")) bias.assign(b, b + rows);
  Epilogue epilogue;
  epilogue.scale = finite_float(spec.Get("logitScale"), "logitScale");
  epilogue.cap = finite_float(spec.Get("softCap"), "softCap");
  epilogue.cap_first = spec.Get("capFirst").ToBoolean();
  return std::make_shared<HeadCore>(kernels(), std::move(output), std::move(input), std::move(bias), epilogue, valid, activations,
                                    threads);
}

}  // namespace

void Head::define(Napi::Env env, Napi::Object exports) {
  Napi::Function constructor = DefineClass(env, "Head",
                                           {
                                               InstanceMethod<&Head::run>("run"),
                                               InstanceMethod<&Head::run_async>("runAsync"),
                                               InstanceMethod<&Head::quantise>("quantise"),
                                               InstanceMethod<&Head::read_rows>("readRows"),
                                               InstanceMethod<&Head::read_bytes>("readBytes"),
                                               InstanceMethod<&Head::time_read>("timeRead"),
                                               InstanceMethod<&Head::token>("token"),
                                               InstanceMethod<&Head::close>("close"),
                                           });
  Environment::of(env).head_constructor = Napi::Persistent(constructor);
  exports.Set("Head", constructor);
}

Head::Head(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Head>(info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject()) throw bad_argument(env, "spec");
  try {
    core_ = core_from(info[0].As<Napi::Object>(), external_bytes_);
  } catch (const FileError& error) {
    throw coded_error(env, "IO", error.message);
  } catch (const std::bad_alloc&) {
    throw coded_error(env, "MEMORY", "not enough memory for the weights");
  }
  Napi::MemoryManagement::AdjustExternalMemory(env, external_bytes_);
}

void Head::Finalize(Napi::BasicEnv env) {
  if (core_) Napi::MemoryManagement::AdjustExternalMemory(env, -external_bytes_);
}

HeadCore& Head::core(Napi::Env env) {
  if (!core_) throw coded_error(env, "CLOSED", "the head is closed");
  return *core_;
}

// (n, hidden, hiddenDtype, …request) -> undefined, candidates or [status, row, id]
Napi::Value Head::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  HeadCore& head = core(env);
  const size_t n = whole_number(info[0], 0, 0xffffffff, "n"), d = head.output().columns;
  const Dtype dtype = hidden_dtype_from(info[2]);
  const uint8_t* const hidden = hidden_bytes(info[1], dtype, n, d);
  const PassView view = pass_view(info, 3, head.valid());
  PassRequest request = pass_request(info, 3, n, head.output().rows, head.valid(), view.rows);
  try {
    std::vector<CandidateRow> candidates;
    if (wants_candidates(info, 3)) request.candidates = &candidates;
    PassResult result;
    if (dtype == Dtype::f32 && hidden_stride(d) == d) {
      result = head.run(reinterpret_cast<const float*>(hidden), n, request, view);  // already as kernels take it
    } else {
      HiddenBuffers& buffers = Environment::of(env).channel->buffers;
      HiddenBuffer packed = buffers.take(n * hidden_stride(d));
      pack_hidden(head.kernels(), hidden, dtype, n, d, packed.data());
      result = head.run(packed.data(), n, request, view);
      buffers.give_back(std::move(packed));
    }
    const int status = head.intact() ? static_cast<int>(result.status) : kWeightsChanged;
    if (request.candidates && status == PassResult::ok) return candidates_to_js(env, candidates);
    return {env, result_to_js(env, status, result)};
  } catch (const std::bad_alloc&) {
    throw coded_error(env, "MEMORY", "not enough memory for the pass");
  }
}

// (n, hidden, hiddenDtype, …request, abortFlag?, times?) -> Promise of undefined, candidates or [status, row, id]
Napi::Value Head::run_async(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  HeadCore& head = core(env);
  const size_t n = whole_number(info[0], 0, 0xffffffff, "n"), d = head.output().columns;
  const Dtype dtype = hidden_dtype_from(info[2]);
  const uint8_t* const hidden = hidden_bytes(info[1], dtype, n, d);
  auto job = std::make_unique<Job>();
  job->view = pass_view(info, 3, head.valid());
  job->request = pass_request(info, 3, n, head.output().rows, head.valid(), job->view.rows);
  const size_t flag = 3 + kRequestArguments;
  if (int32_t* const given = optional_array<int32_t>(info[flag], napi_int32_array, 1, "abortFlag"))
    job->abort = reinterpret_cast<std::atomic<int32_t>*>(given);
  job->request.crew.abort = job->abort;
  job->times = optional_array<double>(info[flag + 1], napi_float64_array, 2, "times");
  if (wants_candidates(info, 3)) job->request.candidates = &job->candidates;
  job->n = n;
  try {
    job->hidden = Environment::of(env).channel->buffers.take(n * hidden_stride(d));
    pack_hidden(head.kernels(), hidden, dtype, n, d, job->hidden.data());
  } catch (const std::bad_alloc&) {
    throw coded_error(env, "MEMORY", "not enough memory for the hidden states");
  }
  return send(info, std::move(job), 3);
}

// (first, count, dtype, bytes, errors) -> Promise of undefined or [status, row, id]
Napi::Value Head::quantise(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Matrix& matrix = core(env).output();
  const size_t first = whole_number(info[0], 0, matrix.rows, "first");
  const size_t count = whole_number(info[1], 0, matrix.rows - first, "count");
  const Dtype to = dtype_from(info[2]);
  if ((to != Dtype::i8 && to != Dtype::q8_0) || matrix.columns % row_format(to).numbers != 0) throw bad_argument(env, "dtype");
  auto job = std::make_unique<Job>();
  static_assert(sizeof(WeightErrors) == 3 * sizeof(double));
  job->quantisation = {
      first, count, to,
      static_cast<uint8_t*>(typed_array(info[3], napi_uint8_array, count * row_bytes(to, matrix.columns), "bytes")),
      static_cast<WeightErrors*>(typed_array(info[4], napi_float64_array, count * 3, "errors"))};
  return send(info, std::move(job), 3);
}

Napi::Value Head::send(const Napi::CallbackInfo& info, std::unique_ptr<Job> job, size_t first) {
  const Napi::Env env = info.Env();
  job->core = core_;
  job->channel = Environment::of(env).channel;
  const auto keep = [&](napi_value value) {
    napi_ref ref;
    if (napi_create_reference(env, value, 1, &ref) == napi_ok) job->kept.push_back(ref);
  };
  keep(info.This());  // lent weights are kept by the object
  for (size_t i = first; i < info.Length(); i++)
    if (info[i].IsObject()) keep(info[i]);
  napi_value promise;
  if (napi_create_promise(env, &job->deferred, &promise) != napi_ok) throw Napi::Error::New(env);
  Environment::of(env).channel->send(lane_, std::move(job));
  return {env, promise};
}

// (matrix: 0 output, 1 input; ids; out) -> undefined or [status, row, id]
Napi::Value Head::read_rows(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  HeadCore& head = core(env);
  const Matrix& matrix = whole_number(info[0], 0, 1, "matrix") == 0 ? head.output() : head.input();
  if (!info[1].IsTypedArray()) throw bad_argument(env, "ids");
  const size_t count = info[1].As<Napi::TypedArray>().ElementLength();
  const uint32_t* const ids = static_cast<uint32_t*>(typed_array(info[1], napi_uint32_array, count, "ids"));
  float* const out =
      static_cast<float*>(typed_array(info[2], napi_float32_array, product_or_throw(env, count, matrix.columns, "ids"), "out"));
  MapGuard::renew();
  const auto widen = head.kernels().widen[static_cast<size_t>(matrix.dtype)];
  for (size_t i = 0; i < count; i++) {
    if (ids[i] >= matrix.rows) throw bad_argument(env, "ids");
    widen(matrix.row(ids[i]), matrix.columns, out + i * matrix.columns);
  }
  return {env, result_to_js(env, head.intact() ? 0 : kWeightsChanged, {})};
}

// (matrix: 0 output, 1 input; offset; out) -> undefined or [status, row, id]
Napi::Value Head::read_bytes(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  HeadCore& head = core(env);
  const Matrix& matrix = whole_number(info[0], 0, 1, "matrix") == 0 ? head.output() : head.input();
  const size_t size = matrix.rows * matrix.row_bytes();
  const size_t offset = whole_number(info[1], 0, size, "offset");
  if (!info[2].IsTypedArray()) throw bad_argument(env, "out");
  const size_t count = info[2].As<Napi::TypedArray>().ElementLength();
  if (count > size - offset) throw bad_argument(env, "out");
  MapGuard::renew();
  std::memcpy(typed_array(info[2], napi_uint8_array, count, "out"), matrix.data + offset, count);
  return {env, result_to_js(env, head.intact() ? 0 : kWeightsChanged, {})};
}

// () -> seconds to read the output matrix once
Napi::Value Head::time_read(const Napi::CallbackInfo& info) {
  const HeadCore& head = core(info.Env());
  return Napi::Number::New(info.Env(), lmhead::time_read(head.kernels(), head.output(), head.threads()));
}

// (matrix: 0 output, 1 input) -> what other environments find it by, while any head has it
Napi::Value Head::token(const Napi::CallbackInfo& info) {
  const size_t which = whole_number(info[0], 0, 1, "matrix");
  return Napi::String::New(info.Env(), token_of(core(info.Env()).stored(which)));
}

void Head::close(const Napi::CallbackInfo& info) {
  if (!core_) return;
  Environment::of(info.Env()).channel->close(*lane_);
  core_.reset();  // jobs hold it still
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -external_bytes_);
}

}  // namespace lmhead
