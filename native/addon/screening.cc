// The calls of a head about the bounded copy of its weights.
#include "callbacks.h"
#include "head.h"
#include "matrices.h"

namespace lmhead {

namespace {

const std::shared_ptr<HeadCore>& that_can_be_copied(const std::shared_ptr<HeadCore>& head) {
  if (!screen::can_be_copied(head->output())) throw bad_argument("screen", "weights that a copy is smaller than");
  return head;
}

}  // namespace

// (ticket?) -> Promise of undefined or [status, row, id]: makes the bounded copy of the output matrix, unless it is there
napi_value Head::make_copy(Call& call) {
  Arrays arrays(call, Arrays::Use::after_call);
  auto job = std::make_unique<Job>();
  job->calls[0].core = that_can_be_copied(core());
  job->makes_copy = true;
  job->ticket = ticket_from(call.env(), call.given(0));
  return send(call, arrays, std::move(job), long_head_queue_);
}

// () -> undefined or [status, row, id]: calls use the copy from now on; it is made first, unless it is there
napi_value Head::use_copy(Call& call) {
  const std::shared_ptr<HeadCore> head = that_can_be_copied(core());
  if (head->screen()) return undefined(call.env());
  needs_memory_for("the copy to search in", [&] {
    head->make_copy({});
    head->use_copy();
  });
  const int64_t bytes = static_cast<int64_t>(head->stored(0)->take_copy_bytes());
  external_bytes_ += bytes;
  tell_of_memory(call.env(), bytes);
  return result_to_js(call.env(), head->intact() ? 0 : kWeightsChanged, {});
}

// () -> rows of the copy that are made
napi_value Head::copied_rows(Call& call) { return number(call.env(), static_cast<double>(core()->copied_rows())); }

// () -> undefined, or what the copy did: a Screening of lib/types/head.ts, but for the mean's parts
napi_value Head::screening(Call& call) {
  const napi_env env = call.env();
  const screen::Use* const use = core()->screen();
  if (!use) return undefined(env);
  const screen::Use::Counts counts = use->counts();
  const auto count = [&](uint64_t n) { return number(env, static_cast<double>(n)); };
  return object(env, {{"bytes", count(use->copy().bytes())},
                      {"saved", count(use->copy().saved_bytes())},
                      {"passes", count(counts.passes)},
                      {"manyRows", count(counts.in_vain)},
                      {"backoff", count(counts.sat_out)},
                      {"states", count(counts.refused)},
                      {"searchedStates", count(counts.states)},
                      {"rows", count(counts.rows)},
                      {"most", count(counts.most_rows)}});
}

// (offset, out) -> undefined or [status, row, id]: bytes of the copy as it is saved, tiles first and then the mean
napi_value Head::read_copy(Call& call) {
  Arrays arrays(call, Arrays::Use::in_call);
  const std::shared_ptr<HeadCore> head = core();
  if (!head->screen()) throw bad_argument("screen", "a head with a copy");
  const screen::Copy& copy = head->screen()->copy();
  const size_t offset = integer_between(call.env(), call.given(0), 0, copy.saved_bytes(), "offset");
  const size_t count = arrays.length<uint8_t>(call.given(1), "out");
  if (count > copy.saved_bytes() - offset) throw bad_argument("out", "at most the bytes that are left");
  if (count > 0) copy.read(offset, count, arrays.output<uint8_t>(call.given(1), count, "out"));
  return result_to_js(call.env(), head->intact() ? 0 : kWeightsChanged, {});
}

// (path, offset, length, mmap) -> 1, or 0 where it cannot be the copy of these weights
napi_value Head::load_copy(Call& call) {
  const napi_env env = call.env();
  const napi_value path = call.given(0);
  const std::shared_ptr<HeadCore> head = core();
  if (!path || type_of(env, path) != napi_string) throw bad_argument("path", "a string");
  constexpr size_t kMost = size_t{1} << 53;
  const uint64_t offset = integer_between(env, call.given(1), 0, kMost, "offset");
  const uint64_t length = integer_between(env, call.given(2), 1, kMost, "length");
  that_can_be_copied(head);
  // It may be filled up to a whole cache line.
  const size_t size = screen::Copy::saved_bytes(head->output());
  if (length < size || length - size >= 64) return number(env, 0);
  const std::string file = text_of(env, path);
  bool is_one = false;
  needs_memory_for("the copy to search in", [&] {
    is_one =
        head->load_copy(is_given_and_true(env, call.given(3)) ? map_file(file, offset, size) : read_file(file, offset, size));
  });
  return number(env, is_one ? 1 : 0);
}

}  // namespace lmhead
