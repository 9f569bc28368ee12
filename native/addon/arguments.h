// Arguments from JavaScript. lib/ has checked them for the message; here they are checked for safety.
#pragma once

#include <napi.h>

#include <limits>
#include <vector>

#include "../core/head/pass_view.h"

namespace lmhead {

// An Error with `code`, for lib/ to turn into an LMHeadError.
Napi::Error coded_error(Napi::Env env, const char* code, const std::string& message);
Napi::Error bad_argument(Napi::Env env, const char* name);

// Data of a typed array of that type and at least `length` elements (exactly: of any length). Throws Napi::Error.
void* typed_array(Napi::Value value, napi_typedarray_type type, size_t length, const char* name);
// nullptr for undefined.
template <class T>
T* optional_array(Napi::Value value, napi_typedarray_type type, size_t length, const char* name) {
  return value.IsUndefined() ? nullptr : static_cast<T*>(typed_array(value, type, length, name));
}

// A whole number in [low, high].
size_t whole_number(Napi::Value value, size_t low, size_t high, const char* name);
Dtype dtype_from(Napi::Value value);  // 0, 1, 2
// One that hidden states may have.
Dtype hidden_dtype_from(Napi::Value value);
// Bytes of n hidden states of d numbers of that dtype.
const uint8_t* hidden_bytes(Napi::Value value, Dtype dtype, size_t n, size_t d);

// What a pass is asked for, from info[first] on, in the order that lib/backend/native.ts gives; the last of it has what
// few passes ask for: { rows, overVocabulary, measure, draft, listed }.
constexpr size_t kRequestArguments = 19;
// subset: the rows that the view is about; results are as wide.
PassRequest pass_request(const Napi::CallbackInfo& info, size_t first, size_t n, size_t vocabulary, size_t valid,
                         RowSubset subset = {});

// Of the request that starts at info[first]. Every id is below valid.
PassView pass_view(const Napi::CallbackInfo& info, size_t first, size_t valid);

// Whether candidates are asked for, whose place the caller provides.
bool wants_candidates(const Napi::CallbackInfo& info, size_t first);

// { ids, probs, offsets }: row after row. Throws Napi::Error.
Napi::Object candidates_to_js(Napi::Env env, const std::vector<CandidateRow>& rows);

}  // namespace lmhead
