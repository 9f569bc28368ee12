// The JavaScript class behind a native head: checks arguments, owns the core, starts passes.
#include "head.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../core/head/shared_matrices.h"
#include "../core/roofline.h"
#include "../core/storage/map_guard.h"
#include "callbacks.h"
#include "matrices.h"
#include "request.h"

namespace lmhead {

namespace {

constexpr napi_type_tag kHeadTag = {0x6c6d686561640001, 0x9d2f5b1c7a3e4806};

float finite_float(napi_env env, napi_value value, const char* name) {
  const double number = value ? number_of(env, value) : NAN;
  if (!std::isfinite(number)) throw bad_argument(name, "a finite number");
  return static_cast<float>(number);
}

// A HeadSpec, as lib/backend/native.ts gives it.
struct SpecValues {
  napi_value vocab_size, hidden_size, valid_vocab_size, threads, activations, bias, logit_scale, soft_cap, cap_first, coalesce;
  MatrixValues output;
  bool has_input;
  napi_value input_rows;
  MatrixValues input;
};

SpecValues spec_values(const Call& call) {
  const napi_value spec = call.given(0);
  if (!spec || !is_object(call.env(), spec)) throw bad_argument("spec", "an object");
  SpecValues v{};
  v.vocab_size = call.property(spec, "vocabSize");
  v.hidden_size = call.property(spec, "hiddenSize");
  v.valid_vocab_size = call.property(spec, "validVocabSize");
  v.threads = call.property(spec, "threads");
  v.activations = call.property(spec, "activations");
  v.bias = call.property(spec, "bias");
  v.logit_scale = call.property(spec, "logitScale");
  v.soft_cap = call.property(spec, "softCap");
  v.cap_first = call.property(spec, "capFirst");
  v.coalesce = call.property(spec, "coalesce");
  const napi_value output = call.property(spec, "output"), input = call.property(spec, "input");
  if (!output) throw bad_argument("output", "a matrix");
  v.output = matrix_values(call, output);
  v.has_input = input != nullptr;
  v.input_rows = call.property(spec, "inputRows");
  if (input) v.input = matrix_values(call, input);
  return v;
}

std::shared_ptr<HeadCore> core_from(Arrays& arrays, const SpecValues& v, int64_t& owned_bytes) {
  const napi_env env = arrays.env();
  constexpr size_t kMostRows = 0xffffffff;  // ids are 32 bits, and the last one means "ignored"
  const size_t rows = integer_between(env, v.vocab_size, 1, kMostRows, "vocabSize");
  const size_t columns = integer_between(env, v.hidden_size, 1, kMostRows, "hiddenSize");
  const size_t valid = integer_between(env, v.valid_vocab_size, 1, rows, "validVocabSize");
  const unsigned threads = static_cast<unsigned>(integer_between(env, v.threads, 1, 1024, "threads"));
  std::shared_ptr<StoredMatrix> output = matrix_from(arrays, v.output, rows, columns, owned_bytes), input;
  const Activations activations =
      static_cast<Activations>(integer_between(env, v.activations, 0, kActivations - 1, "activations"));
  const Dtype dtype = output->view.dtype;
  if ((are_integers(activations) && (!rounds_activations(dtype) || columns > kMostIntegers)) ||
      (activations == Activations::bf16 && dtype != Dtype::bf16))
    throw bad_argument("activations", "f32 with these weights");
  if (v.has_input) {
    const size_t input_rows = integer_between(env, v.input_rows, 1, kMostRows, "inputRows");
    input = matrix_from(arrays, v.input, input_rows, columns, owned_bytes);
  }
  std::vector<float> bias;
  if (const float* const b = arrays.input<float>(v.bias, rows, "bias")) bias.assign(b, b + rows);
  Epilogue epilogue;
  epilogue.scale = finite_float(env, v.logit_scale, "logitScale");
  epilogue.cap = finite_float(env, v.soft_cap, "softCap");
  epilogue.cap_first = is_given_and_true(env, v.cap_first);
  return std::make_shared<HeadCore>(kernels(), std::move(output), std::move(input), std::move(bias), epilogue, valid, activations,
                                    threads);
}

// References that keep values from the collector, unless they are taken.
class Keeper {
 public:
  explicit Keeper(napi_env env) : env_(env) {}
  ~Keeper() {
    for (napi_ref reference : references_) napi_delete_reference(env_, reference);
  }
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;
  void keep(napi_value value) {
    references_.reserve(references_.size() + 1);
    napi_ref reference;
    node(napi_create_reference, env_, value, uint32_t{1}, &reference);
    references_.push_back(reference);
  }
  std::vector<napi_ref> release() { return std::move(references_); }

 private:
  const napi_env env_;
  std::vector<napi_ref> references_;
};

}  // namespace

// ---- the class --------------------------------------------------------------------------------------------------------------

template <napi_value (Head::*method)(Call&)>
napi_value Head::on_this(Call& call) {
  return (head_of(call.env(), call.self(), "this").*method)(call);
}

Head& Head::head_of(napi_env env, napi_value value, const char* name) {
  void* head;
  bool is_one = false;
  if (value) node_takes(napi_object_expected, napi_check_object_type_tag, env, value, &kHeadTag, &is_one);
  if (!is_one) throw bad_argument(name, "a Head");
  node(napi_unwrap, env, value, &head);
  return *static_cast<Head*>(head);
}

napi_value Head::make_class(napi_env env, Binding& binding) {
  return lmhead::make_class<construct>(env, "Head", binding,
                                       {
                                           method<on_this<&Head::run>>("run"),
                                           method<on_this<&Head::run_async>>("runAsync"),
                                           method<on_this<&Head::run_all>>("runAll"),
                                           method<on_this<&Head::run_all_async>>("runAllAsync"),
                                           method<on_this<&Head::quantize>>("quantize"),
                                           method<on_this<&Head::make_copy>>("makeCopy"),
                                           method<on_this<&Head::use_copy>>("useCopy"),
                                           method<on_this<&Head::copied_rows>>("copiedRows"),
                                           method<on_this<&Head::screening>>("screening"),
                                           method<on_this<&Head::read_copy>>("readCopy"),
                                           method<on_this<&Head::load_copy>>("loadCopy"),
                                           method<on_this<&Head::abort>>("abort"),
                                           method<on_this<&Head::read_rows>>("readRows"),
                                           method<on_this<&Head::read_bytes>>("readBytes"),
                                           method<on_this<&Head::time_read>>("timeRead"),
                                           method<on_this<&Head::token>>("token"),
                                           method<on_this<&Head::close>>("close"),
                                       });
}

napi_value Head::construct(Call& call) {
  if (!call.is_construction()) throw bad_argument("Head", "new");
  const SpecValues values = spec_values(call);
  Arrays arrays(call, Arrays::Use::in_call);
  const bool coalesces = is_given_and_true(call.env(), values.coalesce);
  int64_t bytes = 0;
  std::unique_ptr<Head> head;
  needs_memory_for("the weights", [&] { head.reset(new Head(core_from(arrays, values, bytes), coalesces)); });
  node(napi_type_tag_object, call.env(), call.self(), &kHeadTag);
  head->external_bytes_ = bytes;
  give(call.env(), call.self(), std::move(head));
  tell_of_memory(call.env(), bytes);
  return call.self();
}

Head::Head(std::shared_ptr<HeadCore> core, bool coalesces)
    : core_(std::move(core)),
      shared_head_queue_(coalesces ? std::make_shared<HeadQueue>(core_->sharing_group()) : std::make_shared<HeadQueue>()),
      own_head_queue_(coalesces ? std::make_shared<HeadQueue>() : shared_head_queue_),
      long_head_queue_(coalesces ? std::make_shared<HeadQueue>() : shared_head_queue_) {}

void Head::tell_of_memory(napi_env env, int64_t change) {
  int64_t all;
  napi_adjust_external_memory(env, change, &all);  // where it fails, V8 collects too seldom or too often
}

void Head::finalize(napi_env env) {
  if (core_) tell_of_memory(env, -external_bytes_);
}

std::shared_ptr<HeadCore> Head::core() const {
  if (!core_) throw Failure{"CLOSED", "the head is closed"};
  return core_;
}

// (n, hidden, hiddenDtype, …request) -> undefined, candidates or [status, row, id]
napi_value Head::run(Call& call) {
  const RequestValues values = request_values(call, 3);
  Arrays arrays(call, Arrays::Use::in_call);
  const std::shared_ptr<HeadCore> head = core();
  const size_t n = integer_between(call.env(), call.required(0), 0, 0xffffffff, "n"), d = head->output().columns;
  const Dtype dtype = hidden_dtype_from(call.env(), call.required(2));
  Asked asked = asked_of(arrays, values, n, head->output().rows, head->valid());
  const Arrays::Bytes hidden = hidden_bytes(arrays, call.required(1), dtype, n, d);
  std::vector<CandidateRow> candidates;
  if (values.candidates) asked.request.candidates = &candidates;
  PassResult result;
  needs_memory_for("the pass", [&] {
    if (hidden.stays && dtype == Dtype::f32 && hidden_stride(d) == d) {
      result =
          head->run(reinterpret_cast<const float*>(hidden.data), n, asked.request, asked.view);  // already as kernels take it
    } else {
      HiddenBuffers& buffers = call.environment().channel->buffers;
      HiddenBuffer packed = buffers.acquire(n * hidden_stride(d));
      pack_hidden(head->kernels(), hidden.data, dtype, n, d, packed.data());
      result = head->run(packed.data(), n, asked.request, asked.view);
      buffers.give_back(std::move(packed));
    }
  });
  const int status = head->intact() ? static_cast<int>(result.status) : kWeightsChanged;
  if (values.candidates && status == PassResult::ok) return candidates_to_js(call.env(), candidates);
  return status == 0 ? nullptr : result_to_js(call.env(), status, result);  // null: undefined, without a call for it
}

// (n, hidden, hiddenDtype, …request, ticket?, facts?) -> Promise of undefined, candidates or [status, row, id]
napi_value Head::run_async(Call& call) {
  const RequestValues values = request_values(call, 3);
  Arrays arrays(call, Arrays::Use::after_call);
  const std::shared_ptr<HeadCore> head = core();
  const size_t n = integer_between(call.env(), call.required(0), 0, 0xffffffff, "n"), d = head->output().columns;
  const Dtype dtype = hidden_dtype_from(call.env(), call.required(2));
  auto job = std::make_unique<Job>();
  constexpr size_t kTicket = 3 + kRequestArguments;
  job->ticket = ticket_from(call.env(), call.given(kTicket));
  job->facts = arrays.output<double>(call.given(kTicket + 1), PassTask::kFacts, "facts");
  const Asked asked = asked_of(arrays, values, n, head->output().rows, head->valid());
  const Arrays::Bytes hidden = hidden_bytes(arrays, call.required(1), dtype, n, d);
  HeadCall& only = job->calls[0];
  needs_memory_for("the hidden states", [&] {
    only.states = call.environment().channel->buffers.acquire(n * hidden_stride(d));
    pack_hidden(head->kernels(), hidden.data, dtype, n, d, only.states.data());
  });
  PassRequest request = asked.request;
  if (values.candidates) request.candidates = &job->candidates;
  only.ask(head, only.states.data(), n, request, asked.view, coalesces() ? kMostSharingRows : 0);
  job->made(coalesces());
  const std::shared_ptr<HeadQueue>& head_queue = head_queue_of(*job);
  return send(call, arrays, std::move(job), head_queue);
}

// (first, count, dtype, bytes, errors, ticket?) -> Promise of undefined or [status, row, id]
napi_value Head::quantize(Call& call) {
  Arrays arrays(call, Arrays::Use::after_call);
  auto job = std::make_unique<Job>();
  HeadCall& only = job->calls[0];
  only.core = core();
  const Matrix& matrix = only.core->output();
  const size_t first = integer_between(call.env(), call.given(0), 0, matrix.rows, "first");
  const size_t count = integer_between(call.env(), call.given(1), 0, matrix.rows - first, "count");
  const Dtype to = dtype_from(call.env(), call.given(2));
  if ((to != Dtype::i8 && to != Dtype::q8_0) || matrix.columns % row_format(to).elements != 0)
    throw bad_argument("dtype", "i8, or q8_0 where rows have whole blocks");
  static_assert(sizeof(WeightErrors) == 3 * sizeof(double));
  uint8_t* const bytes = arrays.output<uint8_t>(call.given(3), count * row_bytes(to, matrix.columns), "bytes");
  double* const errors = arrays.output<double>(call.given(4), count * 3, "errors");
  if (!call.given(3) || !call.given(4)) throw bad_argument("bytes, errors", "arrays for results");
  job->quantization = {first, count, to, bytes, reinterpret_cast<WeightErrors*>(errors)};
  job->ticket = ticket_from(call.env(), call.given(5));
  return send(call, arrays, std::move(job), long_head_queue_);
}

napi_value Head::send(Call& call, Arrays& arrays, std::unique_ptr<Job> job, const std::shared_ptr<HeadQueue>& head_queue,
                      const std::vector<napi_value>& others) {
  const napi_env env = call.env();
  job->channel = call.environment().channel;
  job->binding = &call.binding();
  job->inputs = arrays.take_copies();
  Keeper keeper(env);
  keeper.keep(call.self());  // borrowed weights are kept by the object
  for (const napi_value other : others) keeper.keep(other);
  for (const napi_value output : arrays.outputs()) keeper.keep(output);
  napi_value promise;
  node(napi_create_promise, env, &job->deferred, &promise);
  job->head_queue = head_queue;
  job->channel->expect(*job);
  job->kept = keeper.release();
  const std::shared_ptr<Channel> channel = job->channel;
  channel->send(std::move(job));
  return promise;
}

// (ticket): ends the job that was sent with it, if there is one still.
napi_value Head::abort(Call& call) {
  call.environment().channel->abort(ticket_from(call.env(), call.given(0)));
  return undefined(call.env());
}

// (matrix: 0 output, 1 input; ids; out) -> undefined or [status, row, id]
napi_value Head::read_rows(Call& call) {
  Arrays arrays(call, Arrays::Use::in_call);
  const std::shared_ptr<HeadCore> head = core();
  const Matrix& matrix = integer_between(call.env(), call.given(0), 0, 1, "matrix") == 0 ? head->output() : head->input();
  const size_t count = arrays.length<uint32_t>(call.given(1), "ids");
  float* const out = arrays.output<float>(call.given(2), product_or_throw(count, matrix.columns, "ids"), "out");
  if (!call.given(2)) throw bad_argument("out", "a Float32Array");
  const uint32_t* const ids = arrays.input<uint32_t>(call.given(1), count, "ids");
  MapGuard::renew();
  const auto unpack_row = head->kernels().unpack_row[static_cast<size_t>(matrix.dtype)];
  for (size_t i = 0; i < count; i++) {
    if (ids[i] >= matrix.rows) throw bad_argument("ids", "ids below " + std::to_string(matrix.rows));
    unpack_row(matrix, ids[i], out + i * matrix.columns);
  }
  return result_to_js(call.env(), head->intact() ? 0 : kWeightsChanged, {});
}

// (matrix: 0 output, 1 input; offset; out) -> undefined or [status, row, id]
napi_value Head::read_bytes(Call& call) {
  Arrays arrays(call, Arrays::Use::in_call);
  const std::shared_ptr<HeadCore> head = core();
  const Matrix& matrix = integer_between(call.env(), call.given(0), 0, 1, "matrix") == 0 ? head->output() : head->input();
  // Of a grouped format, scales and biases follow the rows.
  const size_t side = is_grouped(matrix.dtype) ? matrix.rows * matrix.groups.row_bytes(matrix.columns) : 0;
  const std::pair<const uint8_t*, size_t> parts[] = {
      {matrix.data, matrix.rows * matrix.row_bytes()}, {matrix.groups.scales, side}, {matrix.groups.biases, side}};
  const size_t size = parts[0].second + 2 * side;
  size_t offset = integer_between(call.env(), call.given(1), 0, size, "offset");
  const size_t count = arrays.length<uint8_t>(call.given(2), "out");
  if (count > size - offset) throw bad_argument("out", "at most the bytes that are left");
  MapGuard::renew();
  uint8_t* out = count > 0 ? arrays.output<uint8_t>(call.given(2), count, "out") : nullptr;
  size_t left = count;
  for (const auto& [data, bytes] : parts) {
    const size_t here = offset < bytes ? std::min(left, bytes - offset) : 0;
    if (here > 0) {
      std::memcpy(out, data + offset, here);
      out += here;
      left -= here;
    }
    offset -= std::min(offset, bytes);
  }
  return result_to_js(call.env(), head->intact() ? 0 : kWeightsChanged, {});
}

// () -> seconds to read the output matrix once
napi_value Head::time_read(Call& call) {
  const std::shared_ptr<HeadCore> head = core();
  return number(call.env(), lmhead::time_read(head->kernels(), head->output(), head->threads()));
}

// (matrix: 0 output, 1 input) -> what other environments find it by, while any head has it
napi_value Head::token(Call& call) {
  const size_t which = integer_between(call.env(), call.given(0), 0, 1, "matrix");
  return string(call.env(), token_of(core()->stored(which)));
}

napi_value Head::close(Call& call) {
  if (core_) {
    for (const std::shared_ptr<HeadQueue>& head_queue : {shared_head_queue_, own_head_queue_, long_head_queue_})
      call.environment().channel->close(*head_queue);
    core_.reset();  // jobs hold it still
    tell_of_memory(call.env(), -external_bytes_);
  }
  return undefined(call.env());
}

}  // namespace lmhead
