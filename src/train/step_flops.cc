#include "drop/train/step_flops.h"

namespace drop {

double step_flops(const ModelShape& shape, int64_t batch_size, bool constraint_active) {
  const auto width = static_cast<double>(shape.hidden_width);
  const auto s = static_cast<double>(shape.state_dim);
  const auto a = static_cast<double>(shape.action_dim);
  const auto d = static_cast<double>(shape.embedding_dim);

  // a layer of `in` inputs costs as much in each direction: forward, to its weights, to its input;
  // all in units of one row and `width` outputs
  // phi behind the look-up, on N rows: three directions
  const double phi = 3.0 * (width + d);

  // beta forward: Enc_1 and h's part of Enc_2 once; z's part and the rest at z and at z_u
  const double beta_forward = s + 2.0 * width + 2.0 * (d + 2.0 * width + a);
  // backward at z: to all weights; to all inputs but the state's
  const double beta_weights = s + 2.0 * width + d + 2.0 * width + a;
  const double beta_inputs = beta_weights - s;

  // f forward at (a, z), (beta, z), (beta, z_u): the state's part once, z's part twice
  const double f_forward = s + 3.0 * a + 2.0 * d + 3.0 * (4.0 * width + 1.0);
  // backward: as forward to the weights; to the inputs of all but the first layer, and to z (L_td)
  const double evaluations = constraint_active ? 3.0 : 1.0;
  const double embeddings = constraint_active ? 2.0 : 1.0;
  const double f_weights = s + evaluations * a + embeddings * d + evaluations * (4.0 * width + 1.0);
  const double f_inputs = evaluations * (4.0 * width + 1.0) + d;

  // f_bar forward, once
  const double target = s + a + d + 4.0 * width + 1.0;

  return 2.0 * width *
         (static_cast<double>(shape.num_subtasks) * phi +
          static_cast<double>(batch_size) * (beta_forward + beta_weights + beta_inputs + f_forward +
                                             f_weights + f_inputs + target));
}

}  // namespace drop
