// The module: what `require` of the binary returns.
#include <napi.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "../core/roofline.h"
#include "../core/storage/map_guard.h"
#include "callbacks.h"
#include "head.h"
#include "keep_loaded.h"
#include "request.h"

namespace lmhead {

namespace {

std::atomic<const Kernels*> selected{nullptr};

// (name or undefined) -> { isa, available, napi }: chooses the kernel table; the best one where no name is given.
napi_value select(Call& call) {
  const napi_env env = call.env();
  std::vector<napi_value> available;
  std::string names;
  for (const Kernels* table : available_kernels()) {
    available.push_back(string(env, table->name));
    names += (names.empty() ? "" : ", ") + std::string(table->name);
  }
  const Kernels* table = available_kernels().front();
  if (const napi_value given = call.given(0)) {
    const std::string name = text_of(env, given);
    table = find_kernels(name);
    if (!table) throw Failure{"ISA", "LMHEAD_ISA: got '" + name + "'; this machine has " + names};
  }
  // Bits are promised for one CPU path: the first choice stands for the process.
  const Kernels* none = nullptr;
  selected.compare_exchange_strong(none, table);
  return object(
      env,
      {{"isa", string(env, selected.load()->name)}, {"available", array(env, available)}, {"napi", number(env, NAPI_VERSION)}});
}

// (logits, n, vocabSize, …request, threads) -> undefined, candidates or [status, row, id]
napi_value run_logits(Call& call) {
  const RequestValues values = request_values(call, 3);
  Arrays arrays(call, Arrays::Use::in_call);
  const size_t n = integer_between(call.env(), call.given(1), 0, 0xffffffff, "n");
  const size_t vocabulary = integer_between(call.env(), call.given(2), 1, 0xffffffff, "vocabSize");
  if (values.rows) throw bad_argument("rows", "none over logits");
  PassRequest request = asked_of(arrays, values, n, vocabulary, vocabulary).request;
  const Arrays::Bytes logits = arrays.look_at<float>(call.given(0), n * vocabulary, "logits");
  request.workers.threads =
      static_cast<unsigned>(integer_between(call.env(), call.given(3 + kRequestArguments), 1, 1024, "threads"));
  std::vector<CandidateRow> candidates;
  if (values.candidates) request.candidates = &candidates;
  PassResult result;
  needs_memory_for("the pass", [&] {
    const MaterializedSource source(reinterpret_cast<const float*>(logits.data), n, vocabulary, logits.stays);
    result = run_pass(kernels(), source, request);
  });
  if (values.candidates && result.status == PassResult::ok) return candidates_to_js(call.env(), candidates);
  return result_to_js(call.env(), result.status, result);
}

// (threads, of: 0 f32, 1 bf16, 2 int8) -> multiply-adds per second
napi_value multiply_add_rate(Call& call) {
  const unsigned threads = static_cast<unsigned>(integer_between(call.env(), call.given(0), 1, 1024, "threads"));
  const auto type = static_cast<Multiplied>(integer_between(call.env(), call.given(1), 0, 2, "type"));
  return number(call.env(), lmhead::multiply_add_rate(kernels(), type, threads));
}

// () -> bytes outside of its heap that V8 knows of in this environment, which process.memoryUsage() does not tell
napi_value external_memory(Call& call) {
  int64_t bytes;
  node(napi_adjust_external_memory, call.env(), int64_t{0}, &bytes);
  return number(call.env(), static_cast<double>(bytes));
}

#if defined(LMHEAD_FAULTS)
// (kind: 0 allocation, 1 Node-API; count) -> what faults::arm returns
napi_value arm_fault(Call& call) {
  const auto kind = static_cast<faults::Kind>(integer_between(call.env(), call.given(0), 0, 1, "kind"));
  const int64_t count = static_cast<int64_t>(number_of(call.env(), call.given(1)));
  const napi_value before = number(call.env(), static_cast<double>(faults::arm(kind, -1)));
  faults::arm(kind, count);  // last, so that nothing here is counted
  return before;
}
#endif

// () -> undefined: others may have set a handler of SIGBUS
napi_value renew_guards(Call& call) {
  MapGuard::renew();
  return undefined(call.env());
}

// (bytes: Uint8Array) -> their address: equal for objects over one memory, as clones of a SharedArrayBuffer are
napi_value address_of(Call& call) {
  Arrays arrays(call, Arrays::Use::in_call);
  const uint8_t* const data = arrays.look_at<uint8_t>(call.given(0), 0, "bytes").data;
  return number(call.env(), static_cast<double>(reinterpret_cast<uintptr_t>(data)));
}

napi_ref reference_to(napi_env env, napi_value value) {
  napi_ref result;
  node(napi_create_reference, env, value, uint32_t{1}, &result);
  return result;
}

// (LMHeadError) -> what lib/ calls; functions throw errors of that class
napi_value bind(Call& call) {
  const napi_env env = call.env();
  const napi_value error_class = call.given(0);
  if (!error_class || type_of(env, error_class) != napi_function) throw bad_argument("LMHeadError", "a class");
  Environment& environment = call.environment();
  environment.bindings.push_back(std::make_unique<Binding>(Binding{environment, reference_to(env, error_class)}));
  Binding& binding = *environment.bindings.back();
  const napi_value result =
      object(env, {
                      {"select", make_function<select>(env, "select", binding)},
                      {"runLogits", make_function<run_logits>(env, "runLogits", binding)},
                      {"multiplyAddRate", make_function<multiply_add_rate>(env, "multiplyAddRate", binding)},
                      {"externalMemory", make_function<external_memory>(env, "externalMemory", binding)},
                      {"renewGuards", make_function<renew_guards>(env, "renewGuards", binding)},
                      {"addressOf", make_function<address_of>(env, "addressOf", binding)},
                      {"Head", Head::make_class(env, binding)},
                  });
#if defined(LMHEAD_FAULTS)
  define(env, result, {{"armFault", make_function<arm_fault>(env, "armFault", binding)}});
#endif
  return result;
}

void initialize(napi_env env, napi_value exports) {
  keep_loaded();
  auto environment = std::make_unique<Environment>(env);
  // Of no copy of lib/ yet: its errors are plain ones.
  environment->bindings.push_back(std::make_unique<Binding>(Binding{*environment, nullptr}));
  Environment& kept = *environment;
  give_environment(env, std::move(environment));
  kept.channel = Channel::open(env);
  Binding& binding = *kept.bindings.front();
  define(env, exports, {{"bind", make_function<bind>(env, "bind", binding)}});
}

}  // namespace

Environment::Environment(napi_env env) {
  napi_value global, constructor;
  node(napi_get_global, env, &global);
  for (const auto& [name, reference] : {std::pair{"Uint32Array", &uint32_array}, std::pair{"Float32Array", &float32_array}}) {
    node(napi_get_named_property, env, global, name, &constructor);
    *reference = reference_to(env, constructor);
  }
}

Environment& Environment::of(napi_env env) {
  void* environment;
  node(napi_get_instance_data, env, &environment);
  return *static_cast<Environment*>(environment);
}

const Kernels& kernels() {
  const Kernels* table = selected.load();
  return table ? *table : *available_kernels().front();
}

}  // namespace lmhead

static Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  try {
    lmhead::initialize(env, exports);
  } catch (...) {
    lmhead::raise(env, nullptr);
  }
  return exports;
}

NODE_API_MODULE(lmhead, initialize)
