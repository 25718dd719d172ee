#include "drop/search/ascent_flops.h"

#include <gtest/gtest.h>

namespace drop {
namespace {

TEST(AscentFlops, PapersSize) {
  const ModelShape paper = {.state_dim = 11, .action_dim = 3, .num_subtasks = 100};
  EXPECT_NEAR(ascent_flops(paper, 1, 100, 100), 63.6e9, 0.05e9);
}

// a network so small that its products can be counted by hand
TEST(AscentFlops, CountsEveryProduct) {
  const ModelShape tiny = {
      .state_dim = 2, .action_dim = 3, .num_subtasks = 5, .embedding_dim = 7, .hidden_width = 1};
  // Enc_1, h's part of Enc_2, the state's part of Enc_3
  const double state = 2 + 1 + 1 + 2;
  // beta from z on, f from the action on
  const double pass = (7 + 2 + 3) + (3 + 1 + 1 + 7 + 2 + 1);
  EXPECT_EQ(ascent_flops(tiny, 1, 1, 0), 2 * (state + pass));
  EXPECT_EQ(ascent_flops(tiny, 1, 1, 1), 2 * (state + 3 * pass));
  EXPECT_EQ(ascent_flops(tiny, 4, 5, 6), 2 * 4 * (state + 5 * (6 * 2 + 1) * pass));
}

}  // namespace
}  // namespace drop
