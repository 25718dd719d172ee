#include "drop/train/multiplier.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace drop {
namespace {

Multiplier make(MultiplierForm form, double initial, double rate, double threshold = 2.0) {
  return Multiplier(form, initial, rate, threshold, at::TensorOptions(at::kDouble));
}
at::Tensor gap(double value) { return at::full({}, value, at::kDouble); }
double value_of(const Multiplier& multiplier) { return multiplier.value().item<double>(); }

TEST(Multiplier, HingePushesNothingWhileTheConstraintHolds) {
  const Multiplier multiplier = make(MultiplierForm::kHinge, 1.0, 1e-3);
  EXPECT_EQ(multiplier.penalty(gap(1.9)).item<double>(), 0.0);
  EXPECT_DOUBLE_EQ(multiplier.penalty(gap(2.5)).item<double>(), 0.5);
}

TEST(Multiplier, ProjectedAscentStopsAtZeroAndAtItsCap) {
  Multiplier multiplier = make(MultiplierForm::kProjected, 0.5, 0.1);
  multiplier.update(gap(3.0));  // violated by 1
  EXPECT_DOUBLE_EQ(value_of(multiplier), 0.6);
  multiplier.update(gap(-100.0));
  EXPECT_EQ(value_of(multiplier), 0.0);
  multiplier.update(gap(1e9));
  EXPECT_EQ(value_of(multiplier), 1e6);
  EXPECT_DOUBLE_EQ(make(MultiplierForm::kProjected, 0.5, 0.1).penalty(gap(1.0)).item<double>(),
                   -0.5);
}

TEST(Multiplier, LogMovesByItsRateAtFirstAndIsCapped) {
  Multiplier up = make(MultiplierForm::kLog, 1.0, 1e-3);
  up.update(gap(5.0));  // Adam's first step is the rate, whatever the gradient
  EXPECT_NEAR(std::log(value_of(up)), 1e-3, 1e-9);
  Multiplier down = make(MultiplierForm::kLog, 1.0, 1e-3);
  down.update(gap(-5.0));
  EXPECT_NEAR(std::log(value_of(down)), -1e-3, 1e-9);
  Multiplier high = make(MultiplierForm::kLog, 1e6, 10.0);
  high.update(gap(5.0));
  EXPECT_NEAR(value_of(high), 1e6, 1e-3);
}

// the cap's logarithm rounds up in float32
TEST(Multiplier, NoFormExceedsTheCapInFloat32) {
  for (const MultiplierForm form :
       {MultiplierForm::kHinge, MultiplierForm::kProjected, MultiplierForm::kLog}) {
    SCOPED_TRACE(to_string(form));
    Multiplier multiplier(form, 1e6, 10.0, 2.0, at::TensorOptions(at::kFloat));
    for (const float violated : {5.0F, 1e12F, 1e30F}) {
      multiplier.update(at::full({}, violated, at::kFloat));
      EXPECT_LE(value_of(multiplier), 1e6);
      EXPECT_GT(value_of(multiplier), 0.99e6);
    }
  }
}

TEST(Multiplier, StateSharesMemory) {
  Multiplier from = make(MultiplierForm::kLog, 1.0, 0.1);
  for (int i = 0; i < 3; ++i) from.update(gap(3.0 + i));
  Multiplier to = make(MultiplierForm::kLog, 1.0, 0.1);
  const auto source = from.state();
  const auto target = to.state();
  ASSERT_EQ(source.size(), target.size());
  for (size_t i = 0; i < source.size(); ++i) {
    EXPECT_EQ(source[i].first, target[i].first);
    target[i].second.copy_(source[i].second);
  }
  from.update(gap(1.0));
  to.update(gap(1.0));
  EXPECT_EQ(value_of(from), value_of(to));
}

}  // namespace
}  // namespace drop
