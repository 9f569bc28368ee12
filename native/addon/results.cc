// What passes give, as JavaScript values.
#include "callbacks.h"
#include "jobs.h"

namespace lmhead {

napi_value result_to_js(napi_env env, int status, const PassResult& result, size_t call) {
  if (status == 0) return undefined(env);
  return array(env, {number(env, status), number(env, static_cast<double>(result.row)),
                     number(env, static_cast<double>(result.id)), number(env, static_cast<double>(call))});
}

napi_value result_to_js(napi_env env, std::span<const HeadCall> calls) {
  for (size_t i = 0; i < calls.size(); i++) {
    const HeadCall& call = calls[i];
    if (call.failed()) return result_to_js(env, call.out_of_memory ? kOutOfMemory : call.result.status, call.result, i);
  }
  return undefined(env);
}

namespace {

// A new typed array. Made by its constructor, which throws where there is no memory: what Node-API makes ends the process then.
template <class T>
napi_value new_array(napi_env env, napi_ref constructor, size_t count, T*& data) {
  napi_value made_by, length = number(env, static_cast<double>(count)), array;
  node(napi_get_reference_value, env, constructor, &made_by);
  try {
    node(napi_new_instance, env, made_by, size_t{1}, &length, &array);
  } catch (const Pending&) {
    bool pending = false;
    if (napi_is_exception_pending(env, &pending) != napi_ok || !pending) throw;
    napi_value exception;
    napi_get_and_clear_last_exception(env, &exception);
    throw std::bad_alloc();
  }
  void* bytes;
  node(napi_get_typedarray_info, env, array, nullptr, nullptr, &bytes, nullptr, nullptr);
  data = static_cast<T*>(bytes);
  return array;
}

}  // namespace

napi_value candidates_to_js(napi_env env, const std::vector<CandidateRow>& rows) {
  const Environment& environment = Environment::of(env);
  size_t count = 0;
  for (const CandidateRow& row : rows) count += row.ids.size();
  const auto too_many = [&] {
    return Failure{"MEMORY", "candidates: " + std::to_string(count) + " elements do not fit into memory; want fewer at a time"};
  };
  if (count > 0xffffffff) throw too_many();  // offsets are 32 bits
  uint32_t *all_offsets, *all_ids;
  float* all_probs;
  napi_value offsets, ids, probs;
  try {
    offsets = new_array(env, environment.uint32_array, rows.size() + 1, all_offsets);
    ids = new_array(env, environment.uint32_array, count, all_ids);
    probs = new_array(env, environment.float32_array, count, all_probs);
  } catch (const std::bad_alloc&) {
    throw too_many();
  }
  size_t end = 0;
  for (size_t i = 0; i < rows.size(); i++) {
    std::copy(rows[i].ids.begin(), rows[i].ids.end(), all_ids + end);
    std::copy(rows[i].probs.begin(), rows[i].probs.end(), all_probs + end);
    all_offsets[i + 1] = static_cast<uint32_t>(end += rows[i].ids.size());
  }
  return object(env, {{"ids", ids}, {"probs", probs}, {"offsets", offsets}});
}

}  // namespace lmhead
