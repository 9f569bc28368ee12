#include "shared_pass.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>

#include "../screen/search.h"
#include "block.h"

namespace lmhead {

namespace {

// A pass begins again with others while it has streamed no more than one part in so many, all its beginnings together; first when
// that many chunks are done, then when twice as many are, and so on.
constexpr size_t kBeginning = 8, kFirstPatience = 2;

// Some columns of bare products, beside those of other calls, as logits of their own.
class SharedColumns final : public LogitSource {
 public:
  // products: prepared for all of their columns.
  SharedColumns(const Kernels& kernels, const PreparedSource& products, size_t first, const SharedCall& call)
      : kernels_(kernels), products_(products), first_(first), count_(call.n), epilogue_(call.epilogue), valid_(call.valid) {}
  size_t columns() const override { return count_; }
  size_t vocabulary() const override { return products_.source().vocabulary(); }
  size_t valid() const override { return valid_; }
  double work() const override {
    const LogitSource& all = products_.source();
    return all.work() * static_cast<double>(count_) / static_cast<double>(all.columns());
  }
  size_t group(const PreparedColumns&) const override { return products_.group(); }
  Logits logits(const PreparedColumns&, size_t first_row, size_t rows, size_t first_column, size_t columns,
                float* scratch) const override {
    products_.logits(first_row, rows, first_ + first_column, columns, scratch);
    finish(scratch, rows, first_row, rows, columns);
    return {scratch, rows};
  }
  // Makes logits of products, column by column.
  void finish(float* u, size_t stride, size_t first_row, size_t rows, size_t columns) const {
    if (epilogue_.is_identity()) return;
    const float* const bias = epilogue_.bias ? epilogue_.bias + first_row : nullptr;
    for (size_t c = 0; c < columns; c++) kernels_.epilogue(u + c * stride, rows, bias, epilogue_);
  }

 private:
  const Kernels& kernels_;
  const PreparedSource& products_;
  const size_t first_, count_;
  const Epilogue epilogue_;
  const size_t valid_;
};

}  // namespace

size_t materialized_bytes(const SharedCall& call) {
  const PassRequest& request = call.request;
  if (!request.draws() && !request.draft.accepted && request.top.k <= kMaxHeap) return 0;
  const RowPlans plans(request, call.n, call.valid);
  size_t rows = 0;
  for (size_t i = 0; i < call.n; i++) rows += plans.materialized(i);
  return rows * call.valid * sizeof(float);
}

// A call's part in a streaming: columns from `first` on.
struct SharedPass::Seat {
  Seat(const Kernels& kernels, const PreparedSource& products, size_t its_first, SharedCall& its_call, unsigned slots)
      : call(its_call),
        first(its_first),
        columns(kernels, products, first, call),
        prepared(columns, 0, call.n),
        plans(call.request, call.n, call.valid),
        draft(call.request.draft.accepted ? std::make_optional<Verification>(kernels, columns, call.request) : std::nullopt),
        block(kernels, prepared, call.request, plans, 0, call.n, workers(1), slots, draft ? &*draft : nullptr) {
    if (call.request.candidates) call.request.candidates->assign(call.n, {});
  }

  ParallelFor workers(unsigned threads, Gate* gate = nullptr) const { return {threads, call.request.workers.abort, gate}; }
  bool aborted() const { return call.request.workers.aborted(); }
  // Runs what ends with the call's result.
  template <class Work>
  void settle(Work work) {
    try {
      call.result = work();
    } catch (...) {
      call.out_of_memory = true;
    }
  }
  bool is_unfinished() const {
    return !call.out_of_memory && call.result.status == PassResult::ok && !block.unfinished().empty();
  }

  SharedCall& call;
  const size_t first;
  const SharedColumns columns;
  const PreparedSource prepared;
  RowPlans plans;
  std::optional<Verification> draft;
  Block block;
};

SharedPass::SharedPass(const Kernels& kernels, const Matrix& e, Activations activations, Gate* gate)
    : kernels_(kernels), e_(e), activations_(activations), gate_(gate), patience_(kFirstPatience) {}

void SharedPass::add(SharedCall& call) {
  calls_[count_++] = &call;
  rows_ += call.n;
  is_searched_ = false;
}

bool SharedPass::run(SharedPassHost& host) noexcept {
  try {
    if (!run_together(host)) return false;
  } catch (...) {  // no memory for what they share; nobody has been answered
    for (size_t i = 0; i < count_; i++) {
      if (count_ > 1)
        run_alone(*calls_[i]);
      else
        calls_[i]->out_of_memory = true;
      host.answered(*calls_[i]);
    }
  }
  return true;
}

void SharedPass::run_alone(SharedCall& call) const {
  try {
    PassRequest request = call.request;
    request.workers.gate = gate_;
    const ProductSource source(kernels_, e_, call.epilogue, call.valid, call.hidden, call.n, {}, activations_);
    call.result = run_pass(kernels_, source, request);
  } catch (...) {
    call.out_of_memory = true;
  }
}

void SharedPass::answer_by_search(SharedPassHost& host) {
  if (is_searched_) return;
  is_searched_ = true;
  std::vector<screen::Query> queries;
  std::vector<PassRequest> requests(count_);
  size_t rows = 0;
  ParallelFor workers{1, count_ == 1 ? calls_[0]->request.workers.abort : nullptr, gate_};
  for (size_t i = 0; i < count_; i++) {
    const SharedCall& call = *calls_[i];
    requests[i] = call.request;
    requests[i].workers.gate = gate_;
    queries.push_back({call.hidden, call.n, &call.epilogue, call.valid, &requests[i], call.screen});
    rows += call.n;
    workers.threads = std::max(workers.threads, call.request.workers.threads);
  }
  // Where E has to be read for one of them, it serves them all.
  if (rows > screen::most_states(e_) || !std::all_of(queries.begin(), queries.end(), screen::may_answer)) return;
  if (std::any_of(queries.begin(), queries.end(), [](const screen::Query& query) { return query.use->sits_out(); })) return;
  screen::search(kernels_, e_, queries, workers);
  std::vector<SharedCall*> answered;
  answered.reserve(count_);  // nothing throws from here on, where calls are reordered
  size_t left = 0;
  for (size_t i = 0; i < count_; i++) {
    SharedCall& call = *calls_[i];
    if (queries[i].rows.empty()) {
      calls_[left++] = &call;
      continue;
    }
    try {
      call.result = screen::answer(kernels_, e_, queries[i]);
    } catch (...) {
      call.out_of_memory = true;
    }
    answered.push_back(&call);
  }
  count_ = left;
  for (SharedCall* const call : answered) host.answered(*call);
}

bool SharedPass::run_together(SharedPassHost& host) {
  answer_by_search(host);
  if (count_ == 0) return true;
  const size_t stride = hidden_stride(e_.columns);
  size_t rows = 0;
  for (size_t i = 0; i < count_; i++) rows += calls_[i]->n;
  const float* hidden = calls_[0]->hidden;
  AlignedFloats gathered;
  size_t valid = 0;
  ParallelFor workers{1, nullptr, gate_};
  if (count_ > 1) {
    gathered.resize(rows * stride);
    hidden = gathered.data();
  }
  float* at = gathered.data();
  for (size_t i = 0; i < count_; i++) {
    const SharedCall& call = *calls_[i];
    if (count_ > 1) at = std::copy_n(call.hidden, call.n * stride, at);
    valid = std::max(valid, call.valid);
    workers.threads = std::max(workers.threads, call.request.workers.threads);
  }
  const ProductSource source(kernels_, e_, {}, valid, hidden, rows, {}, activations_);
  workers = workers_for(workers, source.work());
  const PreparedSource products(source, 0, rows);

  std::vector<std::unique_ptr<Seat>> seats(count_);
  std::vector<Seat*> seated;
  for (size_t i = 0, first = 0; i < count_; first += calls_[i++]->n) {
    SharedCall& call = *calls_[i];
    call.out_of_memory = false;
    try {
      seats[i] = std::make_unique<Seat>(kernels_, products, first, call, workers.threads);
      seated.push_back(seats[i].get());
    } catch (...) {
      call.out_of_memory = true;
    }
  }
  if (!stream(products, seated, workers, host)) return false;

  // What is left to do of a call with many rows is for all threads; of many with few, each takes some.
  std::vector<Seat*> small;
  for (Seat* const seat : seated) {
    if (seated.size() >= 2 * workers.threads && seat->call.n < 2 * workers.threads)
      small.push_back(seat);
    else
      seat->settle([&] { return seat->block.finish(seat->workers(workers.threads, gate_)); });
  }
  workers.parallel_for(small.size(), [&](size_t i, unsigned) {
    Seat& seat = *small[i];
    seat.settle([&] { return seat.block.finish(seat.workers(1)); });
  });

  // In order; but those that need another streaming come last.
  for (size_t i = 0; i < count_; i++) {
    if (seats[i] && seats[i]->is_unfinished()) continue;
    seats[i].reset();
    host.answered(*calls_[i]);
  }
  for (size_t i = 0; i < count_; i++) {
    if (!seats[i]) continue;
    Seat& seat = *seats[i];
    seat.settle([&] {
      return run_unfinished(kernels_, seat.columns, seat.call.request, seat.plans, seat.block.unfinished(),
                            seat.workers(workers.threads, gate_));
    });
    seats[i].reset();
    host.answered(*calls_[i]);
  }
  return true;
}

// False where it was interrupted.
bool SharedPass::stream(const PreparedSource& products, const std::vector<Seat*>& seats, const ParallelFor& workers,
                        const SharedPassHost& host) {
  const size_t chunks = chunks_of(products.source()), columns = products.source().columns(),
               group = std::min(products.group(), columns);
  const auto make = [&](size_t chunk, unsigned slot) {
    const size_t first_row = chunk * kChunkRows, height = std::min(kChunkRows, products.source().valid() - first_row);
    thread_local AlignedFloats scratch;
    if (scratch.size() < group * kChunkRows) scratch.resize(group * kChunkRows);
    for (size_t c = 0; c < columns; c += group) {
      const size_t end = std::min(c + group, columns);
      products.logits(first_row, height, c, end - c, scratch.data());
      for (Seat* const seat : seats) {
        const size_t from = std::max(c, seat->first), to = std::min(end, seat->first + seat->call.n);
        if (from >= to || seat->call.valid <= first_row || seat->aborted()) continue;
        const size_t rows = std::min(height, seat->call.valid - first_row);
        float* const u = scratch.data() + (from - c) * height;
        seat->columns.finish(u, height, first_row, rows, to - from);
        seat->block.consume({chunk, first_row, rows, from - seat->first, to - from, u, height}, slot);
      }
    }
  };
  std::atomic<size_t> interrupted_at{chunks};
  const auto ended = [&](size_t chunk) {
    if (interrupted_at.load(std::memory_order_relaxed) < chunks) return true;
    if (chunk >= patience_ && spent_ + chunk <= chunks / kBeginning && host.has_news()) {
      interrupted_at.store(chunk, std::memory_order_relaxed);
      return true;
    }
    return std::all_of(seats.begin(), seats.end(), [](const Seat* seat) { return seat->aborted(); });
  };
  workers.parallel_for_until(chunks, make, ended);
  const size_t chunk = interrupted_at.load();
  if (chunk == chunks) return true;
  spent_ += chunk;
  patience_ = 2 * chunk;
  return false;
}

}  // namespace lmhead
