// How a block draws tokens, when its sinks have seen all logits, and writes what is told of them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../sampling/filtered_set.h"
#include "../sampling/materialized_row.h"
#include "block.h"

namespace lmhead {

void Block::draw(const ParallelFor& workers) {
  if (materialized_ && columns_ < 2 * workers.threads) {  // all threads together on one row after the other
    for (size_t c = 0; c < columns_ && !workers.aborted(); c++) write_drawn(c, workers);
  } else {
    workers.parallel_for(columns_, [&](size_t c, unsigned) { write_drawn(c, {}); });
  }
}

void Block::write_drawn(size_t c, const ParallelFor& workers) {
  if (request_.partial.sums) return write_partial(c);
  const Distribution& d = drawn_from(c);
  switch (ways_[c]) {
    case Sampling::none:
      return;
    case Sampling::greedy: {
      std::vector<Candidate> best = drawn_top_->best(c);
      write_sample(c, {best[0].id, 0}, best, [](float) { return 0; });
      if (request_.candidates) (*request_.candidates)[begin_ + c] = {{best[0].id}, {1}};
      return;
    }
    case Sampling::gumbel_max: {
      const Candidate winner = gumbel_max_->winner(c);
      std::vector<Candidate> best;
      if (drawn_top_) best = drawn_top_->best(c);
      std::erase_if(best, [](const Candidate& o) { return !is_in(o.logit); });
      const auto log_prob = [&](float logit) { return d.log_prob(logit); };
      return write_sample(c, {winner.id, log_prob(winner.logit)}, best, log_prob);
    }
    case Sampling::top_k:
      return write_filtered(c, drawn_top_->best(c));
    case Sampling::reach:
      return reach_->complete(c) ? write_filtered(c, reach_->candidates(c)) : unfinished_mark(c);
    case Sampling::materialize: {
      MaterializedRow row(kernels_, materialized_->row(c), source_.valid(), source_.ids(), d.max, workers);
      const Left left = row.filter(rows_[c]);
      if (request_.sample.ids) {
        std::vector<Candidate> best = row.best(request_.sample.k);
        write_choice(c, row.gumbel_max(left, rows_[c].stream), best, left);
      }
      if (request_.candidates) write_candidates(c, row.list(), left);
      return;
    }
  }
}

// What a shard tells of a row's draw: what it would draw, and what else may be drawn.
void Block::write_partial(size_t c) {
  const PartialOutputs& out = request_.partial;
  const size_t row = begin_ + c;
  std::vector<Candidate> best;
  if (drawn_top_) best = drawn_top_->best(c);
  std::erase_if(best, [](const Candidate& o) { return !is_in(o.logit); });
  Candidate winner{kDropped, kNoId};
  if (ways_[c] == Sampling::gumbel_max)
    winner = gumbel_max_->winner(c);
  else if (!best.empty())
    winner = best[0];
  request_.sample.ids[row] = winner.id;
  request_.sample.log_probs[row] = ways_[c] == Sampling::greedy && is_in(winner.logit) ? 0 : drawn_from(c).log_prob(winner.logit);
  out.drawn_logits[row] = winner.logit;
  if (out.k == 0) return;
  const size_t count = std::min<size_t>(out.k, best.size());
  out.counts[row] = static_cast<uint32_t>(count);
  for (size_t i = 0; i < count; i++) {
    out.ids[row * out.k + i] = best[i].id;
    out.logits[row * out.k + i] = best[i].logit;
  }
}

void Block::write_filtered(size_t c, std::vector<Candidate> candidates) {
  const Left left = filter(candidates, rows_[c]);
  if (request_.sample.ids) write_choice(c, gumbel_max(candidates, left, rows_[c].stream), candidates, left);
  if (request_.candidates) write_candidates(c, candidates, left);
}

void Block::write_choice(size_t c, const Choice& choice, std::vector<Candidate>& best, const Left& left) {
  write_sample(c, choice, best, [&](float logit) { return left.log_prob(logit, choice.log_sum); });
}

void Block::write_candidates(size_t c, std::vector<Candidate>& candidates, const Left& left) {
  CandidateRow& row = (*request_.candidates)[begin_ + c];
  std::sort(candidates.begin(), candidates.end(), better);
  for (const Candidate& candidate : candidates) row.ids.push_back(candidate.id);
  row.probs = probabilities(candidates, left);
}

// left: what the token was drawn from, or the likeliest of that, whose log-probabilities are to be told beside it.
template <class LogProb>
void Block::write_sample(size_t c, const Choice& choice, std::vector<Candidate>& left, LogProb log_prob) {
  const SampleOutputs& out = request_.sample;
  if (!out.ids) return;
  LMHEAD_DASSERT(source_.local_index_of(choice.id) < source_.valid() && !std::isnan(choice.log_prob));
  out.ids[begin_ + c] = choice.id;
  if (out.log_probs) out.log_probs[begin_ + c] = static_cast<float>(choice.log_prob);
  if (!out.model_log_probs) return;
  write_list(c, out.top, left, log_prob);
  const Distribution& raw = (unscaled_ ? unscaled_->data() : shown())[c];
  std::vector<Candidate> best = model_top_->best(c);
  write_list(c, out.model_top, best, [&](float logit) { return raw.log_prob(logit); });
  out.model_log_probs[begin_ + c] = raw.log_prob(logit_of(c, choice.id));
}

template <class LogProb>
void Block::write_list(size_t c, const ListOutputs& out, std::vector<Candidate>& from, LogProb log_prob) {
  const size_t k = request_.sample.k, count = std::min(k, from.size()), first = (begin_ + c) * k;
  std::partial_sort(from.begin(), from.begin() + static_cast<ptrdiff_t>(count), from.end(), better);
  out.counts[begin_ + c] = static_cast<uint32_t>(count);
  for (size_t i = 0; i < k; i++) {
    out.ids[first + i] = i < count ? from[i].id : kNoId;
    out.log_probs[first + i] = i < count ? static_cast<float>(log_prob(from[i].logit)) : -std::numeric_limits<float>::infinity();
  }
}

void Block::unfinished_mark(size_t c) {
  const std::lock_guard lock(mutex_);
  unfinished_.push_back(begin_ + c);
}

}  // namespace lmhead
