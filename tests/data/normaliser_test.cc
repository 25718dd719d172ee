#include "drop/data/normaliser.h"

#include <gtest/gtest.h>

#include <cmath>

#include "drop/base/error.h"

namespace drop {
namespace {

TEST(Normaliser, UsesThePopulationDeviationPlusTheOffset) {
  // column 0: 1, 2, 3, 4 (mean 2.5, variance 1.25); column 1: constant
  const std::vector<float> rows = {1, 7, 2, 7, 3, 7, 4, 7};
  const Normaliser normaliser = fit_normaliser(rows, 2);
  EXPECT_FLOAT_EQ(normaliser.mean[0], 2.5F);
  EXPECT_FLOAT_EQ(normaliser.mean[1], 7.0F);
  EXPECT_FLOAT_EQ(normaliser.std[0], static_cast<float>(std::sqrt(1.25) + 1e-3));
  EXPECT_FLOAT_EQ(normaliser.std[1], 1e-3F);
}

TEST(Normaliser, AppliesToRowsInPlace) {
  const Normaliser normaliser{{1.0F, -2.0F}, {2.0F, 0.5F}};
  std::vector<float> states = {3.0F, -2.0F, 1.0F, 0.0F};
  normaliser.apply(states);
  EXPECT_EQ(states, (std::vector<float>{1.0F, 0.0F, 0.0F, 4.0F}));
}

TEST(Normaliser, KeepsItsPrecisionFarFromZero) {
  // float32 sums would lose the spread of 0.5 around a million
  std::vector<float> rows;
  for (int row = 0; row < 100000; ++row) rows.push_back(row % 2 == 0 ? 999999.5F : 1000000.5F);
  const Normaliser normaliser = fit_normaliser(rows, 1);
  EXPECT_FLOAT_EQ(normaliser.mean[0], 1e6F);
  EXPECT_FLOAT_EQ(normaliser.std[0], 0.501F);
}

TEST(Normaliser, OneRowHasNoSpread) {
  const Normaliser normaliser = fit_normaliser(std::vector<float>{4.0F}, 1);
  EXPECT_FLOAT_EQ(normaliser.std[0], 1e-3F);
}

TEST(Normaliser, AConstantFarFromZeroBecomesZero) {
  std::vector<float> rows(1001, 1e20F);
  const Normaliser normaliser = fit_normaliser(rows, 1);
  EXPECT_FLOAT_EQ(normaliser.std[0], static_cast<float>(kStdOffset));
  normaliser.apply(rows);
  EXPECT_EQ(rows, std::vector<float>(1001, 0.0F));
}

TEST(Normaliser, RefusesASpreadThatFloat32CannotHold) {
  EXPECT_THROW(fit_normaliser(std::vector<float>{3e38F, -3e38F}, 1), DataError);
  const Normaliser normaliser = fit_normaliser(std::vector<float>{1e38F, -1e38F}, 1);
  std::vector<float> rows = {1e38F, -1e38F};
  normaliser.apply(rows);
  EXPECT_EQ(rows, (std::vector<float>{1.0F, -1.0F}));
}

TEST(Normaliser, RefusesPartsOfRows) {
  EXPECT_THROW(fit_normaliser(std::vector<float>{1, 2, 3}, 2), RunError);
  EXPECT_THROW(fit_normaliser(std::vector<float>{}, 2), DataError);
  std::vector<float> states(3);
  EXPECT_THROW((Normaliser{{0, 0}, {1, 1}}.apply(states)), RunError);
}

}  // namespace
}  // namespace drop
