#include "request.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../core/sinks/top_k.h"

namespace lmhead {

namespace {

bool is_order(double packed) {
  if (!(packed >= 0 && packed < 0x1p44)) return false;
  for (uint64_t rest = static_cast<uint64_t>(packed); rest; rest >>= 4)
    if ((rest & 15) == 0 || (rest & 15) > static_cast<uint64_t>(Stage::max_surprisal)) return false;
  return true;
}

// See RowParameter of lib/backend/backend.ts.
void check_rows(const double* rows, size_t n, size_t valid) {
  const auto word = [](double x) { return x >= 0 && x <= 4294967295.0; };
  const auto share = [](double x) { return x >= 0 && x <= 1; };
  const auto finite = [](double x) { return x >= 0 && std::isfinite(x); };
  for (const double* p = rows; p < rows + n * kRowParameters; p += kRowParameters) {
    if (!finite(p[0]) || !(p[1] >= 0 && p[1] <= static_cast<double>(valid)) || !share(p[2]) || !(p[3] <= 0) || !word(p[4]) ||
        !word(p[5]) || !word(p[6]) || !share(p[7]) || !(p[8] <= 0) || !(p[9] <= 0) || !finite(p[10]) || !share(p[12]) ||
        !(p[13] <= 0) || !finite(p[0] + p[14]) || !finite(p[14]) || !finite(p[15]) || !(p[16] >= 0) || !is_order(p[17]) ||
        !word(p[18]) || !(p[19] >= 1 && p[19] <= static_cast<double>(valid)) || !word(p[20]) || std::fmod(p[20], 2) != 0)
      throw bad_argument("rowParameters", "values in the ranges of RowParameter");
  }
}

// Lists of ids for n rows; count: of ids.
IdLists id_lists(Arrays& arrays, const RequestValues::IdListValues& values, size_t n, size_t valid, const char* name,
                 size_t& count) {
  IdLists lists;
  count = arrays.length<uint32_t>(values.ids, name);
  lists.ranges = arrays.input<uint32_t>(values.ranges, 2 * n, name);
  lists.ids = arrays.input<uint32_t>(values.ids, count, name);
  if (!lists.ranges) throw bad_argument(name, "ranges of ids");
  // Rows share lists, so ids are looked at before rows are.
  std::vector<size_t> starts;  // of runs of ascending ids
  for (size_t i = 0; i < count; i++) {
    if (lists.ids[i] >= valid) throw bad_argument(name, "ids below " + std::to_string(valid));
    if (i > 0 && lists.ids[i] <= lists.ids[i - 1]) starts.push_back(i);
  }
  for (size_t row = 0; row < n; row++) {
    const size_t begin = lists.ranges[2 * row], end = lists.ranges[2 * row + 1];
    if (begin > end || end > count) throw bad_argument(name, "ranges of ids");
    const auto next = std::upper_bound(starts.begin(), starts.end(), begin);
    if (next != starts.end() && *next < end) throw bad_argument(name, "ascending ids, each once");
  }
  return lists;
}

// Structs of float64 values, one after another.
template <class T>
const T* records(Arrays& arrays, napi_value values, size_t count, const char* name) {
  static_assert(sizeof(T) % sizeof(double) == 0);
  if (!values) throw bad_argument(name, "a Float64Array");
  return reinterpret_cast<const T*>(arrays.input<double>(values, sizeof(T) / sizeof(double) * count, name));
}

// An Adjustments of lib/backend/backend.ts.
void read_adjustments(Adjustments& a, Arrays& arrays, const RequestValues& values, size_t n, size_t vocabulary, size_t valid) {
  const auto& from = values.adjustments;
  a.valid = valid;
  size_t count = 0;
  if (from.patches.given) {
    a.patched = id_lists(arrays, from.patches, n, valid, "adjustments.patches", count);
    a.patches = records<Patch>(arrays, from.patches.values, count, "adjustments.patches");
  }
  if (from.biases.given) {
    a.biased = id_lists(arrays, from.biases, n, valid, "adjustments.biases", count);
    a.biases = records<double>(arrays, from.biases.values, count, "adjustments.biases");
  }
  if (from.counted.given) {
    a.counted = id_lists(arrays, from.counted, n, valid, "adjustments.counted", count);
    a.counts = arrays.input<uint32_t>(from.counted.values, count, "adjustments.counted");
    if (!a.counts) throw bad_argument("adjustments.counted", "counts");
    a.penalties = records<Penalties>(arrays, from.penalties, n, "adjustments.counted");
  }
  if (from.allowed) {
    const size_t words = (vocabulary + 31) / 32;
    a.allowed_stride = integer_between(arrays.env(), from.allowed_stride, 0, words, "adjustments.allowedStride");
    a.allowed = arrays.input<uint32_t>(from.allowed, n == 0 ? 0 : (n - 1) * a.allowed_stride + words, "adjustments.allowed");
  }
  if (from.xtc_protected) {
    const char* const name = "adjustments.xtcProtected";
    IdSet& ids = a.xtc_protected;
    ids.count = arrays.length<uint32_t>(from.xtc_protected, name);
    ids.ids = arrays.input<uint32_t>(from.xtc_protected, ids.count, name);
    if (!std::is_sorted(ids.ids, ids.ids + ids.count)) throw bad_argument(name, "ascending ids");
  }
}

// A TopLogProbs of lib/types.ts.
ListOutputs list_outputs(Arrays& arrays, const RequestValues::List& list, size_t n, size_t k) {
  const ListOutputs out = {arrays.output<uint32_t>(list.counts, n, "sample.counts"),
                           arrays.output<uint32_t>(list.ids, n * k, "sample.ids"),
                           arrays.output<float>(list.log_probs, n * k, "sample.logProbs")};
  if (!list.counts || !list.ids || !list.log_probs) throw bad_argument("sample", "lists of log-probabilities");
  return out;
}

RequestValues::List list_values(const Call& call, napi_value list) {
  return {call.property_if(list, "counts"), call.property_if(list, "ids"), call.property_if(list, "logProbs")};
}

// An object, or null where it is not given.
napi_value object_or_null(const Call& call, napi_value value, const char* name) {
  if (value && !is_object(call.env(), value)) throw bad_argument(name, "an object");
  return value;
}

RequestValues::IdListValues id_list_values(const Call& call, napi_value lists, const char* name, const char* values) {
  if (!object_or_null(call, lists, name)) return {};
  return {lists, call.property(lists, "ranges"), call.property(lists, "ids"), call.property(lists, values)};
}

}  // namespace

RequestValues request_values(const Call& call, const napi_value* next) {
  RequestValues v{};
  for (napi_value* const value :
       {&v.argmax, &v.logits, &v.log_probs, &v.probs, &v.row_parameters, &v.k, &v.top_ids, &v.top_logits, &v.top_log_probs,
        &v.sample_ids, &v.sample_log_probs, &v.targets, &v.score_log_probs, &v.ranks, &v.entropy, &v.log_sum_exp})
    *value = *next++;
  if (const napi_value from = object_or_null(call, *next++, "adjustments")) {
    auto& a = v.adjustments;
    a.patches = id_list_values(call, call.property(from, "patches"), "adjustments.patches", "values");
    a.biases = id_list_values(call, call.property(from, "biases"), "adjustments.biases", "values");
    const napi_value counted = object_or_null(call, call.property(from, "counted"), "adjustments.counted");
    a.counted = id_list_values(call, counted, "adjustments.counted", "counts");
    a.penalties = call.property_if(counted, "penalties");
    a.allowed = call.property(from, "allowed");
    a.allowed_stride = call.property(from, "allowedStride");
    a.xtc_protected = call.property(from, "xtcProtected");
  }
  v.candidates = *next++ != nullptr;
  const napi_value more = object_or_null(call, *next, "request");
  if (!more) return v;
  v.rows = call.property(more, "rows");
  v.over_vocabulary = call.property(more, "overVocabulary");
  v.metric = call.property(more, "metric");
  if (const napi_value draft = object_or_null(call, call.property(more, "draft"), "draft"))
    v.draft = {draft,
               call.property(draft, "ids"),
               call.property(draft, "logProbs"),
               call.property(draft, "accepted"),
               call.property(draft, "outIds"),
               call.property(draft, "outLogProbs")};
  if (const napi_value sample = object_or_null(call, call.property(more, "listed"), "sample")) {
    const napi_value top = object_or_null(call, call.property(sample, "topLogProbs"), "sample.topLogProbs");
    v.listed = {sample, call.property_if(top, "k"), call.property(sample, "modelLogProbs"), list_values(call, top),
                list_values(call, object_or_null(call, call.property(sample, "modelTopLogProbs"), "sample.modelTopLogProbs"))};
  }
  if (const napi_value partial = object_or_null(call, call.property(more, "partial"), "partial"))
    v.partial = partial_values(call, partial);
  return v;
}

RequestValues request_values(const Call& call, size_t first) {
  napi_value arguments[kRequestArguments];
  for (size_t i = 0; i < kRequestArguments; i++) arguments[i] = call.given(first + i);
  return request_values(call, arguments);
}

Asked asked_of(Arrays& arrays, const RequestValues& values, size_t n, size_t vocabulary, size_t valid) {
  Asked asked = asked_for(arrays, values, n, vocabulary, valid);
  read_asked(asked, arrays, values, n, vocabulary, valid);
  return asked;
}

Asked asked_for(Arrays& arrays, const RequestValues& v, size_t n, size_t vocabulary, size_t valid) {
  Asked asked;
  PassRequest& r = asked.request;
  // As wide as results are, and how many ids may be ranked.
  const size_t listed = v.rows ? arrays.length<uint32_t>(v.rows, "rows") : 0;
  if (v.rows && listed == 0) throw bad_argument("rows", "ids");
  asked.view.rows.count = listed;
  const size_t width = v.rows ? listed : vocabulary, ranked = v.rows ? listed : valid;
  if (n > (std::numeric_limits<size_t>::max() >> 3) / width) throw bad_argument("n", "fewer rows");
  r.logits = arrays.output<float>(v.logits, n * width, "logits");
  r.log_probs = arrays.output<float>(v.log_probs, n * width, "logProbs");
  r.probs = arrays.output<float>(v.probs, n * width, "probs");
  r.argmax = arrays.output<uint32_t>(v.argmax, n, "argmax");
  if (v.k) {
    r.top.k = static_cast<uint32_t>(integer_between(arrays.env(), v.k, 1, ranked, "k"));
    r.top.ids = arrays.output<uint32_t>(v.top_ids, n * r.top.k, "top.ids");
    r.top.logits = arrays.output<float>(v.top_logits, n * r.top.k, "top.logits");
    r.top.log_probs = arrays.output<float>(v.top_log_probs, n * r.top.k, "top.logProbs");
    if (!v.top_ids || !v.top_logits) throw bad_argument("top", "ids and logits");
  }
  r.sample.ids = arrays.output<uint32_t>(v.sample_ids, n, "sample.ids");
  r.sample.log_probs = arrays.output<float>(v.sample_log_probs, n, "sample.logProbs");
  if (v.sample_ids && !v.row_parameters) throw bad_argument("sample", "rowParameters");
  r.score.log_probs = arrays.output<float>(v.score_log_probs, n, "score.logProbs");
  r.score.ranks = arrays.output<uint32_t>(v.ranks, n, "ranks");
  r.score.entropy = arrays.output<float>(v.entropy, n, "entropy");
  if (v.targets && (!v.score_log_probs || !v.ranks)) throw bad_argument("score", "logProbs and ranks");
  r.log_sum_exp = arrays.output<float>(v.log_sum_exp, n, "logSumExp");
  if (v.candidates && !v.row_parameters) throw bad_argument("candidates", "rowParameters");
  if (v.draft.given) {
    if (!v.row_parameters) throw bad_argument("draft", "rowParameters");
    r.draft.accepted = arrays.output<uint32_t>(v.draft.accepted, 1, "draft.accepted");
    r.draft.out_ids = arrays.output<uint32_t>(v.draft.out_ids, n, "draft.outIds");
    r.draft.out_log_probs = arrays.output<float>(v.draft.out_log_probs, n, "draft.outLogProbs");
    if (!v.draft.accepted || !v.draft.out_ids || !v.draft.out_log_probs) throw bad_argument("draft", "arrays for results");
  }
  if (v.listed.given) {
    if (!v.sample_ids) throw bad_argument("sample", "ids");
    r.sample.k = static_cast<uint32_t>(integer_between(arrays.env(), v.listed.k, 0, std::min(ranked, kMaxHeap), "sample.k"));
    r.sample.top = list_outputs(arrays, v.listed.top, n, r.sample.k);
    r.sample.model_top = list_outputs(arrays, v.listed.model_top, n, r.sample.k);
    if (!v.listed.model_log_probs) throw bad_argument("sample.modelLogProbs", "a Float32Array");
    r.sample.model_log_probs = arrays.output<float>(v.listed.model_log_probs, n, "sample.modelLogProbs");
  }
  if (v.partial.given) partial_for(r.partial, arrays, v, n, valid);
  return asked;
}

void read_asked(Asked& asked, Arrays& arrays, const RequestValues& v, size_t n, size_t vocabulary, size_t valid) {
  PassRequest& r = asked.request;
  PassView& view = asked.view;
  const size_t listed = view.rows.count, width = v.rows ? listed : vocabulary;
  if (v.rows) {
    view.rows = {arrays.input<uint32_t>(v.rows, listed, "rows"), listed};
    if (view.rows.ids[listed - 1] >= valid) throw bad_argument("rows", "ids below " + std::to_string(valid));
    for (size_t i = 1; i < listed; i++)
      if (view.rows.ids[i - 1] >= view.rows.ids[i]) throw bad_argument("rows", "ascending ids, each once");
  }
  if (v.metric) view.metric = static_cast<Metric>(integer_between(arrays.env(), v.metric, 0, 2, "metric"));
  view.over_vocabulary = v.over_vocabulary && is_truthy(arrays.env(), v.over_vocabulary);
  r.row_parameters = arrays.input<double>(v.row_parameters, n * kRowParameters, "rowParameters");
  if (r.row_parameters) check_rows(r.row_parameters, n, valid);
  r.score.targets = arrays.input<uint32_t>(v.targets, n, "targets");
  for (size_t i = 0; r.score.targets && i < n; i++) {
    const uint32_t id = r.score.targets[i];
    const bool is_one = v.rows ? std::binary_search(view.rows.ids, view.rows.ids + listed, id) : id < valid;
    const bool is_beyond = v.partial.target_logits && id == r.partial.end;
    if (id != kIgnored && !is_one && !is_beyond) throw bad_argument("targets", "ids of rows");
  }
  read_adjustments(r.adjustments, arrays, v, n, vocabulary, valid);
  r.partial.target_logits = arrays.input<float>(v.partial.target_logits, n, "partial.targetLogits");
  if (v.partial.given && v.targets && !r.partial.target_logits) throw bad_argument("partial.targetLogits", "a Float32Array");
  if (v.draft.given) {
    r.draft.length = arrays.length<uint32_t>(v.draft.ids, "draft.ids");
    if (r.draft.length != n && r.draft.length + 1 != n) throw bad_argument("draft.ids", "one for each row, or one fewer");
    r.draft.ids = arrays.input<uint32_t>(v.draft.ids, r.draft.length, "draft.ids");
    r.draft.log_probs = arrays.input<float>(v.draft.log_probs, r.draft.length * width, "draft.logProbs");
  }
}

}  // namespace lmhead
