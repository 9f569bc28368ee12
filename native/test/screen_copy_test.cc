// The bounded copy of a matrix: what it holds, and its bound against float64.
#include <algorithm>
#include <cmath>
#include <memory>

#include "../core/screen/search.h"
#include "asking.h"
#include "check.h"
#include "odd_matrices.h"
#include "quantized.h"

namespace lmhead::test {
namespace {

using screen::Copy;
using screen::State;

std::vector<AlignedFloats> states_of(const std::vector<float>& e, size_t rows, size_t d, Random& random) {
  std::vector<AlignedFloats> states;
  for (int which = 0; which < 6; which++) {
    AlignedFloats h(hidden_stride(d));
    for (size_t k = 0; k < d; k++) {
      double x = random.normal();
      if (which == 1) x *= std::ldexp(1, static_cast<int>(random.below(24)) - 12);
      if (which == 2) x = k == d / 2 ? 1 : 0;
      if (which == 3) x = e[(7 % rows) * d + k];  // a row itself
      if (which == 4) x *= 0x1p-50;
      if (which == 5) x *= 0x1p40;
      h[k] = static_cast<float>(x);
    }
    states.push_back(std::move(h));
  }
  return states;
}

// Every row of every matrix: the product that the kernels make, and the exact one, lie no further from the estimate than it says.
TEST_PER_TABLE(bounds_of_the_copy_hold_for_every_row) {
  Random random(19);
  const screen::Kernels& own = screen::kernels_for(kernels);
  size_t held = 0, unbounded = 0;
  for (int kind = 0; kind < kKinds; kind++)
    for (const size_t d : {size_t{1}, size_t{7}, size_t{64}, size_t{65}, size_t{127}, size_t{300}, size_t{4500}})
      for (const size_t rows : {size_t{1}, size_t{35}}) {
        if (d > 4096 && (kind > 1 || rows > 1)) continue;  // there for its sums alone, which no int32 holds
        const std::vector<float> e = matrix_of(static_cast<Kind>(kind), rows, d, random);
        const Matrix matrix = view_of(e, rows, d);
        const std::shared_ptr<const Copy> copy = Copy::quantize(kernels, matrix, ParallelFor{2});
        CHECK(copy && copy->rows() == rows);
        for (const AlignedFloats& h : states_of(e, rows, d, random)) {
          const State state(*copy, h.data());
          if (!state.is_usual()) {
            unbounded++;
            continue;
          }
          std::vector<float> products(rows);
          kernels.product[0](matrix, 0, rows, h.data(), h.size(), 1, products.data(), rows);
          for (size_t i = 0; i < rows; i += screen::kTileRows) {
            float estimates[screen::kTileRows], upper[screen::kTileRows];
            own.bounds(copy->tile(i / screen::kTileRows), copy->blocks(), state.view(), estimates, upper);
            for (size_t r = i; r < std::min(rows, i + screen::kTileRows); r++) {
              double exact = 0;
              bool is_finite = true;
              for (size_t k = 0; k < d; k++) {
                is_finite &= std::isfinite(e[r * d + k]);
                exact += static_cast<double>(e[r * d + k]) * h[k];
              }
              const double off = static_cast<double>(upper[r - i]) - estimates[r - i];
              CHECK(!std::isnan(upper[r - i]));
              if (!is_finite) {
                CHECK(upper[r - i] == kInf, "kind %d d=%zu row %zu", kind, d, r);
                continue;
              }
              held++;
              CHECK(!(exact > upper[r - i]) && !(products[r] > upper[r - i]), "kind %d d=%zu row %zu: %.9g, %.9g > %.9g", kind, d,
                    r, exact, static_cast<double>(products[r]), static_cast<double>(upper[r - i]));
              CHECK(!(std::abs(exact - estimates[r - i]) > off * (1 + 1e-6)), "kind %d d=%zu row %zu: %.9g, %.9g +- %.9g", kind,
                    d, r, exact, static_cast<double>(estimates[r - i]), off);
            }
          }
        }
      }
  CHECK(held > 10 * unbounded && unbounded > 0, "%zu rows, %zu states without a bound", held, unbounded);
}

// The same, with what is held of a row read as its definition has it, and its rotation made in float64.
TEST_PER_TABLE(what_the_copy_holds_is_as_near_to_a_row_as_it_says) {
  Random random(5);
  for (int kind = 0; kind < kKinds; kind++)
    for (const size_t d : {size_t{5}, size_t{64}, size_t{200}, size_t{384}}) {
      constexpr size_t kRows = 45;
      const std::vector<float> e = matrix_of(static_cast<Kind>(kind), kRows, d, random);
      const std::shared_ptr<const Copy> copy = Copy::quantize(kernels, view_of(e, kRows, d), ParallelFor{1});
      const screen::Rotation& rotation = copy->rotation();
      for (size_t r = 0; r < kRows; r++) {
        const uint8_t* const tile = copy->tile(r / screen::kTileRows);
        const size_t lane = r % screen::kTileRows;
        const double scale = value_of(Dtype::f32, tile + 4 * lane);
        const double rho = value_of(Dtype::bf16, tile + screen::kRhoAt + 2 * lane);
        const double norm = value_of(Dtype::bf16, tile + screen::kNormAt + 2 * lane);
        std::vector<double> x(rotation.padded);
        double square = 0, left = 0;
        for (size_t k = 0; k < d; k++) {
          x[k] = static_cast<double>(e[r * d + k]) - copy->mean()[k];
          square += x[k] * x[k];
        }
        if (std::isnan(square) || std::isinf(square)) {
          CHECK(rho == kInf);
          continue;
        }
        rotation.rotate(x.data());
        for (size_t k = 0; k < rotation.padded; k++) {
          const size_t b = k / screen::kBlock, line = k % screen::kBlock / screen::kLanes, i = k % screen::kLanes;
          const uint8_t byte = tile[screen::block_at(b) + line * screen::kLineBytes + lane * 4 + i % 4];
          const double q = i < 4 ? byte & 15 : byte >> 4;
          const double its = scale * tile[screen::factors_at(b) + lane] * (q - 7.5);
          const double away = x[k] / static_cast<double>(rotation.span) - its;
          left += away * away;
        }
        CHECK(std::sqrt(left) <= rho, "kind %d d=%zu row %zu: %.9g > %.9g", kind, d, r, std::sqrt(left), rho);
        CHECK(std::sqrt(square) <= norm);
        if (static_cast<Kind>(kind) == Kind::normal && d >= 64) CHECK(rho < 0.13 * norm, "d=%zu: %.9g of %.9g", d, rho, norm);
      }
    }
}

// Integers: the same bytes and sums everywhere.
TEST_PER_TABLE(copies_are_the_same_on_every_cpu) {
  Random random(77);
  for (const size_t d : {size_t{64}, size_t{96}, size_t{448}}) {
    constexpr size_t kRows = 33;
    const std::vector<float> e = matrix_of(Kind::outliers, kRows, d, random);
    const Matrix matrix = view_of(e, kRows, d);
    const std::shared_ptr<const Copy> one = Copy::quantize(*scalar_kernels(), matrix, ParallelFor{1});
    const std::shared_ptr<const Copy> other = Copy::quantize(kernels, matrix, ParallelFor{3});
    CHECK(one->bytes() == other->bytes() && std::equal(one->tile(0), one->tile(0) + one->bytes(), other->tile(0)), "d=%zu", d);
  }
}

}  // namespace
}  // namespace lmhead::test
