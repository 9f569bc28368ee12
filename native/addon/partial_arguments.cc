// What results of a shard of the vocabulary are merged by.
#include <algorithm>

#include "../core/sinks/top_k.h"
#include "request.h"

namespace lmhead {

RequestValues::Partial partial_values(const Call& call, napi_value partial) {
  return {partial,
          call.property(partial, "begin"),
          call.property(partial, "end"),
          call.property(partial, "sums"),
          call.property(partial, "drawnSums"),
          call.property(partial, "drawnLogits"),
          call.property(partial, "k"),
          call.property(partial, "counts"),
          call.property(partial, "ids"),
          call.property(partial, "logits"),
          call.property(partial, "targetLogits")};
}

void partial_for(PartialOutputs& out, Arrays& arrays, const RequestValues& values, size_t n, size_t valid) {
  const auto& from = values.partial;
  if (values.rows || values.draft.given || values.listed.given || values.candidates)
    throw bad_argument("partial", "no view, list or draft");
  // They are merged by what log-probabilities are of.
  if ((values.k && !values.top_log_probs) || (values.sample_ids && !values.sample_log_probs))
    throw bad_argument("partial", "logProbs");
  // So many ids are taken of its own rows.
  const size_t ranked = values.k ? integer_between(arrays.env(), values.k, 1, valid, "k") : values.argmax ? 1 : 0;
  out.end = integer_between(arrays.env(), from.end, ranked, valid, "partial.end");
  out.begin = integer_between(arrays.env(), from.begin, 0, out.end - ranked, "partial.begin");
  const size_t sums = n * ((valid + kChunkRows - 1) / kChunkRows) * kSumsOfChunk;
  if (!from.sums) throw bad_argument("partial.sums", "a Float64Array");
  out.sums = arrays.output<double>(from.sums, sums, "partial.sums");
  if (!values.sample_ids) return;
  const auto& a = values.adjustments;
  if (a.patches.given || a.biases.given || a.counted.given || a.allowed) {
    if (!from.drawn_sums) throw bad_argument("partial.drawnSums", "a Float64Array");
    out.drawn_sums = arrays.output<double>(from.drawn_sums, sums, "partial.drawnSums");
  }
  if (!from.drawn_logits) throw bad_argument("partial", "drawnLogits");
  out.drawn_logits = arrays.output<float>(from.drawn_logits, n, "partial.drawnLogits");
  out.k = static_cast<uint32_t>(integer_between(arrays.env(), from.k, 0, std::min(valid, kMaxHeap), "partial.k"));
  out.counts = arrays.output<uint32_t>(from.counts, n, "partial.counts");
  out.ids = arrays.output<uint32_t>(from.ids, n * out.k, "partial.ids");
  out.logits = arrays.output<float>(from.logits, n * out.k, "partial.logits");
  if (out.k > 0 && !(from.counts && from.ids && from.logits)) throw bad_argument("partial", "a list");
}

}  // namespace lmhead
