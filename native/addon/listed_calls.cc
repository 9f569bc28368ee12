// Methods of the JavaScript class behind a native head: calls that are made as one.
#include "head.h"
#include "request.h"

namespace lmhead {

const std::shared_ptr<HeadQueue>& Head::head_queue_of(const Job& job) const {
  switch (job.apart) {
    case Apart::no:
      return shared_head_queue_;
    case Apart::many_rows:
      return long_head_queue_;
    default:
      return own_head_queue_;
  }
}

struct Head::ListedValues {
  napi_value object;
  Head* head;
  napi_value n, hidden, dtype;
  RequestValues request;
};

// ([head, n, hidden, hiddenDtype, …request][])
std::vector<Head::ListedValues> Head::listed_values(Call& call) {
  constexpr size_t kMost = size_t{1} << 20;
  const napi_env env = call.env();
  const napi_value list = call.given(0);
  bool is_array = false;
  uint32_t count = 0;
  if (list) node(napi_is_array, env, list, &is_array);
  if (is_array) node(napi_get_array_length, env, list, &count);
  if (count == 0 || count > kMost) throw bad_argument("calls", "an array of them");
  std::vector<ListedValues> all;
  all.reserve(count);
  for (uint32_t i = 0; i < count; i++) {
    const napi_value one = call.element(list, i);
    if (one) node(napi_is_array, env, one, &is_array);
    if (!one || !is_array) throw bad_argument("calls", "arrays");
    const auto values = call.elements<4 + kRequestArguments>(one);
    all.push_back(
        {values[0], &head_of(env, values[0], "calls"), values[1], values[2], values[3], request_values(call, values.data() + 4)});
  }
  return all;
}

void Head::ask(Call& call, Arrays& arrays, const std::vector<ListedValues>& list, std::span<HeadCall> calls) const {
  const napi_env env = call.env();
  const std::shared_ptr<HeadCore> own = core();
  std::vector<Asked> asked;
  asked.reserve(list.size());
  for (size_t i = 0; i < list.size(); i++) {
    const ListedValues& values = list[i];
    HeadCall& each = calls[i];
    each.core = values.head->core();
    if (each.core->sharing_group() != own->sharing_group()) throw bad_argument("calls", "those of heads over the same weights");
    if (values.request.candidates) throw bad_argument("candidates", "none of several calls");
    each.n = integer_between(env, values.n, 1, 0xffffffff, "n");
    asked.push_back(asked_for(arrays, values.request, each.n, own->output().rows, each.core->valid()));
  }
  for (size_t i = 0; i < list.size(); i++) {
    const ListedValues& values = list[i];
    HeadCall& each = calls[i];
    const size_t n = each.n, d = own->output().columns;
    const Dtype dtype = hidden_dtype_from(env, values.dtype);
    read_asked(asked[i], arrays, values.request, n, own->output().rows, each.core->valid());
    const Arrays::Bytes hidden = hidden_bytes(arrays, values.hidden, dtype, n, d);
    needs_memory_for("the hidden states", [&] {
      each.states = call.environment().channel->buffers.acquire(n * hidden_stride(d));
      pack_hidden(own->kernels(), hidden.data, dtype, n, d, each.states.data());
    });
    each.ask(each.core, each.states.data(), n, asked[i].request, asked[i].view, kMostSharedRows);
  }
}

// (calls) -> undefined or [status, row, id, call]
napi_value Head::run_all(Call& call) {
  const std::vector<ListedValues> list = listed_values(call);
  Arrays arrays(call, Arrays::Use::in_call);
  std::vector<HeadCall> calls(list.size());
  ask(call, arrays, list, calls);
  run_calls(calls, nullptr);
  HiddenBuffers& buffers = call.environment().channel->buffers;
  for (HeadCall& each : calls) buffers.give_back(std::move(each.states));
  if (!calls[0].core->intact()) return result_to_js(call.env(), kWeightsChanged, {});
  return result_to_js(call.env(), calls);
}

// (calls, ticket?, facts?) -> Promise of undefined or [status, row, id, call]
napi_value Head::run_all_async(Call& call) {
  const std::vector<ListedValues> list = listed_values(call);
  Arrays arrays(call, Arrays::Use::after_call);
  auto job = std::make_unique<Job>(list.size());
  job->ticket = ticket_from(call.env(), call.given(1));
  job->facts = arrays.output<double>(call.given(2), PassTask::kFacts, "facts");
  ask(call, arrays, list, job->calls);
  job->made(coalesces());
  std::vector<napi_value> others;
  for (const ListedValues& values : list)
    if (values.head != this) others.push_back(values.object);
  const std::shared_ptr<HeadQueue>& head_queue = head_queue_of(*job);
  return send(call, arrays, std::move(job), head_queue, others);
}

}  // namespace lmhead
