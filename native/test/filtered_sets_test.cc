// Both forms of a filtered set, step after step, against each step's plain definition: over rows of the numbers that sentinels
// are mistaken for, and with floors, shares and temperatures from one end of their range to the other.
#include <sys/wait.h>
#include <unistd.h>

#include <cfloat>
#include <csignal>
#include <cstdio>

#include "../core/sampling/candidate_list.h"
#include "../core/sampling/materialized_row.h"
#include "check.h"
#include "naive.h"
#include "numbers.h"

namespace lmhead::test {
namespace {

constexpr double kDoubleInf = std::numeric_limits<double>::infinity();
constexpr float kSubnormal = 1e-45f;

// ---- a set by its definition: sorted, walked down
// --------------------------------------------------------------------------------

class Sorted {
 public:
  explicit Sorted(const std::vector<float>& u) {
    for (uint32_t id = 0; id < u.size(); id++)
      if (u[id] != -kInf) kept_.push_back({u[id], id});
    std::sort(kept_.begin(), kept_.end(), better);
  }

  const std::vector<Candidate>& kept() const { return kept_; }
  float max() const { return kept_[0].logit; }
  size_t count() const { return kept_.size(); }

  Moments moments(double temperature) const {
    MomentSums sums;
    for (const Candidate& c : kept_) sums.add(x_of(c, temperature), exp_negative(x_of(c, temperature)));
    return sums.moments();
  }
  double deviation() const {
    std::vector<Candidate> by_id = kept_;
    std::sort(by_id.begin(), by_id.end(), [](auto& a, auto& b) { return a.id < b.id; });
    DeviationSums sums;
    for (const Candidate& c : by_id) sums.add(static_cast<double>(c.logit) - max());
    return sums.deviation();
  }
  void keep_at_least(double floor) {
    const float best = max();
    std::erase_if(kept_, [&](const Candidate& c) { return c.logit < floor && c.logit != best; });
  }
  void keep_share(double share, double temperature) { kept_ = first_share(kept_, share, temperature); }
  void keep_typical(double share, double temperature) {
    const Moments m = moments(temperature);
    const auto distance = [&](const Candidate& c) { return std::abs(x_of(c, temperature) - m.log_sum + m.entropy); };
    std::vector<Candidate> typical = kept_;
    std::stable_sort(typical.begin(), typical.end(), [&](auto& a, auto& b) { return distance(a) < distance(b); });
    kept_ = first_share(typical, share, temperature);
    std::sort(kept_.begin(), kept_.end(), better);
  }
  void keep_best() { kept_.resize(1); }
  void exclude_top(double floor) {
    size_t top = 0;
    while (top < kept_.size() && kept_[top].logit >= floor) top++;
    if (top > 1) kept_.erase(kept_.begin(), kept_.begin() + static_cast<ptrdiff_t>(top) - 1);
  }

 private:
  double x_of(const Candidate& c, double temperature) const { return (static_cast<double>(c.logit) - max()) / temperature; }
  std::vector<Candidate> first_share(const std::vector<Candidate>& all, double share, double temperature) const {
    FixedPointSum total, so_far;
    for (const Candidate& c : all) total.add(exp_negative(x_of(c, temperature)));
    const double wanted = share * total.value() * (1 - 0x1p-22);
    std::vector<Candidate> first;
    do {
      first.push_back(all[first.size()]);
      so_far.add(exp_negative(x_of(first.back(), temperature)));
    } while (first.size() < all.size() && so_far.value() < wanted);
    return first;
  }

  std::vector<Candidate> kept_;
};

// ---- the two forms, made and looked at alike
// ---------------------------------------------------------------------------------------

class List {
 public:
  List(const Kernels&, const std::vector<float>& u, const ParallelFor&) : candidates_(all_of(u)), set(candidates_) {}
  std::vector<Candidate> kept() const {
    std::vector<Candidate> kept = candidates_;
    std::sort(kept.begin(), kept.end(), better);
    return kept;
  }

 private:
  static std::vector<Candidate> all_of(const std::vector<float>& u) {
    std::vector<Candidate> all;
    for (uint32_t id = static_cast<uint32_t>(u.size()); id-- > 0;) all.push_back({u[id], id});
    return all;
  }
  std::vector<Candidate> candidates_;

 public:
  CandidateList set;
};

class Held {
 public:
  Held(const Kernels& kernels, const std::vector<float>& u, const ParallelFor& workers)
      : u_(u), set(kernels, u_.data(), u_.size(), nullptr, *std::max_element(u.begin(), u.end()), workers) {}
  std::vector<Candidate> kept() const { return set.best(u_.size()); }

 private:
  std::vector<float> u_;

 public:
  MaterializedRow set;
};

// ---- rows and parameters
// -----------------------------------------------------------------------------------------------------------

const float kSpecial[] = {
    -kInf,   -FLT_MAX, std::nextafter(-FLT_MAX, 0.0f), -1e30f, -1,     -FLT_MIN, -kSubnormal, -0.0f, 0, kSubnormal,
    FLT_MIN, 1,        std::nextafter(1.0f, 2.0f),     1e30f,  FLT_MAX};

enum class ExtremeKind {
  special,
  spread,
  banned,
  mostly_banned,
  whole_chunks_banned,
  zeros,
  subnormal,
  equal,
  ends,
  near_top,
  count
};

std::vector<float> extreme_row(ExtremeKind kind, size_t count, Random& random) {
  std::vector<float> u(count);
  const float equal = kSpecial[1 + random.below(std::size(kSpecial) - 1)];
  for (size_t i = 0; i < count; i++) {
    float& x = u[i];
    x = static_cast<float>(random.normal() * 4);
    if (kind == ExtremeKind::special) x = kSpecial[random.below(std::size(kSpecial))];
    if (kind == ExtremeKind::banned && random.below(3) == 0) x = -kInf;
    if (kind == ExtremeKind::mostly_banned && random.below(40) != 0) x = -kInf;
    if (kind == ExtremeKind::whole_chunks_banned && i / kChunkRows % 2 == 0) x = -kInf;
    if (kind == ExtremeKind::zeros) x = random.below(2) ? 0.0f : -0.0f;
    if (kind == ExtremeKind::subnormal) x = static_cast<float>(random.below(5)) * kSubnormal - 2 * kSubnormal;
    if (kind == ExtremeKind::equal) x = equal;
    if (kind == ExtremeKind::ends) x = random.below(2) ? FLT_MAX : -FLT_MAX;
    if (kind == ExtremeKind::near_top) x = std::nextafter(FLT_MAX, 0.0f) + static_cast<float>(random.below(2)) * 0x1p104f;
  }
  if (*std::max_element(u.begin(), u.end()) == -kInf)
    u[random.below(count)] = kSpecial[1 + random.below(std::size(kSpecial) - 1)];
  return u;
}

double some_floor(const std::vector<float>& u, Random& random) {
  const double floors[] = {
      -kDoubleInf, -DBL_MAX, -2.0 * FLT_MAX, -FLT_MAX, std::nextafter(-FLT_MAX, 0.0f), -1,      -DBL_TRUE_MIN, 0, DBL_TRUE_MIN,
      kSubnormal,  1,        1 + 0x1p-40,    FLT_MAX,  FLT_MAX * (1 + 0x1p-40),        DBL_MAX, kDoubleInf};
  if (random.below(2)) return floors[random.below(std::size(floors))];
  const double near = u[random.below(u.size())];
  return random.below(2) ? near : std::nextafter(near, random.below(2) ? kDoubleInf : -kDoubleInf);
}

constexpr double kTemperatures[] = {1, 0.37, DBL_TRUE_MIN, 1e-300, FLT_MIN, 1e30, FLT_MAX, DBL_MAX};
constexpr double kShares[] = {0, DBL_TRUE_MIN, 1e-9, 0.3, 0.9, 0.9999, 1 - 0x1p-53};

// ---- step after step
// ---------------------------------------------------------------------------------------------------------------

template <class Under>
void check_steps(const Kernels& kernels, std::initializer_list<size_t> counts, const ParallelFor& workers, int turns = 12) {
  Random random(61);
  for (int kind = 0; kind < static_cast<int>(ExtremeKind::count); kind++)
    for (const size_t count : counts)
      for (int turn = 0; turn < turns; turn++) {
        const std::vector<float> u = extreme_row(static_cast<ExtremeKind>(kind), count, random);
        Sorted want(u);
        Under got(kernels, u, workers);
        char what[100];
        const auto check = [&](const char* step, double a, double temperature) {
          std::snprintf(what, sizeof what, "kind=%d V=%zu %s %g T=%g", kind, count, step, a, temperature);
          const std::vector<Candidate> kept = got.kept();
          CHECK(kept.size() == want.count() && got.set.count() == want.count(), "%s: %zu (%zu) kept, want %zu", what, kept.size(),
                got.set.count(), want.count());
          CHECK(std::equal(kept.begin(), kept.end(), want.kept().begin(), want.kept().end(),
                           [](auto& x, auto& y) { return x.id == y.id && x.logit == y.logit; }),
                "%s", what);
          CHECK(got.set.max() == want.max() && got.set.is_sound(), "%s: max %g, want %g", what, got.set.max(), want.max());
          const Moments m = got.set.moments(temperature), n = want.moments(temperature);
          CHECK(m.log_sum == n.log_sum && m.entropy == n.entropy && m.log_squares == n.log_squares && std::isfinite(m.entropy),
                "%s: moments %.17g %.17g %.17g, want %.17g %.17g %.17g", what, m.log_sum, m.entropy, m.log_squares, n.log_sum,
                n.entropy, n.log_squares);
          const double deviation = got.set.deviation();
          CHECK(deviation == want.deviation() && std::isfinite(deviation), "%s: deviation %.17g, want %.17g", what, deviation,
                want.deviation());
        };
        check("made", 0, 1);
        for (int step = 0; step < 4; step++) {
          const double temperature = kTemperatures[random.below(std::size(kTemperatures))];
          const double share = kShares[random.below(std::size(kShares))], floor = some_floor(u, random);
          switch (random.below(9)) {
            case 0:
              got.set.keep_best();
              want.keep_best();
              check("best", 0, temperature);
              break;
            case 1:
            case 2:
              got.set.keep_at_least(Floor(floor), 1);
              want.keep_at_least(floor);
              check("at least", floor, temperature);
              break;
            case 3:
            case 4:
              got.set.keep_share(share, temperature, 1);
              want.keep_share(share, temperature);
              check("share", share, temperature);
              break;
            case 5:
            case 6:
              got.set.keep_typical(share, temperature, 1);
              want.keep_typical(share, temperature);
              check("typical", share, temperature);
              break;
            default:
              // As Chain excludes the top.
              if (const std::optional<Candidate> last = got.set.last_from(Floor(floor)))
                got.set.drop_where([&](const Candidate& c) { return c.logit >= floor && c.id != last->id; });
              want.exclude_top(floor);
              check("top", floor, temperature);
          }
        }
      }
}

TEST(a_list_takes_every_step_as_defined) {
  check_steps<List>(*available_kernels().front(), {1, 2, 3, 17, 256, 257, 700, 1500}, {});
}

TEST_PER_TABLE(a_held_row_takes_every_step_as_defined) { check_steps<Held>(kernels, {1, 2, 3, 17, 256, 257, 700, 1500}, {}); }

TEST(a_held_row_takes_every_step_on_many_threads) { check_steps<Held>(*available_kernels().front(), {5000}, {.threads = 3}, 4); }

// ---- whole chains
// ------------------------------------------------------------------------------------------------------------------

// Every stage, each at one end of its range or somewhere between, in any order.
RowSampling some_sampling(Random& random) {
  const auto one_of = [&](std::initializer_list<double> all) { return all.begin()[random.below(all.size())]; };
  RowSampling row;
  row.temperature = one_of({0.7, 1, 1e-20, 1e-300, DBL_TRUE_MIN, 1e30, DBL_MAX});
  row.top_k = random.below(3) == 0 ? 1 + random.below(1400) : 0;
  row.top_p = one_of({1, 1, 0.9, 0.9999, 0});
  row.log_min_p = one_of({-kDoubleInf, -3, -700, 0, -DBL_TRUE_MIN});
  row.typical_p = one_of({1, 1, 0.9, 0.9999, 0});
  row.log_epsilon = one_of({-kDoubleInf, -8, -700, 0});
  row.log_eta = one_of({-kDoubleInf, -8, -700, 0});
  row.top_n_sigma = one_of({0, 0, 1, DBL_TRUE_MIN, 1e30, DBL_MAX});
  row.p_less = random.below(6) == 0;
  row.xtc_probability = one_of({0, 0.5, 1});
  row.log_xtc_threshold = one_of({-kDoubleInf, -8, -1, 0});
  row.temperature_range = row.temperature < DBL_MAX ? one_of({0, 0.3, DBL_TRUE_MIN, 1e30}) : 0;
  row.temperature_exponent = one_of({0, 1, 2.5, DBL_MAX});
  row.max_surprisal = one_of({kDoubleInf, 9, 0, 1e300});
  row.min_keep = static_cast<size_t>(one_of({1, 1, 1, 2, 30, 1100, 5000}));
  if (random.below(2)) row.xtc_protected = every_third_id();
  row.stream = {static_cast<uint32_t>(random.bits()), static_cast<uint32_t>(random.bits()), 5};
  std::vector<uint64_t> stages = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  for (size_t i = stages.size(); i > 1; i--) std::swap(stages[i - 1], stages[random.below(i)]);
  stages.resize(1 + random.below(stages.size()));
  row.order = 0;
  for (const uint64_t stage : stages) row.order = row.order << 4 | stage;
  return row;
}

TEST_PER_TABLE(chains_over_extreme_rows_leave_and_draw_the_same_from_both_forms) {
  Random random(62);
  for (int turn = 0; turn < 600; turn++) {
    const ExtremeKind kind = static_cast<ExtremeKind>(turn % static_cast<int>(ExtremeKind::count));
    const size_t count = 1 + random.below(turn % 3 == 0 ? 30 : 4000);
    const std::vector<float> u = extreme_row(kind, count, random);
    const RowSampling row = some_sampling(random);
    std::vector<Candidate> list;
    for (uint32_t id = 0; id < count; id++) list.push_back({u[id], id});
    const Left left = filter(list, row);
    const Choice choice = gumbel_max(list, left, row.stream);
    std::vector<float> lying = u;
    MaterializedRow held(kernels, lying.data(), count, nullptr, *std::max_element(u.begin(), u.end()), {});
    const Left held_left = held.filter(row);
    const Choice held_choice = held.gumbel_max(held_left, row.stream);
    CHECK(left.max == held_left.max && left.temperature == held_left.temperature, "turn=%d V=%zu: %g %g, want %g %g", turn, count,
          held_left.max, held_left.temperature, left.max, left.temperature);
    CHECK(choice.id == held_choice.id && choice.log_prob == held_choice.log_prob, "turn=%d V=%zu: %u %.17g, want %u %.17g", turn,
          count, held_choice.id, held_choice.log_prob, choice.id, choice.log_prob);
    CHECK(choice.id < count && u[choice.id] != -kInf && choice.log_prob <= 0, "turn=%d V=%zu: %u %g", turn, count, choice.id,
          choice.log_prob);
    held.write_back();
    std::vector<float> wanted(count, -kInf);
    for (const Candidate& c : list) wanted[c.id] = c.logit;
    CHECK(lying == wanted, "turn=%d V=%zu", turn, count);
  }
}

TEST(a_floor_admits_what_is_at_least_as_high_and_nothing_that_is_dropped) {
  Random random(63);
  const std::vector<float> values(std::begin(kSpecial), std::end(kSpecial));
  for (int turn = 0; turn < 2000; turn++) {
    const double at = some_floor(values, random);
    const Floor floor(at);
    for (const float u : values) CHECK(floor.admits(u) == (u != -kInf && u >= at), "%.17g: %.9g", at, u);
    CHECK(is_in(floor.least()) && floor.least() >= at, "%.17g: %.9g", at, floor.least());
  }
}

#if LMHEAD_CHECKED  // but with the objects of a published binary
// These tests are of no use for what they do not see: the assertions are on.
TEST(what_does_not_hold_ends_a_build_for_tests) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!std::freopen("/dev/null", "w", stderr)) ::_exit(2);
    LMHEAD_DASSERT(child != 0);
    ::_exit(0);
  }
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%d", status);
}
#endif

}  // namespace
}  // namespace lmhead::test
