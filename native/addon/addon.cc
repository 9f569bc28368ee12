// The module: what `require` of the binary returns.
#include <napi.h>

#include <string>

#include "../core/roofline.h"
#include "../core/sampling/speculative_verification.h"
#include "../core/storage/map_guard.h"
#include "arguments.h"
#include "environment.h"
#include "head.h"
#include "keep_loaded.h"

namespace lmhead {

namespace {

std::atomic<const Kernels*> selected{nullptr};

// (name or undefined) -> { isa, available, napi }: chooses the kernel table; the best one where no name is given.
Napi::Value select(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array available = Napi::Array::New(env);
  std::string names;
  for (const Kernels* table : available_kernels()) {
    available.Set(available.Length(), table->name);
    names += (names.empty() ? "" : ", ") + std::string(table->name);
  }
  const Kernels* table = available_kernels().front();
  if (!info[0].IsUndefined()) {
    const std::string name = info[0].ToString();
    table = find_kernels(name);
    if (!table) throw coded_error(env, "ISA", "LMHEAD_ISA: got '" + name + "'; this machine has " + names);
  }
  // Bits are promised for one CPU path: the first choice stands for the process.
  const Kernels* none = nullptr;
  selected.compare_exchange_strong(none, table);
  Napi::Object result = Napi::Object::New(env);
  result.Set("isa", selected.load()->name);
  result.Set("available", available);
  result.Set("napi", NAPI_VERSION);
  return result;
}

// (logits, n, vocabSize, …request, threads) -> undefined, candidates or [status, row, id]
Napi::Value run_logits(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const size_t n = whole_number(info[1], 0, 0xffffffff, "n");
  const size_t vocabulary = whole_number(info[2], 1, 0xffffffff, "vocabSize");
  PassRequest request = pass_request(info, 3, n, vocabulary, vocabulary);
  const float* const logits = static_cast<float*>(typed_array(info[0], napi_float32_array, n * vocabulary, "logits"));
  request.crew.threads = static_cast<unsigned>(whole_number(info[3 + kRequestArguments], 1, 1024, "threads"));
  try {
    std::vector<CandidateRow> candidates;
    if (wants_candidates(info, 3)) request.candidates = &candidates;
    const PassResult result = run_request(kernels(), HeldSource(logits, n, vocabulary), request);
    if (request.candidates && result.status == PassResult::ok) return candidates_to_js(env, candidates);
    return {env, result_to_js(env, result.status, result)};
  } catch (const std::bad_alloc&) {
    throw coded_error(env, "MEMORY", "not enough memory for the pass");
  }
}

// (threads) -> multiply-adds per second
Napi::Value multiply_add_rate(const Napi::CallbackInfo& info) {
  const unsigned threads = static_cast<unsigned>(whole_number(info[0], 1, 1024, "threads"));
  return Napi::Number::New(info.Env(), lmhead::multiply_add_rate(kernels(), threads));
}

// () -> bytes outside of its heap that V8 knows of in this environment, which process.memoryUsage() does not tell
Napi::Value external_memory(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(Napi::MemoryManagement::AdjustExternalMemory(info.Env(), 0)));
}

// () -> undefined: others may have set a handler of SIGBUS
Napi::Value renew_guards(const Napi::CallbackInfo& info) {
  MapGuard::renew();
  return info.Env().Undefined();
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  keep_loaded();
  env.SetInstanceData(new Environment(env));
  exports.Set("select", Napi::Function::New<select>(env, "select"));
  exports.Set("runLogits", Napi::Function::New<run_logits>(env, "runLogits"));
  exports.Set("multiplyAddRate", Napi::Function::New<multiply_add_rate>(env, "multiplyAddRate"));
  exports.Set("externalMemory", Napi::Function::New<external_memory>(env, "externalMemory"));
  exports.Set("renewGuards", Napi::Function::New<renew_guards>(env, "renewGuards"));
  Head::define(env, exports);
  return exports;
}

}  // namespace

Environment::Environment(Napi::Env env) : channel(Channel::open(env)) {
  if (!channel) throw Napi::Error::New(env);
}

const Kernels& kernels() {
  const Kernels* table = selected.load();
  return table ? *table : *available_kernels().front();
}

}  // namespace lmhead

static Napi::Object initialise_module(Napi::Env env, Napi::Object exports) { return lmhead::initialise(env, exports); }
NODE_API_MODULE(lmhead, initialise_module)
