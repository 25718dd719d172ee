#pragma once

#include <cstdint>

#include "drop/nn/drop_model.h"

namespace drop {

/// Floating-point operations (a multiplication and an addition count as two) of the matrix products
/// that one gradient ascent cannot do without: 63.6e9 at the paper's size with 100 starts and 100
/// steps. What depends on a state alone (Enc_1, its product with Enc_2, the state's part of Enc_3)
/// is computed once for it; the backward pass ends at z; the end points are scored once more.
double ascent_flops(const ModelShape& shape, int64_t num_states, int64_t num_starts,
                    int64_t ascent_steps);

}  // namespace drop
