#include "drop/train/step_flops.h"

#include <gtest/gtest.h>

namespace drop {
namespace {

const ModelShape kPaper = {.state_dim = 11, .action_dim = 3, .num_subtasks = 100};

TEST(StepFlops, PapersSize) { EXPECT_NEAR(step_flops(kPaper, 1024), 29.3e9, 0.05e9); }

TEST(StepFlops, ASatisfiedConstraintSavesTwoBackwardPassesOfF) {
  // two evaluations of f, each with two directions of four square layers, and little else
  const double square = 2.0 * 1024 * 512 * 512;
  const double saved = step_flops(kPaper, 1024, true) - step_flops(kPaper, 1024, false);
  EXPECT_NEAR(saved / square, 2 * 2 * 4, 0.1);
}

// a network so small that its products can be counted by hand
TEST(StepFlops, CountsEveryProduct) {
  const ModelShape tiny = {
      .state_dim = 2, .action_dim = 3, .num_subtasks = 5, .embedding_dim = 7, .hidden_width = 1};
  // phi: a hidden layer and the output, in three directions
  const double phi = 5 * 3 * (1 + 7);
  // beta: Enc_1 (2 + 1) and Enc_2's first layer for h (1), then z (7), two layers and the action at
  // z and z_u; backward to all weights, and to all inputs but the state
  const double beta = (2 + 1 + 1 + 2 * (7 + 2 + 3)) + (2 + 1 + 1 + 7 + 2 + 3) + (1 + 1 + 7 + 2 + 3);
  // f: the state once, the action three times, z and z_u once each, four layers and the score
  const double f = (2 + 3 * 3 + 2 * 7 + 3 * 5) + (2 + 3 * 3 + 2 * 7 + 3 * 5) + (3 * 5 + 7);
  const double target = 2 + 3 + 7 + 5;
  EXPECT_EQ(step_flops(tiny, 1), 2 * (phi + beta + f + target));
  EXPECT_EQ(step_flops(tiny, 10), 2 * (phi + 10 * (beta + f + target)));
  // one evaluation instead of three goes backward
  EXPECT_EQ(step_flops(tiny, 1, false),
            step_flops(tiny, 1) - 2 * (2 * 3 + 7 + 2 * 5 /*weights*/ + 2 * 5 /*inputs*/));
}

}  // namespace
}  // namespace drop
