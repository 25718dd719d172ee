#include "drop/search/ascent_flops.h"

namespace drop {

double ascent_flops(const ModelShape& shape, int64_t num_states, int64_t num_starts,
                    int64_t ascent_steps) {
  const auto width = static_cast<double>(shape.hidden_width);
  const auto s = static_cast<double>(shape.state_dim);
  const auto a = static_cast<double>(shape.action_dim);
  const auto d = static_cast<double>(shape.embedding_dim);

  // in units of one row and `width` outputs
  const double state = s + 2.0 * width + s;
  // beta from z on: z's part of Enc_2, two layers, the action; f: the action's part of Enc_3, one
  // layer, z's part of Enc_4, three layers, the score
  const double forward = (d + 2.0 * width + a) + (a + width + d + 3.0 * width + 1.0);
  const double backward = forward;
  const auto steps = static_cast<double>(ascent_steps);
  const double start = steps * (forward + backward) + forward;

  return 2.0 * width * static_cast<double>(num_states) *
         (state + static_cast<double>(num_starts) * start);
}

}  // namespace drop
