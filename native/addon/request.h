// What a pass is asked for, read from JavaScript.
#pragma once

#include "../core/head/pass_view.h"
#include "arguments.h"

namespace lmhead {

// What a pass is asked for, as it came; see lib/backend/backend.ts. Null: not given.
struct RequestValues {
  struct List {
    napi_value counts, ids, log_probs;
  };
  napi_value row_parameters, logits, log_probs, probs, argmax;
  napi_value k, top_ids, top_logits, top_log_probs;
  napi_value sample_ids, sample_log_probs;
  napi_value targets, score_log_probs, ranks, entropy;
  napi_value log_sum_exp;
  struct IdListValues {
    napi_value given, ranges, ids, values;
  };
  struct {
    IdListValues patches, biases, counted;
    napi_value penalties, allowed, allowed_stride, xtc_protected;
  } adjustments;
  bool candidates;
  // What few passes ask for.
  napi_value rows, over_vocabulary, metric;
  struct {
    napi_value given, ids, log_probs, accepted, out_ids, out_log_probs;
  } draft;
  struct {
    napi_value given, k, model_log_probs;
    List top, model_top;
  } listed;
  struct Partial {
    napi_value given, begin, end, sums, drawn_sums, drawn_logits, k, counts, ids, logits, target_logits;
  } partial;
};
// In partial_arguments.cc: a PartialResults of lib/backend/backend.ts; and where its values go, if nothing is asked beside it
// that a shard cannot tell.
RequestValues::Partial partial_values(const Call& call, napi_value partial);
void partial_for(PartialOutputs& out, Arrays& arrays, const RequestValues& values, size_t n, size_t valid);

// In the order that lib/backend/pass-arguments.ts gives; the last of them has what few passes ask for: { rows, overVocabulary,
// metric, draft, listed, partial }.
constexpr size_t kRequestArguments = 19;
RequestValues request_values(const Call& call, const napi_value* arguments);
// From the call's argument `first` on.
RequestValues request_values(const Call& call, size_t first);

// The request, without the list for candidates, which the caller provides where values.candidates. Every id is below `valid`,
// and targets are among the view's rows.
struct Asked {
  PassRequest request;
  PassView view;
};
Asked asked_of(Arrays& arrays, const RequestValues& values, size_t n, size_t vocabulary, size_t valid);
// In two steps, as it has to be where there are several: where results go, and then what is read.
Asked asked_for(Arrays& arrays, const RequestValues& values, size_t n, size_t vocabulary, size_t valid);
void read_asked(Asked& asked, Arrays& arrays, const RequestValues& values, size_t n, size_t vocabulary, size_t valid);

}  // namespace lmhead
