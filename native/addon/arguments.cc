#include "arguments.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "../core/sinks/top_k.h"

namespace lmhead {

Napi::Error coded_error(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, std::string("ERR_LMHEAD_") + code));
  return error;
}

Napi::Error bad_argument(Napi::Env env, const char* name) {
  return coded_error(env, "ARGUMENT", std::string(name) + ": not what the native addon takes");
}

void* typed_array(Napi::Value value, napi_typedarray_type type, size_t length, const char* name) {
  napi_typedarray_type actual;
  size_t count;
  void* data;
  if (!value.IsTypedArray() ||
      napi_get_typedarray_info(value.Env(), value, &actual, &count, &data, nullptr, nullptr) != napi_ok || actual != type ||
      count < length || (data == nullptr && length > 0))
    throw bad_argument(value.Env(), name);
  return data;
}

size_t whole_number(Napi::Value value, size_t low, size_t high, const char* name) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)) || std::floor(number) != number)
    throw bad_argument(value.Env(), name);
  return static_cast<size_t>(number);
}

Dtype dtype_from(Napi::Value value) { return static_cast<Dtype>(whole_number(value, 0, kDtypes - 1, "dtype")); }

Dtype hidden_dtype_from(Napi::Value value) { return static_cast<Dtype>(whole_number(value, 0, kFloatDtypes - 1, "hiddenDtype")); }

const uint8_t* hidden_bytes(Napi::Value value, Dtype dtype, size_t n, size_t d) {
  if (n > (std::numeric_limits<size_t>::max() >> 3) / d) throw bad_argument(value.Env(), "n");
  const napi_typedarray_type type = dtype == Dtype::f32 ? napi_float32_array : napi_uint16_array;
  return static_cast<const uint8_t*>(typed_array(value, type, n * d, "hidden"));
}

namespace {

bool is_order(double packed) {
  if (!(packed >= 0 && packed < 0x1p44)) return false;
  for (uint64_t rest = static_cast<uint64_t>(packed); rest; rest >>= 4)
    if ((rest & 15) == 0 || (rest & 15) > static_cast<uint64_t>(Stage::max_surprise)) return false;
  return true;
}

// See RowParameter of lib/backend/backend.ts.
void check_rows(Napi::Env env, const double* rows, size_t n, size_t valid) {
  const auto word = [](double x) { return x >= 0 && x <= 4294967295.0; };
  const auto share = [](double x) { return x >= 0 && x <= 1; };
  const auto finite = [](double x) { return x >= 0 && std::isfinite(x); };
  for (const double* p = rows; p < rows + n * kRowParameters; p += kRowParameters) {
    if (!finite(p[0]) || !(p[1] >= 0 && p[1] <= static_cast<double>(valid)) || !share(p[2]) || !(p[3] <= 0) || !word(p[4]) ||
        !word(p[5]) || !word(p[6]) || !share(p[7]) || !(p[8] <= 0) || !(p[9] <= 0) || !finite(p[10]) || !share(p[12]) ||
        !(p[13] <= 0) || !finite(p[0] + p[14]) || !finite(p[14]) || !finite(p[15]) || !(p[16] >= 0) || !is_order(p[17]) ||
        !word(p[18]))
      throw bad_argument(env, "rowParameters");
  }
}

// An Adjustments of lib/backend/backend.ts.
Adjustments adjustments_from(Napi::Object from, size_t n, size_t vocabulary, size_t valid) {
  const Napi::Env env = from.Env();
  Adjustments a;
  a.valid = valid;
  a.ranges = optional_array<uint32_t>(from.Get("ranges"), napi_uint32_array, 2 * n, "adjustments.ranges");
  if (a.ranges) {
    const Napi::Value ids = from.Get("ids");
    if (!ids.IsTypedArray()) throw bad_argument(env, "adjustments.ids");
    const size_t count = ids.As<Napi::TypedArray>().ElementLength();
    a.ids = static_cast<uint32_t*>(typed_array(ids, napi_uint32_array, count, "adjustments.ids"));
    constexpr size_t kNumbers = sizeof(Patch) / sizeof(double);
    a.patches = static_cast<Patch*>(typed_array(from.Get("values"), napi_float64_array, kNumbers * count, "adjustments.values"));
    for (size_t row = 0; row < n; row++) {
      const size_t begin = a.ranges[2 * row], end = a.ranges[2 * row + 1];
      if (begin > end || end > count) throw bad_argument(env, "adjustments.ranges");
      if (row > 0 && begin == a.ranges[2 * row - 2] && end == a.ranges[2 * row - 1]) continue;  // as the row before
      for (size_t i = begin; i < end; i++)
        if (a.ids[i] >= valid || (i > begin && a.ids[i] <= a.ids[i - 1])) throw bad_argument(env, "adjustments.ids");
    }
  }
  if (!from.Get("allowed").IsUndefined()) {
    const size_t words = (vocabulary + 31) / 32;
    a.allowed_stride = whole_number(from.Get("allowedStride"), 0, words, "adjustments.allowedStride");
    const size_t size = n == 0 ? 0 : (n - 1) * a.allowed_stride + words;
    a.allowed = static_cast<uint32_t*>(typed_array(from.Get("allowed"), napi_uint32_array, size, "adjustments.allowed"));
  }
  return a;
}

// The last argument of a request that starts at info[first]; empty where it is undefined.
Napi::Object rare_arguments(const Napi::CallbackInfo& info, size_t first) {
  const Napi::Value value = info[first + kRequestArguments - 1];
  if (value.IsUndefined()) return {};
  if (!value.IsObject()) throw bad_argument(info.Env(), "request");
  return value.As<Napi::Object>();
}

// A DraftJob of lib/backend/backend.ts.
DraftCheck draft_check(Napi::Object draft, size_t n, size_t vocabulary) {
  const Napi::Env env = draft.Env();
  const Napi::Value ids = draft.Get("ids");
  DraftCheck check;
  if (!ids.IsTypedArray()) throw bad_argument(env, "draft.ids");
  check.length = ids.As<Napi::TypedArray>().ElementLength();
  if (check.length != n && check.length + 1 != n) throw bad_argument(env, "draft.ids");
  check.ids = static_cast<uint32_t*>(typed_array(ids, napi_uint32_array, check.length, "draft.ids"));
  check.log_probs = optional_array<float>(draft.Get("logProbs"), napi_float32_array, check.length * vocabulary, "draft.logProbs");
  check.accepted = static_cast<uint32_t*>(typed_array(draft.Get("accepted"), napi_uint32_array, 1, "draft.accepted"));
  check.out_ids = static_cast<uint32_t*>(typed_array(draft.Get("outIds"), napi_uint32_array, n, "draft.outIds"));
  check.out_log_probs = static_cast<float*>(typed_array(draft.Get("outLogProbs"), napi_float32_array, n, "draft.outLogProbs"));
  return check;
}

// A TopLogProbs of lib/types.ts.
ListOutputs list_outputs(Napi::Value from, size_t n, size_t k) {
  const Napi::Env env = from.Env();
  if (!from.IsObject()) throw bad_argument(env, "sample");
  const Napi::Object list = from.As<Napi::Object>();
  ListOutputs out;
  out.counts = static_cast<uint32_t*>(typed_array(list.Get("counts"), napi_uint32_array, n, "sample.counts"));
  out.ids = static_cast<uint32_t*>(typed_array(list.Get("ids"), napi_uint32_array, n * k, "sample.ids"));
  out.log_probs = static_cast<float*>(typed_array(list.Get("logProbs"), napi_float32_array, n * k, "sample.logProbs"));
  return out;
}

// A Sample of lib/types.ts with topLogProbs; `ids` may be in its lists.
void add_lists(Napi::Object sample, size_t n, size_t ids, SampleOutputs& out) {
  const Napi::Value top = sample.Get("topLogProbs");
  if (!top.IsObject()) throw bad_argument(sample.Env(), "sample");
  out.k = static_cast<uint32_t>(whole_number(top.As<Napi::Object>().Get("k"), 0, std::min(ids, kMaxHeap), "sample.k"));
  out.top = list_outputs(top, n, out.k);
  out.raw_top = list_outputs(sample.Get("rawTopLogProbs"), n, out.k);
  out.raw_log_probs = static_cast<float*>(typed_array(sample.Get("rawLogProbs"), napi_float32_array, n, "sample.rawLogProbs"));
}

}  // namespace

bool wants_candidates(const Napi::CallbackInfo& info, size_t first) { return !info[first + 17].IsUndefined(); }

Napi::Object candidates_to_js(Napi::Env env, const std::vector<CandidateRow>& rows) {
  Napi::Uint32Array offsets = Napi::Uint32Array::New(env, rows.size() + 1);
  size_t count = 0;
  for (size_t i = 0; i < rows.size(); i++) offsets[i + 1] = static_cast<uint32_t>(count += rows[i].ids.size());
  if (count > 0xffffffff) throw coded_error(env, "MEMORY", "more candidates than offsets can count");
  Napi::Uint32Array ids = Napi::Uint32Array::New(env, count);
  Napi::Float32Array probs = Napi::Float32Array::New(env, count);
  for (size_t i = 0; i < rows.size(); i++) {
    std::copy(rows[i].ids.begin(), rows[i].ids.end(), ids.Data() + offsets[i]);
    std::copy(rows[i].probs.begin(), rows[i].probs.end(), probs.Data() + offsets[i]);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("ids", ids);
  result.Set("probs", probs);
  result.Set("offsets", offsets);
  return result;
}

PassRequest pass_request(const Napi::CallbackInfo& info, size_t first, size_t n, size_t vocabulary, size_t valid,
                         RowSubset subset) {
  const Napi::Env env = info.Env();
  const auto has = [&](uint32_t id) {
    return subset.ids ? std::binary_search(subset.ids, subset.ids + subset.count, id) : id < valid;
  };
  const size_t ranked = subset.ids ? subset.count : valid, all = vocabulary;
  if (subset.ids) vocabulary = subset.count;
  const auto floats = [&](size_t i, size_t length, const char* name) {
    return optional_array<float>(info[first + i], napi_float32_array, length, name);
  };
  const auto words = [&](size_t i, size_t length, const char* name) {
    return optional_array<uint32_t>(info[first + i], napi_uint32_array, length, name);
  };
  if (n > (std::numeric_limits<size_t>::max() >> 3) / vocabulary) throw bad_argument(env, "n");
  const size_t dense = n * vocabulary;
  PassRequest r;
  r.row_parameters = optional_array<double>(info[first], napi_float64_array, n * kRowParameters, "rowParameters");
  if (r.row_parameters) check_rows(env, r.row_parameters, n, valid);
  r.logits = floats(1, dense, "logits");
  r.log_probs = floats(2, dense, "logProbs");
  r.probs = floats(3, dense, "probs");
  r.argmax = words(4, n, "argmax");
  if (!info[first + 5].IsUndefined()) {
    r.top.k = static_cast<uint32_t>(whole_number(info[first + 5], 1, ranked, "k"));
    r.top.ids = words(6, n * r.top.k, "top.ids");
    r.top.logits = floats(7, n * r.top.k, "top.logits");
    r.top.log_probs = floats(8, n * r.top.k, "top.logProbs");
    if (!r.top.ids || !r.top.logits || !r.top.log_probs) throw bad_argument(env, "top");
  }
  r.sample.ids = words(9, n, "sample.ids");
  r.sample.log_probs = floats(10, n, "sample.logProbs");
  if (r.sample.ids && (!r.sample.log_probs || !r.row_parameters)) throw bad_argument(env, "sample");
  r.score.targets = words(11, n, "targets");
  r.score.log_probs = floats(12, n, "score.logProbs");
  r.score.ranks = words(13, n, "ranks");
  r.score.entropy = floats(14, n, "entropy");
  if (r.score.targets) {
    if (!r.score.log_probs || !r.score.ranks) throw bad_argument(env, "score");
    for (size_t i = 0; i < n; i++)
      if (r.score.targets[i] != kIgnored && !has(r.score.targets[i])) throw bad_argument(env, "targets");
  }
  r.log_sum_exp = floats(15, n, "logSumExp");
  if (info[first + 16].IsObject()) r.adjustments = adjustments_from(info[first + 16].As<Napi::Object>(), n, all, valid);
  if (wants_candidates(info, first) && !r.row_parameters) throw bad_argument(env, "candidates");
  if (const Napi::Object more = rare_arguments(info, first); !more.IsEmpty()) {
    if (more.Get("draft").IsObject()) {
      if (!r.row_parameters) throw bad_argument(env, "draft");
      r.draft = draft_check(more.Get("draft").As<Napi::Object>(), n, vocabulary);
    }
    if (more.Get("listed").IsObject()) {
      if (!r.sample.ids) throw bad_argument(env, "sample");
      add_lists(more.Get("listed").As<Napi::Object>(), n, ranked, r.sample);
    }
  }
  return r;
}

PassView pass_view(const Napi::CallbackInfo& info, size_t first, size_t valid) {
  const Napi::Env env = info.Env();
  const Napi::Object more = rare_arguments(info, first);
  PassView view;
  if (more.IsEmpty()) return view;
  const Napi::Value rows = more.Get("rows");
  if (rows.IsTypedArray()) {
    view.rows.count = rows.As<Napi::TypedArray>().ElementLength();
    view.rows.ids = static_cast<uint32_t*>(typed_array(rows, napi_uint32_array, view.rows.count, "rows"));
    if (view.rows.count == 0 || view.rows.ids[view.rows.count - 1] >= valid) throw bad_argument(env, "rows");
    for (size_t i = 1; i < view.rows.count; i++)
      if (view.rows.ids[i - 1] >= view.rows.ids[i]) throw bad_argument(env, "rows");
  }
  view.measure = static_cast<Measure>(whole_number(more.Get("measure"), 0, 2, "measure"));
  view.over_vocabulary = more.Get("overVocabulary").ToBoolean();
  return view;
}

}  // namespace lmhead
